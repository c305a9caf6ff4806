"""generate_events(): generate() as a stream of events: each step as it is taken, pictures on the way, the videos.

The generation runs in a thread of its own, in turn with whoever asks for the next event: it goes on when it is asked,
and a generator that is closed ends it at its next step. A thread has its own gradient mode, device and so on, so that
what the pipeline sets for its call is not set where an event is looked at.
"""

from __future__ import annotations

import contextvars
import queue
import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from videoada.config.run import GenerationConfig, SkipConfig
from videoada.generation.generate import generate_each
from videoada.generation.previews import Previews
from videoada.media.video import Video
from videoada.models.denoisers import device_of
from videoada.records.record import RunRecord
from videoada.skipping.step_call import Listeners, StepReport

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


def generate_events(
    pipe: Any,
    requests: Sequence[GenerationConfig] | None = None,
    *,
    skip: SkipConfig | None = None,
    batch_size: int = 1,
    previews: int = 4,
    measure: bool = True,
    **fields: Any,
) -> Generator[Event, None, None]:
    """Generate as `generate` does, with the same arguments and the same frames, and yield what happens.

    For each request come RunStarted; StepTaken for each step, and again for each that is taken again; at most
    `previews` times Preview, a middle frame by the VAE, where it can be had without moving parts of the pipeline;
    VideoDone. Of several in a batch the events of one step follow one another. The run goes on while events are asked
    for: closing the generator ends it at the step it is at, and leaves the pipeline as it was.

        for event in videoada.generate_events(pipe, prompt="…", quality="high"):
            if isinstance(event, videoada.StepTaken):
                print(event.step, event.state)

    Raises what `generate` raises, at the first event or where it happens.
    """

    def work(hand: Callable[[Event], None]) -> None:
        run = _Run(hand, Previews(pipe, previews))
        found = generate_each(
            pipe, requests, skip=skip, batch_size=batch_size, listeners=Listeners(on_report=run.on_report),
            on_batch=run.on_batch, measure=measure, **fields,
        )  # fmt: skip
        for index, video, record in found:
            hand(VideoDone(index, video, record))

    yield from _in_turn(work, device_of(pipe))


class _Run:
    """Turns what is reported of a batch into events of its requests."""

    def __init__(self, hand: Callable[[Event], None], previews: Previews) -> None:
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
        for index, frame in zip(self.indices, self.previews.look(report), strict=False):
            self.hand(Preview(index, report.step, frame))


class _Closed(BaseException):
    """The generator was closed: what is under way ends, as by Ctrl-C."""


@dataclass
class _Ended:
    error: BaseException | None = None


def _in_turn(work: Callable[[Callable[[Event], None]], None], device: torch.device) -> Generator[Event, None, None]:
    """What `work` hands over, run in a thread that waits while an event is looked at."""
    events: queue.SimpleQueue[Event | _Ended] = queue.SimpleQueue()
    turn = threading.Semaphore(0)
    closed = threading.Event()

    def hand(event: Event) -> None:
        events.put(event)
        turn.acquire()
        if closed.is_set():
            raise _Closed

    def run() -> None:
        error: BaseException | None = None
        try:
            with torch.cuda.device(device if device.type == "cuda" else -1):  # -1 leaves it as it is
                work(hand)
        except _Closed:
            pass
        except BaseException as raised:
            error = raised
        events.put(_Ended(error))

    thread = threading.Thread(target=contextvars.copy_context().run, args=(run,), name="videoada-events", daemon=True)
    thread.start()
    try:
        while not isinstance(event := events.get(), _Ended):
            yield event
            turn.release()
        if event.error is not None:
            raise event.error
    finally:
        closed.set()
        turn.release()
        thread.join()
