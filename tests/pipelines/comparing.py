"""Runs of a pipeline compared, bit for bit or to rounding, and how a check says that something does not hold."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from watching import Watched

CLOSE = 1e-4  # of the largest number; float32 gives 1e-7 to 3e-6, wrong levels 5e-3 and more


@dataclass
class Run:
    """One call of a pipeline."""

    tensors: list[Tensor]
    seen: Watched
    trace: Any = None
    warned: list[str] = field(default_factory=list)


class CheckError(AssertionError):
    """A check that does not hold; the message says what was found."""


class RefusedError(Exception):
    """A check that skip_steps refused."""


def one_line(error: Exception) -> str:
    if "\n" in str(error):
        raise CheckError(f"the refusal is not one line: {error}")
    return str(error)


def require(holds: bool, message: str) -> None:
    if not holds:
        raise CheckError(message)


def same(run: Run, other: Run, what: str) -> None:
    equal = all(torch.equal(a, b) for a, b in zip(run.tensors, other.tensors, strict=True))
    require(equal and run.tensors, f"{what} are not bit-identical")


def error_of(found: list[Tensor], wanted: list[Tensor]) -> float:
    """The largest difference, relative to the largest number; infinite where something is not finite."""
    errors = [float((a - b).abs().max() / b.abs().max()) for a, b in zip(found, wanted, strict=True)]
    return max(error if math.isfinite(error) else math.inf for error in errors)


def close(found: list[Tensor], wanted: list[Tensor], what: str) -> None:
    error = error_of(found, wanted)
    require(error < CLOSE, f"{what} differ by {error:.2g} of the largest number")


def bits(computed: Any) -> str:
    return "".join(str(int(step)) for step in computed)
