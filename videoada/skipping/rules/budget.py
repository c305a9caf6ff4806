"""Exactly so many predictions for each video, where its own trajectory needs them: the tolerance follows what is left.

The error estimate and the bounds of a gap are those of `error_controlled`. At each call the rest of the schedule is
planned: of all tolerances that make no more calls than are left, the smallest. How fast x̂₀ turns at the calls to come
is not known. On trained models it follows the noise level (`usual_turning`) times a factor of the video, which the
present turning shows and which fades from call to call. Both were measured on the embedded models, at error-controlled
calls: the logarithm of the factor has a standard deviation of 0.6 and a correlation of 0.5 to 0.7 with the next one's.
"""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from videoada.skipping.rules.decision import BatchDecision, Decision, SkipState, signal_of
from videoada.skipping.rules.error_controlled import (
    FAINT,
    LEAST_LEFT,
    least_turning,
    lowest_angle,
    turnings,
    waits,
    weight,
)
from videoada.skipping.rules.level import Level
from videoada.skipping.rules.prediction import Prediction
from videoada.skipping.rules.window import end_step, first_step

MOST_SKIPS = 8  # in a row, where there are calls enough
STAYS, FADES = 0.25, 0.65  # of a factor's logarithm: the share that does not fade, and what a call leaves of the rest
HEDGE = 0.5  # errors count for e^(−0.5·φ): calls kept can still be made where nobody saw the need, spent ones can't
LARGEST = 5.0  # of that logarithm
WIDER = 1.2  # how much all gaps widen at once where calls are few
BOUND = 0.7  # the share of the calls left that gaps at their widest may take: the others go where the error is
ROUNDS = 12  # of bisection


@dataclass(frozen=True)
class Budget:
    """Compute at exactly `budget` steps, among them the first `warmup_steps` (three at least; None: three calls, which
    near pure noise leave out every second step that shows less of x₀ than `usual_tolerance`) and the last
    `final_steps`.

    Where a history begins again (another network, guidance turned off) its first three steps compute, too, as far as
    calls are left. With `batch_decision` "mean" the batch has one plan for the mean turning, with "any" all compute
    where one plan says so.
    """

    budget: int
    warmup_steps: int | None = None
    final_steps: int = 1
    batch_decision: BatchDecision = "prompt"
    skip_from: float | None = None  # shares of the steps, in place of the two numbers
    skip_to: float | None = None
    num_latents = 0
    num_predictions = 3

    def decide(self, state: SkipState) -> Decision:
        known = all(len(past) >= 3 for past in state.past) and bool(state.past)
        if not known or state.step < self.first_step(state.num_steps):
            own = self.warmup_steps is None and self.skip_from is None
            wait = not known and own and waits(state, usual_tolerance(self.budget / state.num_steps))
            return self._decision(state, (not wait,) * state.num_prompts, (None,) * state.num_prompts)
        rates = turnings(state.past, [self._least(past, state) for past in state.past])
        if self.batch_decision == "mean":
            rates = [statistics.fmean(rates)] * len(rates)
        wanted = tuple(
            self._plans(state, past, rate, left)
            for past, rate, left in zip(state.past, rates, self._left(state), strict=True)
        )
        if self.batch_decision != "prompt" or state.together:
            wanted = (any(wanted),) * len(wanted)
        errors = [r * weight(past, state.step, state.schedule) for r, past in zip(rates, state.past, strict=True)]
        return self._decision(state, wanted, tuple(signal_of(error) for error in errors))

    def first_step(self, num_steps: int) -> int:
        """The first step that may be skipped."""
        return first_step(self.warmup_steps or 1, self.skip_from, num_steps, 3)

    def end_step(self, num_steps: int) -> int:
        """The first of the last steps, which all compute."""
        return end_step(self.final_steps, self.skip_to, num_steps)

    def _least(self, past: Sequence[Prediction], state: SkipState) -> float:
        """The estimate's floor near pure noise; none where calls are few: they are worth more later."""
        rich = usual_tolerance(self.budget / state.num_steps) < FAINT
        return least_turning(past[-3].level, state.schedule[0]) if rich else 0.0

    def _left(self, state: SkipState) -> list[int]:
        """For each prompt, the calls that are left."""
        return [self.budget - done for done in state.computed or (0,) * state.num_prompts]

    def _plans(self, state: SkipState, past: Sequence[Prediction], rate: float, left: int) -> bool:
        """Whether the plan at the last call, where x̂₀ turned at that rate, computes this step."""
        end = self.end_step(state.num_steps)
        free = left - (state.num_steps - end)
        if state.step >= end or not 0 < free < end - state.step:
            return free > 0
        if not math.isfinite(rate):
            return True
        levels = (*state.schedule, state.end)
        usual = usual_turning(past[-1].level)
        excess = min(max(math.log(rate / usual), -LARGEST), LARGEST) if rate > 0 else -LARGEST
        return next_call(past[-2].step, past[-1].step, round(excess, 3), free, end, levels) <= state.step

    def _decision(self, state: SkipState, wanted: tuple[bool, ...], signal: tuple[float | None, ...]) -> Decision:
        """What is wanted, as far as the calls that are left are enough and not too many."""
        end, compute = self.end_step(state.num_steps), []
        for want, left in zip(wanted, self._left(state), strict=True):
            if state.step >= end:  # too few are left only where a history began again: then the last ones
                compute.append(left >= state.num_steps - state.step)
            else:
                free = left - (state.num_steps - end)
                compute.append(free > 0 and (want or free >= end - state.step))
        return Decision(tuple(compute), signal, (None,) * state.num_prompts)


