"""Prompt files: text, CSV, JSON Lines or JSON, in the forms of VBench, EvalCrafter and T2V-CompBench and many more."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videoada.config.columns import COLUMNS, SOURCES, Columns, plain
from videoada.config.encodings import read_text
from videoada.config.prompt_forms import ENDINGS, FORMS, SINGULAR, FormError, Row, is_identity, is_prompt
from videoada.config.run import GenerationConfig
from videoada.errors import ConfigError, PromptError
from videoada.failures import url_problem, wrong_with

CAMERA = re.compile(r", camera (pans|tilts|zooms|static)\b.*$")  # VBench-I2V: the same image, other camera motions
UNFIT = {"a NUL character": "\0", "half a character (of a pair in UTF-16)": "[\ud800-\udfff]"}
MOST_NAMED = 100  # columns that are named where nothing reads them


@dataclass(frozen=True, slots=True)
class PromptEntry:
    """One entry of a prompt file: `fields` are the RunSettings fields that it names; `line` is where it begins."""

    line: int
    id: str | None
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class PromptFile:
    """The entries of a prompt file, in its order, and a line for each kind of thing in it that nothing reads."""

    entries: list[PromptEntry]
    not_used: list[str]


def read_prompts(path: str | Path, images: str | Path | None = None) -> PromptFile:
    """The entries of a prompt file, and what of it is not used; what an entry leaves empty it does not name.

    The ending says the form (`prompt_forms.FORMS`); columns are known by their own names and by those of other tools
    (`columns.OTHER_NAMES`), in any case. An entry without a prompt names an image or a video, for models that take no
    prompt. Images are sought in the folder `images` (None: beside the file). Raises PromptError with file and line for
    what can't be read, and for a column whose name is all but a known one.
    """
    path = Path(path)
    if path.is_dir():
        raise PromptError(f"{path} is a folder: name a file of prompts in it")
    if path.suffix.lower() not in ENDINGS:
        wrong = wrong_with(path)
        raise PromptError(wrong or f"can't tell the form of {path.name}: a prompt file ends in {', '.join(ENDINGS)}")
    text = read_text(path, "prompts", PromptError)
    folder = Path(images) if images is not None else path.parent
    columns = Columns()
    left_out: Counter[str] = Counter()
    entries: list[PromptEntry] = []
    line: int | None = None
    try:
        for row in FORMS[path.suffix.lower()].read(text, left_out):
            line = row.line
            entries.append(_entry(row, folder, columns))
    except FormError as error:
        where = path if error.line is None else f"{path}, line {error.line}"
        raise PromptError(f"{where}: {error}") from None
    except ValueError as error:
        raise PromptError(f"{path}, line {line}: {error}") from None
    not_used = [_counted(what, count) for what, count in left_out.items()]
    if not entries:
        raise PromptError(f"{path} holds no prompts" + (f": {'; '.join(not_used)}" if not_used else ""))
    return PromptFile(entries, _unread(columns, len(entries)) + not_used)


def read_entries(path: str | Path, images: str | Path | None = None) -> list[PromptEntry]:
    """The entries of `read_prompts`."""
    return read_prompts(path, images).entries


def read_requests(
    path: str | Path, *, first_seed: int = 0, on_message: Callable[[str], None] | None = None,
    leave_out: Collection[str] = (), **common: Any,
) -> list[GenerationConfig]:  # fmt: skip
    """One request for each entry; entry i has the seed `first_seed + i`, unless it names one.

    `common` holds fields for all; an entry's own come first, but for those to `leave_out`, which whoever asks has no
    use for. `on_message` is given a line for each kind of thing in the file that is not used. Raises PromptError for
    what can't be read, with the line.
    """
    requests = []
    left_out: Counter[str] = Counter()
    file = read_prompts(path)
    GenerationConfig(**common)  # what is wrong with it is of no entry
    for i, entry in enumerate(file.entries):
        fields = {{"steps": "num_inference_steps"}.get(name, name): value for name, value in entry.fields.items()}
        left_out.update(given := [name for name in fields if name in leave_out])
        fields = {name: value for name, value in fields.items() if name not in given}
        for name in fields:
            if name not in GenerationConfig.model_fields:
                raise PromptError(
                    f"{path}, line {entry.line}: the column '{name}' is for `videoada render` alone: leave it out here"
                )
        if common.get("step_policy") and "num_inference_steps" in fields:
            raise PromptError(
                f"{path}, line {entry.line}: a step policy chooses the steps; leave the column 'steps' out"
            )
        try:
            requests.append(GenerationConfig(**({"seed": first_seed + i} | common | fields)))
        except ConfigError as error:
            raise PromptError(f"{path}, line {entry.line}: {error}") from None
    if on_message:
        shown = {"num_inference_steps": "steps"}
        unread = _columns({shown.get(name, name): count for name, count in left_out.items()}, len(requests))
        for text in (*file.not_used, *unread):
            on_message(f"not used of {Path(path).name}: {text}")
    return requests


def _entry(row: Row, folder: Path, columns: Columns) -> PromptEntry:
    values = {"prompt": row.values} if isinstance(row.values, str) else row.values
    if not isinstance(values, dict):
        raise ValueError("it is no JSON object with a prompt, and no text")
    fields = columns.fields(values)
    if not fields.keys() & set(SOURCES):
        if not is_prompt(row.key):
            empty = any(COLUMNS.get(plain(key)) == "prompt" for key in values)
            raise ValueError("the prompt is empty" if empty else "it has no prompt")
        fields["prompt"] = row.key
    prompt = fields.setdefault("prompt", "")
    for wrong, pattern in UNFIT.items():
        if re.search(pattern, prompt):
            raise ValueError(f"the prompt holds {wrong}")
    if "image" not in fields and "image_type" in values:  # VBench-I2V names the image of the unmoved camera only
        fields["image"] = f"{CAMERA.sub('', prompt)}.jpg"
    for name in fields.keys() & {"image", "video"}:
        if url := url_problem(fields[name]):
            raise ValueError(f"the {name} {url}")
        fields[name] = str(folder / fields[name])
    identity = fields.pop("id", row.key if is_identity(row.key, prompt) else None)
    return PromptEntry(row.line, None if identity is None else str(identity), fields)


def _counted(what: str, count: int) -> str:
    """What was left out, and how often; 0 for what is there once by nature."""
    one = SINGULAR.get(what, what)
    return f"{count} {what if count > 1 else one}" if count else what


def _unread(columns: Columns, entries: int) -> list[str]:
    """A line with every column that says something which nothing reads, and in how many entries."""
    return ["the column without a name"] if list(columns.not_used) == [""] else _columns(columns.not_used, entries)


def _columns(counts: Mapping[str, int], entries: int) -> list[str]:
    named = [
        f"'{key[:60]}'" + (f" ({count} of {entries})" if count < entries else "") if key.strip() else "one without name"
        for key, count in counts.items()
    ]
    more = f" and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
    return [f"the column{'s' if len(named) > 1 else ''} {', '.join(named[:MOST_NAMED])}{more}"] if named else []
