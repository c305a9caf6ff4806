"""Spectrum: a ridge regression on Chebyshev polynomials of the step's number, over all calls so far."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from videoada.benchmarks.baselines.replay import replayed
from videoada.benchmarks.baselines.step_level import StepLevel
from videoada.skipping.rules.decision import Decision, SkipState
from videoada.skipping.rules.level import Level
from videoada.skipping.rules.prediction import Prediction, PredictionType

DEGREE, RIDGE, BLEND = 4, 0.1, 0.5  # the authors' M, λ and w
WARMUP, WINDOW = 5, 2.0  # their first steps that compute, and the distance of the first two calls after these


class Spectrum(StepLevel):
    """Spectrum (Han et al., arXiv 2603.01623; code hanjq17/Spectrum), at the output.

    After five steps every ⌊w⌋-th computes, w = 2 at first and larger by `growth` after each call (theirs: 0.75); so
    does the last step. With τ = 2t ÷ T − 1 for step t of T, coefficients C = (XᵀX + λ·1)⁻¹XᵀH of T₀ … T₄ are fitted to
    the outputs H of all calls so far. An approximation is half that fit and half the line through the last two calls.
    The original forecasts the features before the network's last layer; here H are the guided outputs.

    With `replay`, after xmarre/ComfyUI-Spectrum-MiniMax-H3: the run is made with the line alone, then all its steps
    are taken again from the first, with the calls' outputs as they are and the steps between them half fitted to all
    calls, half on the line between the calls on both sides. It takes no further calls.
    """

    history = 1000

    def __init__(self, growth: float, replay: bool = False):
        self.growth, self.replay = growth, replay

    def choose(self, state: SkipState) -> Decision:
        return Decision.all(state, planned(state.num_steps, self.growth)[state.step])

    def approximate(self, past: Sequence[Prediction], sample: Tensor, level: Level, kind: PredictionType) -> Tensor:
        steps, values = [p.step for p in past], [p.output for p in past]
        weights = line_weights(steps, self.state.step)
        if not self.replay:
            weights = BLEND * ridge_weights(steps, self.state.step, self.state.num_steps) + (1 - BLEND) * weights
        return mixed(weights, values)

    def around(self, scheduler: Any) -> AbstractContextManager[None]:
        return replayed(scheduler, self, both_sides) if self.replay else super().around(scheduler)


def planned(num_steps: int, growth: float) -> list[bool]:
    """Which steps compute."""
    computed, window, run = [], WINDOW, 0
    for step in range(num_steps):
        calls = step < WARMUP or (run + 1) % int(window) == 0
        if calls and step >= WARMUP:
            window = round(window + growth, 3)
        run = 0 if calls else run + 1
        computed.append(calls or step == num_steps - 1)
    return computed


def ridge_weights(steps: Sequence[int], at: int, num_steps: int) -> np.ndarray:
    """Weights of the values at `steps` in the fit's value at step `at`."""

    def basis(t: Sequence[int]) -> np.ndarray:
        return np.polynomial.chebyshev.chebvander(2 * np.asarray(t) / num_steps - 1, DEGREE)

    design = basis(steps)
    fitted = np.linalg.solve(design.T @ design + RIDGE * np.eye(DEGREE + 1), design.T)
    weights: np.ndarray = (basis([at]) @ fitted)[0]
    return weights


def line_weights(steps: Sequence[int], at: int) -> np.ndarray:
    """Weights of the values at `steps`, in ascending order, on the line through the two that are next to step `at`."""
    weights = np.zeros(len(steps))
    after = min(next((i for i, step in enumerate(steps) if step >= at), len(steps) - 1), len(steps) - 1)
    if after == 0:
        weights[0] = 1.0
        return weights
    share = (at - steps[after - 1]) / (steps[after] - steps[after - 1])
    weights[after - 1], weights[after] = 1 - share, share
    return weights


def both_sides(steps: Sequence[int], values: Sequence[Tensor], at: int, num_steps: int) -> Tensor:
    """The output of a step between calls, from those of all calls."""
    return mixed(BLEND * ridge_weights(steps, at, num_steps) + (1 - BLEND) * line_weights(steps, at), values)


def mixed(weights: np.ndarray, values: Sequence[Tensor]) -> Tensor:
    """The sum of (N,) values times their weights."""
    stacked = torch.stack([value.float() for value in values])
    return torch.as_tensor(weights, dtype=stacked.dtype, device=stacked.device) @ stacked
