"""TaylorSeer at the output: a Taylor series over the number of steps since the last call."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from videoada.benchmarks.baselines.step_level import StepLevel
from videoada.skipping.rules.decision import Decision, SkipState
from videoada.skipping.rules.level import Level
from videoada.skipping.rules.prediction import Prediction, PredictionType

FIRST = 3  # steps that always compute


class TaylorSeer(StepLevel):
    """TaylorSeer (Liu et al., ICCV 2025, arXiv 2503.06923; code Shenyi-Z/TaylorSeer, and diffusers' hook).

    The first three steps compute, then every `interval`-th. With F⁰ the output of a call and
    F^{j+1} = (F^j − F^j of the call before) ÷ (steps between the two), a step k after the last call is approximated as
    Σ_j F^j·k^j ÷ j!, up to `order`. The original forecasts the features of each block; here F is the guided output.
    """

    def __init__(self, interval: int, order: int = 1):
        self.interval, self.order = interval, order
        self.history = order + 1

    def choose(self, state: SkipState) -> Decision:
        return Decision.all(state, state.step < FIRST or (state.step - FIRST + 1) % self.interval == 0)

    def approximate(self, past: Sequence[Prediction], sample: Tensor, level: Level, kind: PredictionType) -> Tensor:
        since = self.state.step - past[-1].step
        factors = factors_of(past[-self.history :])
        return torch.stack([f * (since**j / math.factorial(j)) for j, f in enumerate(factors)]).sum(0)


def factors_of(past: Sequence[Prediction]) -> list[Tensor]:
    """F⁰, F¹, … of the last of these calls, oldest first: as many as there are calls."""
    known: list[Tensor] = []
    for i, prediction in enumerate(past):
        new = [prediction.output.float()]
        for before in known:
            new.append((new[-1] - before) / (prediction.step - past[i - 1].step))
        known = new
    return known
