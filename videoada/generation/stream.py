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
from typing import Any

import torch

from videoada.config.run import GenerationConfig, SkipConfig
from videoada.devices import release_openmp_threads
from videoada.generation.events import Event, Reporter, VideoDone
from videoada.generation.generate import generate_each
from videoada.generation.previews import Previews
from videoada.models.denoisers import device_of
from videoada.skipping.step_call import Listeners


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
        reporter = Reporter(hand, Previews(pipe, previews))
        found = generate_each(
            pipe, requests, skip=skip, batch_size=batch_size, listeners=Listeners(on_report=reporter.on_report),
            on_batch=reporter.on_batch, measure=measure, **fields,
        )  # fmt: skip
        for index, video, record in found:
            hand(VideoDone(index, video, record))

    yield from _in_turn(work, device_of(pipe))


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
    # Not for an open generator's life: an event may be looked at with torch.
    let_go = release_openmp_threads if device.type == "cpu" else lambda: None
    let_go()
    thread.start()
    try:
        while not isinstance(event := events.get(), _Ended):
            yield event
            let_go()
            turn.release()
        if event.error is not None:
            raise event.error
    finally:
        closed.set()
        turn.release()
        thread.join()
