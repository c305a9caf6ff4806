"""hold against hold-output on a v-prediction model, at the same masks. Prints a table.

    python scripts/experiments/v_prediction.py

`hold` keeps what the last prediction said of the clean video and of the noise (x̂0, ε̂); `hold-output` repeats the raw
v, which stands for another mix of the two at each timestep. Also with trailing timesteps, whose first has no signal.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

import videoada
from videoada.config.prompts import read_requests
from videoada.metrics import paired_fidelity
from videoada.records.record import package_versions


def even_mask(steps: int, predictions: int) -> tuple[bool, ...]:
    chosen = set(np.linspace(0, steps - 1, predictions).round().astype(int).tolist())
    return tuple(step in chosen for step in range(steps))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=8)
    parser.add_argument("--predictions", type=int, nargs="*", default=[26, 17, 13])
    parser.add_argument("--output", type=Path, default=Path("samples/results/v-prediction.json"))
    args = parser.parse_args()
    pipe = videoada.load_pipeline("tiny-i2v", device="cpu")
    requests = read_requests(Path("samples/prompts_i2v.jsonl"))[: args.limit]
    rows: list[dict[str, Any]] = []
    print("| spacing | predictions of 50 | hold | hold-output |\n|---|---|---|---|")
    for spacing in ("leading", "trailing"):
        pipe.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config, timestep_spacing=spacing)
        full = [videoada.generate(pipe, [r], skip=videoada.SkipConfig(policy="none"))[0][0] for r in requests]
        for n in args.predictions:
            psnr = {}
            for predictor in ("hold", "hold-output"):
                skip = videoada.SkipConfig(policy="mask", mask=even_mask(50, n), predictor=predictor)
                videos = [videoada.generate(pipe, [r], skip=skip)[0][0] for r in requests]
                found = [paired_fidelity(v.frames, f.frames).psnr or 100.0 for v, f in zip(videos, full, strict=True)]
                psnr[predictor] = round(float(np.mean(found)), 2)
            rows.append({"timestep_spacing": spacing, "predictions": n, **psnr})
            print(f"| {spacing} | {n} | {psnr['hold']:.1f} dB | {psnr['hold-output']:.1f} dB |", flush=True)
    result = {"model": "tiny-i2v (embedded)", "prompts": len(requests), "rows": rows, "versions": package_versions()}
    args.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
