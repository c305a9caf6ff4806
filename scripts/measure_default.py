"""Predictions and fidelity of the shipped default, and of other thresholds, on a file of prompts. Prints a table.

    python scripts/measure_default.py                          # the default alone, as the README quotes it
    python scripts/measure_default.py --thresholds 0.1 0.2     # others beside it
    python scripts/measure_default.py --release 0.01 0.03      # and the released code's rule
    python scripts/measure_default.py --model tiny-i2v --prompts samples/prompts_i2v.jsonl

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


def load(model: str) -> None:
    global pipe
    torch.set_num_threads(1)
    pipe = videoada.load_pipeline(model, device="cpu")


def read_requests(path: Path) -> list[videoada.GenerationConfig]:
    """Prompts, one a line; or JSON Lines with prompt and image, which is sought beside the file."""
    requests = []
    for seed, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
        row = json.loads(line) if path.suffix == ".jsonl" else {"prompt": line}
        image = str(path.parent / row["image"]) if "image" in row else None
        requests.append(videoada.GenerationConfig(prompt=row["prompt"], seed=seed, image=image))
    return requests


def measure_prompt(
    request: videoada.GenerationConfig, settings: dict[str, videoada.SkipConfig]
) -> dict[str, dict[str, float]]:
    """Each setting's predictions, fidelity to the full run and speed-up, on one prompt."""
    [(full, reference)] = videoada.generate(pipe, [request], skip=videoada.SkipConfig(policy="none"))
    rows = {}
    for name, skip in settings.items():
        [(video, record)] = videoada.generate(pipe, [request], skip=skip)
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
    parser.add_argument("--model", default="tiny-t2v")
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
    requests = read_requests(args.prompts)[: args.limit]
    with ProcessPoolExecutor(args.processes, get_context("spawn"), load, (args.model,)) as pool:
        for rows in pool.map(measure_prompt, requests, [settings] * len(requests)):
            for name, row in rows.items():
                results[name].append(row)
    print(f"| policy (embedded {args.model}) | predictions of 50 | range | PSNR | worst | SSIM | denoising speed-up |")
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
            "model": f"{args.model} (embedded)",
            "prompts": len(rows),
            "figures": table,
            "versions": package_versions(),
        }
        args.output.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
