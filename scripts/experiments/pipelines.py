"""Which diffusers pipelines work: every check of tests/pipelines/conformance.py on every small random-weight build.

    python scripts/experiments/pipelines.py             # all
    python scripts/experiments/pipelines.py wan-vace    # only those; the others' rows stay

Writes samples/results/pipelines.json, of which docs/pipelines.md is made; ends with 1 where a build does not do what
tests/pipelines/outcomes.yaml says. Two minutes on one core.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

import torch
import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
TESTS = ROOT / "tests" / "pipelines"
RESULTS = ROOT / "samples" / "results" / "pipelines.json"


def main() -> int:
    sys.path.insert(0, str(TESTS))
    from builders import BUILDS
    from conformance import Conformance, state_of

    torch.set_num_threads(1)  # the networks are so small that more threads only wait for each other
    outcomes = yaml.safe_load((TESTS / "outcomes.yaml").read_text(encoding="utf-8"))
    rows, wrong = [], 0
    kept = (
        {row["name"]: row for row in json.loads(RESULTS.read_text(encoding="utf-8"))["builds"]} if sys.argv[1:] else {}
    )
    for name, build in BUILDS.items():
        if name in kept and name not in sys.argv[1:]:
            rows.append(kept[name])
            continue
        checks = Conformance(build)
        scheduler = type(checks.pipe.scheduler).__name__
        results = checks.run()
        state, why = state_of(results)
        wrong += state != outcomes[name]["state"]
        print(f"{name}: {state} {why}", file=sys.stderr)
        about = {key: getattr(build, key) for key in ("family", "pipeline", "task")}
        said = {"state": state, "message": why, "remark": outcomes[name].get("remark", "")}
        rows.append({"name": name, **about, "scheduler": scheduler, **said, "checks": results})
    versions = {name: version(name) for name in ("diffusers", "transformers", "torch")}
    RESULTS.write_text(json.dumps({"versions": versions, "builds": rows}, indent=1, ensure_ascii=False) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
