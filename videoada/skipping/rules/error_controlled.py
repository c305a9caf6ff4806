"""Skipping as an adaptive multistep solver: call the network when the error since the last call would grow too large.

After a call the last three computed x̂₀ say how fast their slope turns. That turning, carried on, is the error of a
linear prediction: the next term of Newton's polynomial. A first-order solver adds it to the latents with the weight
1 − e^(−Δλ) of each step (exactly so for DDIM: x' = (σ'/σ)·x + α'·(1 − e^(−Δλ))·x̂₀), and the sum since the last call is
compared with a tolerance.

Far from the last call the estimate means nothing, however small it is: three calls at almost pure noise say nothing of
the picture. So a gap is bounded by the noise levels that it passes, too (`widest_gap`), not by its steps alone, which
on a shifted flow-matching schedule can hold most of the trajectory. And there the estimate has a floor
(`least_turning`).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.linalg import vector_norm

from videoada.skipping.rules.decision import BatchDecision, Decision, SkipState, signal_of
from videoada.skipping.rules.level import Level
from videoada.skipping.rules.prediction import Prediction
from videoada.skipping.rules.window import end_step, first_step

REVISION = 1  # of which steps it and a budget compute, to be raised when that changes; rows of before it have none


@dataclass(frozen=True)
class ErrorControlled:
    """Compute when the estimated error since the last call exceeds `tolerance`, in units of the noise (variance 1).

    The first `warmup_steps` (three at least, which the estimate needs; None: three calls, which near pure noise leave
    out every second step that shows less of x₀ than two thirds of the tolerance) and the last `final_steps` always
    compute, and so does a step after `max_skip_steps` skips in a row, or at the end of the `widest_gap`.
    """

    tolerance: float
    max_skip_steps: int = 8
    warmup_steps: int | None = None
    final_steps: int = 1
    batch_decision: BatchDecision = "prompt"
    skip_from: float | None = None  # shares of the steps, in place of the two numbers
    skip_to: float | None = None
    num_latents = 0
    num_predictions = 3

    def decide(self, state: SkipState) -> Decision:
        if not state.past or any(len(past) < 3 for past in state.past):
            own = self.warmup_steps is None and self.skip_from is None
            return Decision.all(state, not (own and waits(state, self.tolerance)))
        if state.step < self.first_step(state.num_steps):
            return Decision.all(state)
        last = state.step >= end_step(self.final_steps, self.skip_to, state.num_steps)
        least = [least_turning(past[-3].level, state.schedule[0]) for past in state.past]
        rates = turnings(state.past, least)
        errors = [rate * weight(past, state.step, state.schedule) for rate, past in zip(rates, state.past, strict=True)]
        if self.batch_decision == "mean":
            errors = [statistics.fmean(errors)] * len(errors)
        compute = [
            last or run >= self.max_skip_steps or self.ends_gap(past[-1], state) or not error <= self.tolerance
            for run, past, error in zip(state.skipped_in_a_row, state.past, errors, strict=True)
        ]  # `not … <=`: what is no number computes
        if self.batch_decision != "prompt":
            compute = [any(compute)] * len(compute)
        return Decision(tuple(compute), tuple(signal_of(error) for error in errors), (None,) * len(errors))

    def first_step(self, num_steps: int) -> int:
        """The first step that may be skipped."""
        return first_step(self.warmup_steps or 1, self.skip_from, num_steps, 3)

    def ends_gap(self, last: Prediction, state: SkipState) -> bool:
        """Whether the step after `state.step` is too far from the `last` call, so that this one has to compute."""
        after = state.schedule[state.step + 1] if state.step + 1 < len(state.schedule) else state.end
        share = (self.max_skip_steps + 1) / state.num_steps
        ends = (state.schedule[0].angle, state.schedule[-1].angle, state.end.angle)
        return after.angle < lowest_angle(last.level.angle, share, ends)


FAINT = 0.03  # of x₀ in the latents: with less, two steps in a row show a network the same
SEEN = 2 / 3  # of a tolerance of x₀, too: one is as good on tiny-wan, and over the aim in test_closeness.py


def waits(state: SkipState, tolerance: float) -> bool:
    """Whether one of the first three calls can wait a step: the step before was computed, and the latents after this
    one hold less than FAINT and less than SEEN tolerances of x₀ (a share, α).

    Flow matching begins at pure noise, in steps far smaller than those of diffusions: its first three show a network
    nearly the same. Calls at steps 0, 2 and 4 of 50 in place of 0, 1 and 2 are worth 1 to 2 dB on the embedded model
    where calls are few. Where they are many, the little that a step shows first is what all of them are off by, and
    some prompts part there.
    """
    if not state.past or not all(state.past) or any(state.skipped_in_a_row):
        return False
    after = state.schedule[state.step + 1] if state.step + 1 < len(state.schedule) else state.end
    return after.alpha < min(FAINT, SEEN * tolerance)


BLIND = 0.02  # of x₀: a schedule whose first step holds less begins at pure noise
LEAST_SIGNAL = 0.11  # of x₀ in the latents: where Stable Diffusion's steps begin to be skipped; a flow begins at 0
LEAST_TURNING = 4.0  # times the slope
LEAST_LEFT = 0.25  # of the noise at a call, at the next: the finest detail comes last, and only calls there see it
SHARP = 0.01  # the angle of a diffusion's last step that sees all detail that counts
KEPT = 0.03  # of Stable Diffusion's result: what is finer than its noise does not count
WAY = 1.466  # how far φ falls from the first step of Stable Diffusion's DDIM to the noise that its result keeps


def lowest_angle(angle: float, share: float, ends: tuple[float, float, float], least_left: float = LEAST_LEFT) -> float:
    """Below which a call has to lie before the next step does: the angle φ after a call at `angle`, with gaps of up to
    a `share` of the steps. `ends` are the angles of the run's first step, its last one and its result: the way is
    longer than WAY where it starts at pure noise and where it leaves none. The last step of a cosine schedule is so
    near to its result that the one call sees the detail."""
    first, last, end = ends
    share *= min(1.0, WAY / (first - end))
    kept = KEPT if last < SHARP and first < math.pi / 2 - BLIND else end
    return max(least_left * (angle + kept) - kept, angle - widest_gap(angle, share))


def widest_gap(angle: float, share: float) -> float:
    """How much the angle φ = atan(σ/α) may fall from a call at `angle` (π/2 is pure noise) to the next.

    It is about as far as a `share` of the steps goes on the schedule of Stable Diffusion and ModelScope, where it
    changes nothing: the more of the way the calls have seen, the farther they carry. A longer way has more gaps, whose
    errors add up: each is shorter by as much. Found on closed-form denoisers: mixtures, single Gaussians and low-rank
    data, at shifts of 1, 3 and 7. After a call that saw less than FAINT of x₀ that share may triple.
    """
    seen = math.pi / 2 - angle
    return min(0.1 + 0.5 * seen if seen >= FAINT else 2 * seen, 0.37) * share / 0.18


def turnings(pasts: Sequence[Sequence[Prediction]], least: Sequence[float]) -> list[float]:
    """The `turning` of each prompt: one transfer after calls, and none at the other steps of their gaps."""
    known = [getattr(past, "found", {}) for past in pasts]
    new = [i for i, found in enumerate(known) if (turnings, least[i]) not in found]
    if new:
        values = torch.stack([turning(pasts[i], least[i]) for i in new]).tolist()
        for i, value in zip(new, values, strict=True):
            known[i][turnings, least[i]] = value
    return [found[turnings, share] for found, share in zip(known, least, strict=True)]


def turning(past: Sequence[Prediction], least: float = 0.0) -> Tensor:
    """The second divided difference in λ of the last three x̂₀, but no less than `least` times the first one of the last
    two: its root mean square, a number on their device."""
    (a, b, c), (z1, z2, z3) = (p.x0 for p in past[-3:]), (p.level.log_snr for p in past[-3:])
    if not z1 < z2 < z3:  # a timestep twice: nothing is known, and a NaN computes
        return vector_norm(c) * math.nan
    slope = (c - b) / (z3 - z2)
    turns = vector_norm((slope - (b - a) / (z2 - z1)) / (z3 - z1))
    if least:
        turns = torch.maximum(turns, least * vector_norm(slope))
    return turns / math.sqrt(c.numel())


def weight(past: Sequence[Prediction], step: int, schedule: Sequence[Level]) -> float:
    """What a turning of 1 has done to the latents when the steps after the last call, up to `step`, are skipped."""
    z2, z3 = (p.level.log_snr for p in past[-2:])
    total = 0.0
    for j in range(past[-1].step + 1, step + 1):
        z = schedule[j].log_snr
        growth = 1 - math.exp(z - schedule[j + 1].log_snr) if j + 1 < len(schedule) else 1.0
        total += abs((z - z2) * (z - z3)) * growth
    return total


def least_turning(level: Level, first: Level) -> float:
    """How many times the slope of x̂₀ its turning is at least taken to be, with the first of three calls at `level`, in
    a run that begins at the level `first`.

    Towards pure noise λ goes to −∞ while x̂₀ = m + α·A is a straight line in α: it turns by half of its slope, and three
    calls there, far apart in λ, turn but a little. A network turns more than that: four slopes were found on the
    embedded flow-matching model. Diffusions do not begin so near, and turn by more anyway.
    """
    return LEAST_TURNING if first.alpha < BLIND and level.alpha < LEAST_SIGNAL else 0.0
