"""videoada status."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from videoada.cli.app import app, as_flags
from videoada.errors import counted


@app.command()
def status(
    folder: Annotated[Path, typer.Argument(help="The --out of `videoada render`, or a queue.", show_default=False)],
    json_output: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """How far a `videoada render` into that folder is, here or on another machine."""
    from rich.console import Console

    from videoada.rendering.status import read_status

    found = read_status(folder)
    if json_output:
        print(json.dumps(found, ensure_ascii=False))
        return
    from videoada.cli.progress import duration

    console = Console(highlight=False, soft_wrap=True, markup=False)
    total = f"{found['done']} of {counted(found['videos'], 'video')}" if found["videos"] else f"{found['done']}"
    console.print(f"there: {total}")
    if found["unet_rows_full"]:
        console.print(
            f"{found['mean_predictions']:.1f} predictions on average, {found['unet_rows']} UNet rows of "
            f"{found['unet_rows_full']} ({found['unet_rows'] / found['unet_rows_full']:.0%})"
        )
    for run in found["at_work"]:
        pace = f"{run['videos_a_minute']:.1f} a minute, " if run.get("videos_a_minute") else ""
        left = f"{duration(run['seconds_left'])} left, " if run.get("seconds_left") is not None else ""
        console.print(
            f"at work: process {run['pid']} on {run['host']}: generated {run['drawn']}, {pace}{left}"
            f"heard of {duration(time.time() - run['updated'])} ago"
        )
    queue = found["queue"] or {}
    if counts := [f"{queue[s]} {s}" for s in ("waiting", "running", "failed", "stopped") if queue.get(s)]:
        console.print(f"queue: {', '.join(counts)}")
    for job in queue.get("at", []):
        left = f", {duration(job['seconds_left'])} left" if job["seconds_left"] is not None else ""
        steps = f"{len(job['steps'])} of {counted(job['num_steps'], 'step')}" if job["num_steps"] else "loading"
        console.print(f"at work: the queue's worker, on {job['id']}: {steps}{left}")
    if not found["at_work"] and not queue.get("at"):
        console.print("a worker waits for jobs" if queue.get("worker") else "no command is at work there")
    for failure in found["failures"]:
        console.print(f"failed: {as_flags(failure)}")
