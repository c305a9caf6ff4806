"""What a planned render would take, from the videos that are there or from a trial; nothing is written."""

from __future__ import annotations

import contextlib
import functools
import statistics
from collections.abc import Sequence
from typing import Any

from videoada.generation.generate import generate, timed_again
from videoada.models.pipelines import load_pipeline
from videoada.rendering.folder import RenderFolder, output_errors
from videoada.rendering.jobs import Job, batches
from videoada.rendering.plan import Plan, Say


def estimate_plan(plan: Plan, on_message: Say | None = None) -> dict[str, Any]:
    """Videos that are there and missing, in batches; what those missing take in seconds, predictions and rows."""
    if on_message:
        plan.report(on_message)
    waiting: list[Job] = plan.jobs
    records: list[dict[str, Any]] = []
    with output_errors(f"can't read {str(plan.out)[:200]}"):
        there = plan.out.is_dir()
    if there:
        with contextlib.closing(RenderFolder(plan.out, plan.ending)) as folder:
            folder.settle(plan.kept, plan.overwrite, keep=False, jobs=plan.jobs)
            waiting = folder.missing(plan.jobs, plan.overwrite)
            records = [record for _, record in folder.records()][:200]
    found: dict[str, Any] = {
        "videos": len(plan.jobs), "there": len(plan.jobs) - len(waiting), "missing": len(waiting),
        "batches": len(batches(waiting, plan.settings.batch_size)),
    }  # fmt: skip
    if waiting:
        if not records:
            if on_message:
                on_message("generating one video to measure …")
            worker = plan.worker()
            pipe = load_pipeline(worker.model, worker.loading)
            run = functools.partial(generate, pipe, [waiting[0].request], skip=waiting[0].skip)
            [(_, record)] = timed_again(pipe, run(), run)
            records = [record.model_dump(mode="json")]
        found |= estimate(len(waiting), records, plan.workers or 1, [job.skip.num_predictions for job in waiting])
    return found


def estimate(
    jobs: int, records: Sequence[dict[str, Any]], workers: int = 1, budgets: Sequence[int | None] = ()
) -> dict[str, Any]:
    """What `jobs` more videos would take, from records of some: seconds, predictions and rows, as means and in all.

    Seconds are those of videos without first calls of a size, which a worker pays once, where there are such. `budgets`
    are the predictions of each video that will take exactly so many (None: as measured); rows and denoising follow.
    """
    warm = [r for r in records if not r.get("first_call_seconds")] or records
    measured = statistics.mean(r["num_predictions"] for r in records)
    predictions = statistics.mean(count or measured for count in budgets) if budgets else measured
    share = predictions / measured
    seconds = statistics.mean(
        sum(v * (share if k == "denoise" else 1) for k, v in r["seconds"].items() if k not in ("total", "load"))
        for r in warm
    )
    rows, full = (statistics.mean(r[name] for r in records) for name in ("unet_rows", "unet_rows_full"))
    return {
        "measured_on": len(records), "seconds_a_video": round(seconds, 2),
        "seconds": round(jobs * seconds / workers, 1),
        "predictions_a_video": round(predictions, 1), "unet_rows": round(jobs * rows * share),
        "unet_rows_full": round(jobs * full),
    }  # fmt: skip
