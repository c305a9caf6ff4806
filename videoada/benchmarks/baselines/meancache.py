"""MeanCache: the average velocity of a step, from that of the steps before it, on published schedules."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from videoada.benchmarks.baselines.step_level import StepLevel
from videoada.skipping.rules.decision import Decision, SkipState
from videoada.skipping.rules.level import Level
from videoada.skipping.rules.prediction import LEAST, Prediction, PredictionType, output_of

# Of 50 steps, those that compute, and for the gap after each how many steps its derivative looks back on (where there
# is no gap: 0). Found by the authors for Z-Image with their shortest-path search over measured deviations.
SCHEDULES = {
    25: ((0, 1, 2, 3, 4, 5, 6, 8, 10, 11, 12, 13, 15, 16, 17, 18, 20, 22, 29, 37, 42, 45, 47, 48, 49),
         (0, 0, 0, 0, 0, 0, 2, 2, 0, 0, 0, 2, 0, 0, 0, 5, 5, 1, 1, 1, 5, 5, 0, 0)),
    20: ((0, 1, 2, 3, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 30, 38, 43, 46, 48, 49),
         (0, 0, 0, 0, 2, 2, 2, 2, 2, 5, 4, 5, 5, 1, 1, 1, 5, 2, 0)),
    17: ((0, 1, 2, 3, 4, 6, 8, 10, 12, 14, 19, 27, 35, 43, 46, 48, 49),
         (0, 0, 0, 0, 2, 2, 2, 2, 2, 1, 1, 1, 1, 5, 2, 0)),
    15: ((0, 1, 2, 3, 5, 7, 10, 12, 17, 25, 33, 41, 45, 48, 49), (0, 0, 0, 2, 2, 2, 2, 1, 1, 1, 1, 5, 4, 0)),
    13: ((0, 1, 2, 3, 5, 9, 15, 22, 29, 36, 43, 47, 49), (0, 0, 0, 2, 1, 1, 1, 1, 1, 1, 5, 2)),
}  # fmt: skip
STEPS = 50


class MeanCache(StepLevel):
    """MeanCache (Gao et al., ICLR 2026, arXiv 2601.19961; code UnicomAI/MeanCache), which is step-level as published.

    Over the last K steps, from r to now, the latents moved at the average velocity ū = (x − x_r) ÷ (s − s_r), and the
    derivative is J = (v_r − ū) ÷ (s − s_r). A skipped step to s' is taken with v − J·(s' − s), where v_r and v are the
    velocities of the first and the last of those steps; K = 1 holds v. Theirs is a flow, with σ as its time s. Of other
    schedules, which are not in the paper, x ÷ α moves over s = σ ÷ α at the velocity ε: DDIM is Euler's method there.
    `calls` names a published schedule of 50 steps, found offline for another model; it is stretched for other numbers
    of steps.
    """

    num_latents = 6  # K is 5 at most
    history = 6

    def __init__(self, calls: int):
        self.computed, self.looks_back = SCHEDULES[calls]
        self.approximated: dict[tuple[int, int], Tensor] = {}  # velocities, by prompt and step

    def choose(self, state: SkipState) -> Decision:
        return Decision.all(state, state.step in self.stretched(state.num_steps))

    def stretched(self, num_steps: int) -> list[int]:
        """The steps of `num_steps` that compute."""
        return [round(step * (num_steps - 1) / (STEPS - 1)) for step in self.computed]

    def approximate(self, past: Sequence[Prediction], sample: Tensor, level: Level, kind: PredictionType) -> Tensor:
        state, flow, prompt = self.state, kind == "flow_prediction", self.prompt_of(past)
        called = {p.step: p.eps - p.x0 if flow else p.eps for p in past}
        gap = max(i for i, step in enumerate(self.stretched(state.num_steps)) if step < state.step)
        back = min(max(self.looks_back[gap], 1), len(state.latents) - 1)
        first, last = (
            called[step] if step in called else self.approximated[prompt, step]
            for step in (state.step - back, state.step - 1)
        )
        after = state.schedule[state.step + 1] if state.step + 1 < len(state.schedule) else state.end
        points = [
            state.latents[i][prompt].float() / (1.0 if flow else max(state.levels[i].alpha, LEAST))
            for i in (-1 - back, -1)
        ]
        times = [time_of(own, flow) for own in (state.levels[-1 - back], level, after)]
        velocity = average_velocity(first, last, points, times)
        self.approximated[prompt, state.step] = velocity
        if flow:
            return velocity
        return output_of((sample.float() - level.sigma * velocity) / max(level.alpha, LEAST), velocity, level, kind)


def time_of(level: Level, flow: bool) -> float:
    """σ of a flow, σ ÷ α of another schedule."""
    return level.sigma if flow else level.sigma / max(level.alpha, LEAST)


def average_velocity(first: Tensor, last: Tensor, points: Sequence[Tensor], times: Sequence[float]) -> Tensor:
    """The velocity of the next step: v − J·(s' − s), by the velocities of the first and the last of the steps before
    it, the points where the first began and the last ended, and the times of these two and of the next step's end."""
    span = times[1] - times[0]
    derivative = (first - (points[1] - points[0]) / span) / span
    return last - derivative * (times[2] - times[1])
