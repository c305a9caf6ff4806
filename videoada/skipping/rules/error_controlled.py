"""Skipping as an adaptive multistep solver: call the network when the error since the last call would grow too large.

After a call the last three computed x̂₀ say how fast their slope turns. That turning, carried on, is the error of a
linear prediction: the next term of Newton's polynomial. A first-order solver adds it to the latents with the weight
1 − e^(−Δλ) of each step (exactly so for DDIM: x' = (σ'/σ)·x + α'·(1 − e^(−Δλ))·x̂₀), and the sum since the last call is
compared with a tolerance.

Far from the last call the estimate means nothing, however small it is: three calls at almost pure noise say nothing of
the picture. So a gap is bounded by the noise levels that it passes, too (`widest_gap`), not by its steps alone, which
on a shifted flow-matching schedule can hold most of the trajectory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from videoada.skipping.rules.decision import BatchDecision, Decision, SkipState, by_rule
from videoada.skipping.rules.level import Level
from videoada.skipping.rules.prediction import Prediction
from videoada.skipping.rules.window import end_step, first_step


@dataclass(frozen=True)
class ErrorControlled:
    """Compute when the estimated error since the last call exceeds `tolerance`, in units of the noise (variance 1).

    The first `warmup_steps` (three at least, which the estimate needs) and the last `final_steps` always compute, and
    so does a step after `max_skip_steps` skips in a row, or at the end of the `widest_gap`.
    """

    tolerance: float
    max_skip_steps: int = 8
    warmup_steps: int = 3
    final_steps: int = 1
    batch_decision: BatchDecision = "prompt"
    skip_from: float | None = None  # shares of the steps, in place of the two numbers
    skip_to: float | None = None
    num_latents = 0
    num_predictions = 3

    def decide(self, state: SkipState) -> Decision:
        if state.step < self.first_step(state.num_steps) or any(len(past) < 3 for past in state.past):
            return Decision.all(state)
        last = state.step >= end_step(self.final_steps, self.skip_to, state.num_steps)
        error = torch.stack([turning(past) * weight(past, state.step, state.schedule) for past in state.past])
        error = error * understated(state.schedule[state.step])
        return by_rule(
            error,
            torch.ones_like(error),
            self.tolerance,
            forced=tuple(
                last or run >= self.max_skip_steps or self.ends_gap(past[-1], state)
                for run, past in zip(state.skipped_in_a_row, state.past, strict=True)
            ),
            compute_when_equal=False,
            batch_decision=self.batch_decision,
        )

    def first_step(self, num_steps: int) -> int:
        """The first step that may be skipped."""
        return first_step(self.warmup_steps, self.skip_from, num_steps, 3)

    def ends_gap(self, last: Prediction, state: SkipState) -> bool:
        """Whether the step after `state.step` is too far from the `last` call, so that this one has to compute."""
        after = state.schedule[state.step + 1] if state.step + 1 < len(state.schedule) else state.end
        share = (self.max_skip_steps + 1) / state.num_steps
        return after.angle < lowest_angle(last.level.angle, share, state.schedule[0].angle, state.end.angle)


LEAST_SIGNAL = 0.11  # of x₀ in the latents: where Stable Diffusion's steps begin to be skipped; a flow begins at 0
LEAST_LEFT = 0.25  # of the noise at a call, at the next: the finest detail comes last, and only calls there see it
WAY = 1.466  # how far φ falls from the first step of Stable Diffusion's DDIM to the noise that its result keeps


def lowest_angle(angle: float, share: float, first: float, end: float, least_left: float = LEAST_LEFT) -> float:
    """Below which a call has to lie before the next step does: the angle φ after a call at `angle`, with gaps of up to
    a `share` of the steps. `first` is the run's first angle and `end` that of its result: the way is longer than WAY
    where it starts at pure noise and where it leaves none."""
    share *= min(1.0, WAY / (first - end))
    return max(least_left * (angle + end) - end, angle - widest_gap(angle, share))


def widest_gap(angle: float, share: float) -> float:
    """How much the angle φ = atan(σ/α) may fall from a call at `angle` (π/2 is pure noise) to the next.

    It is about as far as a `share` of the steps goes on the schedule of Stable Diffusion and ModelScope, where it
    changes nothing: the more of the way the calls have seen, the farther they carry. A longer way has more gaps, whose
    errors add up: each is shorter by as much. Found on closed-form denoisers: mixtures, single Gaussians and low-rank
    data, at shifts of 1, 3 and 7.
    """
    return min(0.1 + 0.5 * (math.pi / 2 - angle), 0.37) * share / 0.18


def turning(past: Sequence[Prediction]) -> Tensor:
    """The second divided difference in λ of the last three x̂₀: its root mean square, a number on their device."""
    (a, b, c), (z1, z2, z3) = (p.x0 for p in past[-3:]), (p.level.log_snr for p in past[-3:])
    if not z1 < z2 < z3:  # a timestep twice: nothing is known, and a NaN computes
        return c.norm() * math.nan
    difference = ((c - b) / (z3 - z2) - (b - a) / (z2 - z1)) / (z3 - z1)
    return difference.norm() / math.sqrt(difference.numel())


def weight(past: Sequence[Prediction], step: int, schedule: Sequence[Level]) -> float:
    """What a turning of 1 has done to the latents when the steps after the last call, up to `step`, are skipped."""
    z2, z3 = (p.level.log_snr for p in past[-2:])
    total = 0.0
    for j in range(past[-1].step + 1, step + 1):
        z = schedule[j].log_snr
        growth = 1 - math.exp(z - schedule[j + 1].log_snr) if j + 1 < len(schedule) else 1.0
        total += abs((z - z2) * (z - z3)) * growth
    return total


def understated(level: Level) -> float:
    """How many times too small a turning is taken to be near pure noise: 1 where α is LEAST_SIGNAL or more, at most 20.

    Towards pure noise λ goes to −∞ while x̂₀ moves with α, so that three calls there, far apart in λ, turn but a little.
    On the embedded flow-matching model this is worth 3 to 8 dB at 25 to 32 % of the calls and nothing from 36 % on.
    Diffusions hardly begin so near.
    """
    return max(1.0, LEAST_SIGNAL / max(level.alpha, LEAST_SIGNAL / 20))
