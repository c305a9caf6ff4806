"""What the cells say: each family at the calls of the prompts' own decisions, paired differences, kinds, correlations.

Intervals are of 95 %, by a bootstrap over the test prompts that resamples the prompts of both sides together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from videoada.benchmarks.adaptivity.compared import BATCH, OTHER, OWN, STATIC, TOLERANCES
from videoada.benchmarks.benchmark import Cell
from videoada.benchmarks.frontier import SAMPLES
from videoada.metrics.paired import IDENTICAL
from videoada.shapes import is_scene, parse

Values = NDArray[np.float64]
Interval = tuple[float, float]


@dataclass(frozen=True)
class Curve:
    """Points of one family by mean predictions, ascending, each with the PSNR of every prompt, in their order."""

    family: str
    predictions: tuple[float, ...]
    psnr: tuple[Values, ...]

    def at(self, predictions: float) -> tuple[float, Values]:
        """PSNR of every prompt at so many predictions, on straight lines between the points on either side.

        Beyond the curve's ends, and on one of a single point, at its nearest point; the first number says where.
        """
        at = float(np.clip(predictions, self.predictions[0], self.predictions[-1]))
        right = int(np.searchsorted(self.predictions, at))
        if right == 0 or self.predictions[right] == at:
            return at, self.psnr[right]
        low, high = self.predictions[right - 1], self.predictions[right]
        share = (at - low) / (high - low)
        return at, (1 - share) * self.psnr[right - 1] + share * self.psnr[right]


@dataclass(frozen=True)
class Comparison:
    """A family beside own decisions at one tolerance. PSNR in dB to the full run; differences are to own decisions."""

    tolerance: float
    family: str
    predictions: float
    psnr: float
    psnr_interval: Interval
    worst: float
    worst_interval: Interval
    difference: float
    difference_interval: Interval
    worst_difference: float
    worst_difference_interval: Interval


@dataclass(frozen=True)
class Correlation:
    """Rank correlation, over prompts, of PSNR by a family's mask with the number of predictions of own decisions."""

    tolerance: float
    family: str
    rank_correlation: float | None  # None where a side does not vary
    interval: Interval | None


def psnr_of(cells: Sequence[Cell]) -> Values:
    """PSNR in the order of the prompts, equal frames as 100 dB."""
    ordered = sorted(cells, key=lambda cell: cell.prompt)
    return np.array([IDENTICAL if c.psnr is None else min(c.psnr, IDENTICAL) for c in ordered])


def curves_of(cells: Sequence[Cell], num_prompts: int, tolerance: float) -> list[Curve]:
    """The families to compare at a tolerance: own decisions first. A family without a full point is left out."""
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        knob = cell.method.removeprefix(cell.family).strip()
        if cell.family == OTHER:
            knob = knob.split(",")[0]  # a method for each of the masks, together one point
        groups.setdefault((cell.family, knob), []).append(cell)
    only = {OWN: f"tolerance {tolerance:g}", OTHER: f"{tolerance:g}"}
    found = []
    for family in (OWN, OTHER, *STATIC, BATCH):
        points = sorted(
            (float(np.mean([c.predictions for c in group])), i, psnr_of(group))
            for i, ((name, knob), group) in enumerate(groups.items())
            if name == family and len(group) == num_prompts and only.get(family, knob) == knob
        )  # fmt: skip
        # of points at the same predictions one is kept, so that a line through two of them has a slope
        unique = {predictions: psnr for predictions, _, psnr in points}
        if unique:
            found.append(Curve(family, tuple(unique), tuple(unique.values())))
    return found


def comparisons(
    cells: Sequence[Cell], num_prompts: int, tolerances: Sequence[float] = TOLERANCES, seed: int = 0
) -> list[Comparison]:
    """Each family at each tolerance, own decisions first, read at their mean number of predictions."""
    found = []
    for tolerance in tolerances:
        own, *others = curves_of(cells, num_prompts, tolerance)
        at, reference = own.predictions[0], own.psnr[0]
        for curve in (own, *others):
            predictions, psnr = curve.at(at)
            found.append(_comparison(tolerance, curve.family, predictions, psnr, reference, seed))
    return found


