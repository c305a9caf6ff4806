"""The default on a trained flow-matching model, at other shifts and under other solvers, against full runs of the same.

    python scripts/experiments/flow_shifts.py

Beside it every third step, and the same solver with as few steps. 8 prompts of the embedded tiny-wan, which was
trained for a shift of 3; resumable: what the output file holds is not generated again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

import videoada
from videoada.config.prompts import read_requests
from videoada.files import written_aside
from videoada.metrics import paired_fidelity
from videoada.models.schedulers import make_scheduler
from videoada.records.record import package_versions

SOLVERS = (("unipc", 1.0), ("unipc", 3.0), ("unipc", 7.0), ("euler", 3.0), ("dpm++", 3.0))
NONE = videoada.SkipConfig(policy="none")
WAYS: dict[str, dict[str, Any]] = {
    "default": {"skip": videoada.SkipConfig()},
    "every third step": {"skip": videoada.SkipConfig(policy="every-n", every=3)},
    "16 steps": {"skip": NONE, "num_inference_steps": 16},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=8)
    parser.add_argument("--output", type=Path, default=Path("samples/results/flow-shifts.json"))
    args = parser.parse_args()
    pipe = videoada.load_pipeline("tiny-wan", device="cpu")
    own = pipe.scheduler
    requests = read_requests(Path("samples/prompts.txt"))[: args.limit]
    kept = json.loads(args.output.read_text())["rows"] if args.output.is_file() else []
    done = {(row["scheduler"], row["shift"]): row for row in kept if row["prompts"] == len(requests)}
    for scheduler, shift in SOLVERS:
        if (scheduler, shift) not in done:
            shifted = type(own).from_config(own.config, flow_shift=shift)
            pipe.scheduler = make_scheduler(scheduler, shifted)
            done[scheduler, shift] = {"scheduler": scheduler, "shift": shift, "prompts": len(requests)} | measure(
                pipe, requests
            )
            print(json.dumps(done[scheduler, shift]), flush=True)
            result = {"model": "tiny-wan (embedded)", "rows": list(done.values()), "versions": package_versions()}
            with written_aside(args.output) as aside:
                aside.write_text(json.dumps(result, indent=1) + "\n")


def measure(pipe: Any, requests: list[videoada.GenerationConfig]) -> dict[str, Any]:
    """{way: predictions, mean and worst PSNR to the full run} of a pipeline."""
    full = [videoada.generate(pipe, [r], skip=NONE)[0][0] for r in requests]
    found: dict[str, Any] = {}
    for name, settings in WAYS.items():
        steps = settings.get("num_inference_steps")
        asked = [r.model_copy(update={"num_inference_steps": steps}) for r in requests]
        made = [videoada.generate(pipe, [r], skip=settings["skip"])[0] for r in asked]
        psnr = [
            paired_fidelity(v.frames, f.frames, flow=False).psnr or 100.0 for (v, _), f in zip(made, full, strict=True)
        ]
        found[name] = {
            "predictions": round(float(np.mean([record.num_predictions for _, record in made])), 1),
            "psnr": round(float(np.mean(psnr)), 2), "worst": round(min(psnr), 2),
        }  # fmt: skip
    return found


if __name__ == "__main__":
    main()
