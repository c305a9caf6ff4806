"""What is measured on calibration prompts by many runs each: costs of segments, and the greedy oracle's masks.

Both are kept line by line in a folder, under a hash of all that they depend on, so that an interrupted measurement goes
on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

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
    difference, which LeMiCa takes, `l2` the relative one in the Euclidean norm. A prompt takes some N/2 calls for each
    segment, of which there are 8·N.
    """
    path = folder / f"segments-{model_folder(model_info(pipe).name)}.jsonl"
    kept = {(row["of"], row["i"], row["j"]): row for row in read_appended(path)}
    sums: dict[str, dict[tuple[int, int], float]] = {"l1": {}, "l2": {}}
    for n, request in enumerate(requests):
        of, num_steps = _identity(pipe, request), request.num_steps
        full: Mask = (True,) * num_steps
        missing = [(i, j) for i, j in segments_of(num_steps) if (of, i, j) not in kept]
        error = MaskError(pipe, request, WITH_WHAT) if missing else None
        if error:
            error(full)  # whose outputs are the beginning of every other run
            say(f"segments of calibration prompt {n + 1} of {len(requests)}")
        for i, j in missing:
            assert error is not None
            mask = (*full[: i + 1], *(False,) * (j - i - 1), *full[j:])
            latents = error.latents(masked(mask), mask)
            error.forget_other_than(full)
            l1 = float((latents[-1] - error.full[-1]).abs().mean())
            kept[of, i, j] = {"of": of, "i": i, "j": j, "l1": l1, "l2": error.of(latents)}
            append_row(path, kept[of, i, j])
        for norm, total in sums.items():
            for i, j in segments_of(num_steps):
                total[i, j] = total.get((i, j), 0.0) + kept[of, i, j][norm] / len(requests)
    return {norm: dict(total) for norm, total in sums.items()}


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


def _identity(pipe: Any, request: GenerationConfig) -> str:
    """Hash of the model and how it computes, the request, and the predictor with which steps are skipped."""
    about = [
        digest(Method(family="", knob="", skip=WITH_WHAT), pipe),
        request.model_dump(mode="json", exclude={"image", "video"}), image_name(request.image), MAX_SKIP_STEPS,
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
