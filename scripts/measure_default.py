"""Predictions and fidelity of the shipped default, and of other thresholds, on a file of prompts. Prints a table.

    python scripts/measure_default.py                          # the default alone, as the README quotes it
    python scripts/measure_default.py --thresholds 0.1 0.2     # others beside it
    python scripts/measure_default.py --release 0.01 0.03      # and the released code's rule

Each prompt runs in full once (seed = its line, from 0) and once for each setting, in one process. PSNR is pooled over a
video's frames, against its full run. Embedded model: the figures say nothing of the real ones.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

import videoada
from videoada.config import DEFAULT_THRESHOLD
from videoada.metrics import paired_fidelity
from videoada.records import package_versions


def load() -> None:
    global pipe
    torch.set_num_threads(1)
    pipe = videoada.load_pipeline("tiny-t2v", device="cpu")


def measure_prompt(prompt: str, seed: int, settings: dict[str, videoada.SkipConfig]) -> dict[str, dict[str, float]]:
    """Each setting's predictions, fidelity to the full run and speed-up, on one prompt."""
    [(full, reference)] = videoada.generate(pipe, prompt=prompt, seed=seed, skip=videoada.SkipConfig(policy="none"))
    rows = {}
    for name, skip in settings.items():
        [(video, record)] = videoada.generate(pipe, prompt=prompt, seed=seed, skip=skip)
        fidelity = paired_fidelity(video.frames, full.frames)
        rows[name] = {
            "predictions": record.num_predictions,
            "psnr": 100.0 if fidelity.psnr is None else fidelity.psnr,
            "ssim": fidelity.ssim,
            "speedup": reference.seconds["denoise"] / record.seconds["denoise"],
        }
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=Path, default=Path("samples/prompts.txt"))
    parser.add_argument("--thresholds", type=float, nargs="*", default=[], help="of third-order, besides the default's")
    parser.add_argument("--release", type=float, nargs="*", default=[], help="thresholds of third-order-release")
    parser.add_argument("--every", type=int, nargs="*", default=[], help="intervals of every-n")
    parser.add_argument("--limit", type=int, help="only the first prompts of the file")
    parser.add_argument("--output", type=Path, help="write the figures as JSON")
    parser.add_argument("--processes", type=int, default=2, help="each draws its own prompts, on one thread")
    args = parser.parse_args()

    settings = {f"third-order {t:g}": videoada.SkipConfig(threshold=t) for t in (DEFAULT_THRESHOLD, *args.thresholds)}
    settings |= {
        f"third-order-release {t:g}": videoada.SkipConfig(policy="third-order-release", threshold=t)
        for t in args.release
    }
    settings |= {f"every-n {n}": videoada.SkipConfig(policy="every-n", every=n) for n in args.every}
    results: dict[str, list[dict[str, float]]] = {name: [] for name in settings}
    prompts = args.prompts.read_text().splitlines()[: args.limit]
    with ProcessPoolExecutor(args.processes, get_context("spawn"), load) as pool:
        for rows in pool.map(measure_prompt, prompts, range(len(prompts)), [settings] * len(prompts)):
            for name, row in rows.items():
                results[name].append(row)
    print("| policy (embedded tiny-t2v) | predictions of 50 | range | PSNR | worst | SSIM | denoising speed-up |")
    print("|---|---|---|---|---|---|---|")
    table = {}
    for name, rows in results.items():
        column = {key: np.array([row[key] for row in rows]) for key in rows[0]}
        n = column["predictions"]
        table[name] = {
            "predictions": round(float(n.mean()), 2),
            "least": int(n.min()),
            "most": int(n.max()),
            "psnr": round(float(column["psnr"].mean()), 2),
            "psnr_worst": round(float(column["psnr"].min()), 2),
            "ssim": round(float(column["ssim"].mean()), 4),
            "speedup": round(float(np.median(column["speedup"])), 2),
        }
        r = table[name]
        print(
            f"| {name} | {r['predictions']:.1f} | {r['least']}–{r['most']} | {r['psnr']:.1f} dB "
            f"| {r['psnr_worst']:.1f} dB | {r['ssim']:.3f} | {r['speedup']:.2f}× |"
        )
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        figures = {
            "model": "tiny-t2v (embedded)",
            "prompts": len(rows),
            "figures": table,
            "versions": package_versions(),
        }
        args.output.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
