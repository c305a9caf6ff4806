"""AdaptiveDiffusion's rules (Ye et al., NeurIPS 2024, arXiv 2410.09873): the paper's, and the released code's.

Notation: x_k is the latent after step k, x_{-1} = x_T, Δx_k = x_k − x_{k−1}.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from videoada.skipping.rules.decision import BatchDecision, Decision, SkipState, by_rule
from videoada.skipping.rules.level import path_of_schedule
from videoada.skipping.rules.window import end_step, first_step


@dataclass(frozen=True)
class ThirdOrder:
    """The paper's rule: after step k compute step k+1 iff ‖Δx_k − 2Δx_{k−1} + Δx_{k−2}‖ ≥ threshold·‖Δx_{k−1}‖.

    L2 norms over one prompt's channels, frames and pixels, in float32. The first `warmup_steps` and the last
    `final_steps` always compute, and so does a step after `max_skip_steps` skips in a row, from the first decision on.
    """

    threshold: float
    max_skip_steps: int = 4
    warmup_steps: int = 3
    final_steps: int = 1
    batch_decision: BatchDecision = "prompt"
    skip_from: float | None = None  # shares of the steps, in place of the two numbers
    skip_to: float | None = None
    num_latents = 4

    def decide(self, state: SkipState) -> Decision:
        if state.step < first_step(self.warmup_steps, self.skip_from, state.num_steps, 3):
            return Decision.all(state)
        x0, x1, x2, x3 = (x.float() for x in state.latents)
        last = state.step >= end_step(self.final_steps, self.skip_to, state.num_steps)
        return by_rule(
            third_difference(x1 - x0, x2 - x1, x3 - x2).norm(dim=1),
            (x2 - x1).norm(dim=1),
            self.threshold,
            forced=tuple(last or run >= self.max_skip_steps for run in state.skipped_in_a_row),
            compute_when_equal=True,
            of_schedule=self._of_schedule(x2, x3, state),
            batch_decision=self.batch_decision,
        )

    def _of_schedule(self, x2: Tensor, x3: Tensor, state: SkipState) -> tuple[Tensor, Tensor] | None:
        path = path_of_schedule(state.levels) if state.levels else None
        if path is None:
            return None
        step = x3 - x2
        p, q = (third_difference(*numbers) for numbers in zip(*path, strict=True))
        return (p * step + q * x3).norm(dim=1), (path[-2][0] * step + path[-2][1] * x3).norm(dim=1)


@dataclass(frozen=True)
class ThirdOrderRelease:
    """The released code's rule, to the letter: skip step k+1 iff |(d_k + d_{k−2})/2 − d_{k−1}| ≤ threshold·d_{k−1}.

    d_k = mean|x_k − x_{k−1}| is a scalar in the latents' own dtype, so the rule is blind to direction. The first
    decision governs step 4 and x_T is not in the history. The cap arms late, once more than four decisions exist, so
    the first run can hold five skips. `batch_decision` "mean" takes one d_k over the batch, as released; "any" computes
    all prompts where one needs it.
    """

    threshold: float
    max_skip_steps: int = 4
    warmup_steps: int = 4
    final_steps: int = 0
    batch_decision: BatchDecision = "prompt"
    skip_from: float | None = None  # shares of the steps, in place of the two numbers
    skip_to: float | None = None
    num_latents = 4

    def decide(self, state: SkipState) -> Decision:
        first = first_step(self.warmup_steps, self.skip_from, state.num_steps, 4)
        if state.step < first:
            return Decision.all(state)
        x0, x1, x2, x3 = state.latents
        armed = state.step - first > 4  # decisions so far
        last = state.step >= end_step(self.final_steps, self.skip_to, state.num_steps)
        return by_rule(
            *self._change(x1 - x0, x2 - x1, x3 - x2),
            self.threshold,
            forced=tuple(last or (armed and run >= self.max_skip_steps) for run in state.skipped_in_a_row),
            compute_when_equal=False,
            of_schedule=self._of_schedule(x2, x3, state),
            batch_decision=self.batch_decision,
        )

    def _change(self, *steps: Tensor) -> tuple[Tensor, Tensor]:
        d1, d2, d3 = (self._distance(step) for step in steps)
        return ((d3 + d1) / 2 - d2).abs(), d2

    def _of_schedule(self, x2: Tensor, x3: Tensor, state: SkipState) -> tuple[Tensor, Tensor] | None:
        path = path_of_schedule(state.levels) if state.levels else None
        return None if path is None else self._change(*(p * (x3 - x2) + q * x3 for p, q in path))

    def _distance(self, step: Tensor) -> Tensor:
        if self.batch_decision == "mean":
            return step.abs().mean().expand(len(step))
        return step.abs().mean(dim=1)


def third_difference(first: Any, second: Any, third: Any) -> Any:
    """Δ_3 − 2Δ_2 + Δ_1 of three steps in a row, oldest first; the change of the change of the change of x."""
    return third - 2 * second + first
