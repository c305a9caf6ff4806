"""How far a render into a folder is, here or on another machine: read from the folder alone."""

from __future__ import annotations

import contextlib
from collections import Counter
from pathlib import Path
from typing import Any

from videoada.errors import OutputError, PromptError
from videoada.failures import wrong_with
from videoada.rendering.folder import QUEUE, SETTINGS, SUMMARY, RenderFolder, output_errors, read_json, records_in


def read_status(path: Path) -> dict[str, Any]:
    """What is in the folder, who is at work, what failed. Raises PromptError for no such folder."""
    with output_errors(f"can't read {str(path)[:200]}"):
        if not (path / SETTINGS).is_file() and not (path / QUEUE).is_dir():
            wrong = None if path.is_dir() else wrong_with(path)
            raise PromptError(wrong or f"{path} is no folder of `videoada render`: there is no {SETTINGS} in it")
        summary = read_json(path / SUMMARY)
        records = [record for _, record in records_in(path)]
    at_work = []
    with contextlib.suppress(OutputError), contextlib.closing(RenderFolder(path)) as folder:
        at_work = folder.notes()  # a folder that can only be read does not tell
    queue = _queue_in(path)
    rows, full = (sum(r.get(name) or 0 for r in records) for name in ("unet_rows", "unet_rows_full"))
    failures = {f"{f['name']}: {f['error']}" for f in summary.get("failures", []) if not at_work}
    failures |= {f"{name}: {why}" for run in at_work for name, why in run.get("failures", {}).items()}
    waiting = sum(queue[state] for state in ("waiting", "running", "failed", "stopped")) if queue else 0
    failures |= {f"{f['id']}: {f['error']}" for f in queue["failures"]} if queue else set()
    of_files = max([len(records), *([run["videos"] for run in at_work] or [summary.get("videos", 0)])])
    return {
        "done": len(records),
        "videos": max(of_files, len(records) + waiting),
        "mean_predictions": sum(r["num_predictions"] for r in records) / max(len(records), 1),
        "unet_rows": rows, "unet_rows_full": full, "at_work": at_work, "failures": sorted(failures),
        "queue": queue,
    }  # fmt: skip


def _queue_in(path: Path) -> dict[str, Any] | None:
    """How many jobs of the folder's queue are in which state, whether a worker is at work, and what it is at; None
    where there is no queue, or where the folder can't be written to."""
    if not (path / QUEUE).is_dir():
        return None
    from videoada.rendering.queue.queue import RenderQueue

    with contextlib.suppress(OutputError), contextlib.closing(RenderQueue(path)) as queue:
        entries = [entry for shown in queue.entries() for entry in (shown, shown.full) if entry is not None]
        states = Counter(entry.state for entry in entries)
        return {
            **{state: states[state] for state in ("waiting", "running", "done", "failed", "stopped")},
            "worker": queue.at_work(),
            "at": [
                {"id": e.id, "steps": e.steps, "num_steps": e.num_steps, "seconds_left": e.seconds_left}
                for e in entries if e.state == "running"
            ],
            "failures": [{"id": e.id, "error": e.error} for e in entries if e.state == "failed"],
        }  # fmt: skip
    return None
