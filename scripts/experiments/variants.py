"""What else was tried at the same calls: other predictors and correctors, each at every video's own shipped decisions.

    python scripts/experiments/variants.py                          # ten videos of each model: 15 minutes each
    python scripts/experiments/variants.py --models tiny-wan --limit 4

Prompts are calibration prompts, so that what is chosen by this table has not seen a test prompt. Each video is made in
full and with the shipped settings at three tolerances; then, computing the same steps, with a corrector on the plain
line between two calls and with each variant. Shown: the difference in PSNR to the plain line, prompt by prompt, with
its standard error, and that of the worst video.
Writes samples/results/variants.json; what it holds is not measured again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from error_signs import write
from extrapolations import LINE, VARIANTS, Extrapolation, Layout, Variant
from torch import Tensor

import videoada
from videoada.config.prompts import read_requests
from videoada.config.run import SkipConfig
from videoada.metrics.paired import IDENTICAL, paired_fidelity
from videoada.models.call import call_pipeline
from videoada.models.recommended import with_recommended
from videoada.skipping import correction
from videoada.skipping.correction import Correction
from videoada.skipping.rewind import Rewind, TakenStep
from videoada.skipping.rules.decision import Mask
from videoada.skipping.rules.level import Level
from videoada.skipping.rules.prediction import Prediction, PredictionType, noise_in, output_of
from videoada.skipping.rules.predictors import extrapolate
from videoada.skipping.skip_steps import skip_steps

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
RESULT = SAMPLES / "results" / "variants.json"
TOLERANCES = {"tiny-t2v": (0.01, 0.05, 0.12), "tiny-i2v": (0.01, 0.05, 0.12), "tiny-wan": (0.01, 0.025, 0.05)}
PROMPTS = {name: f"prompts_calibration{'_i2v' if name == 'tiny-i2v' else ''}.jsonl" for name in TOLERANCES}


class Predicting:
    """A predictor that also keeps what the corrector may look at."""

    num_predictions = 6

    def __init__(self, predict: Extrapolation, layout: Layout):
        self.extrapolate, self.layout, self.past = predict, layout, dict[int, list[Prediction]]()

    def predict(self, past: Sequence[Prediction], sample: Tensor, level: Level, kind: PredictionType) -> Tensor:
        self.past[past[-1].step] = list(past)
        x0 = self.extrapolate(past, level, self.layout)
        return output_of(x0, noise_in(sample, x0, level), level, kind)


@contextmanager
def corrected_by(variant: Variant, predictor: Predicting) -> Iterator[None]:
    """Inside the block, gaps are corrected by a variant's interpolation, once or twice."""

    def between(before: Prediction, after: Prediction, level: Level) -> Tensor:
        return variant.interpolate(before, after, level, predictor.past.get(before.step, []), predictor.layout)

    def corrected(own: Correction, scheduler: Any, present: Tensor, after: dict[int, Prediction]) -> Tensor:
        calls = [*own.past[0][-2:], after[0]]  # the ends of this gap, and before them of the last one

        def outputs_of(taken: TakenStep, sample: Tensor) -> Tensor:
            latents = own.schedule.rescaled(sample.reshape(1, -1), taken.step)[0]
            level, kind = own.schedule.levels[taken.step], own.schedule.kind
            count = sum(call.step <= taken.step for call in calls)
            if calls[count - 1].step == taken.step:
                x0 = calls[count - 1].x0
            elif count == len(calls) - 1:
                x0 = between(calls[-2], calls[-1], level)
            else:
                x0 = extrapolate([c.x0 for c in calls], [c.level.angle for c in calls], level.angle, 1.0)
            return own.schedule.written(output_of(x0, noise_in(latents, x0, level), level, kind))[None]

        return own.rewind.again(scheduler, calls[0].step, present, outputs_of)

    with mock.patch.object(correction, "interpolate", between):
        if not variant.twice:
            yield
            return
        all_kept = mock.patch.object(Rewind, "forget_before")
        with mock.patch.object(Correction, "_corrected", corrected), all_kept:
            yield