def _comparison(tolerance: float, family: str, predictions: float, psnr: Values, own: Values, seed: int) -> Comparison:
    return Comparison(
        tolerance, family, round(predictions, 3),
        *resampled(_mean, psnr, seed=seed), *resampled(_least, psnr, seed=seed),
        *resampled(lambda a, b: _mean(a - b), psnr, own, seed=seed),
        *resampled(lambda a, b: _least(a) - _least(b), psnr, own, seed=seed),
    )  # fmt: skip


def by_kind(
    cells: Sequence[Cell],
    prompts: Sequence[str],
    kinds: Mapping[str, Sequence[str]],
    tolerances: Sequence[float] = TOLERANCES,
    seed: int = 0,
) -> dict[str, list[Comparison]]:
    """The comparisons among the prompts of each kind, read at the predictions of all; `kinds` has texts by kind."""
    found: dict[str, list[Comparison]] = {}
    for kind, texts in kinds.items():
        chosen = np.array([prompt in texts for prompt in prompts])
        for tolerance in tolerances:
            own, *others = curves_of(cells, len(prompts), tolerance)
            for curve in (own, *others):
                predictions, psnr = curve.at(own.predictions[0])
                found.setdefault(kind, []).append(
                    _comparison(tolerance, curve.family, predictions, psnr[chosen], own.psnr[0][chosen], seed)
                )
    return found


def kinds_of(prompts: Sequence[str]) -> dict[str, list[str]]:
    """Prompts of the shapes world by number of objects and by what moves; {} for other prompts.

    A prompt is of the kind of a motion if all its objects have it. Kinds of fewer than two prompts are left out.
    """
    kinds: dict[str, list[str]] = {}
    for prompt in prompts:
        if not is_scene(prompt):
            return {}
        objects = parse(prompt).objects
        motions = {"moving" if str(o.motion).startswith("moving") else str(o.motion) for o in objects}
        kinds.setdefault("one object" if len(objects) == 1 else "several objects", []).append(prompt)
        kinds.setdefault(motions.pop() if len(motions) == 1 else "different motions", []).append(prompt)
    return {kind: kinds[kind] for kind in sorted(kinds) if len(kinds[kind]) > 1}


def correlations(
    cells: Sequence[Cell], num_prompts: int, tolerances: Sequence[float] = TOLERANCES, seed: int = 0
) -> list[Correlation]:
    """Whether the prompts that the rule gives more predictions are those that lose most by one mask for all.

    Negative where they are. For every static family at the own decisions' mean predictions, and for own decisions.
    """
    found = []
    for tolerance in tolerances:
        own, *others = curves_of(cells, num_prompts, tolerance)
        name = f"{OWN} tolerance {tolerance:g}"
        counted = sorted((c for c in cells if c.method == name), key=lambda cell: cell.prompt)
        counts = np.array([float(c.predictions) for c in counted])
        for curve in (own, *(c for c in others if c.family in STATIC)):
            _, psnr = curve.at(own.predictions[0])
            value, interval = resampled(rank_correlation, psnr, counts, seed=seed)
            known = np.isfinite(value)
            found.append(Correlation(tolerance, curve.family, value if known else None, interval if known else None))
    return found


def rank_correlation(a: Values, b: Values) -> Any:
    """Spearman's, along the last axis; NaN where a side does not vary."""
    ranks = [rankdata(x, axis=-1) for x in (a, b)]
    x, y = (r - r.mean(axis=-1, keepdims=True) for r in ranks)
    size = np.sqrt((x * x).sum(axis=-1) * (y * y).sum(axis=-1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return (x * y).sum(axis=-1) / size


def resampled(statistic: Callable[..., Any], *values: Values, seed: int = 0) -> tuple[float, Interval]:
    """A statistic along the last axis, and its 95 % interval by a bootstrap that resamples all `values` together."""
    chosen = np.random.default_rng(seed).integers(len(values[0]), size=(SAMPLES, len(values[0])))
    found = np.asarray(statistic(*(v[chosen] for v in values)))
    found = found[np.isfinite(found)]  # a rank correlation of equal values is none
    low, high = np.percentile(found, (2.5, 97.5)) if len(found) else (np.nan, np.nan)
    return round(float(statistic(*values)), 4), (round(float(low), 4), round(float(high), 4))


def _mean(values: Values) -> Any:
    return values.mean(axis=-1)


def _least(values: Values) -> Any:
    return values.min(axis=-1)
