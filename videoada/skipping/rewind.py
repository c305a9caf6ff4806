"""Scheduler steps taken again with other outputs, from an earlier step on, as if they were the first time.

A scheduler's state is what its attributes hold: the outputs it remembers, its index in the schedule. Its noise is that
of the generators, which are put back as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from videoada.devices import random_state, set_random_state

# Outputs and sample, both as the pipeline shapes them, and what the step before it returned for this one to take, or
# None; gives what it made of the sample, and what it carries to the next.
Take = Callable[[Tensor, Tensor, Any], tuple[Tensor, Any]]


@dataclass
class TakenStep:
    """One step that the scheduler took, and all it had before."""

    step: int
    state: dict[str, Any]
    randomness: list[tuple[torch.Generator | None, Tensor]]
    outputs: Tensor  # what it was given, (B, N)
    sample: Tensor  # as the pipeline shapes it
    take: Take
    returned: Tensor | None = None  # what the step made of the sample
    edit: Tensor | None = None  # what the pipeline or a callback added to that before the next step


class Rewind:
    """The last steps of one run, as far back as they may be asked for."""

    def __init__(self) -> None:
        self.taken: list[TakenStep] = []
        self.carried: Any = None  # by the last step that was taken again

    def keep(self, scheduler: Any, step: int, outputs: Tensor, sample: Tensor, take: Take, generator: Any) -> None:
        """Call it before the scheduler takes the step, and `took` with what came of it."""
        self._see_edit(sample)
        state = _copied(vars(scheduler))
        # copies: some pipelines write into theirs
        kept = TakenStep(step, state, _randomness(generator, sample), outputs, sample.clone(), take)
        self.taken.append(kept)

    def took(self, returned: Tensor) -> None:
        if self.taken:
            self.taken[-1].returned = returned.clone()

    def _see_edit(self, sample: Tensor) -> None:
        """Masks and callbacks may change latents between steps: that is kept when steps are taken again."""
        last = self.taken[-1] if self.taken else None
        if last is not None and last.returned is not None and last.returned.shape == sample.shape:
            last.edit = sample - last.returned

    def forget_before(self, step: int) -> None:
        self.taken = [taken for taken in self.taken if taken.step >= step]

    def again(
        self, scheduler: Any, first: int, present: Tensor, outputs_of: Callable[[TakenStep, Tensor], Tensor]
    ) -> Tensor:
        """The sample before the present step, `present` until now, once the steps from `first` on are taken again.

        `outputs_of` gets a taken step and the sample that it now begins with and gives its outputs (B, N).
        """
        self._see_edit(present)
        steps = [taken for taken in self.taken if taken.step >= first]
        sample = steps[0].sample
        vars(scheduler).clear()
        vars(scheduler).update(_copied(steps[0].state))
        for generator, state in steps[0].randomness:
            _set_randomness(generator, state, sample)
        self.carried = None
        for taken in steps:
            taken.state, taken.sample = _copied(vars(scheduler)), sample
            taken.outputs = outputs_of(taken, sample)
            taken.returned, self.carried = taken.take(taken.outputs.reshape(sample.shape), sample, self.carried)
            sample = taken.returned if taken.edit is None else taken.returned + taken.edit
        return sample

    def samples(self) -> list[Tensor]:
        """The sample before each of the steps taken."""
        return [taken.sample for taken in self.taken]


def _copied(state: dict[str, Any]) -> dict[str, Any]:
    """Schedulers put new tensors into their lists but never change one."""
    return {name: list(value) if type(value) is list else value for name, value in state.items()}


def _randomness(generator: Any, sample: Tensor) -> list[tuple[torch.Generator | None, Tensor]]:
    generators = generator if isinstance(generator, list) else [generator]
    unique: list[torch.Generator | None] = list({id(g): g for g in generators}.values())
    if unique != [None]:
        return [(g, g.get_state()) for g in unique if g is not None]
    return [(None, random_state(sample.device))]


def _set_randomness(generator: torch.Generator | None, state: Tensor, sample: Tensor) -> None:
    if generator is not None:
        generator.set_state(state)
    else:
        set_random_state(state, sample.device)
