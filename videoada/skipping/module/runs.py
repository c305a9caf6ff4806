"""ModuleRun: the calls of a denoiser without a pipeline, sorted into steps and runs by what the calls themselves say.

A step is known by its timestep, its calls by their cache context, and those without one, or several of one context, by
their number within the step. A run begins where the timestep turns back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from videoada.skipping import outputs
from videoada.skipping.calls import MOST_CALLS
from videoada.skipping.outputs import Leaf
from videoada.skipping.rules.raw_output import RawOutput

KEPT = 3  # outputs of each call


@dataclass
class HeldOutputs:
    """Of one call of a step: its last computed outputs, oldest first, and the structure of the last."""

    kind: tuple[Any, ...]  # what must not change from step to step
    result: Any
    listed: bool
    leaves: list[Leaf]
    past: list[RawOutput] = field(default_factory=list)  # of the first leaf

    def approximated(self, value: Tensor | None) -> Any:
        """The result with another first leaf, (B, N); None: as last computed. New tensors each time."""
        leaves = [outputs.copied(leaf) for leaf in self.leaves]
        first = leaves[0]
        if value is not None and isinstance(first, Tensor):
            leaves[0] = value.reshape(first.shape).to(first.dtype)
        elif value is not None:
            leaves[0] = [v.reshape(row.shape).to(row.dtype) for v, row in zip(value, first, strict=True)]
        return outputs.with_leaves(self.result, self.listed, leaves)


class ContextRun:
    """The steps of one cache context within a run."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """As before the first step; diffusers' StateManager calls it before it drops a state."""
        self.timesteps: list[float] = []
        self.call = -1  # within the present step
        self.compute = True  # the present step's decision
        self.skipped_in_a_row = 0
        self.held: dict[int, HeldOutputs] = {}

    @property
    def step(self) -> int:
        return len(self.timesteps) - 1

    def turns_back(self, timestep: float) -> bool:
        """Whether a call at this timestep is of a new run. Timesteps of one run fall, of some networks they rise: the
        first two say which."""
        if len(self.timesteps) < 2:
            return False
        before, last = self.timesteps[-2:]
        return timestep > last if last < before else timestep < last

    def arrive(self, timestep: float) -> bool:
        """Count a call; True where it is the first of a step."""
        first = not self.timesteps or timestep != self.timesteps[-1]
        if first:
            self.timesteps.append(timestep)
        self.call = 0 if first else self.call + 1
        return first

    def keep(self, kind: tuple[Any, ...], result: Any, listed: bool, timestep: float) -> None:
        if self.call >= MOST_CALLS:
            return
        leaves = [outputs.copied(_detached(leaf)) for leaf in outputs.leaves_of(result, listed)]
        held = self.held.get(self.call)
        past = held.past if held is not None and held.kind == kind else []
        past = [*past, RawOutput(timestep, _flat(leaves[0]))][-KEPT:]
        structure = outputs.with_leaves(result, listed, leaves)  # without what the network's own tensors hold
        self.held[self.call] = HeldOutputs(kind, structure, listed, leaves, past)


def _detached(leaf: Leaf) -> Leaf:
    return [row.detach() for row in leaf] if isinstance(leaf, list) else leaf.detach()


def _flat(leaf: Leaf) -> Tensor:
    """(B, N), float32."""
    if isinstance(leaf, list):
        return torch.stack([row.reshape(-1) for row in leaf]).float()
    return leaf.reshape(len(leaf), -1).float()
