"""What a prompt file asks for: one job for each video, with its name, its seed and a hash of all that shapes it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videoada.config.merging import merged, problems_of
from videoada.config.prompts import PromptEntry
from videoada.config.run import OF_TARGETS, SHARES, GenerationConfig, SkipConfig
from videoada.config.seeds import RANDOM, seed_after
from videoada.config.settings import SHIPPED, RunSettings
from videoada.errors import ConfigError, ImageError, PromptError, counted
from videoada.files import FileNames
from videoada.media.outputs import Encoding
from videoada.models.images import check_image, fingerprint
from videoada.models.lora import lora_identity
from videoada.models.recommended import filled
from videoada.models.source_videos import read_source_video, video_fingerprint
from videoada.rendering.naming import TakenNames, check_id, slug, vbench_name
from videoada.skipping.rules.window import check_budget

VAE_FACTOR = 8
PICKED = "picked_seed"  # in a folder's settings: the base of its random seeds
PER_VIDEO = {"prompt", "negative_prompt", "image", "video", "seed"}
APART = {"decode_chunk_size", "codec", "crf"}  # the first changes rounding alone, the others are hashed where named
SHAPING = ("model", "revision", "variant", "dtype", "quantize")  # of the settings, besides request and skipping


@dataclass(frozen=True, slots=True)
class Job:
    """One video: where it goes (relative to the output folder, without an ending), how to generate it."""

    name: str
    line: int  # of the prompt file
    sample: int
    request: GenerationConfig
    skip: SkipConfig
    group: str  # hash of all that jobs of one batch share, and of the file's format
    sha256: str  # of the group, prompts, image and seed; not of the worker, nor of the other videos of its batch


def plan_jobs(
    entries: Sequence[PromptEntry], settings: RunSettings, *, source: str | Path = "the prompts",
    samples_per_prompt: int = 1, naming: str = "id", format: str = ".mp4",
    picked_seed: int = 0, folder: str | Path | None = None,
) -> list[Job]:  # fmt: skip
    """One job for each entry and sample, in their order; every one is checked, and images are opened.

    An entry's seed is its own, or the base seed plus a number made of its id, prompts and image: neither its line in
    the file nor the other entries change it. Entries that are equal in everything get different seeds; sample k adds k.
    Where the base seed, or an entry's, is random, `picked_seed` is the base instead, which a render picks once.
    Raises PromptError with the line, also where two videos would have one name in `folder`, whose file system is asked
    what it tells apart and what it can hold (None: what any does), or where one could have none. Raises OutputError
    where it can't be asked.
    """
    with contextlib.nullcontext() if folder is None else FileNames(folder) as files:
        names = TakenNames(files, format)
        jobs = _jobs(entries, settings, names, source, samples_per_prompt, naming, format, picked_seed)
        for job in jobs if not format else ():  # folders of frames
            for parent in Path(job.name).parents:
                if names.owner(str(parent)) is not None:
                    raise PromptError(f"{source}, line {job.line}: its frames would be inside those of '{parent}'")
    return jobs


def _jobs(
    entries: Sequence[PromptEntry], settings: RunSettings, names: TakenNames, source: str | Path,
    samples_per_prompt: int, naming: str, format: str, picked_seed: int,
) -> list[Job]:  # fmt: skip
    common: dict[str, _Common] = {}
    lora = lora_identity(settings.lora or ())
    base = picked_seed if settings.seed == RANDOM else settings.first_seed
    images: dict[str | None, str] = {}
    copies: Counter[str] = Counter()
    of_prompt: Counter[str] = Counter()
    jobs: list[Job] = []
    if settings.video is not None and not all("video" in entry.fields for entry in entries):
        common_video = os.path.abspath(settings.video)
        read_source_video(common_video)  # a bad one is of no entry
        images[common_video] = str(video_fingerprint(common_video))
    for index, entry in enumerate(entries):
        try:
            own = json.dumps({k: v for k, v in entry.fields.items() if k not in PER_VIDEO}, sort_keys=True)
            if own not in common:
                common[own] = _common(settings, json.loads(own), format, lora)
            shared = common[own]
            image = entry.fields.get("image", settings.image)
            if image is not None and (image := os.path.abspath(image)) not in images:
                check_image(image)
                images[image] = str(fingerprint(image))
            video = entry.fields.get("video", settings.video)
            if video is not None and (video := os.path.abspath(video)) not in images:
                read_source_video(video)  # a bad one is known before anything is written
                images[video] = str(video_fingerprint(video))
            prompt, negative = entry.fields["prompt"], entry.fields.get("negative_prompt")
            named = [images.get(path) for name, path in (("image", image), ("video", video)) if name in entry.fields]
            content = _digest(entry.id, prompt, negative, *(named or [None]))
            alike = _digest(content, own, entry.fields.get("seed"))
            seed = entry.fields.get("seed")
            if seed in (None, RANDOM):
                seed = seed_after(base if seed is None else picked_seed, int(_digest(content, copies[alike])[:8], 16))
            seed_after(seed, samples_per_prompt - 1)
            identity = _digest(alike, copies[alike])
            copies[alike] += 1
            for sample in range(samples_per_prompt):
                request = GenerationConfig(
                    **shared.fields, prompt=prompt, image=image, video=video, seed=seed + sample,
                    negative_prompt=settings.negative_prompt if negative is None else negative,
                )  # fmt: skip
                number = of_prompt[prompt] if naming == "vbench" else sample
                name = _name(naming, entry, index, number, identity, names)
                of_prompt[prompt] += 1
                if (before := names.take(name, len(jobs))) is not None:
                    other = jobs[before]
                    apart = "" if other.name == name else f", which this file system does not tell from '{other.name}'"
                    raise PromptError(f"its video would be named '{name[:80]}'{apart[:150]}, as that of line "
                                      f"{other.line}: give it another id, or name another folder")  # fmt: skip
                shown = [images.get(image), *([images[video]] if video is not None else [])]
                sha256 = _digest(shared.group, prompt, request.negative_prompt, request.seed, *shown)
                jobs.append(Job(name, entry.line, sample, request, shared.skip, shared.group, sha256))
        except (ValueError, ConfigError, PromptError, ImageError) as error:
            if str(error) in problems_of(settings.model_dump(exclude_none=True)):  # of no entry
                raise ConfigError(str(error)) from None
            raise PromptError(f"{source}, line {entry.line}: {error}") from None
    return jobs


def plan_job(settings: RunSettings, format: str = ".mp4") -> Job:
    """The job of a run whose settings say all of it, the seed as it is; without a name.

    Its hash is that of the job of a prompt file that asks for the same. Raises ConfigError, ImageError.
    """
    shared = _common(settings, {}, format, lora_identity(settings.lora or ()))
    request = settings.requests()[0]
    if request.image is not None:
        check_image(request.image)
    if request.video is not None:
        read_source_video(request.video)
    shown = [fingerprint(request.image), *([video_fingerprint(request.video)] if request.video is not None else [])]
    sha256 = _digest(shared.group, request.prompt, request.negative_prompt, request.seed, *shown)
    return Job("", 0, 0, request, shared.skip, shared.group, sha256)


def shard(jobs: Sequence[Job], index: int, count: int) -> list[Job]:
    """Part `index` of `count`, from 1: every count-th job. Raises ConfigError for a part that there is not."""
    if not 1 <= index <= count:
        raise ConfigError(f"`shard={index}/{count}`: the first part is 1/{count}, the last {count}/{count}")
    return list(jobs[index - 1 :: count])


def batches(jobs: Iterable[Job], batch_size: int) -> list[list[Job]]:
    """Jobs that can be generated at once, up to `batch_size` each: alike in all but prompts, image and seed."""
    unfilled: dict[tuple[str, SkipConfig], list[Job]] = {}
    found: list[list[Job]] = []
    for job in jobs:
        batch = unfilled.get(key := (job.group, job.skip))  # of which a target is no part of the first
        if batch is None or len(batch) == batch_size:
            batch = unfilled[key] = []
            found.append(batch)
        batch.append(job)
    return found


@dataclass(frozen=True, slots=True)
class _Common:
    """What entries with the same overrides share: a request's fields, when it skips, and the hash of all that."""

    fields: dict[str, Any]
    skip: SkipConfig
    group: str


