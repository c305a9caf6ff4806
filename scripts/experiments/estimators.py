"""What else could decide when to skip: three published ideas against the shipped estimate, with the same predictor.

    python scripts/experiments/estimators.py            # 16 prompts of either embedded model: a quarter of an hour

`newton` is videoada's: the next Newton term accumulated since the last call. `pi` holds the linear prediction of each
computed x̂₀ against the computed one, and lets a PI controller (Gustafsson 1991) choose the next length in λ. `rate` is
EasyCache's: how far the latents have gone since the last call, times ‖Δoutput‖/‖Δx‖ at that call, over ‖output‖. `sign`
is SADA's stability criterion, which has no tolerance: where it holds, up to so many steps are skipped. All take skipped
steps linearly, again when the next call is known. Writes samples/results/estimators.json and .md.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

import videoada
from videoada.benchmarks.frontier import at_budget
from videoada.config.prompts import read_requests
from videoada.config.run import SkipConfig
from videoada.metrics.paired import IDENTICAL, paired_fidelity
from videoada.models.call import call_pipeline
from videoada.models.schedulers import scheduler_of
from videoada.records.record import package_versions
from videoada.skipping.rules.decision import Decision, SkipState
from videoada.skipping.rules.error_controlled import ErrorControlled
from videoada.skipping.rules.prediction import Prediction
from videoada.skipping.skip_steps import skip_steps

RESULTS = Path(__file__).resolve().parents[2] / "samples" / "results"
PROMPTS = {"tiny-t2v": "samples/prompts.txt", "tiny-i2v": "samples/prompts_i2v.jsonl"}
BUDGETS = (0.5, 0.4, 0.32)
WARMUP = 3


@dataclass(frozen=True)
class Alone:
    """A rule for runs of one prompt: `skips(past, state)` says whether the step may be left out."""

    skips: Callable[[list[Prediction], SkipState], bool]
    most: int = 8
    num_latents = 1
    num_predictions = 4

    def decide(self, state: SkipState) -> Decision:
        past = list(state.past[0]) if state.past else []
        forced = state.step < WARMUP or state.step >= state.num_steps - 1 or state.skipped_in_a_row[0] >= self.most
        return Decision.all(state, forced or len(past) < 3 or not self.skips(past, state))


def pi(tolerance: float) -> Alone:
    def error(a: Prediction, b: Prediction, c: Prediction) -> float:
        za, zb, zc = (p.level.log_snr for p in (a, b, c))
        predicted = b.x0 + (b.x0 - a.x0) * (zc - zb) / (zb - za)
        return float((c.x0 - predicted).square().mean().sqrt()) * (1 - math.exp(zb - zc))

    def skips(past: list[Prediction], state: SkipState) -> bool:
        now = error(*past[-3:])
        before = error(*past[-4:-1]) if len(past) > 3 else now
        last = past[-1].level.log_snr
        length = (last - past[-2].level.log_snr) * (tolerance / now) ** 0.35 * (before / tolerance) ** 0.2
        ahead = state.schedule[state.step + 1].log_snr if state.step + 1 < len(state.schedule) else math.inf
        return ahead - last <= length

    return Alone(skips)


def rate(tolerance: float) -> Alone:
    def at(p: Prediction) -> torch.Tensor:
        return p.level.alpha * p.x0 + p.level.sigma * p.eps

    def skips(past: list[Prediction], state: SkipState) -> bool:
        a, b = past[-2:]
        k = (b.output - a.output).norm() / (at(b) - at(a)).norm()
        return bool(k * (state.latents[-1][0] - at(b)).norm() / b.output.norm() < tolerance)

    return Alone(skips)


def sign(most: int) -> Alone:
    def skips(past: list[Prediction], state: SkipState) -> bool:
        a, b, c = past[-3:]
        node = [p.level.sigma / max(p.level.alpha, 1e-4) for p in (a, b, c)]
        x = [p.x0 + s * p.eps for p, s in zip((a, b, c), node, strict=True)]  # x/α, whose slope in σ/α is ε
        expected = x[1] + (node[2] - node[1]) * (1.5 * b.eps - 0.5 * a.eps)
        return bool(((x[2] - expected) * (c.eps - 2 * b.eps + a.eps)).mean() <= 0)

    return Alone(skips, most)


ESTIMATORS: dict[str, list[Any]] = {
    "newton": [ErrorControlled(t) for t in (0.01, 0.03, 0.09)],
    "pi": [pi(t) for t in (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)],
    "rate": [rate(t) for t in (0.03, 0.06, 0.12, 0.25)],
    "sign": [sign(n) for n in (1, 2, 4)],
}


def generate_once(pipe: Any, request: Any, policy: Any) -> tuple[Any, float]:
    """The frames, and the share of the steps that were computed."""
    with skip_steps(pipe, policy, predictor="linear", corrector=True) as trace:
        [video], _ = call_pipeline(pipe, [request])
    return video.frames, trace.num_predictions[0] / trace.num_steps


def measure(name: str, limit: int) -> dict[str, Any]:
    pipe = videoada.load_pipeline(name)
    found: dict[str, list[list[tuple[float, float]]]] = {e: [[] for _ in knobs] for e, knobs in ESTIMATORS.items()}
    with scheduler_of(pipe, "ddim"):
        for i, request in enumerate(read_requests(PROMPTS[name])[:limit]):
            with skip_steps(pipe, SkipConfig(policy="none")):
                [full], _ = call_pipeline(pipe, [request])
            for estimator, knobs in ESTIMATORS.items():
                for k, policy in enumerate(knobs):
                    frames, share = generate_once(pipe, request, policy)
                    psnr = paired_fidelity(frames, full.frames, flow=False).psnr
                    found[estimator][k].append((share, IDENTICAL if psnr is None else psnr))
            print(f"{name}: {i + 1} of {limit} prompts", flush=True)
    curves = {}
    for estimator, points in found.items():
        means = sorted((float(np.mean([s for s, _ in p])), float(np.mean([v for _, v in p]))) for p in points)
        curves[estimator] = [{"rows": round(s, 4), "psnr": round(v, 2)} for s, v in means]
    return {"prompts": limit, "curves": curves}


def at(curve: list[dict[str, float]], budget: float) -> str:
    value = at_budget([SimpleNamespace(**point) for point in curve], budget, cost="rows")
    return "—" if value is None else f"{value:.1f}"


def table(results: dict[str, Any]) -> str:
    lines = ["| estimate | " + " | ".join(f"{m}: rows → PSNR; at 50, 40, 32 %" for m in results) + " |",
             "|---|" + "---|" * len(results)]  # fmt: skip
    for estimator in ESTIMATORS:
        cells = []
        for result in results.values():
            curve = result["curves"][estimator]
            points = ", ".join(f"{p['rows']:.0%} → {p['psnr']:.1f}" for p in curve)
            cells.append(f"{points}; {', '.join(at(curve, b) for b in BUDGETS)}")
        lines.append(f"| {estimator} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=16)
    parser.add_argument("--models", nargs="+", default=list(PROMPTS))
    args = parser.parse_args()
    path = RESULTS / "estimators.json"
    results = json.loads(path.read_text())["models"] if path.is_file() else {}
    for name in args.models:
        results[name] = measure(name, args.limit)
        path.write_text(json.dumps({"models": results, "versions": package_versions()}, indent=1) + "\n")
    path.with_suffix(".md").write_text(table(results) + "\n")
    print(table(results))


if __name__ == "__main__":
    main()
