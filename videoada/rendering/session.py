"""render_prompts(): a prompt file into a folder, in one call; and what that would take.

A render is planned first, with every row checked and nothing written (`Plan`), then estimated or run.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videoada.config.settings import RunSettings
from videoada.errors import ConfigError, OutputError, counted
from videoada.rendering.jobs import PICKED, Job
from videoada.rendering.plan import Plan, Say, plan_render

if TYPE_CHECKING:
    from videoada.rendering.engines.engine import Engine
    from videoada.rendering.folder import RenderFolder
    from videoada.rendering.render import Progress
    from videoada.rendering.worker import Outcome

OnProgress = Callable[["Progress", "Outcome | None"], None]


def render_prompts(
    prompts: str | Path, out: str | Path, settings: RunSettings | None = None, *, images: str | Path | None = None,
    samples_per_prompt: int = 1, naming: str = "id", format: str = "mp4", limit: int | None = None,
    shard: str | None = None, workers: int | None = None, engine: str = "local", address: str = "auto",
    continue_on_error: bool = False, max_retries: int = 1, overwrite: bool = False, metadata: bool = True,
    on_progress: OnProgress | None = None, on_message: Say | None = None, **fields: Any,
) -> dict[str, Any]:  # fmt: skip
    """The summary of rendering a prompt file into the folder `out`, which holds it as summary.json.

    Every entry becomes `samples_per_prompt` videos, each with its record beside it. Give RunSettings or its fields:
    `render_prompts("prompts.txt", "out/", model="tiny-t2v", quality="high", workers=2)`. A render that was cut goes on
    where it stopped; several on one folder share the work. `naming` is id, slug or vbench, `format` mp4, mov, mkv,
    webm, gif, webp or frames, `shard` "I/N" for part I of N, `engine` local or ray. A video that fails is tried
    `max_retries` times more; then the rest goes on with `continue_on_error`. The summary lists `failures`, each with
    its line and why, and what of the prompt file is `not_used`.

    Raises PromptError with file and line for an entry that can't be used, ConfigError, ModelError and ImageError for
    what can't be met, all before anything is written, and OutputError where nothing can be written.
    """
    plan = plan_render(
        prompts, out, _settings(settings, fields), images=images, samples_per_prompt=samples_per_prompt, naming=naming,
        format=format, limit=limit, shard_text=shard, workers=workers, engine=engine, address=address,
        continue_on_error=continue_on_error, max_retries=max_retries, overwrite=overwrite, metadata=metadata,
    )  # fmt: skip
    return run_plan(plan, on_progress, on_message)


def _settings(settings: RunSettings | None, fields: dict[str, Any]) -> RunSettings:
    if settings is not None and fields:
        raise ConfigError(f"give RunSettings or its fields, not both (`{next(iter(fields))}`)")
    for name in ("prompt", "image"):
        if name in fields:
            raise ConfigError(f"the prompt file says each video's `{name}`: leave it out")
    return settings or RunSettings(**fields)


def run_plan(plan: Plan, on_progress: OnProgress | None = None, on_message: Say | None = None) -> dict[str, Any]:
    """The summary of a planned render, run."""
    from videoada.rendering.folder import SUMMARY, RenderFolder
    from videoada.rendering.manifest import check_links
    from videoada.rendering.render import Progress

    say = on_message or (lambda text: None)
    plan.report(say)
    folder = RenderFolder(plan.out, plan.ending)
    with contextlib.closing(folder):
        if plan.naming == "vbench":
            check_links(plan.out)
        if plan.rank == 0:
            plan = _settled(plan, folder)
        _after_the_first(plan)
        swept = folder.sweep()
        waiting = folder.missing(plan.jobs, plan.overwrite)
        there = len(plan.jobs) - len(waiting)
        say(f"{counted(len(plan.jobs), 'video')}, {there} of them there" + (
            f"; {swept} leftovers of a run that was cut were removed" if swept else ""))  # fmt: skip
        progress = Progress(total=len(plan.jobs), there=len(plan.jobs))
        try:
            if waiting:
                progress = _render_waiting(plan, waiting, folder, on_progress, say)
        except BaseException:  # also Ctrl-C: nothing half-written stays, and the manifest lists what is there
            with contextlib.suppress(OutputError):
                folder.drop_unrecorded(waiting)
                _tidy(folder, plan)
            raise
        _tidy(folder, plan)
        summary = progress.summary() | {"not_used": list(plan.not_used), "failures": _failures(progress, plan.jobs)}
        if plan.rank == 0:
            folder.put(SUMMARY, json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    return summary


def _settled(plan: Plan, folder: RenderFolder) -> Plan:
    """The plan, whose settings are the folder's now: of two commands that began at one time with random seeds, the
    second takes the first's."""
    from videoada.rendering.folder import SETTINGS, read_json

    try:
        folder.settle(plan.kept, plan.overwrite, jobs=plan.jobs)
    except ConfigError:
        kept = read_json(plan.out / SETTINGS)
        if plan.again is None or PICKED not in kept or kept | {PICKED: plan.picked_seed} != plan.kept:
            raise
        plan = plan.again()
        folder.settle(plan.kept, plan.overwrite, jobs=plan.jobs)
    return plan


def _after_the_first(plan: Plan) -> None:
    """Under `accelerate launch`, go on when the first process has settled what the folder is for."""
    if plan.world > 1:
        from accelerate import PartialState

        PartialState().wait_for_everyone()


def _tidy(folder: RenderFolder, plan: Plan) -> None:
    from videoada.rendering.manifest import index

    folder.sweep()
    if plan.rank == 0:
        index(folder, plan.naming)


def _render_waiting(
    plan: Plan, waiting: list[Job], folder: RenderFolder, on_progress: OnProgress | None, say: Say
) -> Progress:
    from videoada.rendering.render import render

    if not folder.locks.supported:
        say("warning: no locks here: let no other command render into this folder meanwhile")
    say(f"loading {plan.settings.model} …")
    crew = _engine(plan, len(waiting), say)
    if plan.world > 1:  # each begins with its own share, then helps the others
        rest = [job for i, job in enumerate(waiting) if i % plan.world != plan.rank]
        waiting = waiting[plan.rank :: plan.world] + rest
    progress = render(
        plan.jobs, folder, crew, waiting=waiting, batch_size=plan.settings.batch_size, max_retries=plan.max_retries,
        continue_on_error=plan.continue_on_error, on_progress=on_progress,
    )  # fmt: skip
    crew.close()
    return progress


def _engine(plan: Plan, jobs: int, say: Say) -> Engine:
    worker = plan.worker()
    if plan.engine == "ray":
        from videoada.rendering.engines.ray import OnRay

        return OnRay(worker, plan.workers, plan.address)
    if (plan.workers or 1) > 1:
        from videoada.rendering.engines.processes import Processes
        from videoada.rendering.sharing import check_sharing

        workers = min(plan.workers or 1, jobs)
        if shared := check_sharing(worker.model, worker.loading, workers):
            say(shared)
        return Processes(worker, workers)
    from videoada.devices import said_by
    from videoada.rendering.engines.here import Here

    if plan.world > 1 and said_by(worker.loading.device) in ("auto", "cuda"):
        from accelerate import PartialState

        worker = replace(worker, loading=worker.loading.model_copy(update={"device": str(PartialState().device)}))
    return Here(worker)


def _failures(progress: Progress, jobs: list[Job]) -> list[dict[str, Any]]:
    return [
        {"name": job.name, "line": job.line, "prompt": job.request.prompt, "error": progress.failed[job.name]}
        for job in jobs
        if job.name in progress.failed
    ]