def generate(pipe: Any, request: Any, skip: Any, **settings: Any) -> tuple[Any, Any]:
    """The frames of one run, and its trace."""
    with skip_steps(pipe, skip, **settings) as trace:
        [video], _ = call_pipeline(pipe, [request])
    return video.frames, trace


def measure(pipe: Any, request: Any, tolerances: Sequence[float], known: dict[str, Any]) -> dict[str, Any]:
    """PSNR to the full run under each variant, by tolerance; as `known` where that has them all."""
    found: dict[str, Any] = {"prompt": request.prompt, "seed": request.seed, "psnr": {}, "predictions": {}}
    full = None
    for tolerance in tolerances:
        name = f"{tolerance:g}"
        if known.get("psnr", {}).get(name, {}).keys() >= VARIANTS.keys():
            for kind in ("psnr", "predictions"):
                found[kind][name] = known[kind][name]
            continue
        if full is None:
            full, _ = generate(pipe, request, SkipConfig(policy="none"))
        with mock.patch.object(Rewind, "keep", autospec=True, side_effect=Rewind.keep) as keep:
            _, trace = generate(pipe, request, SkipConfig(tolerance=tolerance))
        sample = keep.call_args.args[4]
        layout = Layout(tuple(sample.shape[-4:]), by_frame=sample.ndim == 4)
        mask, values = Mask(tuple(trace.computed[0])), dict[str, float]()
        for label, variant in {"line": LINE, **VARIANTS}.items():
            predictor = Predicting(variant.predict, layout)
            with corrected_by(variant, predictor):
                frames, _ = generate(pipe, request, mask, predictor=predictor, corrector=True)
            values[label] = psnr(frames, full)
        found["psnr"][name], found["predictions"][name] = values, trace.num_predictions[0]
    return found


def psnr(frames: Any, full: Any) -> float:
    value = paired_fidelity(frames, full, flow=False).psnr
    return round(IDENTICAL if value is None else value, 3)


def differences(videos: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of each variant and tolerance: the mean difference to the plain line, its standard error, and that of the
    worst videos.
    """
    result: dict[str, Any] = {}
    for tolerance in videos[0]["psnr"]:
        values = {name: np.array([v["psnr"][tolerance][name] for v in videos]) for name in ("line", *VARIANTS)}
        line = values.pop("line")
        result[tolerance] = {
            "predictions": float(np.mean([v["predictions"][tolerance] for v in videos])),
            "line": [float(line.mean()), float(line.min())],
            "variants": {
                name: [
                    float((own - line).mean()), float((own - line).std(ddof=1) / len(own) ** 0.5),
                    float(own.min() - line.min()),
                ]
                for name, own in values.items()
            },
        }  # fmt: skip
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(TOLERANCES), choices=list(TOLERANCES))
    parser.add_argument("--limit", type=int, default=10)
    parser.add_argument("--output", type=Path, default=RESULT)
    args = parser.parse_args()
    results = json.loads(args.output.read_text())["models"] if args.output.is_file() else {}
    for name in args.models:
        pipe = videoada.load_pipeline(name)
        requests = with_recommended(pipe, read_requests(SAMPLES / PROMPTS[name])[: args.limit])
        known = {(video["prompt"], video["seed"]): video for video in results.get(name, {}).get("each", [])}
        videos: list[dict[str, Any]] = []
        for request in requests:
            videos.append(measure(pipe, request, TOLERANCES[name], known.pop((request.prompt, request.seed), {})))
            print(f"{name}: {len(videos)} of {len(requests)} videos", flush=True)
            if len(videos) > 1:  # an interruption loses nothing that is known
                results[name] = {"each": [*videos, *known.values()], "differences": differences(videos)}
                write(results, args.output)
        print(json.dumps(results[name]["differences"], indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
