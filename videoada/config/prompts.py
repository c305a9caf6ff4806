"""Prompt files: one prompt a line, CSV, JSON Lines, or JSON in the forms of VBench, EvalCrafter and T2V-CompBench."""

from __future__ import annotations

import csv
import difflib
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videoada.config.run import GenerationConfig
from videoada.config.settings import RunSettings, kind_of, said_of
from videoada.errors import ConfigError, PromptError

ENDINGS = (".txt", ".csv", ".jsonl", ".json")
# A column is a setting by its name, or by one of these. What benchmarks have besides (dimension, …) is left unread.
OTHER_NAMES = {
    "prompt_en": "prompt", "image_name": "image", "image_path": "image", "num_inference_steps": "steps",
    "frames": "num_frames", "id": "id", "size": "size",
}  # fmt: skip
COLUMNS = {name: name for name in RunSettings.model_fields if said_of(name).get("column")} | OTHER_NAMES
COMMON = ("prompt", "negative_prompt", "image", "seed", "steps", "guidance_scale", "num_frames", "height", "width",
          "fps", "scheduler", "quality", "tolerance", "threshold", "policy", *OTHER_NAMES)  # fmt: skip
SOURCES = ("prompt", "image", "video")  # an entry has one at least: some models take no prompt
CAMERA = re.compile(r", camera (pans|tilts|zooms|static)\b.*$")  # VBench-I2V: the same image, other camera motions


@dataclass(frozen=True, slots=True)
class PromptEntry:
    """One entry of a prompt file: `fields` are the RunSettings fields that it names; `line` is where it begins."""

    line: int
    id: str | None
    fields: dict[str, Any]


def read_entries(path: str | Path, images: str | Path | None = None) -> list[PromptEntry]:
    """The entries of a prompt file, in its order; what an entry leaves empty it does not name.

    .txt holds a prompt a line; .csv has a header; .jsonl holds an object or a string a line; .json a list of them, as
    VBench's `prompt_en` and `image_name`. An entry without a prompt names an image or a video, for models that take no
    prompt. Images are sought in the folder `images` (None: beside the file). Raises PromptError with file and line for
    what can't be read, and for a column whose name is all but a known one.
    """
    path = Path(path)
    if path.suffix.lower() not in ENDINGS:
        raise PromptError(f"can't tell the form of {path.name}: a prompt file ends in {', '.join(ENDINGS)}")
    try:
        with path.open(encoding="utf-8-sig", newline=None) as file:
            text = file.read()
    except (OSError, ValueError) as error:
        raise PromptError(f"can't read prompts from {path}: {getattr(error, 'strerror', None) or error}") from None
    folder = Path(images) if images is not None else path.parent
    known: dict[str, str | None] = {}
    entries = []
    for line, values in _FORMS[path.suffix.lower()](path, text):
        try:
            entries.append(_entry(line, values, folder, known))
        except ValueError as error:
            raise PromptError(f"{path}, line {line}: {error}") from None
    if not entries:
        raise PromptError(f"{path} holds no prompts")
    return entries


def read_requests(path: str | Path, *, first_seed: int = 0, **common: Any) -> list[GenerationConfig]:
    """One request for each entry; entry i has the seed `first_seed + i`, unless it names one.

    `common` holds fields for all; an entry's own come first. Raises PromptError for what can't be read, with the line.
    """
    requests = []
    for i, entry in enumerate(read_entries(path)):
        fields = {{"steps": "num_inference_steps"}.get(name, name): value for name, value in entry.fields.items()}
        for name in fields:
            if name not in GenerationConfig.model_fields:
                raise PromptError(
                    f"{path}, line {entry.line}: the column '{name}' is for rendering; here it is not used"
                )
        if common.get("step_policy") and "num_inference_steps" in fields:
            raise PromptError(
                f"{path}, line {entry.line}: a step policy chooses the steps; leave the column 'steps' out"
            )
        try:
            requests.append(GenerationConfig(**({"seed": first_seed + i} | common | fields)))
        except ConfigError as error:
            raise PromptError(f"{path}, line {entry.line}: {error}") from None
    return requests


# ---- forms: (line, values of the entry) ------------------------------------------------------------------------------


