"""Distances between the two sets of an evaluation, each named with the extractor whose features it compares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from videoada.errors import ConfigError
from videoada.evaluation.config import EvaluationConfig
from videoada.evaluation.pairing import Sides, VideoSet
from videoada.evaluation.result import EvaluationResult
from videoada.evaluation.set_metrics import SETS, Row, Sets
from videoada.metrics.frechet import FEW_SAMPLES
from videoada.metrics.statistics import VideoStatistics


def check_alike(statistics: VideoStatistics, about: dict[str, Any]) -> None:
    """Raises ConfigError when the statistics were made with another extractor or of other clips."""
    theirs, ours = statistics.about.get("extractor", {}), about["extractor"]
    for name in ("name", "weights_sha256", "num_frames", "size", "normalisation"):
        if theirs.get(name) != ours[name]:
            what = {"name": "the extractor", "weights_sha256": "weights"}.get(name, name.replace("_", " "))
            raise ConfigError(
                f"the statistics are of {what} {str(theirs.get(name))[:60]}, this is {str(ours[name])[:60]}; make them "
                "again with `save_statistics`"
            )
    if statistics.about.get("sampling") != about["sampling"]:
        kept = statistics.about.get("sampling")
        given = {name: value for name, value in (kept if isinstance(kept, dict) else {}).items() if value is not None}
        clips = ", ".join(f"`{name}={value}`" for name, value in given.items()) or "no options"
        raise ConfigError(f"the statistics are of other clips, made with {clips}; give the same options")


def with_distances(
    result: EvaluationResult, sides: Sides, wanted: set[str], config: EvaluationConfig
) -> EvaluationResult:
    """Add the distances between the sets, each named with its extractor.

    Raises ConfigError for features that can't be compared: too few, not finite, or of different lengths.
    """
    metrics: dict[str, Row] = {}
    warnings = list(result.warnings)
    chosen = [metric for name, metric in SETS.items() if name in wanted]
    sets: dict[bool, Sets | None] = {}  # by `of_partners`
    if any(not metric.of_partners for metric in chosen):
        everything = all_clips(result, sides, config)
        warnings += warnings_of_partners(result, everything)
        sets[False] = everything
    if any(metric.of_partners for metric in chosen):
        sets[True] = partners_alone(result, sides, config)
    for metric in chosen:
        if compared := sets[metric.of_partners]:
            distance = metric.measure(compared)
            warnings += distance.warnings
            if distance.row is not None:
                metrics[distance.title] = distance.row
    if config.protocol and (count := count_of(result)) < FEW_SAMPLES:
        warnings.append(f"protocol {config.protocol} asks for {FEW_SAMPLES} videos a side, {count} were there")
    return result.model_copy(update={"metrics": metrics | result.metrics, "warnings": warnings})


def all_clips(result: EvaluationResult, sides: Sides, config: EvaluationConfig) -> Sets:
    """Features of all clips of both sides, in pairs where every clip has a partner. Raises ConfigError."""
    assert result.extractor is not None
    assert sides.made is not None
    made, real = sides.made.stacked(), sides.reference_features()
    if made.shape[1] != real.shape[1]:
        raise ConfigError(f"the statistics' features have {real.shape[1]} numbers, this extractor's {made.shape[1]}")
    if not (made.isfinite().all() and real.isfinite().all()):
        raise ConfigError(f"the extractor {result.extractor['name']} gives values that are not finite")
    if min(len(made), len(real)) < 2:
        raise ConfigError(f"distances of sets need at least two videos on each side, got {len(made)} and {len(real)}")
    order = partner_order(sides.made, sides.real, result) if sides.real else None
    ordered = real if order is None else real[order]
    return Sets(made, ordered, order is not None, result.extractor, config.seed)


def warnings_of_partners(result: EvaluationResult, sets: Sets) -> list[str]:
    """What partners of the same prompt and seed make of distances that are meant for independent videos."""
    if sets.paired:
        return [
            "both sets are of the same prompts and seeds: their distances have little of the samples' bias and "
            "can't be held against distances between independent videos"
        ]
    if partnered := sum(row.reference is not None for row in result.videos):
        return [
            f"{partnered} videos have a partner of the same prompt and seed on the other side, the rest have none: "
            "partners make KVD and FVD∞ too low; compare all in pairs, or none"
        ]
    return []


def partners_alone(result: EvaluationResult, sides: Sides, config: EvaluationConfig) -> Sets | None:
    """Features of the first clips of the videos that were compared with a partner; None where there are none."""
    assert result.extractor is not None
    assert sides.made is not None
    assert sides.real is not None
    left, right = first_clips(sides.made), first_clips(sides.real)
    partners = [(row.video, row.reference) for row in result.videos if row.reference and row.fidelity is not None]
    both = [(left[a], right[b]) for a, b in partners if a in left and b in right]
    if not both:
        return None
    made, real = (list(indices) for indices in zip(*both, strict=True))
    return Sets(sides.made.stacked()[made], sides.real.stacked()[real], True, result.extractor, config.seed)


def count_of(result: EvaluationResult) -> int:
    return min((side.clips for side in (result.generated, result.reference) if side), default=0)


def first_clips(side: VideoSet) -> dict[str, int]:
    """Index of each video's first clip among the features."""
    return {side.name_of(path): i for i, path in reversed(list(enumerate(side.owners)))}


def partner_order(made: VideoSet, real: VideoSet, result: EvaluationResult) -> Tensor | None:
    """Rows of the reference in the order of their partners, where every clip has one; else None."""
    partners = {row.video: row.reference for row in result.videos}
    first = first_clips(real)
    seen: dict[Path, int] = {}
    order = []
    for path in made.owners:
        nth = seen[path] = seen.get(path, -1) + 1
        reference = partners.get(made.name_of(path))
        if reference not in first:
            return None
        order.append(first[reference] + nth)
    return torch.tensor(order) if sorted(order) == list(range(len(real.owners))) else None
