"""Can the error of a skipped run be seen while it runs? What each video shows on the way, against its final PSNR.

    python scripts/experiments/error_signs.py                             # 64 videos of two models: an hour
    python scripts/experiments/error_signs.py --models tiny-wan --limit 8

At the default tolerance, everything that costs nothing is kept of each video: how many predictions, the rule's signals,
the corrector's corrections, the contradictions by real calls. Besides, at every call after a gap the network is called
once more, at the corrected latents (`probe`), which no accelerator could afford: it shows how the network answers the
very error that skipping made. Then all are ranked against the final PSNR, alone and together (a ridge regression on
their logarithms, each video predicted from the others). The same videos under a looser tolerance and the release rule
say whether a video is hard by itself. Writes samples/results/error-signs.json; what it holds is not measured again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor

import videoada
from videoada.benchmarks.adaptivity.compare import rank_correlation, resampled
from videoada.config.prompts import read_requests
from videoada.config.run import SkipConfig
from videoada.files import written_aside
from videoada.metrics.paired import IDENTICAL, paired_fidelity
from videoada.models.call import call_pipeline
from videoada.models.denoisers import denoiser_of
from videoada.models.recommended import with_recommended
from videoada.patching import unpatched
from videoada.records.record import package_versions
from videoada.skipping.correction import Correction
from videoada.skipping.guard import Guard
from videoada.skipping.rules.contradiction import contradiction
from videoada.skipping.rules.prediction import read_prediction
from videoada.skipping.skip_steps import skip_steps

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
RESULT = SAMPLES / "results" / "error-signs.json"
PROMPTS = {
    "tiny-t2v": ("prompts.txt", "prompts_calibration.jsonl"), "tiny-wan": ("prompts.txt", "prompts_calibration.jsonl"),
    "tiny-i2v": ("prompts_i2v.jsonl", "prompts_calibration_i2v.jsonl"),
}  # fmt: skip
OTHER_RUNS = {
    "tolerance 0.12": SkipConfig(tolerance=0.12),
    "release rule": SkipConfig(policy="third-order-release", threshold=0.02),
}
BANDS = {"early": (0.0, 0.5), "middle": (0.5, 0.85), "late": (0.85, 1.01)}  # of α


class Watched:
    """What one run of one prompt shows, by gap: α and root mean squares."""

    def __init__(self) -> None:
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []  # of the network, at this step
        self.corrections: list[tuple[float, float]] = []
        self.probes: list[tuple[float, float]] = []
        self.contradictions: list[Tensor] = []

    def signs(self, trace: Any) -> dict[str, float]:
        signals = [s for s in trace.signal[0] if s is not None]
        values = [c for _, c in self.corrections]
        found = {
            "predictions": float(trace.num_predictions[0]), "signals, sum": sum(signals),
            "signals, largest": max(signals), "corrections, sum": sum(values),
            "corrections over α, sum": sum(c / max(a, 1e-3) for a, c in self.corrections),
            "contradictions, sum": float(sum(self.contradictions)),
            "contradictions, largest": float(max(self.contradictions)),
        }  # fmt: skip
        for name, (low, high) in BANDS.items():
            found[f"probes, {name}"] = sum(p for a, p in self.probes if low <= a < high)
        return found | {"probes, sum": sum(p for _, p in self.probes)}


@contextmanager
def watched(pipe: Any, guidance: float) -> Iterator[Watched]:
    """Inside the block, a run's corrections, contradictions and probes are noted."""
    seen, denoiser = Watched(), denoiser_of(pipe)
    plain_outputs, plain_met = Correction.outputs, Guard.met
    hook = denoiser.register_forward_pre_hook(
        lambda module, args, kwargs: seen.calls.append((args, kwargs)), with_kwargs=True
    )

    def outputs(own: Correction, scheduler: Any, step: int, output: Tensor, sample: Tensor, compute: Any) -> Any:
        result = plain_outputs(own, scheduler, step, output, sample, compute)
        if result[2]:  # corrected
            corrected, level, kind = result[1], own.schedule.levels[step], own.schedule.kind
            seen.corrections.append((level.alpha, rms(corrected - sample)))
            answer = own.schedule.read(network_at(denoiser, seen.calls, corrected, guidance))
            latents = own.schedule.rescaled(corrected.reshape(1, -1), step)[0]
            x0 = read_prediction(step, answer.reshape(-1), latents, level, kind).x0
            seen.probes.append((level.alpha, rms(x0 - own.past[0][-1].x0)))
        seen.calls.clear()
        return result

    def met(own: Guard, prompt: int, past: Any, real: Any, x0: Tensor, schedule: Any) -> None:
        if (value := contradiction(past, real, x0, schedule)) is not None:
            seen.contradictions.append(value)
        plain_met(own, prompt, past, real, x0, schedule)

    with mock.patch.object(Correction, "outputs", outputs), mock.patch.object(Guard, "met", met):
        try:
            yield seen
        finally:
            hook.remove()


