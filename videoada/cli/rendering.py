"""What `videoada render` does once it knows its jobs: draw them, or count them and estimate."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from videoada.rendering.engines.engine import Engine
    from videoada.rendering.folder import RenderFolder
    from videoada.rendering.jobs import Job
    from videoada.rendering.render import Progress
    from videoada.rendering.worker import WorkerPlan


@dataclass(frozen=True)
class How:
    """What the command was told of how to go about it."""

    out: Path
    naming: str
    overwrite: bool
    batch_size: int
    max_retries: int
    continue_on_error: bool
    engine: str
    workers: int | None
    address: str
    rank: int
    world: int
    json_output: bool


def run(console: Console, jobs: list[Job], plan: WorkerPlan, kept: dict[str, Any], how: How) -> None:
    from videoada.errors import OutputError
    from videoada.rendering.folder import SUMMARY, RenderFolder
    from videoada.rendering.manifest import check_links
    from videoada.rendering.render import Progress

    folder = RenderFolder(how.out, plan.format)
    with contextlib.closing(folder):
        if how.naming == "vbench":
            check_links(how.out)
        if how.rank == 0:
            folder.settle(kept, how.overwrite)
        _after_the_first(how)
        swept = folder.sweep()
        waiting = folder.missing(jobs, how.overwrite)
        console.print(f"{len(jobs)} videos, {len(jobs) - len(waiting)} of them there" + (
            f"; {swept} leftovers of a run that was cut were removed" if swept else ""))  # fmt: skip
        progress = Progress(total=len(jobs), there=len(jobs))
        try:
            if waiting:
                progress = _draw(console, jobs, waiting, folder, plan, how)
        except BaseException:  # also Ctrl-C: nothing half-written stays, and the manifest lists what is there
            with contextlib.suppress(OutputError):
                _tidy(folder, how)
            raise
        _tidy(folder, how)
        if how.rank == 0:
            summary = progress.summary() | {"failures": _failures(progress, jobs)}
            folder.put(SUMMARY, json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
            _tell(console, summary, how.out)
            if how.json_output:
                print(json.dumps(summary, ensure_ascii=False))
    if progress.failed:
        raise typer.Exit(1)


def _after_the_first(how: How) -> None:
    """Under `accelerate launch`, go on when the first process has settled what the folder is for."""
    if how.world > 1:
        from accelerate import PartialState

        PartialState().wait_for_everyone()


def _tidy(folder: RenderFolder, how: How) -> None:
    from videoada.rendering.manifest import index

    folder.sweep()
    if how.rank == 0:
        index(folder, how.naming)


def _draw(
    console: Console, jobs: list[Job], waiting: list[Job], folder: RenderFolder, plan: WorkerPlan, how: How
) -> Progress:
    from rich.markup import escape

    from videoada.cli.progress import render_bar
    from videoada.rendering.render import render as draw

    if not folder.locks.supported:
        console.print("[yellow]warning:[/] no locks here: let no other command render into this folder meanwhile")
    console.print(f"loading {escape(plan.model)} …")
    crew = _engine(plan, how, len(waiting))
    if how.world > 1:  # each begins with its own share, then helps the others
        rest = [job for i, job in enumerate(waiting) if i % how.world != how.rank]
        waiting = waiting[how.rank :: how.world] + rest
    with render_bar(console, len(jobs)) as show:
        progress = draw(jobs, folder, crew, waiting=waiting, batch_size=how.batch_size, max_retries=how.max_retries,
                        continue_on_error=how.continue_on_error, on_progress=show)  # fmt: skip
    crew.close()
    return progress


def _engine(plan: WorkerPlan, how: How, jobs: int) -> Engine:
    if how.engine == "ray":
        from videoada.rendering.engines.ray import OnRay

        return OnRay(plan, how.workers, how.address)
    if (how.workers or 1) > 1:
        from videoada.rendering.engines.processes import Processes

        return Processes(plan, min(how.workers or 1, jobs))
    from videoada.rendering.engines.here import Here

    if how.world > 1 and plan.loading.device in ("auto", "cuda"):
        from accelerate import PartialState

        plan = replace(plan, loading=plan.loading.model_copy(update={"device": str(PartialState().device)}))
    return Here(plan)


def _failures(progress: Progress, jobs: list[Job]) -> list[dict[str, Any]]:
    return [
        {"name": job.name, "line": job.line, "prompt": job.request.prompt, "error": progress.failed[job.name]}
        for job in jobs
        if job.name in progress.failed
    ]


def _tell(console: Console, summary: dict[str, Any], out: Path) -> None:
    from rich.markup import escape

    if summary["drawn"]:
        rows, full = summary["unet_rows"], summary["unet_rows_full"]
        pace = summary["videos_a_minute"]
        console.print(
            f"drew {summary['drawn']} videos in {summary['seconds']:.0f} s"
            + (f" ({pace:.1f} a minute)" if pace else "")
            + f": {summary['mean_predictions']:.1f} predictions on average, {rows} UNet rows of {full} "
            f"({rows / full:.0%}), about {summary['seconds_saved']:.0f} s of denoising saved"
        )
    for failure in summary["failures"]:
        console.print(f"[red]failed:[/] line {failure['line']}, {escape(failure['name'])}: {escape(failure['error'])}")
    console.print(escape(f"{summary['done']} of {summary['videos']} videos are in {out}; see summary.json"))


def estimate(console: Console, jobs: list[Job], plan: WorkerPlan, kept: dict[str, Any], how: How) -> None:
    """--dry-run: what is there, what is missing, and what that would take; nothing is written."""
    from videoada.cli.progress import duration
    from videoada.rendering.folder import RenderFolder, output_errors
    from videoada.rendering.jobs import batches
    from videoada.rendering.render import estimate as estimate_of

    waiting, records = jobs, []
    with output_errors(f"can't read {str(how.out)[:200]}"):
        there = how.out.is_dir()
    if there:
        with contextlib.closing(RenderFolder(how.out, plan.format)) as folder:
            folder.settle(kept, how.overwrite, keep=False)
            waiting = folder.missing(jobs, how.overwrite)
            records = [record for _, record in folder.records()][:200]
    found: dict[str, Any] = {
        "videos": len(jobs), "there": len(jobs) - len(waiting), "missing": len(waiting),
        "batches": len(batches(waiting, how.batch_size)),
    }  # fmt: skip
    if waiting:
        if not records:
            records = [_one(console, plan, waiting[0])]
        found |= estimate_of(len(waiting), records, how.workers or 1)
    if how.json_output:
        print(json.dumps(found))
    console.print(f"{found['videos']} videos, {found['there']} of them there, {found['missing']} missing")
    if waiting:
        console.print(
            f"about {duration(found['seconds'])} ({found['seconds_a_video']:.1f} s a video, measured on "
            f"{found['measured_on']}; {found['predictions_a_video']:.1f} predictions each), "
            f"{found['unet_rows']} UNet rows of {found['unet_rows_full']}"
        )


def _one(console: Console, plan: WorkerPlan, job: Job) -> dict[str, Any]:
    from videoada.generation.generate import generate
    from videoada.models.pipelines import load_pipeline

    console.print("drawing one video to measure …")
    [(_, record)] = generate(load_pipeline(plan.model, plan.loading), [job.request], skip=job.skip)
    return record.model_dump()
