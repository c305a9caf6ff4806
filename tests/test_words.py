"""One term for one thing: words that names, docstrings, comments, help and errors do not use, and the right ones."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Read by this test once their words have followed; empty it then.
PENDING = ("videoada/evaluation/*", "README.md", "docs/*.md")

# In text: what is not written, and the term that is.
TEXT = {
    r"foretold|foretells?": "predicted",
    r"anew": "again",
    r"tells? of|told": "reported, given, known",
    r"(stand|stands|standing|stood)[- ]in|stand-?ins?": "approximate, approximation",
    r"whole (call|run|network|pipeline|schedule|way)s?": "full run, full call",
    r"places?": "index, position",
    r"(a|the|its|their|no|of|out of|within|with) reach|`reach`|^reach$": "horizon",
    r"(re)?(draw|draws|drawn|drawing|drawings|drew|drawable)": "generate a video, call a pipeline, sample noise",
    r"VideoRow": "VideoResult",
    r"PromptRow|rows? of (a|the) prompt file": "PromptEntry, entry",
    r"step[_ ]counts?": "number of steps, num_steps",
}
# In names, which are cut into words at underscores and capitals.
NAMES = {
    r"foretold|foretell": "predicted",
    r"anew": "again",
    r"told|tell": "reported, text",
    r"stand_?in": "approximation",
    r"whole": "full, complete",
    r"places?": "index, indices, position",
    r"reach": "horizon",
    r"(re)?(draw|draws|drawn|drawing|drew|drawable)": "generate, call, sample",
    r"video_row": "VideoResult",
    r"prompt_row": "PromptEntry",
    r"step_counts?|full_steps|most_steps": "num_steps, max_steps",
}
# (files, what may stand there, why)
ALLOWED_TEXT = (
    ("*", r"\bin place\b", "an operation on its own argument"),
    ("*", r"\b(takes?|took) place\b", "an event"),
    ("videoada/shapes/*", r"\bdraw(s|n|ing)?\b", "shapes on a canvas"),
    ("videoada/rendering/*", r"^drawn$|`drawn`", "state of an outcome, key of summary.json and of a run's note"),
    ("videoada/cli/*", r"^drawn$", "key of summary.json and of a run's note"),
    ("videoada/generation/make_record.py", r"^step_count$", "key of a record's `savings`"),
    ("videoada/cli/show.py", r"^step_count$", "key of a record's `savings`"),
    ("videoada/learned/parts.py", r"^step_count$", "folder under assets"),
    ("videoada/benchmarks/presets.py", r"^step count$", "name of a method in saved cells"),
    ("scripts/experiments/systems.py", r"^step count$", "name of a system in samples/results"),
    ("videoada/benchmarks/oracle/table.py", r"^place$", "key of a saved analysis"),
    ("videoada/learned/exit_heads.py", r"^reach$", "the old key of heads' files, read beside `horizon`"),
)
ALLOWED_NAMES = (
    ("videoada/records/record.py", "most_steps", "field of the run record"),
    ("videoada/models/placement.py", "place", "the verb: put a pipeline onto its device"),
    ("videoada/media/clips.py", "whole", "all frames of a video, not a run or a call"),
)


def files(*patterns):
    found = sorted(path for pattern in patterns for path in ROOT.glob(pattern))
    return [path for path in found if not any(fnmatch(path.relative_to(ROOT).as_posix(), p) for p in PENDING)]


def texts_of(source):
    """(line, text) of each comment and each string, docstrings and the fixed parts of f-strings among them."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def names_of(source):
    """(line, name) of each class, function, parameter, variable and attribute that a module defines."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr
        elif isinstance(node, ast.alias) and node.asname:
            yield getattr(node, "lineno", 0), node.asname


def prose_of(markdown):
    """(line, text) of each line outside fences of code."""
    inside = False
    for number, line in enumerate(markdown.splitlines(), 1):
        if line.lstrip().startswith("```"):
            inside = not inside
        elif not inside:
            yield number, line


def wrong_text(name, text):
    """The first forbidden word of a text and its right one, or None."""
    for where, allowed, _ in ALLOWED_TEXT:
        if fnmatch(name, where):
            text = re.sub(allowed, "", text, flags=re.IGNORECASE)
    for pattern, right in TEXT.items():
        if found := re.search(rf"(?<![\w-])(?:{pattern})(?![\w-])", re.sub(r"\s+", " ", text), re.IGNORECASE):
            return found.group(), right
    return None


def wrong_name(file, name):
    if any(fnmatch(file, where) and re.fullmatch(allowed, name) for where, allowed, _ in ALLOWED_NAMES):
        return None
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    for pattern, right in NAMES.items():
        if found := re.search(rf"(?:^|_)(?:{pattern})(?=_|$)", words):
            return found.group().strip("_"), right
    return None


@pytest.mark.parametrize(
    ("file", "text", "word"),
    [
        ("videoada/files.py", "The slope before it\n    foretold this.", "foretold"),
        ("videoada/files.py", "Each whole\n    call of it", "whole call"),
        ("videoada/files.py", "Rows within reach of one", "within reach"),
        ("videoada/files.py", "what is drawn and written", "drawn"),
        ("videoada/files.py", "drawn", "drawn"),
        ("videoada/cli/status.py", "drawn", None),
        ("videoada/files.py", "The tolerance that reaches 40 dB takes place in place of its placement.", None),
        ("videoada/shapes/renderer.py", "Draw a clip.", None),
    ],
)
def test_words_are_found_and_exceptions_are_not(file, text, word):
    assert (wrong_text(file, text) or (None,))[0] == word


@pytest.mark.parametrize(
    ("name", "word"),
    [("by_place", "place"), ("PromptRow", "prompt_row"), ("FULL_STEPS", "full_steps"), ("_draw", "draw"),
     ("drawer", None), ("replaced", None), ("max_steps", None)],
)  # fmt: skip
def test_names_are_cut_into_words(name, word):
    assert (wrong_name("videoada/files.py", name) or (None,))[0] == word


def report(file, found):
    return "\n".join(f"{file}:{line}: '{word}' in {shown!r}: {right}" for line, shown, (word, right) in found)


@pytest.mark.parametrize(
    "path", files("videoada/**/*.py", "scripts/**/*.py", "docs/*.py"), ids=lambda p: p.relative_to(ROOT).as_posix()
)
def test_code_uses_the_words_of_the_field(path):
    file, source = path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")
    found = [(line, text[:80], wrong) for line, text in texts_of(source) if (wrong := wrong_text(file, text))]
    found += [(line, name, wrong) for line, name in names_of(source) if (wrong := wrong_name(file, name))]
    assert not found, "\n" + report(file, sorted(set(found)))


@pytest.mark.parametrize("path", files("README.md", "docs/*.md"), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_documents_use_the_words_of_the_field(path):
    file = path.relative_to(ROOT).as_posix()
    prose = prose_of(path.read_text(encoding="utf-8"))
    found = [(line, text[:80], wrong) for line, text in prose if (wrong := wrong_text(file, text))]
    assert not found, "\n" + report(file, found)