def network_at(denoiser: Any, calls: Sequence[tuple[Any, Any]], latents: Tensor, guidance: float) -> Tensor:
    """The guided output at other latents, by the arguments of this step's calls: one of both halves, or two.

    Latents are (1, C, F, H, W), or the (F, C, H, W) that ModelScope's pipeline gives the scheduler, as the output is.
    """
    if by_frame := latents.ndim == 4:
        latents = latents.movedim(0, 1)[None]
    answers = []
    for args, kwargs in calls:
        name = next((n for n in ("hidden_states", "sample") if n in kwargs), None)
        asked = kwargs[name] if name else args[0]
        there = torch.cat([latents] * (len(asked) // len(latents))).to(asked.dtype)
        args, kwargs = (args, kwargs | {name: there}) if name else ((there, *args[1:]), kwargs)
        with torch.no_grad():
            answer = unpatched(type(denoiser)).forward(denoiser, *args, **kwargs)
        answers += (answer if isinstance(answer, tuple) else (answer[0],))[0].chunk(len(there) // len(latents))
    without, text = answers if len(calls) == 1 else answers[::-1]  # two calls: Wan's begin with the prompt's
    output = without + guidance * (text - without)
    return output[0].movedim(1, 0) if by_frame else output


def rms(values: Tensor) -> float:
    return float(values.float().square().mean().sqrt())


def measure(pipe: Any, request: Any) -> dict[str, Any]:
    """Signs and PSNR at the default, PSNR under the other runs."""
    guidance = request.guidance_scale

    def psnr_with(skip: SkipConfig) -> tuple[float, Any]:
        with skip_steps(pipe, skip) as trace:
            [video], _ = call_pipeline(pipe, [request])
        psnr = paired_fidelity(video.frames, full.frames, flow=False).psnr
        return IDENTICAL if psnr is None else psnr, trace

    with skip_steps(pipe, SkipConfig(policy="none")):
        [full], _ = call_pipeline(pipe, [request])
    with watched(pipe, guidance) as seen:
        psnr, trace = psnr_with(SkipConfig())
    others = {name: round(psnr_with(skip)[0], 3) for name, skip in OTHER_RUNS.items()}
    signs = {name: round(value, 6) for name, value in seen.signs(trace).items()}
    return {"prompt": request.prompt, "seed": request.seed, "psnr": round(psnr, 3), "others": others, "signs": signs}


def analyse(videos: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Rank correlations with the error (−PSNR), of each sign and of all together, with intervals of 95 %."""
    error = -np.array([v["psnr"] for v in videos])
    alone = {name: correlation(np.array([v["signs"][name] for v in videos]), error) for name in videos[0]["signs"]}
    hardness = {name: correlation(-np.array([v["others"][name] for v in videos]), error) for name in OTHER_RUNS}
    logs = np.log(np.array([[max(x, 1e-9) for x in v["signs"].values()] for v in videos]))
    predicted = left_one_out(logs, error, ridge)
    constant = left_one_out(logs, error, lambda x, y, at: float(y.mean()))
    return {
        "videos": len(videos), "psnr": [float(-error.mean()), float(error.std())], "alone": alone,
        "together": correlation(predicted, error), "mean_error": float(np.abs(predicted - error).mean()),
        "mean_error_of_a_constant": float(np.abs(constant - error).mean()), "hardness": hardness,
    }  # fmt: skip


def correlation(values: np.ndarray, error: np.ndarray) -> list[float]:
    """Spearman's, and its interval."""
    value, (low, high) = resampled(rank_correlation, values, error)
    return [value, low, high]


def left_one_out(x: np.ndarray, y: np.ndarray, fit: Callable[[Any, Any, Any], float]) -> np.ndarray:
    keep = ~np.eye(len(y), dtype=bool)
    return np.array([fit(x[keep[i]], y[keep[i]], x[i]) for i in range(len(y))])


def ridge(x: np.ndarray, y: np.ndarray, at: np.ndarray) -> float:
    """The prediction at a point, of a ridge regression on standardised columns whose penalty is a tenth of their number
    of rows."""
    mean, spread = x.mean(axis=0), x.std(axis=0) + 1e-9
    z = (x - mean) / spread
    weights = np.linalg.solve(z.T @ z + 0.1 * len(y) * np.eye(z.shape[1]), z.T @ (y - y.mean()))
    return float(y.mean() + (at - mean) / spread @ weights)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["tiny-t2v", "tiny-wan"], choices=list(PROMPTS))
    parser.add_argument("--limit", type=int, default=64)
    parser.add_argument("--output", type=Path, default=RESULT)
    args = parser.parse_args()
    results = json.loads(args.output.read_text())["models"] if args.output.is_file() else {}
    for name in args.models:
        pipe = videoada.load_pipeline(name)
        requests = [r for file in PROMPTS[name] for r in read_requests(SAMPLES / file)]
        requests = [r.model_copy(update={"seed": 1000 + i}) for i, r in enumerate(requests[: args.limit])]
        videos = results.get(name, {}).get("each", [])
        for request in with_recommended(pipe, requests)[len(videos) :]:
            videos.append(measure(pipe, request))
            print(f"{name}: {len(videos)} of {len(requests)} videos", flush=True)
            results[name] = {"each": videos}
            write(results, args.output)
        results[name] = {"each": videos} | analyse(videos)
        write(results, args.output)
        print(json.dumps({k: v for k, v in results[name].items() if k != "each"}, indent=1, ensure_ascii=False))


def write(results: dict[str, Any], path: Path) -> None:
    with written_aside(path) as aside:
        text = json.dumps({"models": results, "versions": package_versions()}, indent=1, ensure_ascii=False)
        aside.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
