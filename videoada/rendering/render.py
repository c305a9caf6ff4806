"""render(): every job of a prompt file generated once, whatever dies on the way, alone or with others on its folder."""

from __future__ import annotations

import secrets
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from videoada.errors import OutputError
from videoada.rendering.engines.engine import Engine
from videoada.rendering.folder import RenderFolder
from videoada.rendering.jobs import Job, batches
from videoada.rendering.worker import Outcome

MOST_LOSSES = 5  # workers that may die over one job
PAUSE = 0.5  # seconds between looks at what another command generates
NOTE_EVERY = 2.0  # seconds


@dataclass
class Progress:
    """How far a render is. Rows and seconds are of the videos that it generated itself."""

    total: int
    there: int = 0  # done before, or by another command meanwhile
    generated: int = 0
    failed: dict[str, str] = field(default_factory=dict)  # name → why
    retried: int = 0
    predictions: int = 0
    num_steps: int = 0
    unet_rows: int = 0
    unet_rows_full: int = 0
    stages: Counter[str] = field(default_factory=Counter)  # seconds of encode, denoise, decode, write
    not_used: dict[str, list[str]] = field(default_factory=dict)  # lines of records → names of their videos
    began: float = field(default_factory=time.monotonic)
    finished_at: list[float] = field(default_factory=list)

    @property
    def done(self) -> int:
        return self.there + self.generated

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.began

    @property
    def videos_a_minute(self) -> float | None:
        """Since generation began; of many videos, over the last hundred."""
        if len(self.finished_at) <= 120:
            return 60 * self.generated / self.elapsed if self.generated else None
        return 60 * 100 / (self.finished_at[-1] - self.finished_at[-101])

    @property
    def seconds_left(self) -> float | None:
        pace = self.videos_a_minute
        return None if not pace else 60 * (self.total - self.done - len(self.failed)) / pace

    @property
    def seconds_saved(self) -> float:
        """Denoising time that skipping saved, assuming that time per row does not depend on the batch size."""
        return self.stages["denoise"] * (self.unet_rows_full / self.unet_rows - 1) if self.unet_rows else 0.0

    def add(self, outcome: Outcome) -> None:
        self.generated += 1
        self.predictions += outcome.predictions
        self.num_steps += outcome.num_steps
        self.unet_rows += outcome.rows
        self.unet_rows_full += outcome.rows_full
        self.stages.update({k: v for k, v in outcome.seconds.items() if k not in ("total", "load")})
        for text in outcome.not_used:
            self.not_used.setdefault(text, []).append(outcome.name)
        self.finished_at.append(time.monotonic())

    def summary(self) -> dict[str, Any]:
        """What summary.json holds."""
        pace = self.videos_a_minute
        return {
            "videos": self.total, "done": self.done, "drawn": self.generated, "there": self.there,
            "failed": len(self.failed), "retried": self.retried, "seconds": round(self.elapsed, 1),
            "videos_a_minute": None if pace is None else round(pace, 3),
            "mean_predictions": round(self.predictions / self.generated, 2) if self.generated else None,
            "mean_steps": round(self.num_steps / self.generated, 2) if self.generated else None,
            "unet_rows": self.unet_rows, "unet_rows_full": self.unet_rows_full,
            "stage_seconds": {name: round(value, 2) for name, value in self.stages.items()},
            "seconds_saved": round(self.seconds_saved, 1),
            "not_used": [f"{text} ({videos[0]}{more(len(videos) - 1)})" for text, videos in self.not_used.items()],
        }  # fmt: skip


def more(count: int) -> str:
    """What follows the first of several."""
    return f" and {count} more" if count else ""


def render(
    jobs: Sequence[Job],
    folder: RenderFolder,
    engine: Engine,
    *,
    waiting: Sequence[Job] | None = None,
    batch_size: int = 1,
    max_retries: int = 1,
    continue_on_error: bool = False,
    on_progress: Callable[[Progress, Outcome | None], None] | None = None,
) -> Progress:
    """Generate the jobs that are `waiting` (None: those whose videos are not there), each once, through the engine.

    Jobs that another command on the same folder is generating are left to it, and taken over if it dies. A job that
    fails is tried `max_retries` times more, alone; then the rest goes on with `continue_on_error`, else it stops and
    what is under way is finished. The failures are in the answer. Raises OutputError at once where nothing can be
    written.
    """
    waiting = folder.missing(jobs) if waiting is None else waiting
    progress = Progress(total=len(jobs), there=len(jobs) - len(waiting))
    queue = deque(batches(waiting, batch_size))
    by_name = {job.name: job for job in waiting}
    under_way: dict[str, int] = {}  # name → how many were in its batch
    elsewhere: list[Job] = []
    failures: Counter[str] = Counter()
    losses: Counter[str] = Counter()
    note = Note(folder)

    def again(job: Job) -> None:
        progress.retried += 1
        queue.appendleft([job])

    def settle(outcome: Outcome) -> None:
        job, companions = by_name[outcome.name], under_way.pop(outcome.name, 1)
        if outcome.state == "drawn":
            progress.add(outcome)
        elif outcome.state == "there":
            progress.there += 1
        elif outcome.state == "busy":
            elsewhere.append(job)
        elif outcome.fatal:
            raise OutputError(outcome.error)
        else:
            count = losses if outcome.state == "lost" else failures
            count[job.name] += companions == 1  # of a batch, it may have been another's fault
            if count[job.name] <= (MOST_LOSSES if outcome.state == "lost" else max_retries):
                again(job)
            else:
                progress.failed[job.name] = outcome.error

    try:
        note.write(progress)
        while queue or under_way or elsewhere:
            stopping = bool(progress.failed) and not continue_on_error
            if stopping and not under_way:
                break
            while queue and engine.room() and not stopping:
                batch = queue.popleft()
                under_way |= {job.name: len(batch) for job in batch}
                engine.submit(batch)
                note.write(progress)
            outcomes = engine.outcomes(wait=not (queue and engine.room() and not stopping))
            for outcome in outcomes:
                settle(outcome)
                if on_progress:
                    on_progress(progress, outcome)
            note.write(progress)
            if on_progress and not outcomes:
                on_progress(progress, None)
            if elsewhere and not queue and not under_way:
                time.sleep(PAUSE)
                elsewhere = _look(elsewhere, folder, progress, queue)
    except BaseException:
        engine.close(kill=True)
        raise
    finally:
        note.drop()
    return progress


def _look(elsewhere: list[Job], folder: RenderFolder, progress: Progress, queue: deque[list[Job]]) -> list[Job]:
    """The jobs that another command still generates; those that it left undone go back into the queue."""
    busy = []
    for job in elsewhere:
        if folder.done(job):
            progress.there += 1
        elif folder.locks.acquire(job.name):
            folder.locks.release(job.name)
            queue.append([job])
        else:
            busy.append(job)
    return busy


class Note:
    """Reports to `videoada status`, every few seconds, how far this command is."""

    def __init__(self, folder: RenderFolder) -> None:
        self.folder, self.token, self.last = folder, secrets.token_hex(4), 0.0

    def write(self, progress: Progress) -> None:
        if (now := time.monotonic()) - self.last >= NOTE_EVERY:
            self.last = now
            left = progress.seconds_left
            self.folder.note(self.token, progress.summary() | {"seconds_left": left, "failures": progress.failed})

    def drop(self) -> None:
        if self.last:
            self.folder.drop_note(self.token)
