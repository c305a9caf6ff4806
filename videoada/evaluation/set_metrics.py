"""Metrics of two sets of videos by name: distances between their features. A new one is one entry of SETS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from videoada.errors import counted
from videoada.metrics.features import JEDI
from videoada.metrics.frechet import (
    FEW_SAMPLES,
    frechet_distance,
    frechet_infinity,
    jackknife_error,
    paired_feature_distance,
)
from videoada.metrics.jedi import jedi_distance
from videoada.metrics.kernel import kernel_distance

Row = dict[str, Any]  # a metric in the result: its value, what is known of its error, the number of clips behind it


@dataclass(frozen=True)
class Sets:
    """Features of the generated videos (N, D) and the reference (M, D). `paired`: row i of both is one prompt and
    seed."""

    made: Tensor
    real: Tensor
    paired: bool
    extractor: dict[str, Any]
    seed: int

    @property
    def counts(self) -> Row:
        return {"n_generated": len(self.made), "n_reference": len(self.real)}


@dataclass(frozen=True)
class Distance:
    """A set metric's title with its row, or None where it can't be measured, and warnings."""

    title: str
    row: Row | None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class SetMetric:
    """`measure` gets all clips, or with `of_partners` the first clips of the pairs alone."""

    measure: Callable[[Sets], Distance]
    of_partners: bool = False


def _frechet(sets: Sets) -> Distance:
    # The bare name is kept for what the field calls FVD: I3D features.
    title = "FVD" if sets.extractor["i3d"] else f"FVD[{sets.extractor['name']}]"
    count, dimensions = min(len(sets.made), len(sets.real)), sets.made.shape[1]
    warnings = []
    if count < FEW_SAMPLES:
        why = "it is uncertain" if sets.paired else "most of it is bias; trust KVD more"
        warnings.append(f"{title} of {counted(count, 'clip')}: below {FEW_SAMPLES} {why}")
    if count <= dimensions:
        warnings.append(f"{count} clips are no more than the features' {dimensions} dimensions: use KVD")
    row = {"value": float(frechet_distance(sets.real, sets.made))}
    if count > 2:
        row["standard_error"] = float(jackknife_error(frechet_distance, sets.real, sets.made))
    return Distance(title, row | sets.counts, tuple(warnings))


def _kernel(sets: Sets) -> Distance:
    value, error = kernel_distance(sets.real, sets.made, seed=sets.seed, paired=sets.paired)
    row = {"value": float(value), "standard_error": float(error), **sets.counts}
    return Distance(f"KVD[{sets.extractor['name']}]", row)


def _frechet_infinity(sets: Sets) -> Distance:
    title = f"FVD∞[{sets.extractor['name']}]"
    try:
        value, error = frechet_infinity(sets.real, sets.made, seed=sets.seed, paired=sets.paired)
    except ValueError as reason:  # too few clips
        return Distance(title, None, (str(reason),))
    return Distance(title, {"value": float(value), "standard_error": float(error), **sets.counts})


def _jedi(sets: Sets) -> Distance:
    own = sets.extractor["name"] == JEDI
    title = "JEDi" if own else f"JEDi[{sets.extractor['name']}]"
    row = {"value": float(jedi_distance(sets.real, sets.made))}
    if min(len(sets.made), len(sets.real)) > 2:
        row["standard_error"] = float(jackknife_error(jedi_distance, sets.real, sets.made))
    others = () if own else (f"{title} is of other features than V-JEPA's from a file (`extractor=jedi:FILE`): "
                             "it can't be held against published values",)  # fmt: skip
    return Distance(title, row | sets.counts, others)


def _feature_distance(sets: Sets) -> Distance:
    row = {"value": float(paired_feature_distance(sets.made, sets.real)), "n": len(sets.made)}
    return Distance(f"paired feature distance[{sets.extractor['name']}]", row)


SETS = {
    "fvd": SetMetric(_frechet),
    "kvd": SetMetric(_kernel),
    "fvd-infinity": SetMetric(_frechet_infinity),
    "jedi": SetMetric(_jedi),
    "paired-feature-distance": SetMetric(_feature_distance, of_partners=True),
}
