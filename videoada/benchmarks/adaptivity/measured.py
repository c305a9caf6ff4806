"""What is measured on calibration prompts by many runs each: costs of segments, and the greedy oracle's masks.

Both are kept line by line in a folder, under a hash of all that they depend on, so that an interrupted measurement goes
on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from videoada.benchmarks.adaptivity.paths import Costs
from videoada.benchmarks.benchmark import digest
from videoada.benchmarks.methods import Method
from videoada.benchmarks.oracle.analyse import MaskError, forced_steps
from videoada.benchmarks.oracle.search import Mask, greedy_masks
from videoada.config.run import GenerationConfig, SkipConfig
from videoada.files import append_row, model_folder, read_appended
from videoada.models.images import image_name
from videoada.models.pipelines import model_info

MAX_SKIP_STEPS = 8  # of the default rule, so that no mask has longer gaps than another
WITH_WHAT = SkipConfig(policy="every-n", predictor="linear", corrector=True)  # the predictor and the corrector of all
CARRIED_EVERY = 1 / 16  # of a run's steps
TINY = 1e-12
NORMS: dict[str, Callable[[Tensor, Tensor], float]] = {
    "l1": lambda a, b: float((a - b).abs().mean()),
    "l2": lambda a, b: float((a - b).norm() / b.norm()),
}
Say = Callable[[str], None]


def masked(mask: Mask) -> SkipConfig:
    """Skipping by that mask, with the predictor and the corrector of all."""
    return SkipConfig(policy="mask", mask=mask, predictor=WITH_WHAT.predictor, corrector=WITH_WHAT.corrector)


def segments_of(num_steps: int) -> list[tuple[int, int]]:
    """All segments (i, j) that skip the steps between two calls i and j, from the last step that every run computes."""
    first = forced_steps(num_steps)[-2]
    return [(i, j) for i in range(first, num_steps) for j in range(i + 2, min(i + MAX_SKIP_STEPS + 2, num_steps))]


def measure_segments(pipe: Any, requests: Sequence[GenerationConfig], folder: Path, say: Say) -> dict[str, Costs]:
    """Mean costs of every segment over the requests, `l1` and `l2`: errors of the final latents against the full run.

    The steps between two calls are skipped, and all others are computed, as LeMiCa does; `l1` is the mean absolute
    difference, which LeMiCa takes, `l2` the relative one in the Euclidean norm. The runs of most segments are broken
    off after their last call, and the error there is weighed by how far it carries to the end. That is measured at
    every third of 50 steps, every second of 30, for a short, a middle and the longest segment that ends there, on a
    full run each, and interpolated (its logarithm) by length and by step: errors of long segments began earlier and
    carry further. A prompt of 50 steps takes some 28 calls for each of them, instead of some 150.
    """
    path = folder / f"segments-{model_folder(model_info(pipe).name)}.jsonl"
    kept = {(row["of"], row["i"], row["j"]): row for row in read_appended(path)}
    total: dict[str, dict[tuple[int, int], float]] = {norm: {} for norm in NORMS}
    for n, request in enumerate(requests):
        segments = segments_of(request.num_steps)
        carried = _carried(segments)
        of = _identity(pipe, request, carried)
        if missing := [segment for segment in segments if (of, *segment) not in kept]:
            say(f"segments of calibration prompt {n + 1} of {len(requests)}")
            for i, j, errors in _errors(pipe, request, missing, carried):
                kept[of, i, j] = {"of": of, "i": i, "j": j} | errors
                append_row(path, kept[of, i, j])
        for norm, costs in total.items():
            factor = {
                (i, j): math.log(max(kept[of, i, j][f"end_{norm}"], TINY) / max(kept[of, i, j][norm], TINY))
                for i, j in carried
            }
            for i, j in segments:
                end = kept[of, i, j][norm] * math.exp(_interpolated(factor, i, j))
                costs[i, j] = costs.get((i, j), 0.0) + end / len(requests)
    return {norm: dict(costs) for norm, costs in total.items()}


def _carried(segments: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The segments that are measured to the end: a short, a middle and the longest to every third step of 50."""
    by_last: dict[int, list[tuple[int, int]]] = {}
    for segment in segments:
        by_last.setdefault(segment[1], []).append(segment)
    lasts = sorted(by_last)
    chosen = {*lasts[:: max(round(CARRIED_EVERY * lasts[-1]), 1)], lasts[-1]}
    return sorted({sorted(by_last[j])[at * (len(by_last[j]) - 1) // 2] for j in chosen for at in range(3)})


def _interpolated(values: Mapping[tuple[int, int], float], i: int, j: int) -> float:
    """A value for the segment (i, j) from those of others: linear in the length, then in the last step."""
    at_length: dict[int, float] = {}
    for last in sorted({end for _, end in values}):
        lengths, known = zip(
            *sorted((end - first, value) for (first, end), value in values.items() if end == last), strict=True
        )
        at_length[last] = float(np.interp(j - i, lengths, known))
    return float(np.interp(j, list(at_length), list(at_length.values())))


def _errors(
    pipe: Any, request: GenerationConfig, segments: Sequence[tuple[int, int]], carried: Collection[tuple[int, int]]
) -> Iterator[tuple[int, int, dict[str, float]]]:
    """Each segment with its errors after its last call, and at the end of those that are `carried` there."""
    error = MaskError(pipe, request, WITH_WHAT)
    full: Mask = (True,) * request.num_steps
    error(full)  # whose outputs are the beginning of every other run
    for i, j in segments:
        mask = (*full[: i + 1], *(False,) * (j - i - 1), *full[j:])
        to_end = (i, j) in carried
        latents = error.latents(masked(mask), mask, until=None if to_end else j)
        error.forget_other_than(full)
        found = {norm: of(latents[j], error.full[j]) for norm, of in NORMS.items()}
        if to_end:
            found |= {f"end_{norm}": of(latents[-1], error.full[-1]) for norm, of in NORMS.items()}
        yield i, j, found


def search_oracle(
    pipe: Any, requests: Sequence[GenerationConfig], folder: Path, fewest: int, say: Say
) -> list[dict[int, Mask]]:
    """For each request the greedy oracle's masks by their number of calls, from all steps down to `fewest` calls."""
    path = folder / f"oracle-{model_folder(model_info(pipe).name)}.jsonl"
    kept = {row["of"]: row for row in read_appended(path)}
    found = []
    for n, request in enumerate(requests):
        of, num_steps = _identity(pipe, request), request.num_steps
        if of not in kept or kept[of]["fewest"] > fewest:
            say(f"oracle's masks of calibration prompt {n + 1} of {len(requests)}")
            error = MaskError(pipe, request, WITH_WHAT)
            masks = []
            for step in greedy_masks(
                num_steps, error, protected=forced_steps(num_steps), max_skips=num_steps - fewest,
                max_skip_steps=MAX_SKIP_STEPS,
            ):  # fmt: skip
                masks.append("".join("01"[computed] for computed in step.mask))
                error.forget_other_than(step.mask)
            kept[of] = {"of": of, "fewest": fewest, "masks": masks}
            append_row(path, kept[of])
        found.append({mask.count("1"): tuple(c == "1" for c in mask) for mask in kept[of]["masks"]})
    return found


def _identity(pipe: Any, request: GenerationConfig, more: Any = None) -> str:
    """Hash of the model and how it computes, the request, the predictor with which steps are skipped, and `more`."""
    about = [
        digest(Method(family="", knob="", skip=WITH_WHAT), pipe),
        request.model_dump(mode="json", exclude={"image", "video"}), image_name(request.image), MAX_SKIP_STEPS,
        *([more] if more else []),
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
