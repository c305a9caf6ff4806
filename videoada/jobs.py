"""What a prompt file asks for: one job for each video, with its name, its seed and a hash of all that shapes it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videoada.config import GenerationConfig, SkipConfig
from videoada.errors import ConfigError, ImageError, PromptError
from videoada.images import check_image, fingerprint
from videoada.naming import check_id, slug, vbench_name
from videoada.prompts import PromptRow
from videoada.settings import GOALS, WAY_FIELDS, RunSettings

PER_VIDEO = {"prompt", "negative_prompt", "image", "seed"}
SHAPING = ("model", "revision", "variant", "dtype", "quantize")  # of the settings, besides request and skipping


@dataclass(frozen=True, slots=True)
class Job:
    """One video: where it goes (relative to the output folder, without an ending), what it is, how to draw it."""

    name: str
    line: int  # of the prompt file
    sample: int
    request: GenerationConfig
    skip: SkipConfig
    group: str  # hash of all that jobs of one batch share, and of the file's format
    sha256: str  # of the group, prompts, image and seed: who draws it, and with whom, is not in it


def plan_jobs(
    rows: Sequence[PromptRow], settings: RunSettings, *, source: str | Path = "the prompts",
    samples_per_prompt: int = 1, naming: str = "id", format: str = ".mp4",
) -> list[Job]:  # fmt: skip
    """One job for each row and sample, in their order; every one is checked, and images are opened.

    A row's seed is its own, or the base seed plus a number that its content fixes: where it stands in the file and what
    else is there change nothing, and of equal rows each has its own. Sample k adds k. Raises PromptError with the line.
    """
    common: dict[str, _Common] = {}
    images: dict[str | None, str] = {}
    copies: dict[str, int] = {}
    names: dict[str, int] = {}
    jobs: list[Job] = []
    for place, row in enumerate(rows):
        try:
            own = {name: value for name, value in row.fields.items() if name not in PER_VIDEO}
            key = json.dumps(own, sort_keys=True)
            if key not in common:
                common[key] = _common(settings, own, format)
            image = row.fields.get("image", settings.image)
            if image is not None and image not in images:
                check_image(image)
                images[image] = str(fingerprint(image))
            prompt, negative = row.fields["prompt"], row.fields.get("negative_prompt", settings.negative_prompt)
            content = _digest(row.id, prompt, negative, images.get(image))
            copy = copies[content] = copies.get(content, -1) + 1
            identity = _digest(content, copy)
            seed = row.fields.get("seed")
            if seed is None:
                seed = settings.seed + int(identity[:8], 16)
            for sample in range(samples_per_prompt):
                request = GenerationConfig(
                    **common[key].fields, prompt=prompt, negative_prompt=negative, image=image, seed=seed + sample
                )
                number = sample + copy * samples_per_prompt if naming == "vbench" else sample
                name = _name(naming, row, place, number, identity)
                if (before := names.setdefault(name.casefold(), len(jobs))) != len(jobs):
                    raise PromptError(f"its video would be named '{name[:80]}', as that of line {jobs[before].line}")
                sha256 = _digest(common[key].group, prompt, negative, request.seed, images.get(image))
                jobs.append(Job(name, row.line, sample, request, common[key].skip, common[key].group, sha256))
        except (ValueError, ConfigError, PromptError, ImageError) as error:
            raise PromptError(f"{source}, line {row.line}: {error}") from None
    return jobs


def shard(jobs: Sequence[Job], index: int, count: int) -> list[Job]:
    """Part `index` of `count`, from 1: every count-th job. Raises ConfigError for a part that there is not."""
    if not 1 <= index <= count:
        raise ConfigError(f"--shard {index}/{count}: the first part is 1/{count}, the last {count}/{count}")
    return list(jobs[index - 1 :: count])


def batches(jobs: Iterable[Job], batch_size: int) -> list[list[Job]]:
    """Jobs that can be drawn at once, up to `batch_size` each: alike in all but prompts, image and seed."""
    unfilled: dict[str, list[Job]] = {}
    found: list[list[Job]] = []
    for job in jobs:
        batch = unfilled.get(job.group)
        if batch is None or len(batch) == batch_size:
            batch = unfilled[job.group] = []
            found.append(batch)
        batch.append(job)
    return found


@dataclass(frozen=True, slots=True)
class _Common:
    """What rows with the same overrides share: a request's fields, when it skips, and the hash of all that."""

    fields: dict[str, Any]
    skip: SkipConfig
    group: str


def _common(settings: RunSettings, own: dict[str, Any], format: str) -> _Common:
    base = settings.model_dump(exclude={*PER_VIDEO, "num_videos"})
    if own.keys() & {"policy", *GOALS}:  # another way to skip has no use for the other's fields
        base = {k: v for k, v in base.items() if k not in (*WAY_FIELDS, *GOALS)}
    merged = RunSettings(**(base | own | {"prompt": "-"}))
    fields = merged.requests()[0].model_dump(exclude=PER_VIDEO)
    skip = merged.skip()
    shaping = fields | {name: getattr(merged, name) for name in SHAPING}
    shaping.pop("decode_chunk_size")  # changes rounding alone
    return _Common(fields, skip, _digest(json.dumps(shaping, sort_keys=True), skip.model_dump_json(), format))


def _digest(*parts: Any) -> str:
    return hashlib.sha256("\0".join(str(part) for part in parts).encode()).hexdigest()


def _name(naming: str, row: PromptRow, place: int, sample: int, identity: str) -> str:
    if naming == "vbench":
        return vbench_name(row.fields["prompt"], sample) or f"{slug(row.fields['prompt'], identity)}-{sample}"
    first = slug(row.fields["prompt"], identity) if naming == "slug" else f"{place:04d}"
    if naming == "id" and row.id is not None:
        first = check_id(row.id)
    return f"{first}-{sample}" if sample else first
