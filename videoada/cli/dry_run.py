"""`videoada render --dry-run`: what is there, what is missing, and what that would take."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from videoada.jobs import Job
    from videoada.worker import WorkerPlan


def estimate(
    console: Console, out: Path, jobs: list[Job], plan: WorkerPlan, kept: dict[str, Any], overwrite: bool,
    workers: int, batch_size: int, json_output: bool,
) -> None:  # fmt: skip
    """--dry-run: what is there, what is missing, and what that would take; nothing is written."""
    from videoada.cli.progress import duration
    from videoada.folder import RenderFolder
    from videoada.jobs import batches
    from videoada.render import estimate as estimate_of

    waiting, records = jobs, []
    if out.is_dir():
        with contextlib.closing(RenderFolder(out, plan.format)) as folder:
            folder.settle(kept, overwrite, keep=False)
            waiting = folder.missing(jobs, overwrite)
            records = [record for _, record in folder.records()][:200]
    found: dict[str, Any] = {
        "videos": len(jobs), "there": len(jobs) - len(waiting), "missing": len(waiting),
        "batches": len(batches(waiting, batch_size)),
    }  # fmt: skip
    if waiting:
        if not records:
            records = [_one(console, plan, waiting[0])]
        found |= estimate_of(len(waiting), records, workers)
    if json_output:
        print(json.dumps(found))
    console.print(f"{found['videos']} videos, {found['there']} of them there, {found['missing']} missing")
    if waiting:
        console.print(
            f"about {duration(found['seconds'])} ({found['seconds_a_video']:.1f} s a video, measured on "
            f"{found['measured_on']}; {found['predictions_a_video']:.1f} predictions each), "
            f"{found['unet_rows']} UNet rows of {found['unet_rows_full']}"
        )


def _one(console: Console, plan: WorkerPlan, job: Job) -> dict[str, Any]:
    from videoada.generate import generate
    from videoada.pipelines import load_pipeline

    console.print("drawing one video to measure …")
    [(_, record)] = generate(load_pipeline(plan.model, plan.loading), [job.request], skip=job.skip)
    return record.model_dump()
