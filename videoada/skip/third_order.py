"""AdaptiveDiffusion's rules (Ye et al., NeurIPS 2024, arXiv 2410.09873): the paper's, and the released code's.

Notation: x_k is the latent after step k, x_{-1} = x_T, Δx_k = x_k − x_{k−1}.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from videoada.skip.policy import Decision, SkipState, by_rule


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
    num_latents = 4

    def decide(self, state: SkipState) -> Decision:
        if state.step < max(self.warmup_steps, 3):
            return Decision.all(state)
        x0, x1, x2, x3 = (x.float() for x in state.latents)
        change, scale = third_difference(x0, x1, x2, x3).norm(dim=1), (x2 - x1).norm(dim=1)
        last = state.step >= state.num_steps - self.final_steps
        forced = tuple(last or run >= self.max_skip_steps for run in state.skipped_in_a_row)
        decision = by_rule(state, change, self.threshold * scale, forced, compute_when_equal=True)
        return Decision(decision.compute, scaled(decision.signal, self.threshold))


@dataclass(frozen=True)
class ThirdOrderRelease:
    """The released code's rule, to the letter: skip step k+1 iff |(d_k + d_{k−2})/2 − d_{k−1}| ≤ threshold·d_{k−1}.

    d_k = mean|x_k − x_{k−1}| is a scalar in the latents' own dtype, so the rule is blind to direction. The first
    decision governs step 4 and x_T is not in the history. The cap arms late, once more than four decisions exist, so
    the first run can hold five skips. `batch_decision` "mean" takes one d_k over the batch, as released.
    """

    threshold: float
    max_skip_steps: int = 4
    warmup_steps: int = 4
    final_steps: int = 0
    batch_decision: Literal["prompt", "mean"] = "prompt"
    num_latents = 4

    def decide(self, state: SkipState) -> Decision:
        if state.step < max(self.warmup_steps, 4):
            return Decision.all(state)
        x0, x1, x2, x3 = state.latents
        d1, d2, d3 = (self._distance(b, a) for a, b in ((x0, x1), (x1, x2), (x2, x3)))
        armed = state.step - max(self.warmup_steps, 4) > 4  # decisions so far
        last = state.step >= state.num_steps - self.final_steps
        forced = tuple(last or (armed and run >= self.max_skip_steps) for run in state.skipped_in_a_row)
        decision = by_rule(state, ((d3 + d1) / 2 - d2).abs(), d2 * self.threshold, forced, compute_when_equal=False)
        return Decision(decision.compute, scaled(decision.signal, self.threshold))

    def _distance(self, a: Tensor, b: Tensor) -> Tensor:
        if self.batch_decision == "mean":
            return (a - b).abs().mean().expand(len(a))
        return (a - b).abs().mean(dim=1)


def third_difference(x0: Tensor, x1: Tensor, x2: Tensor, x3: Tensor) -> Tensor:
    """Δx_3 − 2Δx_2 + Δx_1 of four latents in a row, oldest first."""
    return (x3 - x2) - 2 * (x2 - x1) + (x1 - x0)


def scaled(signal: tuple[float | None, ...], threshold: float) -> tuple[float | None, ...]:
    """From multiples of the limit to the units of the threshold, in which it is shown."""
    return tuple(None if s is None else s * threshold for s in signal)
