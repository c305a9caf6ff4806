"""Forms of prompt files: text, CSV, JSON Lines, and JSON as lists, keyed objects and columns, taken apart into rows."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from videoada.config.columns import is_source
from videoada.config.json_text import JsonText, parsed, twice

DELIMITERS = ",;\t"
COMMENTS, EMPTY = "lines that begin with #", "rows with nothing in them"
SINGULAR = {COMMENTS: "line that begins with #", EMPTY: "row with nothing in it"}
MOST_CELL = 2**20  # characters
MOST_KEY = 100  # characters of an id; longer keys that a prompt begins with are cut from it


class FormError(ValueError):
    """What is wrong with the form, and at which line of the file (None: everywhere)."""

    def __init__(self, line: int | None, reason: str) -> None:
        super().__init__(reason)
        self.line = line


@dataclass(frozen=True, slots=True)
class Row:
    """What an entry says: `values` by column, or a prompt; `key` is its name in an object of entries."""

    line: int
    values: Any
    key: str | None = None


Rows = Iterator[Row]


def read_lines(text: str, left_out: Counter[str]) -> Rows:
    """A prompt a line; empty lines count for nothing, and lines that begin with # are comments."""
    for number, line in enumerate(text.split("\n"), 1):  # not splitlines(): prompts may hold other separators
        if line.lstrip().startswith("#"):
            left_out[COMMENTS] += 1
        elif line.strip():
            yield Row(number, line.strip())


# ---- CSV -------------------------------------------------------------------------------------------------------------


def read_csv(text: str, left_out: Counter[str]) -> Rows:
    """A header with the names of the columns, then a row a line; with commas, semicolons or tabs, as the header has."""
    begin = len(text) - len(text.lstrip("\n"))
    if named := re.match(r'"?sep=([,;\t])"?\n', text[begin:]):  # Excel's own line
        begin += named.end()
    skipped, text = text.count("\n", 0, begin), text[begin:]
    csv.field_size_limit(MOST_CELL)
    delimiter, names = _header(text.split("\n", 1)[0], named[1] if named else DELIMITERS, 1 + skipped)
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True, strict=True)
    before = 1
    try:
        next(reader)
        for cells in reader:
            line, before = before + 1 + skipped, reader.line_num
            if any(cell.strip() for cell in cells[len(names) :]):
                raise FormError(line, f"it has more cells than there are columns; quote cells that hold '{delimiter}'")
            values = {name: cell for name, cell in zip(names, cells, strict=False) if cell.strip()}
            if values:
                yield Row(line, values)
            elif cells:
                left_out[EMPTY] += 1
    except csv.Error as problem:
        line = before + 1 + skipped
        if "field limit" in str(problem):
            raise FormError(line, f"a cell has more than {MOST_CELL:,} characters: is a quote missing?") from None
        reason = 'a quote (") is not closed, or text comes after it: double quotes inside a cell'
        raise FormError(line, reason) from None


def _header(line: str, delimiters: str, number: int) -> tuple[str, list[str]]:
    """The delimiter that a header is written with, and its names. Raises FormError for a line that is no header."""
    found: list[tuple[str, list[str]]] = []
    for delimiter in delimiters:
        try:
            names = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True, strict=True), [])
        except csv.Error:
            continue
        if any(map(is_source, names)):
            found.append((delimiter, [name.strip() for name in names]))
    if not found:
        raise FormError(
            number, "a CSV file begins with the names of its columns, one of them 'prompt' (or 'image', for a model "
            "that takes no prompt), between commas, semicolons or tabs",
        )  # fmt: skip
    delimiter, names = max(found, key=lambda pair: len(pair[1]))
    if name := twice(filter(None, names)):
        raise FormError(number, f"the column '{name[:40]}' stands twice")
    return delimiter, names


# ---- JSON ------------------------------------------------------------------------------------------------------------


def read_json_lines(text: str, left_out: Counter[str]) -> Rows:
    """An object or a prompt a line; or what a .json file holds."""
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if len(lines) == 1 or (lines and lines[0][1].strip() in ("[", "{")):
        yield from read_json(text, left_out)
        return
    for number, line in lines:
        try:
            yield Row(number, parsed(line))
        except ValueError as problem:
            raise FormError(number, str(problem)) from None


def read_json(text: str, left_out: Counter[str]) -> Rows:
    """A list of entries; an object of entries by their ids or prompts, or of lists of entries; an object of columns;
    one entry; or entries one after another, as JSON Lines have them."""
    file = JsonText(text, FormError)
    at = file.after_space(0)
    if text[at : at + 1] == "[":
        for line, _, values, _ in file.members(at):
            yield Row(line, values)
        file.check_end("the list")
        return
    if text[at : at + 1] != "{":
        value, file.end = file.value(at)
        file.check_end("the value")
        yield Row(file.line_of(at), value)
        return
    members = list(file.members(at))
    after = file.after_space(file.end)
    if text[after : after + 1] == "{":  # JSON Lines by another name
        while text[at : at + 1] == "{":
            value, end = file.value(at)
            yield Row(file.line_of(at), value)
            at = file.after_space(end)
        file.check_end("the objects", at)
        return
    file.check_end("the object")
    yield from _object(file, members, at, left_out)


Member = tuple[int, str | None, Any, int]  # line, key, value, where the value begins


