"""Raw outputs of a network alone, as a function of the timestep: extrapolated, and how wrong that may be.

Where no scheduler says what noise level a timestep is, x̂₀ and λ are not known. What is left is Newton's polynomial
through the outputs themselves at the timesteps t: a held output is its first term, a linear one its first two, and the
next term is the estimate of the error. Shape letters: B batch rows, N numbers of one row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from videoada.skipping.rules.predictors import extrapolate, measured_damping


@dataclass(frozen=True)
class RawOutput:
    """A network output (B, N), float32, at a timestep."""

    timestep: float
    value: Tensor


def held(past: Sequence[RawOutput], timestep: float, damping: float | None) -> Tensor:
    """The last output again: (B, N)."""
    return past[-1].value


def linear(past: Sequence[RawOutput], timestep: float, damping: float | None) -> Tensor:
    """Each row on the line through its last two outputs, the slope damped (None: as measured): (B, N)."""
    nodes = [p.timestep for p in past]
    if len(past) < 2:
        return past[-1].value
    rows = []
    for values in zip(*(p.value for p in past), strict=True):
        factor = measured_damping(values, nodes) if damping is None else damping
        rows.append(extrapolate(values[-2:], nodes[-2:], timestep, factor))
    return torch.stack(rows)


def next_term(past: Sequence[RawOutput], timestep: float, order: int) -> Tensor:
    """The term of that `order` of Newton's polynomial through the last `order` + 1 outputs, at `timestep`: its root
    mean square as a fraction of the last output's, for each row (B,). `order` is 1 for `held`, 2 for `linear`."""
    used = list(past[-order - 1 :])
    differences, width = [p.value for p in used], 1.0
    for k in range(1, order + 1):
        differences = [
            (b - a) / (used[i + k].timestep - used[i].timestep)
            for i, (a, b) in enumerate(zip(differences, differences[1:], strict=False))
        ]
        width *= timestep - used[-k].timestep
    return differences[-1].norm(dim=1) * abs(width) / used[-1].value.norm(dim=1)
