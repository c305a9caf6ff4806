"""Where does x̂₀ lie inside a gap? The network is asked at the skipped steps, too, from the latents that it began with.

    python scripts/experiments/gaps.py                             # four videos of each model: ten minutes
    python scripts/experiments/gaps.py --models tiny-wan --limit 8

Each video of the calibration prompts is made at the default tolerance, and then once for each of its gaps: with the
same steps up to the gap and all of the gap's. What x̂₀ has there beyond the straight line between the gap's two calls is
regressed on D, what the later call has beyond the call before, and on cos(d, D)·d, where d is what it has beyond the
extrapolation to it. Writes samples/results/gaps.json and gaps.md, two columns for each model: by share of the gap, the
coefficient and how much of the deviation from the line it explains.
"""

from __future__ import annotations

import argparse
import contextlib
import json
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from error_signs import PROMPTS, write

import videoada
from videoada.config.prompts import read_requests
from videoada.config.run import SkipConfig
from videoada.models.call import call_pipeline
from videoada.models.recommended import with_recommended
from videoada.skipping import correction
from videoada.skipping.rules.decision import Mask
from videoada.skipping.rules.prediction import Prediction, read_prediction
from videoada.skipping.rules.predictors import FAINTEST, beyond_extrapolation
from videoada.skipping.skip_steps import skip_steps

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
RESULT = SAMPLES / "results" / "gaps.json"
EDGES = (0.25, 0.5, 0.75, 1.0)  # shares of a gap; the call itself comes last
REGRESSORS = ("D", "cos(d, D)·d")
NAMES = ("first quarter", "second", "third", "last", "at the next call")


class EnoughError(Exception):
    """The last step that is asked for."""


def predictions(pipe: Any, request: Any, skip: Any, last: int | None = None, **settings: Any) -> dict[int, Prediction]:
    """Those computed, by step, up to step `last`."""
    found: dict[int, Prediction] = {}

    def read(step: int, *args: Any) -> Prediction:
        prediction = read_prediction(step, *args)
        found.setdefault(step, prediction)  # at a call after a gap the guard then reads the extrapolation to it
        if step == last:
            raise EnoughError
        return prediction

    reading = mock.patch.object(correction, "read_prediction", read)
    with contextlib.suppress(EnoughError), reading, skip_steps(pipe, skip, **settings):
        call_pipeline(pipe, [request])
    return found


def measure(name: str, limit: int) -> dict[str, list[dict[str, float]]]:
    """By regressor, for each part of a gap, the regression over all gaps, each weighed by 1/|D|²."""
    pipe = videoada.load_pipeline(name)
    requests = with_recommended(pipe, read_requests(SAMPLES / PROMPTS[name][1]))[:limit]
    # steps; products of the deviation and the regressor, squares of both
    sums = {name: np.zeros((len(NAMES), 4)) for name in REGRESSORS}
    for i, request in enumerate(requests):
        own = predictions(pipe, request, SkipConfig())
        steps = sorted(own)
        for a, b in zip(steps, steps[1:], strict=False):
            past, after = [own[step] for step in steps if step <= a], own[b]
            if b - a < 2 or len(past) < 2 or after.level.angle > FAINTEST:
                continue
            mask = Mask(tuple(step in own if step <= a else True for step in range(request.num_inference_steps)))
            true = predictions(pipe, request, mask, last=b, predictor="linear", corrector=True)
            change = after.x0 - past[-1].x0
            regressors = dict(zip(REGRESSORS, (change, beyond_extrapolation(past, after)), strict=True))
            weight = 1 / float(change.dot(change))
            for step in range(a + 1, b + 1):
                angles = [p.level.angle for p in (past[-1], true[step], after)]
                share = (angles[1] - angles[0]) / (angles[2] - angles[0])
                deviation = true[step].x0 - past[-1].x0 - share * change
                part = len(EDGES) if step == b else int(np.searchsorted(EDGES, min(share, 1.0)))
                for about, regressor in regressors.items():
                    sums[about][part] += [1, *(weight * float(x.dot(y)) for x, y in (
                        (deviation, regressor), (regressor, regressor), (deviation, deviation)))]  # fmt: skip
        print(f"{name}: {i + 1} of {len(requests)} videos", flush=True)
    return {
        about: [
            {"steps": int(n), "coefficient": round(xy / xx, 3), "explained": round(xy**2 / (xx * yy), 3)}
            for n, xy, xx, yy in rows
        ] for about, rows in sums.items()
    }  # fmt: skip


def table(results: dict[str, Any]) -> str:
    columns = {f"{name}: {about}": rows for name, own in results.items() for about, rows in own.items()}
    lines = [f"| part of the gap | {' | '.join(columns)} |", "|---|" + "---|" * len(columns)]
    for part, name in enumerate(NAMES):
        cells = (f"{rows[part]['coefficient']:.2f}, {rows[part]['explained']:.0%}" for rows in columns.values())
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(PROMPTS), choices=list(PROMPTS))
    parser.add_argument("--limit", type=int, default=4)
    parser.add_argument("--output", type=Path, default=RESULT)
    args = parser.parse_args()
    results = json.loads(args.output.read_text())["models"] if args.output.is_file() else {}
    for name in args.models:
        results[name] = measure(name, args.limit)
        write(results, args.output)
    args.output.with_suffix(".md").write_text(table(results) + "\n", encoding="utf-8")
    print(table(results))


if __name__ == "__main__":
    main()