def _text(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(text.split("\n"), 1):  # not splitlines(): prompts may hold other separators
        if line.strip():
            yield number, line.strip()


def _csv(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    reader = csv.DictReader(io.StringIO(text), skipinitialspace=True)
    try:
        names = [(name or "").strip() for name in reader.fieldnames or ()]
        if not any(COLUMNS.get(_plain(name)) in SOURCES for name in names):
            raise PromptError(
                f"{path}, line 1: a CSV file begins with the names of its columns, one of them 'prompt' (or 'image', "
                "for a model that takes no prompt)"
            )
        reader.fieldnames = names
        before = reader.line_num
        for values in reader:
            if any(values.pop(None, ())):
                raise PromptError(f"{path}, line {before + 1}: it has more cells than there are columns; quote commas")
            yield before + 1, {name: value for name, value in values.items() if name and value and value.strip()}
            before = reader.line_num
    except csv.Error as error:
        raise PromptError(f"{path}, line {reader.line_num}: {error}") from None


def _json_lines(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    for number, line in _text(path, text):
        try:
            yield number, json.loads(line)
        except (ValueError, RecursionError) as error:
            raise PromptError(f"{path}, line {number}: {error}") from None


def _json(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    """The elements of a list one by one, each with the line where it begins."""
    decoder, line, counted = json.JSONDecoder(), 1, 0
    at = _after_space(text, 0)
    if text[at : at + 1] != "[":
        raise PromptError(f"{path}: a .json prompt file holds a list of objects that have a 'prompt' or 'prompt_en'")
    at = _after_space(text, at + 1)
    while text[at : at + 1] != "]":
        line, counted = line + text.count("\n", counted, at), at
        try:
            values, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            reason = getattr(error, "msg", None) or "it is nested too deeply"
            raise PromptError(f"{path}, line {getattr(error, 'lineno', line)}: {reason}") from None
        yield line, values
        at = _after_space(text, end)
    if rest := text[at + 1 :].strip():
        raise PromptError(f"{path}, line {text.count(chr(10), 0, at) + 1}: after the list comes '{rest[:20]}'")


def _after_space(text: str, at: int) -> int:
    """The index of the next character that is neither white space nor a comma."""
    found = re.compile(r"[^\s,]").search(text, at)
    return found.start() if found else len(text)


_FORMS = {".txt": _text, ".csv": _csv, ".jsonl": _json_lines, ".json": _json}


# ---- an entry --------------------------------------------------------------------------------------------------------


def _entry(line: int, values: Any, folder: Path, known: dict[str, str | None]) -> PromptEntry:
    if isinstance(values, str):
        values = {"prompt": values}
    if not isinstance(values, dict):
        raise ValueError("it is no JSON object with a prompt")
    fields: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            known[key] = _column(key)
        name = known[key]
        if name is not None and value is not None and value != "":
            fields[name] = _typed(name, value)
    if not fields.get("prompt", "").strip() and not fields.keys() & set(SOURCES[1:]):
        raise ValueError("the prompt is empty" if {"prompt", "prompt_en"} & set(values) else "it has no prompt")
    prompt = fields["prompt"] = fields.get("prompt", "").strip() and fields["prompt"]
    if "\0" in prompt:
        raise ValueError("the prompt holds a NUL character")
    if "size" in fields:
        fields["width"], fields["height"] = fields.pop("size")
    if "image" not in fields and "image_type" in values:  # VBench-I2V names the image of the unmoved camera only
        fields["image"] = f"{CAMERA.sub('', prompt)}.jpg"
    for name in fields.keys() & {"image", "video"}:
        fields[name] = str(folder / fields[name])
    identity = fields.pop("id", None)
    return PromptEntry(line, None if identity is None else str(identity), fields)


def _column(key: str) -> str | None:
    """What a column is; None for one that is left unread. Raises ValueError for one that looks like a slip."""
    name = _plain(key)
    if name in COLUMNS:
        return COLUMNS[name]
    near = difflib.get_close_matches(name, COMMON, n=1, cutoff=0.8)
    near = near or difflib.get_close_matches(name, COLUMNS, n=1, cutoff=0.9)  # `prediction` is no slip of `predictor`
    if near:
        raise ValueError(f"unknown key '{key[:60]}'; did you mean '{near[0]}'?")
    return None


def _plain(key: str) -> str:
    return key.strip().lower().replace("-", "_").replace(" ", "_")


def _typed(name: str, value: Any) -> Any:
    """A value of the type that its field has; CSV holds text alone."""
    if name == "size":
        found = re.fullmatch(r"\s*(\d{1,5})\s*[x×*]\s*(\d{1,5})\s*", str(value))
        if not found:
            raise ValueError(f"size: give it as WIDTHxHEIGHT, got {str(value)[:40]!r}")
        return int(found[1]), int(found[2])
    kind = str if name == "id" else kind_of(name)
    words = said_of(name).get("words") if name != "id" else None
    if words and isinstance(value, str) and re.fullmatch(words, value.strip()):
        return value.strip()
    if kind in (int, float):
        try:
            number = float(value) if kind is float or isinstance(value, float) else int(value)
        except (TypeError, ValueError, OverflowError):
            raise ValueError(f"column '{name}': {str(value)[:40]!r} is no number") from None
        if isinstance(value, bool) or (kind is int and number != value and not isinstance(value, str)):
            raise ValueError(f"column '{name}': {value!r} is no whole number")
        as_int = kind is int or (name == "fps" and float(number).is_integer())
        return int(number) if as_int and number == number and abs(number) < 1e300 else number
    if kind is bool:
        if isinstance(value, bool) or str(value).strip().lower() in ("true", "false", "1", "0", "yes", "no"):
            return value if isinstance(value, bool) else str(value).strip().lower() in ("true", "1", "yes")
        raise ValueError(f"column '{name}': {str(value)[:40]!r} is neither true nor false")
    if name == "mask" and isinstance(value, list):
        return value
    if name == "id" and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise ValueError(f"column '{name}': {str(value)[:40]!r} is no text")
    return value