def _common(settings: RunSettings, own: dict[str, Any], format: str, lora: list[str]) -> _Common:
    base = settings.model_dump(exclude={*PER_VIDEO, "num_videos"})
    asked = RunSettings(**(merged(base, own) | {"prompt": "-"}))
    entry = filled(asked)  # a video's hash is of what shapes it, said or not
    fields = entry.requests()[0].model_dump(exclude=PER_VIDEO)
    skip = entry.skip()
    if skip.batch_decision != "prompt":
        raise ConfigError("with `batch_decision`, who is generated together would change the videos; leave it out")
    if skip.mask and entry.max_steps and len(skip.mask) != entry.max_steps:
        raise ConfigError(
            f"the mask has {counted(len(skip.mask), 'entry', 'entries')} but the run has "
            f"{counted(entry.max_steps, 'step')}"
        )
    if entry.max_steps and entry.video is None:
        check_budget(skip, entry.max_steps)
    for side in ("height", "width"):
        if (fields[side] or 0) % VAE_FACTOR:
            raise ConfigError(f"{side} {fields[side]} is not a multiple of {VAE_FACTOR}, which the models' VAEs need")
    shaping = fields | {name: getattr(entry, name) for name in SHAPING}
    shaping = {name: value for name, value in shaping.items() if name not in APART}
    if shaping["strength"] is None:  # hashes of before there was one stay
        del shaping["strength"]
    parts = [_content(path) for path in (skip.exit_heads, fields["step_policy"]) if path not in (None, SHIPPED)]
    own_fields = asked.requests()[0].model_dump(exclude=PER_VIDEO)
    parts += [f"{name}={value}" for name, value in Encoding.of(entry).named.items()]
    parts += [f"lora={identity}" for identity in lora]
    later = {name for name in (*SHARES, "num_predictions") if getattr(skip, name) is None}  # hashes of before stay
    later |= {*OF_TARGETS}  # the tolerance that was read for it says all
    hashed = skip
    if skip.policy == "error-controlled" and skip.warmup_steps in (None, 3):  # 3 was the default
        hashed = skip.model_copy(update={"warmup_steps": 3})
        parts += [] if skip.warmup_steps is None else ["warmup_steps=3"]
    group = _digest(json.dumps(shaping, sort_keys=True), hashed.model_dump_json(exclude=later), format, *parts)
    return _Common(own_fields, skip, group)


def _content(path: str) -> str:
    """Hash of a part's file: another file of the same name changes the videos. `check_jobs` reports a missing one."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest() if Path(path).is_file() else ""


def _digest(*parts: Any) -> str:
    return hashlib.sha256("\0".join(str(part) for part in parts).encode()).hexdigest()


def _name(naming: str, entry: PromptEntry, index: int, sample: int, identity: str, names: TakenNames) -> str:
    """A name that a file of the folder can have. Raises ValueError for an id that is none."""
    title = entry.fields["prompt"] or Path(entry.fields.get("image") or entry.fields["video"]).stem
    if naming == "vbench":
        name = vbench_name(title, sample)
        return name if name and not names.problem(name) else f"{slug(title, identity)}-{sample}"
    first = slug(title, identity) if naming == "slug" else f"{index:04d}"
    if naming == "id" and entry.id is not None:
        first = check_id(entry.id)
    name = f"{first}-{sample}" if sample else first
    if problem := names.problem(name):
        raise ValueError(f"its video can't be named '{name[:80]}': {problem}")
    return name
