"""Distances between the two sets of an evaluation, each named with the extractor whose features it compares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from videoada.errors import ConfigError
from videoada.evaluation.config import EvaluationConfig
from videoada.evaluation.pairing import VideoSet
from videoada.evaluation.result import EvaluationResult, Summary
from videoada.metrics.frechet import FEW_SAMPLES, frechet_distance, frechet_infinity, paired_feature_distance
from videoada.metrics.kernel import kernel_distance
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
        clips = statistics.about.get("sampling")
        raise ConfigError(f"the statistics are of other clips: {clips}; give the same options")


def statistics_summary(statistics: VideoStatistics) -> Summary:
    """What a result says of a cached reference."""
    about = statistics.about
    return Summary(
        path=str(about.get("folder"))[:200], kind="cached statistics", videos=int(about.get("videos") or 0),
        clips=len(statistics.features), sizes=[], models=[],
    )  # fmt: skip


def with_distances(
    result: EvaluationResult, made: VideoSet, real: VideoSet | None, statistics: VideoStatistics | None,
    wanted: set[str], config: EvaluationConfig,
) -> EvaluationResult:  # fmt: skip
    """Add the distances between the sets, each named with its extractor."""
    assert result.extractor is not None
    extractor, warnings = result.extractor["name"], list(result.warnings)
    fake = made.stacked()
    order = partner_order(made, real, result) if real else None
    target = statistics.features if statistics else real.stacked() if real else None
    metrics: dict[str, Any] = {}
    if target is not None and wanted & {"fvd", "kvd", "fvd-infinity"}:
        if fake.shape[1] != target.shape[1]:
            raise ConfigError(
                f"the statistics' features have {target.shape[1]} numbers, this extractor's {fake.shape[1]}"
            )
        count, counts = min(len(fake), len(target)), {"n_generated": len(fake), "n_reference": len(target)}
        if not (fake.isfinite().all() and target.isfinite().all()):
            raise ConfigError(f"the extractor {extractor} gives values that are not finite")
        paired = order is not None
        if order is not None:
            target = target[order]
            warnings.append(
                "both sets are of the same prompts and seeds: their distances have little of the samples' bias and "
                "can't be held against distances between independent videos"
            )
        elif partnered := sum(row.reference is not None for row in result.videos):
            warnings.append(
                f"{partnered} videos have a partner of the same prompt and seed on the other side, the rest have none: "
                "partners make KVD and FVD∞ too low; compare all in pairs, or none"
            )
        if count < 2:
            raise ConfigError(
                f"distances of sets need at least two videos on each side, got {len(fake)} and {len(target)}"
            )
        if "fvd" in wanted:
            # The bare name is kept for what the field calls FVD: I3D features.
            name = "FVD" if result.extractor["i3d"] else f"FVD[{extractor}]"
            metrics[name] = {"value": float(frechet_distance(target, fake)), **counts}
            if count < FEW_SAMPLES:
                why = "it is uncertain" if paired else "most of it is bias; trust KVD more"
                warnings.append(f"{name} of {count} clips: below {FEW_SAMPLES} {why}")
            if count <= fake.shape[1]:
                warnings.append(f"{count} clips are no more than the features' {fake.shape[1]} dimensions: use KVD")
        if "kvd" in wanted:
            value, error = kernel_distance(target, fake, seed=config.seed, paired=paired)
            metrics[f"KVD[{extractor}]"] = {"value": float(value), "standard_error": float(error), **counts}
        if "fvd-infinity" in wanted:
            try:
                value, error = frechet_infinity(target, fake, seed=config.seed, paired=paired)
                metrics[f"FVD∞[{extractor}]"] = {"value": float(value), "standard_error": float(error), **counts}
            except ValueError as reason:
                warnings.append(str(reason))
    if "paired-feature-distance" in wanted and real:
        theirs = real.stacked()
        left, right = first_clips(made), first_clips(real)
        partners = [(row.video, row.reference) for row in result.videos if row.reference and row.fidelity is not None]
        both = [(fake[left[a]], theirs[right[b]]) for a, b in partners if a in left and b in right]
        if both:
            a, b = (torch.stack(list(v)) for v in zip(*both, strict=True))
            metrics[f"paired feature distance[{extractor}]"] = {
                "value": float(paired_feature_distance(a, b)), "n": len(both)
            }  # fmt: skip
    if config.protocol and count_of(result) < FEW_SAMPLES:
        warnings.append(
            f"protocol {config.protocol} asks for {FEW_SAMPLES} videos a side, {count_of(result)} were there"
        )
    return result.model_copy(update={"metrics": metrics | result.metrics, "warnings": warnings})


def count_of(result: EvaluationResult) -> int:
    return min((side.clips for side in (result.generated, result.reference) if side), default=0)


def first_clips(side: VideoSet) -> dict[str, int]:
    """Where each video's first clip stands among the features."""
    return {path.name: i for i, path in reversed(list(enumerate(side.owners)))}


def partner_order(made: VideoSet, real: VideoSet, result: EvaluationResult) -> Tensor | None:
    """Rows of the reference in the order of their partners, where every clip has one; else None."""
    partners = {row.video: row.reference for row in result.videos}
    first = first_clips(real)
    seen: dict[Path, int] = {}
    order = []
    for path in made.owners:
        nth = seen[path] = seen.get(path, -1) + 1
        reference = partners.get(path.name)
        if reference not in first:
            return None
        order.append(first[reference] + nth)
    return torch.tensor(order) if sorted(order) == list(range(len(real.owners))) else None
