"""What is checked of a render's jobs before anything is written or any weight is read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from videoada.config.settings import SHIPPED, RunSettings
from videoada.errors import ConfigError, PromptError
from videoada.rendering.jobs import Job


def read_shard(text: str) -> tuple[int, int]:
    """(I, N) of "I/N". Raises ConfigError for anything else."""
    try:
        index, count = (int(part) for part in text.split("/"))
    except ValueError:
        raise ConfigError(f"`shard`: give I/N, as 1/4, got '{text[:20]}'") from None
    return index, count


def check_jobs(settings: RunSettings, jobs: Sequence[Job], source: str | Path) -> None:
    """Before anything is written: the model is there and can do what entries ask for, trained parts are there.

    Raises ModelError, PromptError.
    """
    _check_requests(settings, jobs, source)
    _check_parts(settings, jobs)


def check_job(settings: RunSettings, job: Job) -> None:
    """As `check_jobs`, of one job; a hub's model that is not in the cache is not fetched here: it is left to whoever
    loads it. Raises ModelError, ConfigError."""
    from videoada.models.arguments import check_request
    from videoada.models.sources import pipeline_class

    folder = folder_here(settings)
    if folder is not None:
        check_request(pipeline_class(folder), job.request)
    _check_parts(settings, [job])


def folder_here(settings: RunSettings) -> Path | None:
    """The folder of the settings' model; None for a hub id that is not in the cache. Raises ModelError."""
    from huggingface_hub import try_to_load_from_cache

    from videoada.models.catalogue import known_model
    from videoada.models.sources import find_folder

    known = known_model(settings.model)
    source = known.location if known else settings.model
    if Path(source).exists() or not re.fullmatch(r"[\w.-]+/[\w.-]+", source):
        return find_folder(settings.model, settings.revision, settings.variant)
    found = try_to_load_from_cache(source, "model_index.json", revision=settings.revision)
    return Path(found).parent if isinstance(found, str) else None


def _check_requests(settings: RunSettings, jobs: Sequence[Job], source: str | Path) -> None:
    """The model must be there, and take the images, videos and conditions that entries name, as the call of its
    pipeline's class shows. Raises ModelError, PromptError."""
    from videoada.models.arguments import check_request
    from videoada.models.sources import find_folder, pipeline_class

    kind = pipeline_class(find_folder(settings.model, settings.revision, settings.variant))
    for job in jobs:
        try:
            check_request(kind, job.request)
        except ConfigError as error:
            raise PromptError(f"{source}, line {job.line}: {error}") from None


def _check_parts(settings: RunSettings, jobs: Sequence[Job]) -> None:
    """Exit heads and step policies must be there before anything is written. Raises ModelError."""
    heads = {job.skip.exit_heads for job in jobs if job.skip.early_exit}
    policies = {job.request.step_policy for job in jobs} - {None}
    if not heads and not policies:
        return
    from videoada.learned.parts import EXIT_HEADS, STEP_POLICY

    for path in heads:
        EXIT_HEADS.file(settings.model, path)
    for policy in policies:
        STEP_POLICY.file(settings.model, None if policy == SHIPPED else policy)
