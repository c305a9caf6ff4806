"""What a prompt file asks for: one job for each video, with its name, its seed and a hash of all that shapes it."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videoada.config.prompts import PromptRow
from videoada.config.run import GenerationConfig, SkipConfig
from videoada.config.settings import SHIPPED, RunSettings, merged
from videoada.errors import ConfigError, ImageError, PromptError
from videoada.models.images import check_image, fingerprint
from videoada.rendering.naming import check_id, same_file, slug, vbench_name

VAE_FACTOR = 8
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

    A row's seed is its own, or the base seed plus a number that its id, prompts and image fix: where it stands in the
    file and what else is there change nothing. Rows that are the same in everything each have their own; sample k adds
    k. Raises PromptError with the line, also where two videos would have one name.
    """
    common: dict[str, _Common] = {}
    images: dict[str | None, str] = {}
    copies: Counter[str] = Counter()
    of_prompt: Counter[str] = Counter()
    names: dict[str, int] = {}
    jobs: list[Job] = []
    for place, row in enumerate(rows):
        try:
            own = json.dumps({k: v for k, v in row.fields.items() if k not in PER_VIDEO}, sort_keys=True)
            if own not in common:
                common[own] = _common(settings, json.loads(own), format)
            shared = common[own]
            image = row.fields.get("image", settings.image)
            if image is not None and (image := os.path.abspath(image)) not in images:
                check_image(image)
                images[image] = str(fingerprint(image))
            prompt, negative = row.fields["prompt"], row.fields.get("negative_prompt")
            content = _digest(row.id, prompt, negative, images.get(image) if "image" in row.fields else None)
            whole = _digest(content, own, row.fields.get("seed"))
            seed = row.fields.get("seed")
            if seed is None:
                seed = settings.seed + int(_digest(content, copies[whole])[:8], 16)
            identity = _digest(whole, copies[whole])
            copies[whole] += 1
            for sample in range(samples_per_prompt):
                request = GenerationConfig(
                    **shared.fields, prompt=prompt, image=image, seed=seed + sample,
                    negative_prompt=settings.negative_prompt if negative is None else negative,
                )  # fmt: skip
                name = _name(naming, row, place, of_prompt[prompt] if naming == "vbench" else sample, identity)
                of_prompt[prompt] += 1
                if (before := names.setdefault(same_file(name), len(jobs))) != len(jobs):
                    raise PromptError(f"its video would be named '{name[:80]}', as that of line {jobs[before].line}")
                sha256 = _digest(shared.group, prompt, request.negative_prompt, request.seed, images.get(image))
                jobs.append(Job(name, row.line, sample, request, shared.skip, shared.group, sha256))
        except (ValueError, ConfigError, PromptError, ImageError) as error:
            raise PromptError(f"{source}, line {row.line}: {error}") from None
    for job in jobs if not format else ():  # folders of frames
        for parent in Path(job.name).parents:
            if same_file(str(parent)) in names:
                raise PromptError(f"{source}, line {job.line}: its frames would be inside those of '{parent}'")
    return jobs


def shard(jobs: Sequence[Job], index: int, count: int) -> list[Job]:
    """Part `index` of `count`, from 1: every count-th job. Raises ConfigError for a part that there is not."""
    if not 1 <= index <= count:
        raise ConfigError(f"`shard={index}/{count}`: the first part is 1/{count}, the last {count}/{count}")
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
    row = RunSettings(**(merged(base, own) | {"prompt": "-"}))
    fields = row.requests()[0].model_dump(exclude=PER_VIDEO)
    skip = row.skip()
    if skip.batch_decision != "prompt":
        raise ConfigError("with `batch_decision`, who is generated together would change the videos; leave it out")
    if skip.mask and len(skip.mask) != row.most_steps:
        raise ConfigError(f"the mask has {len(skip.mask)} entries but the run has {row.most_steps} steps")
    for side in ("height", "width"):
        if (fields[side] or 0) % VAE_FACTOR:
            raise ConfigError(f"{side} {fields[side]} is not a multiple of {VAE_FACTOR}, which the models' VAEs need")
    shaping = fields | {name: getattr(row, name) for name in SHAPING}
    shaping.pop("decode_chunk_size")  # changes rounding alone
    parts = [_content(path) for path in (skip.exit_heads, fields["step_policy"]) if path not in (None, SHIPPED)]
    return _Common(fields, skip, _digest(json.dumps(shaping, sort_keys=True), skip.model_dump_json(), format, *parts))


def _content(path: str) -> str:
    """Hash of a part's file: others of the same name draw other videos. That it is missing is told elsewhere."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest() if Path(path).is_file() else ""


def _digest(*parts: Any) -> str:
    return hashlib.sha256("\0".join(str(part) for part in parts).encode()).hexdigest()


def _name(naming: str, row: PromptRow, place: int, sample: int, identity: str) -> str:
    if naming == "vbench":
        return vbench_name(row.fields["prompt"], sample) or f"{slug(row.fields['prompt'], identity)}-{sample}"
    first = slug(row.fields["prompt"], identity) if naming == "slug" else f"{place:04d}"
    if naming == "id" and row.id is not None:
        first = check_id(row.id)
    return f"{first}-{sample}" if sample else first
