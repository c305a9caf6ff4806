"""QueueEntry: a video of a queue's folder as it is now: waiting, running, done, failed or stopped."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from videoada.rendering.queue.contents import Made
from videoada.rendering.queue.jobs import QueuedJob, with_inputs

State = Literal["waiting", "running", "done", "failed", "stopped"]


@dataclass(frozen=True)
class QueueEntry:
    """One video, asked for or done.

    `settings` are those of a RunSettings, which generates it again, the same to the last bit. `steps` has a letter for
    each step so far: C computed, S skipped, R skipped and taken again once the next prediction was known;
    `predictions` counts the C. `preview` is a PNG file of a middle frame, while it is not done. `video` and `record`
    are there once it is done, and must not be changed. `full` is its full run, where one was asked for.
    """

    id: str  # path of the video's file in the folder, without its ending
    prompt: str
    model: str
    state: State
    settings: dict[str, Any]
    added: float  # seconds since 1970
    steps: str = ""
    num_steps: int | None = None
    predictions: int = 0
    seconds_left: float | None = None  # of a running one
    loading: bool = False  # running, and the model is not loaded yet
    error: str = ""  # why it failed, one line
    preview: Path | None = None
    video: Path | None = None
    record: dict[str, Any] | None = None
    full: QueueEntry | None = None
    full_of: str | None = None  # of a full run, the id of the entry that it is for


def entry_of(
    job: QueuedJob, made: Made | None, folder: Path, live: dict[str, Any], full: QueueEntry | None = None
) -> QueueEntry:
    """A job of the queue, with its video, what the worker says of the job that it is at, and its full run."""
    settings = with_inputs(job.settings, folder)
    state: State = "waiting" if job.wish == "deleted" else job.wish
    entry = QueueEntry(
        job.id, str(settings.get("prompt", "")), str(settings["model"]), state, settings, job.added, full=full,
        full_of=job.full_of,
    )  # fmt: skip
    if made is not None:
        return _done(entry, made)
    preview = folder / job.preview
    entry = replace(entry, preview=preview if preview.exists() else None)
    if state == "waiting" and live.get("id") == job.id:
        return replace(
            entry, state="running", steps=live["steps"], predictions=live["steps"].count("C"),
            num_steps=live["num_steps"], seconds_left=live["seconds_left"], loading=live["loading"],
        )  # fmt: skip
    error = job.error if state == "failed" else ""
    return replace(entry, steps=job.steps, predictions=job.steps.count("C"), num_steps=job.num_steps, error=error)


def entry_of_made(id: str, made: Made, settings: dict[str, Any], full: QueueEntry | None = None) -> QueueEntry:
    """A video that no job of the queue asked for, as `videoada render` makes them."""
    request, model = made.record.get("request") or {}, made.record.get("model") or {}
    prompt, name = str(request.get("prompt", "")), str(model.get("name", ""))
    return _done(QueueEntry(id, prompt, name, "done", settings, made.modified, full=full), made)


def _done(entry: QueueEntry, made: Made) -> QueueEntry:
    record = made.record
    computed = record.get("computed") or []
    again = record.get("taken_again") or [False] * len(computed)
    steps = "".join("C" if c else "R" if a else "S" for c, a in zip(computed, again, strict=False))
    return replace(
        entry, state="done", steps=steps, num_steps=len(computed), predictions=steps.count("C"), video=made.video,
        record=record,
    )  # fmt: skip
