"""Run records found again, inside a video, beside it or on their own, and the settings that repeat their run."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from videoada.config.encodings import read_text
from videoada.config.loading import LoadConfig
from videoada.config.run import OF_POLICIES, OF_TARGETS, SHARES, GenerationConfig, is_hash
from videoada.config.wanted import problem_of
from videoada.errors import ConfigError, OutputError, PromptError
from videoada.failures import wrong_with
from videoada.media.metadata import read_metadata
from videoada.media.outputs import Encoding, record_path
from videoada.records.record import RunRecord

MOST_BYTES = 16 * 2**20  # of a record's file


def find_record(path: str | Path) -> RunRecord:
    """The record in a .json file, inside a video or frame folder, or beside it. Raises PromptError if there is none."""
    path = Path(path)
    path = path if path.name not in ("", "..") else path.resolve()  # ".", whose record would have no name
    if wrong := wrong_with(path):
        raise PromptError(wrong)
    if not path.name:
        raise PromptError(f"{path} holds no run record: name a video")
    paths = [path] if path.suffix.lower() == ".json" else [path, record_path(path)]
    for file in paths:
        if text := _text(file):
            try:
                return RunRecord.model_validate_json(text)
            except ValidationError as error:
                where, what = problem_of(error, RunRecord)
                said = ": ".join([*where, what.replace("`", "")])  # nobody gave such a parameter
                raise PromptError(f"{file} holds no run record of this version: {said}") from None
    raise PromptError(f"{path} holds no run record, and {record_path(path).name} is not beside it")


def _text(path: Path) -> str | None:
    try:
        if path.suffix.lower() != ".json":
            return read_metadata(path)
        if path.is_file() and path.stat().st_size <= MOST_BYTES:
            return read_text(path, "a run record", PromptError)
    except OutputError as error:
        raise PromptError(str(error)) from None
    return None


def settings_of(record: RunRecord, given: Collection[str] = (), ending: str = "") -> dict[str, Any]:
    """The settings (`RunSettings` fields) that repeat a record's run; those `given` will be put over them.

    A codec and a quality that a file of that `ending` can't have are left out, as the format has its own;
    `not_repeated` says so.
    Raises PromptError for an image that was given as an object, unless `given` has another.
    """
    request, skip = record.request, record.skip
    if skip.batch_decision != "prompt":  # what the others of the batch had a say in, only the steps themselves repeat
        skip = skip.model_copy(update={"policy": "mask", "mask": tuple(record.computed), "batch_decision": "prompt"})
        skip = skip.model_copy(update=dict.fromkeys((OF_POLICIES | SHARES.keys()) - {"mask"}))
    for name in ("image", "video"):
        if is_hash(value := getattr(request, name)) and name not in given:
            raise PromptError(
                f"the record's {name} was given as an object, of which only the hash is kept ({value}): "
                f"give it as `{name}`"
            )
    if record.early_exit:
        skip = skip.model_copy(update={"exit_threshold": record.early_exit["threshold"]})
    load = record.load or LoadConfig()
    values = {
        **{name: getattr(request, name) for name in GenerationConfig.model_fields if name not in NOT_REPEATED},
        **{name: value for name, value in skip.model_dump().items() if name not in ("batch_decision", *OF_TARGETS)},
        **{name: getattr(load, name) for name in ("variant", "vae_slicing", "vae_tiling", "quantize", "lora")},
        "model": record.model.name, "revision": record.model.revision,
        # with a strength fewer steps run than are asked for; a step policy's choice is repeated by its number
        "steps": record.num_inference_steps if record.most_steps else request.num_inference_steps,
        "height": record.height, "width": record.width, "dtype": record.dtype,
    }  # fmt: skip
    found = {name: value for name, value in values.items() if value is not None}
    for name in _not_held(record, ending):
        found.pop(name, None)
    return found


def not_repeated(record: RunRecord, given: Collection[str] = (), ending: str = "") -> list[str]:
    """A line for each setting of a record's run that `settings_of` leaves out and that is not among those `given`."""
    return [
        f"`{name}={value}`: of the record, and {ending or 'a folder of frames'} can't hold it"
        for name, value in _not_held(record, ending).items()
        if name not in given
    ]


def _not_held(record: RunRecord, ending: str) -> dict[str, Any]:
    """The codec and quality of a record's file, where a file of that ending can't have them."""
    encoding = Encoding.of(record.request)
    try:
        encoding.check(ending.lower())
    except ConfigError:
        return encoding.named
    return {}


# A step policy's choice is repeated by its number; where the parts live is this machine's own.
NOT_REPEATED = ("num_inference_steps", "step_policy", "decode_chunk_size")
