"""Run records found again, inside a video, beside it or on their own, and the settings that repeat their run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from videoada.errors import OutputError, PromptError
from videoada.media.outputs import record_path
from videoada.media.video import read_metadata
from videoada.records.record import RunRecord

MOST_BYTES = 16 * 2**20  # of a record's file


def find_record(path: str | Path) -> RunRecord:
    """The record in a .json file, inside a video or frame folder, or beside it. Raises PromptError if there is none."""
    path = Path(path)
    if not path.exists():
        raise PromptError(f"{path} does not exist")
    places = [path] if path.suffix.lower() == ".json" else [path, record_path(path)]
    for place in places:
        if text := _text(place):
            try:
                return RunRecord.model_validate_json(text)
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(str(part) for part in first["loc"])
                raise PromptError(f"{place} holds no run record of this version: {where}: {first['msg']}") from None
    raise PromptError(f"{path} holds no run record, and {record_path(path).name} is not beside it")


def _text(path: Path) -> str | None:
    try:
        if path.suffix.lower() != ".json":
            return read_metadata(path)
        if path.is_file() and path.stat().st_size <= MOST_BYTES:
            return path.read_text(encoding="utf-8")
    except OutputError as error:
        raise PromptError(str(error)) from None
    except (OSError, ValueError) as error:
        raise PromptError(f"can't read {path}: {error}") from None
    return None


def settings_of(record: RunRecord) -> dict[str, Any]:
    """The settings (`RunSettings` fields) that repeat a record's run."""
    policy = dict(record.policy)
    if policy.get("batch_decision"):  # what the others of the batch had a say in, only the steps themselves repeat
        policy = {"name": "mask", "mask": record.computed}
    exits = record.early_exit or {}
    values = {
        "model": record.model.name, "revision": record.model.revision, "prompt": record.prompt,
        "negative_prompt": record.negative_prompt, "image": record.image, "target_fps": record.target_fps,
        "steps": record.num_inference_steps, "guidance_scale": record.guidance_scale, "num_frames": record.num_frames,
        "height": record.height, "width": record.width, "fps": record.fps, "seed": record.seed,
        "scheduler": record.scheduler, "policy": policy.pop("name", "none"), **policy,
        "predictor": record.predictor.get("name"), "damping": record.predictor.get("damping"),
        "corrector": record.predictor.get("corrector"), "dtype": record.dtype,
        "early_exit": True if exits else None, "exit_threshold": exits.get("threshold"),
        "exit_heads": exits.get("heads"),
    }  # fmt: skip
    return {name: value for name, value in values.items() if value is not None}