def _object(file: JsonText, members: list[Member], at: int, left_out: Counter[str]) -> Rows:
    """The entries of an object, by what its values are."""
    keys = [str(key) for _, key, _, _ in members]
    sources = [(key, value, begin) for _, key, value, begin in members if is_source(str(key))]
    nested = any(isinstance(value, dict | list) for _, _, value, _ in members)
    texts = any(isinstance(value, str) for _, _, value, _ in members)
    if sources and isinstance(sources[0][1], dict | list):
        source, values, begin = sources[0]
        columns = {str(key): value for _, key, value, _ in members}
        yield from _columns(file, columns, str(source), values, begin, left_out)
    elif sources or not (nested or texts):
        if repeated := twice(keys):
            raise FormError(file.line_of(at), f"the key '{repeated[:40]}' stands twice")
        yield Row(file.line_of(at), {str(key): value for _, key, value, _ in members})
    elif any(isinstance(value, list) for _, _, value, _ in members):
        for _, key, value, begin in members:
            if isinstance(value, list):
                for line, _, inner, _ in file.members(begin):
                    yield Row(line, inner)
            else:
                left_out[f"the key '{str(key)[:40]}', which holds no list of prompts"] = 0
        lists = [key for key, (_, _, value, _) in zip(keys, members, strict=True) if isinstance(value, list)]
        if len(lists) > 1:
            left_out[f"the names of the lists ({', '.join(repr(key[:40]) for key in lists)})"] = 0
    else:
        for line, key, value, begin in members:
            if nested and not isinstance(value, dict):
                left_out[f"the key '{str(key)[:40]}', which holds no entry"] = 0
            elif isinstance(value, dict) and not any(map(is_source, value)) and _holds_entries(value):
                for inside, inner_key, inner, _ in list(file.members(begin)):
                    yield Row(inside, inner, inner_key)
            else:
                yield Row(line, value, key)


def _holds_entries(value: dict[str, Any]) -> bool:
    return any(isinstance(inner, dict) and any(map(is_source, inner)) for inner in value.values())


def _columns(
    file: JsonText, columns: dict[str, Any], source: str, values: Any, begin: int, left_out: Counter[str]
) -> Rows:
    """Entries of an object of columns, each a list, or an object by the entries' index as pandas writes it."""
    by_index = isinstance(values, dict)
    indices = list(values) if by_index else range(len(values))
    for name, column in columns.items():
        if type(column) is not type(values):
            raise FormError(None, f"the column '{name[:40]}' does not hold {'an object' if by_index else 'a list'}, as "
                                  f"'{source[:40]}' does")  # fmt: skip
        if len(column) != len(values) or (by_index and column.keys() != values.keys()):
            raise FormError(None, f"the columns '{source[:40]}' and '{name[:40]}' are not of the same entries: "
                                  f"{len(values)} and {len(column)}")  # fmt: skip
    if by_index and [str(i) for i in indices] != [str(i) for i in range(len(values))]:
        left_out[f"the index of the columns ('{str(next(iter(values)))[:40]}', …)"] = 0
    lines = [line for line, _, _, _ in file.members(begin)]
    for line, index in zip(lines, indices, strict=False):
        yield Row(line, {name: column[index] for name, column in columns.items()})


@dataclass(frozen=True, slots=True)
class Form:
    """A form of prompt files: how it is read, and what it holds in words."""

    read: Callable[[str, Counter[str]], Rows]
    holds: str


FORMS = {
    ".txt": Form(read_lines, "A prompt a line; empty lines count for nothing, lines that begin with `#` are comments."),
    ".csv": Form(
        read_csv, "A header with the columns, one of them `prompt`, then a row a line, with commas, semicolons or tabs "
        "between cells; cells that hold such a one are in quotes.",
    ),
    ".tsv": Form(read_csv, "The same as `.csv`."),
    ".jsonl": Form(read_json_lines, "An object a line, its keys as columns, or a string, which is a prompt."),
    ".json": Form(
        read_json, "A list of such objects or strings; an object of them by their ids, or by their prompts; an object "
        "of lists of them; an object of columns, as pandas writes it; or one after another.",
    ),
}  # fmt: skip
ENDINGS = tuple(FORMS)
# (what, its file, what it holds, its prompts' column)
BENCHMARKS = (
    ("VBench", "VBench_full_info.json", "a list", "prompt_en"),
    ("VBench, a dimension", "metadata/color.json", "a list", "prompt_en"),
    ("VBench-I2V", "vbench2_i2v_full_info.json", "a list; the image in `image_name`", "prompt_en"),
    ("VBench-2.0", "VBench2_full_info.json, meta_info/Instance_Preservation.json", "a list", "prompt_en"),
    ("VBench-2.0", "VBench2_full_text_info.json", "an object by the prompts' first 180 characters", "caption"),
    ("EvalCrafter", "metadata.json", "an object by ids", "prompt"),
    ("T2V-CompBench", "meta_data/motion_binding.json", "a list", "prompt"),
    ("any", "all_dimension.txt", "a prompt a line", ""),
)


def is_identity(key: str | None, prompt: str) -> bool:
    """Whether the key of an object of entries is an id; not the prompt, nor its first letters as in VBench-2.0."""
    return key is not None and key != prompt and not (len(key) >= MOST_KEY and prompt.startswith(key))


def is_prompt(key: str | None) -> bool:
    """Whether the key of an entry that names no prompt is one: several words, or letters that no id has."""
    return key is not None and (" " in key.strip() or not key.isascii())
