"""Plan: a render with every row checked and nothing written, to be estimated or run."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videoada.config.frozen import one_of
from videoada.config.prompts import read_prompts
from videoada.config.seeds import LAST_SEED, RANDOM, pick_seed
from videoada.config.settings import RunSettings
from videoada.errors import ConfigError
from videoada.failures import url_problem, wrong_with
from videoada.files import check_folder
from videoada.media import outputs
from videoada.media.outputs import Encoding
from videoada.models.lora import lora_identity
from videoada.models.recommended import filled_in
from videoada.rendering.checks import check_jobs, read_shard
from videoada.rendering.jobs import PICKED, Job, plan_jobs
from videoada.rendering.jobs import shard as part_of
from videoada.rendering.naming import NAMINGS, naming_notes

if TYPE_CHECKING:
    from videoada.rendering.worker import WorkerPlan

FORMATS = (*(ending.removeprefix(".") for ending in outputs.FORMATS), "frames")
ENGINES = ("local", "ray")
# Device, memory options and batch size change rounding alone: another run may choose others.
NOT_SHAPING = {"prompt", "image", "num_videos", "batch_size", "device", "offload", "vae_slicing", "vae_tiling",
               "decode_chunk_size", "compile", "channels_last", "calibration"}  # fmt: skip
Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """A render that is checked and not begun: its jobs, its settings, and how to go about it."""

    jobs: list[Job]
    settings: RunSettings
    out: Path
    naming: str
    format: str
    overwrite: bool
    metadata: bool
    workers: int | None
    engine: str
    address: str
    continue_on_error: bool
    max_retries: int
    rank: int  # this process's number under `accelerate launch`, and how many there are
    world: int
    picked_seed: int | None = None  # the base of the seeds that are random
    not_used: tuple[str, ...] = ()  # of the prompt file and of what was asked for, a line each
    notes: tuple[str, ...] = ()
    again: Callable[[], Plan] | None = None  # plans it once more, where its seeds are random

    def report(self, say: Say) -> None:
        """What of the input is not used, and what to know of it, said before anything is generated."""
        for text in self.not_used:
            say(f"not used: {text}")
        for text in self.notes:
            say(f"note: {text}")

    @property
    def ending(self) -> str:
        return "" if self.format == "frames" else f".{self.format}"

    @property
    def kept(self) -> dict[str, Any]:
        """What a folder's videos have in common, which another render into it must repeat."""
        kept = self.settings.model_dump(mode="json", exclude=NOT_SHAPING, exclude_defaults=True)
        for name, value in filled_in(self.settings.model).items():
            if name in kept and kept[name] == value:  # said, and what the model would take anyway
                del kept[name]
        if self.settings.lora:
            kept["lora"] = lora_identity(self.settings.lora)  # wherever the files lie
        if self.picked_seed is not None:
            kept[PICKED] = self.picked_seed
        return kept | {"format": self.format, "naming": self.naming}

    def worker(self) -> WorkerPlan:
        from videoada.rendering.worker import WorkerPlan  # with torch, which checking the entries goes without

        return WorkerPlan(
            str(self.out), self.ending, self.settings.model, self.settings.loading(), self.metadata, self.overwrite
        )


def plan_render(
    prompts: str | Path, out: str | Path, settings: RunSettings | None = None, *, images: str | Path | None = None,
    samples_per_prompt: int = 1, naming: str = "id", format: str = "mp4", limit: int | None = None,
    shard_text: str | None = None, workers: int | None = None, engine: str = "local", address: str = "auto",
    continue_on_error: bool = False, max_retries: int = 1, overwrite: bool = False, metadata: bool = True,
) -> Plan:  # fmt: skip
    """What `render_prompts` would do, with every entry, image and trained part checked. Raises what it raises."""
    try:
        one_of("naming", naming, NAMINGS)
        one_of("format", format, FORMATS)
        one_of("engine", engine, ENGINES)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    least = {"samples_per_prompt": 1, "limit": 1, "workers": 1, "max_retries": 0}
    given = {"samples_per_prompt": samples_per_prompt, "limit": limit, "workers": workers, "max_retries": max_retries}
    for name, value in given.items():
        if value is not None and value < least[name]:
            raise ConfigError(f"`{name}` must be at least {least[name]}, got {value}")
    settings = settings or RunSettings()
    settings.skip()
    settings.loading()
    if settings.num_videos != 1:
        raise ConfigError(
            "`num_videos` is for one prompt; of a file, `samples_per_prompt` says how many videos of each"
        )
    for name, folder in (("out", out), ("images", images)):
        if folder is not None and (url := url_problem(folder, writing=name == "out")):
            raise ConfigError(f"`{name}`: {url}")
    check_folder(out)
    if images is not None and not Path(images).is_dir():
        raise ConfigError(f"`images`: {wrong_with(images) or f'{images} is a file, and a folder is wanted'}")
    file = read_prompts(prompts, images)
    entries = file.entries[:limit]
    ending = "" if format == "frames" else f".{format}"
    Encoding.of(settings).check(ending)
    if settings.lora:  # workers may have another working directory
        settings = settings.model_copy(update={"lora": tuple(map(os.path.abspath, settings.lora))})
    again = partial(
        plan_render, prompts, out, settings, images=images, samples_per_prompt=samples_per_prompt, naming=naming,
        format=format, limit=limit, shard_text=shard_text, workers=workers, engine=engine, address=address,
        continue_on_error=continue_on_error, max_retries=max_retries, overwrite=overwrite, metadata=metadata,
    )  # fmt: skip
    rank, world = _launched()
    random = RANDOM in (settings.seed, *(entry.fields.get("seed") for entry in entries))
    picked = _picked_seed(Path(out), world) if random else None
    jobs = plan_jobs(
        entries, settings, source=prompts, samples_per_prompt=samples_per_prompt, naming=naming, format=ending,
        picked_seed=picked or 0, folder=out,
    )  # fmt: skip
    notes = naming_notes(((job.request.prompt, job.line, job.name) for job in jobs), naming)
    not_used = list(file.not_used)
    if images is not None and not any("image" in entry.fields for entry in entries):
        not_used.append(f"`images={images}`: no entry names an image")
    if shard_text:
        jobs = part_of(jobs, *read_shard(shard_text))
    check_jobs(settings, jobs, prompts)
    if world > 1 and ((workers or 1) > 1 or engine != "local"):
        raise ConfigError("`accelerate launch` starts the processes itself: leave `workers` and `engine` out")
    return Plan(
        jobs, settings, Path(out), naming, format, overwrite, metadata, workers, engine, address, continue_on_error,
        max_retries, rank, world, picked, tuple(not_used), tuple(notes), again if random and world == 1 else None,
    )  # fmt: skip


def _picked_seed(out: Path, world: int) -> int:
    """The base of random seeds: what the folder's videos have, else picked now, and the same in every process."""
    from videoada.rendering.folder import SETTINGS, read_json

    kept = read_json(out / SETTINGS).get(PICKED)
    picked = [kept if isinstance(kept, int) and 0 <= kept <= LAST_SEED else pick_seed()]
    if world > 1:
        from accelerate.utils import broadcast_object_list

        broadcast_object_list(picked)
    return picked[0]


def _launched() -> tuple[int, int]:
    """This process's number and how many there are under `accelerate launch`; (0, 1) without it."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or "LOCAL_RANK" not in os.environ:
        return 0, 1
    from accelerate import PartialState

    state = PartialState()
    return state.process_index, state.num_processes