def usual_tolerance(share: float) -> float:
    """The tolerance of `error_controlled` that takes about such a share of the steps.

    Through what it takes on the embedded models: a half of 50 steps at 0.01, a third at 0.05, 0.28 at 0.12.
    """
    return 0.05 * (0.34 / share) ** 4


@functools.lru_cache(maxsize=256)  # it is asked for at each step of a gap
def next_call(before: int, last: int, excess: float, count: int, end: int, levels: tuple[Level, ...]) -> int:
    """The step of the first of `count` calls that are to be made after step `last` and before step `end`.

    `levels` are those of all steps and of the result, `before` the step of the call before the `last` one, `excess` the
    logarithm of the turning there over the usual one. The tolerance is the smallest that makes no more calls. No gap
    may be longer than error-controlled's; where such bounds alone end more than a share of the gaps, all are widened.
    """
    nodes, angles = [level.log_snr for level in levels[:-1]], [level.angle for level in levels]
    growth = [1 - math.exp(a - b) for a, b in zip(nodes, nodes[1:], strict=False)] + [1.0]
    usual = [usual_turning(level) for level in levels[:-1]]
    ends = (angles[0], angles[-2], angles[-1])

    def calls(tolerance: float, wider: float) -> list[int]:
        cap, found = int(MOST_SKIPS * wider), [before, last]
        total, lowest, rate = 0.0, math.inf, 0.0
        for j in range(last, end):
            total += rate * abs((nodes[j] - nodes[found[-2]]) * (nodes[j] - nodes[found[-1]])) * growth[j]
            if j > last and (total > tolerance or j - found[-1] > cap or angles[j + 1] < lowest):
                found.append(j)
                total = 0.0
            if j == found[-1]:
                share = (cap + 1) / len(nodes)
                lowest = lowest_angle(angles[j], share, ends, LEAST_LEFT / wider)
                rate = usual[j] * math.exp(excess * (STAYS + (1 - STAYS) * FADES ** (len(found) - 2)))
        return found[2:]

    wider = 1.0
    while len(best := calls(math.inf, wider)) > max(BOUND * count, 1):
        wider *= WIDER
    if wider == 1:  # where calls are few, the early ones matter most
        growth = [each * math.exp(-HEDGE * angle) for each, angle in zip(growth, angles, strict=False)]
    low, high = 0.0, 1e-6
    while len(calls(high, wider)) > count:
        low, high = high, high * 8
    for _ in range(ROUNDS):
        middle = (low + high) / 2
        tried = calls(middle, wider)
        if len(tried) <= count:
            high, best = middle, tried
        else:
            low = middle
    return best[0] if best else end


def usual_turning(level: Level) -> float:
    """How fast x̂₀ of a variance near 1 turns at a level, α² + σ² = 1: found on the embedded models, where it is about
    0.25/α² but for the last steps, in which it falls with the noise."""
    return 0.25 * min(1.0, max(level.angle, 0.01) / 0.3) / max(math.cos(level.angle), 0.05) ** 2
