"""The page of diffusers' pipelines: which work, from samples/results/pipelines.json."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from generators.tables import read, table

RESULTS = Path(__file__).resolve().parents[2] / "samples" / "results" / "pipelines.json"
TOP = """# Which pipelines work

<!-- Written by docs/write_reference.py from samples/results/pipelines.json: run scripts/experiments/pipelines.py. -->

{count} small builds of pipelines of diffusers {diffusers}, with random weights, went through the same checks:
{states}. A pipeline that runs in full gives what it gives without videoada, and the trace says so. A refused
pipeline is not changed: the message says why, in one line.

"""
CHECKS = """
Works means that all of this holds:

- `none` and `tolerance=0` give the plain result, bit for bit, with and without guidance.
- The trace has as many steps as ran; network calls and their rows, counted below the wrapper, are those of the trace.
- Every second step, a mask, the default and a huge tolerance skip what they say. The first step of each network is
  computed, and where a tolerance decides the last step, too.
- Two calls in one block give the same result, and so does the next block.
- After an exception in the middle the pipeline gives the plain result, bit for bit.
- Two prompts on two masks give what each gives alone, to rounding.
- Levels are right: with a network whose clean video never changes, a run that skips ends where the full run ends, to
  1e-4 of the largest number. Schedulers that say nothing of their noise levels are left out of this check.

Random weights say nothing of quality: how close a run with skipped steps comes to the full run can only be measured on
a trained model, and has been for the embedded models alone ([results](results.md)). The builds are in
`tests/pipelines/builders`, the checks in `tests/pipelines/conformance.py`.
"""


def page() -> str:
    """The full page."""
    found = read(RESULTS)
    builds = found["builds"]
    states = Counter(build["state"] for build in builds)
    counted = ", ".join(f"{state}: {count}" for state, count in sorted(states.items(), reverse=True))
    top = TOP.format(count=len(builds), diffusers=found["versions"]["diffusers"], states=counted)
    cells = ("family", "pipeline", "task", "scheduler", "state")
    rows = [" | ".join([*(shown(name, build[name]) for name in cells), remark(build)]) for build in builds]
    return top + table(" | ".join((*cells, "remark")), rows) + CHECKS


def shown(name: str, value: str) -> str:
    return f"`{value}`" if name in ("pipeline", "scheduler") else value


def remark(build: dict[str, Any]) -> str:
    """What is particular about it; of one that does not work, what is said."""
    parts = [build["remark"]] if build["remark"] else []
    if build["state"] != "works":
        parts.append(f"“{build['message'].split('; ')[0]}”" if build["state"] == "fails" else f"“{build['message']}”")
    elif build["checks"]["batch"].startswith("not applicable"):
        parts.append("one prompt at a time")
    return "; ".join(parts).replace("|", "&#124;")
