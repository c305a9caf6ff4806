"""QueuedJob: one video that was asked for, as the file that asks for it; and where a queue keeps what.

    .videoada/queue/jobs/      a file for each job, named by a hash of its id
    .videoada/queue/inputs/    copies of the images and videos that jobs start from
    .videoada/queue/previews/  the latest preview of each job
    .videoada/queue/full/      the full runs, videos and records, that others are compared with
    .videoada/queue/live.json  what the worker is at

Whether a job is done its record says, whether it is running the worker's lock and `live.json`; its file says the rest.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from videoada.config.goals import SKIP_FIELDS
from videoada.config.run import TARGETS
from videoada.config.settings import MAX_STEPS, SHIPPED, RunSettings
from videoada.models.catalogue import known_model
from videoada.rendering.folder import QUEUE
from videoada.rendering.locks import byte_of

JOBS, INPUTS, PREVIEWS, FULL = (f"{QUEUE}/{name}" for name in ("jobs", "inputs", "previews", "full"))
LIVE, LOG = f"{QUEUE}/live.json", f"{QUEUE}/worker.log"
WORKER = "worker"  # the name of the lock that the one worker holds
MOST_DEATHS = 5  # of workers, over one job
Wish = Literal["waiting", "stopped", "failed", "deleted"]


@dataclass(frozen=True)
class QueuedJob:
    """A job as its file has it. `wish` is what is to become of it, unless its record says that it is done."""

    id: str  # the video's path in the folder, without its ending
    settings: dict[str, Any]  # of a RunSettings; inputs are paths inside the folder
    sha256: str  # `job_sha256` of its record
    added: float  # time.time()
    turn: float  # jobs are taken in the order of these
    wish: Wish = "waiting"
    full_of: str | None = None  # the id of the video whose full run this is
    error: str = ""
    begun: int = 0  # how often a worker began it and did not end it
    steps: str = ""  # how far it was when it was stopped or failed
    num_steps: int | None = None

    @property
    def file(self) -> str:
        return f"{JOBS}/{key_of(self.id)}.json"

    @property
    def preview(self) -> str:
        return f"{PREVIEWS}/{key_of(self.id)}.png"

    @property
    def is_wanted(self) -> bool:
        """Whether it is to be seen: not once it was deleted, which takes as long as a step where it is running."""
        return self.wish != "deleted"

    def changed(self, **values: Any) -> QueuedJob:
        return dataclasses.replace(self, **values)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> QueuedJob | None:
        """None for what is no job of this version."""
        names = {field.name for field in dataclasses.fields(cls)}
        try:
            job = cls(**{name: value for name, value in values.items() if name in names})
        except TypeError:
            return None
        parts = job.id.removeprefix(f"{FULL}/").split("/")
        return job if all(part.strip(".") and "\0" not in part for part in parts) else None


def key_of(id: str) -> str:
    """The name of a job's own files, whatever its id is."""
    return f"{byte_of(id):016x}"


def full_id(id: str) -> str:
    return f"{FULL}/{id}"


def kept_settings(settings: RunSettings) -> dict[str, Any]:
    """The settings as a job's file has them, that make the same RunSettings wherever the worker's working directory is.
    The seed must have been picked."""
    values = settings.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    values |= {"model": settings.model, "seed": settings.first_seed}
    if settings.mask is not None:
        values["mask"] = "".join("1" if step else "0" for step in settings.mask)
    for name in ("exit_heads", "step_policy"):
        if values.get(name) not in (None, SHIPPED):
            values[name] = os.path.abspath(values[name])
    if settings.lora:
        values["lora"] = [os.path.abspath(lora) for lora in settings.lora]
    if known_model(settings.model) is None and Path(settings.model).is_dir():
        values["model"] = os.path.abspath(settings.model)
    return values


def with_inputs(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A job's settings with the full paths of its inputs."""
    inputs = {name: str(folder.absolute() / settings[name]) for name in ("image", "video") if name in settings}
    return settings | inputs


def copy_inputs(settings: dict[str, Any], folder: Path, id: str) -> dict[str, Any]:
    """The settings with copies of their inputs inside the folder, which stay where an upload does not."""
    found = dict(settings)
    for name in ("image", "video"):
        if name in settings:
            source = Path(settings[name])
            found[name] = f"{INPUTS}/{key_of(id)}-{name}{source.suffix.lower()}"
            (folder / INPUTS).mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, folder / found[name], dirs_exist_ok=True)
            else:
                shutil.copyfile(source, folder / found[name])
    return found


def in_full(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of the full run: nothing skipped, and as many steps as there could have been."""
    found = {k: v for k, v in settings.items() if k not in (*SKIP_FIELDS, *TARGETS, "quality", "step_policy")}
    if found.get("steps") == "auto":
        found["steps"] = MAX_STEPS
    return found | {"policy": "none"}
