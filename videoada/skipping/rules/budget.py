"""A fixed number of predictions for each video, where its own trajectory needs them: the tolerance follows what is left.

The error estimate is that of `error_controlled`. Before each step the rest of the schedule is planned: of all ways to
make as many calls as are left, the one whose largest gap has the smallest estimated error. How fast x̂₀ turns at the
calls to come is not known, but on trained models it falls as 1/α² along a trajectory, times a number of the prompt's
own. What the last calls measured gives that number; where the present turning is above it, this gap ends earlier.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from videoada.skipping.rules.decision import BatchDecision, Decision, SkipState
from videoada.skipping.rules.error_controlled import LEAST_LEFT, lowest_angle, turning, weight
from videoada.skipping.rules.level import CLEAN, Level
from videoada.skipping.rules.prediction import Prediction
from videoada.skipping.rules.window import end_step, first_step

MOST_SKIPS = 8  # in a row, where there are calls enough
LEAST_ALPHA = 0.05  # below it nothing of the picture is to be seen
SHARE = 0.6  # of a turning's distance from the prompt's usual one, in logarithms, that the present gap believes
ROUNDS = 12  # of bisection


@dataclass(frozen=True)
class Budget:
    """Compute at exactly `budget` steps. The first `warmup_steps` (three at least) and the last `final_steps` do."""

    budget: int
    warmup_steps: int = 3
    final_steps: int = 1
    batch_decision: BatchDecision = "prompt"
    skip_from: float | None = None  # shares of the steps, in place of the two numbers
    skip_to: float | None = None
    num_latents = 0
    num_predictions = 5

    def decide(self, state: SkipState) -> Decision:
        turnings = [_turnings(past) for past in state.past]
        measured = torch.stack([t for each in turnings for t in each]).tolist() if any(turnings) else []
        found: list[list[float]] = [[measured.pop(0) for _ in each] for each in turnings]
        signal, wanted = [], []
        for past, values in zip(state.past, found, strict=True):
            error = values[-1] * weight(past, state.step, state.schedule) if values else math.nan
            signal.append(error if math.isfinite(error) else None)
        computed = state.computed or (0,) * state.num_prompts
        for i, (past, values) in enumerate(zip(state.past, found, strict=True)):
            wanted.append(self._wanted(state, past, values, self.budget - computed[i]))
        return Decision(tuple(wanted), tuple(signal), (None,) * state.num_prompts)

    def first_step(self, num_steps: int) -> int:
        """The first step that may be skipped."""
        return first_step(self.warmup_steps, self.skip_from, num_steps, 3)

    def _wanted(self, state: SkipState, past: Sequence[Prediction], turnings: Sequence[float], left: int) -> bool:
        """Whether to compute, with so many calls left: all of them are made, whatever the plan."""
        end = end_step(self.final_steps, self.skip_to, state.num_steps)
        if state.step >= end:
            return left >= state.num_steps - state.step
        free = left - (state.num_steps - end)  # without those at the end
        if free <= 0 or free >= end - state.step:
            return free > 0
        if state.step < self.first_step(state.num_steps) or len(past) < 3:
            return True
        return plan(past, turnings, free, end, state.schedule, state.end)[0] <= state.step


def plan(
    past: Sequence[Prediction], turnings: Sequence[float], count: int, end: int, schedule: Sequence[Level],
    result: Level = CLEAN,
) -> tuple[int, ...]:  # fmt: skip
    """The steps of the next `count` calls or fewer, before step `end`, that keep the largest gap's error least.

    `past` are the predictions so far and `turnings` those of their last calls, oldest first, as far as they are known;
    `result` is the level after the last step. No gap is longer than the default of `error_controlled` lets it be,
    unless so few calls leave no other way: then all may be longer by the same factor.
    """
    usual = [usual_turning(p.level) for p in past[-len(turnings) :]]
    known = [math.log(t / u) for t, u in zip(turnings, usual, strict=True) if t > 0]
    excess = SHARE * (known[-1] - sum(known) / len(known)) if known else 0.0
    excess = round(excess, 3) if math.isfinite(excess) else 0.0
    return _plan(past[-2].step, past[-1].step, excess, count, end, tuple(schedule), result)


@functools.lru_cache(maxsize=256)  # the same for all steps of a gap
def _plan(
    before: int, last: int, excess: float, count: int, end: int, schedule: tuple[Level, ...], result: Level
) -> tuple[int, ...]:
    nodes, angles = [level.log_snr for level in schedule], [level.angle for level in (*schedule, result)]
    growth = [1 - math.exp(a - b) for a, b in zip(nodes, nodes[1:], strict=False)] + [1.0]
    rates = [usual_turning(level) for level in schedule]
    rates[last] *= math.exp(excess)

    def calls(tolerance: float, wider: float) -> list[int]:
        cap = int(MOST_SKIPS * wider)
        two_ago, ago, total, found = before, last, 0.0, []
        lowest = lowest_angle(angles[ago], (cap + 1) / len(schedule), angles[0], angles[-1], LEAST_LEFT / wider)
        for j in range(last + 1, end):
            total += rates[ago] * abs((nodes[j] - nodes[two_ago]) * (nodes[j] - nodes[ago])) * growth[j]
            if total > tolerance or j - ago > cap or angles[j + 1] < lowest:
                found.append(j)
                two_ago, ago, total = ago, j, 0.0
                lowest = lowest_angle(angles[ago], (cap + 1) / len(schedule), angles[0], angles[-1], LEAST_LEFT / wider)
        return found

    wider = 1.0
    while len(best := calls(math.inf, wider)) > count:
        wider *= 1.2
    low, high = 0.0, 1e-9
    while len(calls(high, wider)) > count:
        low, high = high, high * 16
    for _ in range(ROUNDS):
        middle = (low + high) / 2
        tried = calls(middle, wider)
        if len(tried) <= count:
            high, best = middle, tried
        else:
            low = middle
    return tuple(best) or (end,)


def usual_turning(level: Level) -> float:
    """How fast x̂₀ turns at a level, but for a factor of the prompt: 1/α² where α² + σ² = 1."""
    return 1 / max(math.cos(level.angle), LEAST_ALPHA) ** 2


def _turnings(past: Sequence[Prediction]) -> list[torch.Tensor]:
    """What `turning` is at the last calls, oldest first: of each, three predictions are needed."""
    return [turning(past[: i + 1]) for i in range(2, len(past))]
