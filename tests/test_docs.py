"""What the README and the documentation tell people to type works: every `sh` and `python` block of a page, in order.

A page's blocks run in one folder of their own that holds a copy of samples/ and a few prompts in prompts.txt, with this
environment's commands; its python blocks share one namespace. A block that a test machine can't run has
`<!-- not run: REASON -->` in the line above it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
RUN, SHOWN = ("sh", "python"), ("text", "yaml", "json")
FENCE = re.compile(r"^( *)(`{3,}|~{3,})([^`]*)$")
NOT_RUN = re.compile(r"^ *<!-- not run: *(.*?) *-->$")
SECONDS = 600  # what a page may take on a busy machine; it should take less than 60

# Runs blocks in one process, so that python blocks see each other's names; errors name the page's own lines.
RUNNER = """
import json, os, subprocess, sys, traceback
namespace = {"__name__": "__main__"}
for kind, line, code in json.loads(sys.argv[1]):
    try:
        if kind == "sh":
            subprocess.run(["bash", "-e", "-c", code], check=True)
        else:
            exec(compile("\\n" * line + code, sys.argv[2], "exec"), namespace)
    except (Exception, SystemExit):
        traceback.print_exc()
        sys.stdout.flush()
        print(f"{sys.argv[2]}, line {line}: this block failed:\\n{code}", file=sys.stderr)
        os._exit(1)
"""


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the line of its fence, its text, and why it is not run (None: it is)."""

    language: str
    line: int
    code: str
    not_run: str | None


def blocks_of(text, name="page"):
    """The fenced blocks of a page. Raises ValueError for a language that is neither run nor known to be shown only, for
    a reason that is empty or above no block, and for a fence that is not closed."""
    found, fence, reason = [], None, None
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        match = FENCE.match(line)
        if fence is not None:
            begin, indent, marks, language, why = fence
            if match and match[2].startswith(marks) and not match[3].strip():
                code = textwrap.dedent("\n".join(row.removeprefix(indent) for row in lines[begin : number - 1]))
                found.append(Block(language, begin, code, why))
                fence = None
        elif match:
            language = (match[3].split() or [""])[0]
            if language not in RUN + SHOWN:
                raise ValueError(f"{name}, line {number}: a block of '{language}': say one of {', '.join(RUN + SHOWN)}")
            fence, reason = (number, match[1], match[2], language, reason), None
        elif reason is not None:
            raise ValueError(f"{name}, line {number - 1}: 'not run' stands above no block")
        elif said := NOT_RUN.match(line):
            reason = said[1]
            if not reason:
                raise ValueError(f"{name}, line {number}: 'not run' without a reason")
    if fence is not None or reason is not None:
        raise ValueError(f"{name}: the last block is not closed, or 'not run' stands above no block")
    return found


def run_blocks(blocks, name, folder):
    """The finished process that ran those blocks that are run, in the folder."""
    env = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "MPLBACKEND": "agg",
    }
    todo = [(b.language, b.line, b.code) for b in blocks if b.language in RUN and b.not_run is None]
    command = [sys.executable, "-c", RUNNER, json.dumps(todo), name]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=SECONDS)


# Pages whose blocks take seconds; the others take minutes together, and CI runs them by themselves (make test-docs).
QUICK = ("index.md", "contributing.md", "how-it-decides.md")


@pytest.mark.parametrize(
    "page", [pytest.param(p, marks=() if p.name in QUICK else pytest.mark.slow, id=p.name) for p in PAGES]
)
def test_blocks_of_a_page_run(page, tmp_path):
    shutil.copytree(ROOT / "samples", tmp_path / "samples")
    prompts = (ROOT / "samples" / "prompts.txt").read_text(encoding="utf-8").splitlines()
    (tmp_path / "prompts.txt").write_text("\n".join(prompts[:4]) + "\n", encoding="utf-8")
    name = page.relative_to(ROOT).as_posix()
    done = run_blocks(blocks_of(page.read_text(encoding="utf-8"), name), name, tmp_path)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]


# ---- the reader and the runner themselves ----------------------------------------------------------------------------


def test_blocks_are_read_with_their_lines():
    text = (
        "# A\n\n```sh\nls\n```\n\n<!-- not run: needs a GPU -->\n```python\nx = 1\n```\n\n"
        "- item\n\n    ```python\n    if x:\n        y = 2\n    ```\n\n````text\n```\nno block\n```\n````\n"
    )
    assert blocks_of(text) == [
        Block("sh", 3, "ls", None),
        Block("python", 8, "x = 1", "needs a GPU"),
        Block("python", 14, "if x:\n    y = 2", None),
        Block("text", 19, "```\nno block\n```", None),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("```\nls\n```\n", "a block of ''"),
        ("```bash\nls\n```\n", "a block of 'bash'"),
        ("<!-- not run: -->\n```sh\nls\n```\n", "without a reason"),
        ("<!-- not run: why -->\n\n```sh\nls\n```\n", "above no block"),
        ("```sh\nls\n", "not closed"),
    ],
)
def test_blocks_that_would_be_passed_over_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        blocks_of(text)


def test_python_blocks_share_names_and_commands_are_this_checkouts(tmp_path):
    text = (
        "```python\nx = 1\n```\n```sh\necho made > file\nvideoada --version\n```\n"
        "```python\nfrom pathlib import Path\nimport videoada\n"
        "assert x == 1\nassert Path('file').read_text() == 'made\\n'\nprint(videoada.__file__)\n```\n"
        "<!-- not run: it fails -->\n```sh\nexit 3\n```\n"
    )
    done = run_blocks(blocks_of(text), "page.md", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("videoada ")
    assert str(ROOT / "videoada") in done.stdout


@pytest.mark.parametrize(
    ("block", "line"),
    [("```sh\nfalse\ntrue\n```", 3), ("```python\n\nraise ValueError\n```", 3),
     ("```python\nraise SystemExit(0)\n```", 3)],
)  # fmt: skip
def test_a_block_that_fails_is_named(block, line, tmp_path):
    done = run_blocks(blocks_of(f"# A\n\n{block}\n"), "page.md", tmp_path)
    assert done.returncode == 1
    assert f"page.md, line {line}: this block failed" in done.stderr
    if "ValueError" in block:
        assert 'File "page.md", line 5' in done.stderr
