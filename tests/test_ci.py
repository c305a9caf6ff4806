"""When CI runs the tests on the oldest versions: scripts and tools by stand-ins that note how they are called."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT

DECIDE = ("pyproject.toml", "constraints.txt", "scripts/test_oldest.sh")
PYTEST = "python -m pytest"


@pytest.fixture
def checkout(tmp_path):
    """A checkout with what the script needs; returns a run of it: exit code, what was said, tools that were called."""
    for name in DECIDE:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "samples" / "results").mkdir(parents=True)
    tools = tmp_path / "oldest" / "bin"
    tools.mkdir(parents=True)
    for name in ("python", "uv"):
        (tools / name).write_text(
            f'#!/bin/sh\necho "{name} $*" >> calls\ncase "$*" in "-m pytest"*) exit ${{FAILS:-0}};; '
            "-c*) echo torch=2.13.0;; esac\n"
        )
        (tools / name).chmod(0o755)

    def run(*arguments, **environment):
        calls = tmp_path / "calls"
        calls.unlink(missing_ok=True)
        done = subprocess.run(
            ["bash", "scripts/test_oldest.sh", *arguments], cwd=tmp_path, capture_output=True, text=True,
            env={**os.environ, "PYTHON": sys.executable, "OLDEST_VENV": "oldest", **environment},
        )  # fmt: skip
        return done.returncode, done.stdout, calls.read_text() if calls.exists() else ""

    return tmp_path, run


@pytest.mark.parametrize("changed", DECIDE)
def test_the_oldest_versions_are_tested_until_they_passed_with_these_files(checkout, changed):
    root, run = checkout
    code, _, calls = run("--if-changed")
    assert code == 0
    assert PYTEST in calls
    assert "--resolution lowest-direct" in calls
    assert "passed: torch=2.13.0" in (root / "samples/results/oldest.txt").read_text()
    code, said, calls = run("--if-changed")
    assert (code, calls) == (0, "")
    assert "passed before" in said
    assert PYTEST in run()[2]  # asked for, they are
    with (root / changed).open("a") as file:
        file.write("# another line\n")
    assert PYTEST in run("--if-changed")[2]
    assert run("--if-changed")[2] == ""


def test_a_failure_or_a_part_of_the_tests_does_not_count_as_passed(checkout):
    root, run = checkout
    assert run("--if-changed", FAILS="1")[0] == 1
    assert run("-k", "one of them")[0] == 0
    assert not (root / "samples/results/oldest.txt").exists()
    assert PYTEST in run("--if-changed")[2]


def test_ci_asks_whether_they_are_to_be_tested(tmp_path):
    """In a clone without any history."""
    (tmp_path / ".ci").mkdir()
    (tmp_path / "scripts").mkdir()
    (tmp_path / "tools").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci" / "run")
    for tool in ("tools/make", "tools/chromium", "tools/chromedriver", "scripts/test_oldest.sh"):
        (tmp_path / tool).write_text(f'#!/bin/sh\necho "{tool} $*" >> "{tmp_path}/calls"\n')
        (tmp_path / tool).chmod(0o755)
    path = f"{tmp_path / 'tools'}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(["bash", ".ci/run"], cwd=tmp_path, env={**os.environ, "PATH": path})
    assert done.returncode == 0
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls[-1] == "scripts/test_oldest.sh --if-changed"
    assert "tools/make test" in calls
