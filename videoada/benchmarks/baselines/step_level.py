"""What the step-level baselines share: a policy with its own approximation, for one run of a pipeline at a time.

Most of these methods act inside a network, on the features of its blocks. Their step-level form acts where this package
does: on the latents that enter the network and on its guided output, so that it works for any network and is compared
at equal calls. Shape letters: B prompts, N numbers of one prompt's latent.

These objects keep what they saw at a step's decision for its approximation, and a sum since the last call. One decision
is made for each prompt, never for the batch, and no skipped step is taken again: the corrector is this package's own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from videoada.skipping.rules.decision import Decision, SkipState
from videoada.skipping.rules.level import Level
from videoada.skipping.rules.prediction import Prediction, PredictionType
from videoada.skipping.trace import StepTrace


class StepLevel(ABC):
    """A policy that also approximates. `num_latents` and `num_predictions` are what a decision looks at, `history` is
    how many predictions an approximation looks at."""

    num_latents = 0
    num_predictions = 0
    history = 1
    state: SkipState  # of the present step, from its decision on
    trace: StepTrace  # of the run

    def decide(self, state: SkipState) -> Decision:
        """Compute or skip, for each prompt, at `state.step`."""
        self.state = state
        return self.choose(state)

    @abstractmethod
    def choose(self, state: SkipState) -> Decision:
        """The decision of this step."""

    @abstractmethod
    def approximate(self, past: Sequence[Prediction], sample: Tensor, level: Level, kind: PredictionType) -> Tensor:
        """A network output (N,) for the latents `sample` (N,) at `level`; `past` is oldest first, never empty."""

    def around(self, scheduler: Any) -> AbstractContextManager[None]:
        """What has to see the scheduler's steps for the length of a run."""
        return nullcontext()

    def prompt_of(self, past: Sequence[Prediction]) -> int:
        """Whose predictions these are: an index in the state."""
        return next(i for i, own in enumerate(self.state.past) if own[-1] is past[-1])


@dataclass(frozen=True)
class Approximation:
    """The predictor that goes with a baseline."""

    rule: StepLevel

    @property
    def num_predictions(self) -> int:
        return self.rule.history

    def predict(self, past: Sequence[Prediction], sample: Tensor, level: Level, kind: PredictionType) -> Tensor:
        return self.rule.approximate(past, sample, level, kind)


class Accumulating(StepLevel):
    """Skip while a distance, summed over the steps since the last call, stays below `threshold`.

    The first `warmup_steps` and the last `final_steps` always compute, and so does a step after `max_skip_steps` skips
    in a row (None: no such limit). A threshold of 0 computes all steps, and so does a distance that is no number.
    """

    num_latents = 2
    warmup_steps = 1
    final_steps = 1
    max_skip_steps: int | None = None

    def __init__(self, threshold: float):
        self.threshold = threshold
        self.spent: list[float] = []  # for each prompt, since its last call

    @abstractmethod
    def distance(self, state: SkipState) -> Tensor:
        """How far this step is from the one before: (B,)."""

    def choose(self, state: SkipState) -> Decision:
        if state.step < self.warmup_steps:
            return Decision.all(state)
        before = self.spent if len(self.spent) == state.num_prompts else [0.0] * state.num_prompts
        self.spent = [
            distance + (sum_before if run else 0.0)
            for distance, sum_before, run in zip(
                self.distance(state).tolist(), before, state.skipped_in_a_row, strict=True
            )
        ]
        last = state.step >= state.num_steps - self.final_steps
        compute = tuple(
            last or not spent < self.threshold or (self.max_skip_steps is not None and run >= self.max_skip_steps)
            for spent, run in zip(self.spent, state.skipped_in_a_row, strict=True)
        )
        return Decision(compute, tuple(self.spent))


def relative_change(after: Tensor, before: Tensor) -> Tensor:
    """mean|after − before| ÷ mean|before| of (B, …): (B,)."""
    return (after - before).flatten(1).abs().mean(1) / before.flatten(1).abs().mean(1)


def latents_at(prediction: Prediction) -> Tensor:
    """The latents (N,) that the prediction was made for."""
    return prediction.level.alpha * prediction.x0 + prediction.level.sigma * prediction.eps
