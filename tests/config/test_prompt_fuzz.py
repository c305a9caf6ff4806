"""Prompt files made at random, whole and damaged: read as they were meant, or refused in one line that names them.

No number is read that the file does not hold, and every column is either read or listed.
"""

from __future__ import annotations

import csv
import io
import json
import re
import time
from decimal import Decimal
from functools import partial

import numpy as np
import pytest

from videoada.config.columns import COLUMNS, OTHER_NAMES, is_empty, plain
from videoada.config.encodings import decoded
from videoada.config.prompts import read_prompts
from videoada.config.settings import RunSettings
from videoada.errors import PromptError
from videoada.rendering.jobs import plan_jobs

SLOWEST = 5  # seconds of one file, of this process alone
WORDS = [
    "a cat", "ein Kaffee, heiß", "日本の猫", "semi;colon", 'a "quoted" one', "tab\there", "# not a comment", "🙂",
    "x" * 300,
    "e\u0301", "line\u2028separator", "[list]", "{object}", "=1+1", "-x", "%d", "a/b", "null", "42", "$HOME",
]  # fmt: skip
UNKNOWN = ["dimension", "auxiliary_info", "Tag", "state 0", "object_1", "überschrift", "风格", "weight", "model"]
ENCODINGS = ["utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
NUMBERS = ("seed", "steps", "guidance_scale", "num_frames", "height", "width", "fps")
NUMBER = re.compile(r"\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?", re.ASCII)


def pick(rng, options):
    return options[int(rng.integers(len(options)))]


def named(rng, name):
    """A name of a column, its own or another tool's, in some case."""
    name = pick(rng, [name, name, *(other for other, own in OTHER_NAMES.items() if own == name)])
    return pick(rng, [str, str.upper, str.title, lambda text: text.replace("_", " "), lambda text: f" {text}-"[:-1]])(
        name
    )


def table(rng):
    """Rows as they are meant, the columns' names, and the names of those that nothing reads."""
    kinds = {"seed": lambda: int(rng.integers(2**40)), "steps": lambda: int(rng.integers(1, 100)),
             "guidance_scale": lambda: round(float(rng.uniform(1, 20)), 2),
             "num_frames": lambda: int(rng.integers(1, 99)),
             "fps": lambda: pick(rng, [8, 23.976, 24]), "negative_prompt": lambda: pick(rng, WORDS)}  # fmt: skip
    used = [name for name in kinds if rng.random() < 0.4]
    unknown = [name for name in UNKNOWN if rng.random() < 0.2]
    rows = []
    for i in range(int(rng.integers(1, 7))):
        row = {"prompt": f"{i} {pick(rng, WORDS)}"} | {name: kinds[name]() for name in used if rng.random() < 0.8}
        rows.append((row, {name: pick(rng, WORDS) for name in unknown if rng.random() < 0.8}))
    names = {name: named(rng, name) for name in ("prompt", *used)}
    return rows, names, unknown


def as_file(rng, rows, names):
    """The ending and text of a file in one of the forms."""
    flat = [{names[name]: value for name, value in row.items()} | extra for row, extra in rows]
    keys = list(dict.fromkeys(key for row in flat for key in row))
    form = int(rng.integers(8))
    if form < 3:
        out = io.StringIO()
        quoting = pick(rng, [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
        writer = csv.writer(out, delimiter=",;\t"[form], quoting=quoting, lineterminator=pick(rng, ["\n", "\r\n"]))
        writer.writerow(keys)
        for row in flat:
            pandas = rng.random() < 0.5  # a column with a gap becomes one of floats
            cells = [row.get(key, "") for key in keys]
            writer.writerow([float(cell) if pandas and isinstance(cell, int) else cell for cell in cells])
        return (".tsv" if form == 2 else ".csv"), out.getvalue()
    escaped = bool(rng.integers(2))
    shape = {3: flat, 4: dict(enumerate(flat)), 5: {"prompts": flat},
             6: {key: {str(i): row.get(key) for i, row in enumerate(flat)} for key in keys}}.get(form)  # fmt: skip
    if shape is None:
        return ".jsonl", "\n".join(json.dumps(row, ensure_ascii=escaped) for row in flat)
    return ".json", json.dumps(shape, ensure_ascii=escaped, indent=pick(rng, [None, 1]))


def damaged(data, rng):
    """A few bytes changed, cut out, put in, repeated, or the end cut off."""
    data = bytearray(data)
    odd = [
        b'"',
        b",",
        b";",
        b"\0",
        b"\xff",
        b"\n",
        b"{",
        b"[[[[",
        b"]",
        b":",
        b"1e999",
        b"NaN",
        b"\\ud83d",
        b"\xef\xbb\xbf",
    ]
    for _ in range(int(rng.integers(1, 5))):
        at = int(rng.integers(len(data) + 1))
        match int(rng.integers(5)):
            case 0:
                data[at : at + 1] = bytes([int(rng.integers(256))])
            case 1:
                del data[at : at + int(rng.integers(1, 40))]
            case 2:
                data[at:at] = pick(rng, odd)
            case 3:
                data[at:at] = data[: int(rng.integers(1, 60))]
            case 4:
                data = data[: max(at, 1)]
    return bytes(data)


def problem_of(call):
    """What a call gives, and the words of its refusal; one of them is None."""
    try:
        return call(), None
    except PromptError as error:
        return None, str(error)


def read(path):
    """The file's entries and what is not used of it; None for one that is refused, in one line that names it."""
    began = time.process_time()
    file, problem = problem_of(lambda: read_prompts(path))
    assert time.process_time() - began < SLOWEST, path
    check_words(problem, path)
    return file


def check_words(problem, path):
    if problem is not None:
        assert str(path) in problem
        assert len(problem.splitlines()) == 1, problem
        assert not re.search("Traceback|Errno|codec|object has no|NoneType|<class", problem), problem


def check_numbers(file, data):
    """Every number that was read is one that the file holds."""
    text = decoded(data)
    held = {Decimal(number) for number in NUMBER.findall(text)}
    for entry in file.entries:
        for name in NUMBERS:
            if name in entry.fields:
                assert abs(Decimal(str(entry.fields[name]))) in held, (name, entry.fields[name])


def check_columns(file, path):
    """Every column of a list of objects that says something is read, or listed."""
    if path.suffix not in (".json", ".jsonl"):
        return
    try:
        rows = json.loads(path.read_bytes())
    except ValueError:
        return
    said = " ".join(file.not_used)
    for row in rows if isinstance(rows, list) else ():
        for key, value in row.items() if isinstance(row, dict) else ():
            assert is_empty(value) or plain(key) in COLUMNS or repr(key[:60])[1:-1] in said or key[:60] in said


def go_through(tmp_path, seed, count):
    rng = np.random.default_rng(seed)
    refused = planned = 0
    for i in range(count):
        rows, names, unknown = table(rng)
        ending, text = as_file(rng, rows, names)
        encoding = pick(rng, ENCODINGS)
        if encoding in ("utf-16-le", "utf-16-be") and not text.isascii():  # which can't be known without a mark
            encoding = "utf-16"
        data = text.encode(encoding)
        path = tmp_path / f"{i}{pick(rng, ['', ' a:b', '#?', '%d', '日'])}{ending}"
        path.write_bytes(data)
        file = read_prompts(path)
        assert [entry.fields for entry in file.entries] == [row for row, _ in rows], text
        for name in unknown:
            if any(name in extra for _, extra in rows):
                assert f"'{name}'" in " ".join(file.not_used), text
        data = damaged(data, rng)
        path.write_bytes(data)
        file = read(path)
        if file is None:
            refused += 1
            continue
        check_numbers(file, data)
        check_columns(file, path)
        plan = partial(plan_jobs, file.entries, RunSettings(), source=path, folder=tmp_path / "out")
        jobs, problem = problem_of(plan)
        check_words(problem, path)
        planned += jobs is not None
    assert refused > count / 4
    assert planned > count / 10


def test_files_of_every_form_and_damaged_ones(tmp_path):
    go_through(tmp_path, seed=1, count=500)  # each as it is and damaged


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 10))
def test_many_more_files(tmp_path, seed):
    go_through(tmp_path, seed, count=500)


def test_huge_and_nested_files(tmp_path):
    """What is large or deep is read, or refused, soon."""
    for name, text in (
        ("a.json", "[" * 200_000), ("b.json", '{"a":' * 100_000), ("c.jsonl", '{"prompt": ' + "[" * 100_000),
        ("d.csv", "prompt\n" + "x" * 3 * 2**20), ("e.csv", 'prompt\n"' + "x\n" * 2**20),
        ("f.csv", "prompt," + ",".join(f"c{i}" for i in range(50_000)) + "\n" + "x," * 50_000),
        ("g.json", '{"prompt": "x", "a": ' + "9" * 100_000 + "}"), ("h.txt", "x" * 5 * 2**20),
        ("i.jsonl", "\n".join(['{"prompt": "x"}'] * 50_000)),
        ("j.json", json.dumps({f"k{i}": "x" for i in range(50_000)})),
    ):  # fmt: skip
        path = tmp_path / name
        path.write_text(text)
        read(path)
