"""What the tests of `videoada render` share."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from commandline import run
from conftest import ROOT

from videoada.records.record import RunRecord

PROMPTS = (ROOT / "samples" / "prompts.txt").read_text().splitlines()[:6]
FEW = ["--steps", "5", "--num-frames", "4", "--quiet", "--json"]
OWN = {"render.json", "manifest.jsonl", "summary.json"}


def command(prompts, out, *flags, check=True):
    """In a process of its own, with one thread."""
    done = subprocess.run(
        [sys.executable, "-m", "videoada", "render", str(prompts), "--out", str(out), *FEW, *flags],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, check=check, capture_output=True, text=True,
    )  # fmt: skip
    return json.loads(done.stdout) if check else done


def here(capsys, prompts, out, *flags):
    code, text, err = run(capsys, "render", str(prompts), "--out", str(out), *FEW, *flags)
    return code, json.loads(text) if text else None, err


def names(out):
    return {str(path.relative_to(out)) for path in Path(out).rglob("*")}


def contents(out):
    return {path: path.read_bytes() for path in Path(out).rglob("*") if path.is_file()}


def hashes(out):
    return {path.stem: RunRecord.from_file(path).frames_sha256 for path in Path(out).glob("0*.json")}


def whole(count, ending=".mkv"):
    return {f"{i:04d}{end}" for i in range(count) for end in (ending, ".json")} | OWN
