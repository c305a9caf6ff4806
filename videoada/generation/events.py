"""What happens while videos are generated, as events: each step as it is taken, pictures on the way, the videos."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from videoada.config.run import GenerationConfig
from videoada.generation.previews import Previews
from videoada.media.video import Video
from videoada.records.record import RunRecord
from videoada.skipping.step_call import StepReport

State = Literal["computed", "skipped", "taken again"]


@dataclass(frozen=True)
class RunStarted:
    """Request `index` begins; its full run has `num_steps` steps."""

    index: int
    prompt: str
    num_steps: int


@dataclass(frozen=True)
class StepTaken:
    """Step `step` of `num_steps`, from 0, was computed or skipped; or was skipped earlier, and is now taken again with
    what the latest prediction says of it. `predictions` is how many there were so far."""

    index: int
    step: int
    num_steps: int
    state: State
    predictions: int


@dataclass(frozen=True, eq=False)
class Preview:
    """The middle frame of what the video would be by the network's output at that step: (H, W, 3), uint8."""

    index: int
    step: int
    frame: np.ndarray


@dataclass(frozen=True, eq=False)
class VideoDone:
    """The video of request `index`, with its record."""

    index: int
    video: Video
    record: RunRecord


Event = RunStarted | StepTaken | Preview | VideoDone


class Reporter:
    """Hands over what is reported of batches as events of their requests; without `previews` none of these."""

    def __init__(self, hand: Callable[[Event], None], previews: Previews | None = None) -> None:
        self.hand, self.previews = hand, previews

    def on_batch(self, indices: Sequence[int], requests: Sequence[GenerationConfig]) -> None:
        self.indices, self.predictions = indices, [0] * len(indices)
        for index, request in zip(indices, requests, strict=True):
            self.hand(RunStarted(index, request.prompt, request.num_steps))

    def on_report(self, report: StepReport) -> None:
        for row, (index, computed, again) in enumerate(zip(self.indices, report.computed, report.again, strict=False)):
            self.predictions[row] += computed
            for step in again:
                self.hand(StepTaken(index, step, report.num_steps, "taken again", self.predictions[row]))
            state: State = "computed" if computed else "skipped"
            self.hand(StepTaken(index, report.step, report.num_steps, state, self.predictions[row]))
        frames = self.previews.look(report) if self.previews else []
        for index, frame in zip(self.indices, frames, strict=False):
            self.hand(Preview(index, report.step, frame))
