"""What one tolerance means under each scheduler: error against tolerance and against predictions, on known data.

    python scripts/experiments/tolerances.py                 # 30 and 50 steps: a quarter of an hour on one core
    python scripts/experiments/tolerances.py --steps 50 --schedulers ddim,unipc-flow-3 --dry-run

The networks are posterior means (videoada.benchmarks.closed_form): Gaussians, mixtures and low-rank Gaussians, three of
each, four samples of each. The error is the root mean square of the difference between the final latents and those of
the same scheduler's full run, averaged over the samples. Writes samples/results/tolerances.json and the plots
samples/results/tolerances/*.svg.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from videoada import skip_steps
from videoada.benchmarks.closed_form import ClosedForm, Gaussian, LowRank, Mixture
from videoada.files import write_text
from videoada.plots import BLUE, GREY, OTHERS, new_figure, write_svg

RESULTS = Path(__file__).resolve().parents[2] / "samples" / "results"
DATA = {"gaussian": Gaussian, "mixture": Mixture, "low-rank": LowRank}
SCHEDULERS = ("ddim", "euler", "dpm++", "unipc", "flow-1", "flow-3", "flow-7", "unipc-flow-1", "unipc-flow-3",
              "unipc-flow-7", "dpm++-flow-1", "dpm++-flow-3", "dpm++-flow-7")  # fmt: skip
TOLERANCES = tuple(0.01 * 1.1**i for i in range(30))  # to 0.16, each a tenth above the last
SHOWN = (0.02, 0.05, 0.1)
SETS, SAMPLES = 3, 4


def measure(scheduler: str, data: str, steps: int, tolerances: Sequence[float]) -> list[dict[str, float]]:
    """For each tolerance the mean error, the largest, and the mean number of predictions."""
    pipes = [ClosedForm(scheduler, DATA[data](seed)) for seed in range(SETS)]
    full = [pipe(steps, seed=1 + i, batch=SAMPLES) for i, pipe in enumerate(pipes)]
    found = []
    for tolerance in tolerances:
        errors, predictions = [], []
        for i, pipe in enumerate(pipes):
            with skip_steps(pipe, tolerance=tolerance) as trace:
                skipped = pipe(steps, seed=1 + i, batch=SAMPLES)
            errors.append((skipped - full[i]).square().mean(1).sqrt())
            predictions += trace.num_predictions
        error = torch.cat(errors)
        found.append({"tolerance": tolerance, "error": float(error.mean()), "worst": float(error.max()),
                      "predictions": float(np.mean(predictions))})  # fmt: skip
    return found


def error_at(rows: Sequence[dict[str, float]], tolerance: float) -> float:
    """The mean error at a tolerance, on straight lines between logarithms."""
    xs, ys = (np.log([row[name] for row in rows]) for name in ("tolerance", "error"))
    return math.exp(np.interp(math.log(tolerance), xs, ys))


def largest_jump(rows: Sequence[dict[str, float]]) -> float:
    """How many times the error a tenth more tolerance brings, at most."""
    return max(b["error"] / a["error"] for a, b in zip(rows, rows[1:], strict=False))


def report(curves: dict[str, dict[str, list[dict[str, float]]]]) -> list[dict[str, Any]]:
    """A line for each data and scheduler: error over DDIM's at the tolerances shown, the largest jump."""
    lines = []
    for data, by_scheduler in curves.items():
        for scheduler, rows in by_scheduler.items():
            ratios = [error_at(rows, t) / error_at(by_scheduler["ddim"], t) for t in SHOWN]
            predictions = [float(np.interp(t, TOLERANCES, [row["predictions"] for row in rows])) for t in SHOWN]
            lines.append({"data": data, "scheduler": scheduler, "ratios": ratios, "predictions": predictions,
                          "errors": [error_at(rows, t) for t in SHOWN], "jump": largest_jump(rows)})  # fmt: skip
            print(f"{data:9} {scheduler:13}" + "".join(
                f" {t:g}: {p:4.1f} × {r:.2f} |" for t, p, r in zip(SHOWN, predictions, ratios, strict=True)
            ) + f" jump {lines[-1]['jump']:.2f}", flush=True)  # fmt: skip
    return lines


def plot(curves: dict[str, list[dict[str, float]]], title: str, path: Path) -> None:
    figure, axes = new_figure((8.0, 3.8))
    for i, (scheduler, rows) in enumerate(curves.items()):
        style: dict[str, Any] = {"color": BLUE, "linewidth": 2.2, "zorder": 3}
        if i:
            colours = [*OTHERS, GREY]
            style = {"color": colours[(i - 1) % len(colours)], "linewidth": 1.1,
                     "linestyle": ("-", "--")[(i - 1) // len(colours)]}  # fmt: skip
        axes.plot([row["tolerance"] for row in rows], [row["error"] for row in rows], label=scheduler, **style)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("tolerance")
    axes.set_ylabel("error of the final latents, RMS")
    axes.set_title(title, fontsize=10)
    figure.legend(loc="outside right upper", fontsize=8, frameon=False)
    write_svg(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", default="30,50")
    parser.add_argument("--data", default=",".join(DATA))
    parser.add_argument(
        "--schedulers", default=",".join(SCHEDULERS), help="ddim among them, as what the rest is held to"
    )
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--dry-run", action="store_true", help="print, and write nothing")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if not args.dry_run:
        (args.output / "tolerances").mkdir(parents=True, exist_ok=True)
    written = {}
    for steps in map(int, args.steps.split(",")):
        print(f"{steps} steps")
        curves = {data: {name: measure(name, data, steps, TOLERANCES) for name in args.schedulers.split(",")}
                  for data in args.data.split(",")}  # fmt: skip
        written[str(steps)] = report(curves)
        for data, of_data in curves.items() if not args.dry_run else ():
            plot(of_data, f"{data}, {steps} steps", args.output / "tolerances" / f"{data}-{steps}.svg")
    if not args.dry_run:
        rounded = json.loads(json.dumps(written), parse_float=lambda text: float(f"{float(text):.4g}"))
        write_text(args.output / "tolerances.json", json.dumps(rounded, indent=1) + "\n")


if __name__ == "__main__":
    main()
