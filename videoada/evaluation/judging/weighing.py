"""weigh(): an evaluation's figures against the limits of a verdict, one check for each limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from videoada.evaluation.judging.limits import VerdictLimits
from videoada.evaluation.result import EvaluationResult, VideoResult

CONFIDENCE = 1.96  # standard errors on either side of an estimate: its 95 % interval
MEASURES = {  # of pairs, by the last part of a limit's name: the metric that measures it, its part, title and unit
    "psnr": ("psnr", "psnr", "PSNR", " dB"),
    "ssim": ("ssim", "ssim", "SSIM", ""),
    "sharpness": ("sharpness-ratio", "sharpness_ratio", "sharpness ratio", ""),
    "motion": ("motion-ratio", "motion_ratio", "motion ratio", ""),
    "colour_shift": ("colour-shift", "colour_shift", "colour shift", ""),
}
LOST, FVD = "max_lost_coherence", "max_fvd"


class Check(BaseModel):
    """One limit. `value` is what was measured: None where the videos are equal or nothing could be measured, which
    `note` says. `passed` is None where it could not be measured. `video` is the worst one."""

    model_config = ConfigDict(frozen=True)
    name: str
    title: str  # "worst SSIM"
    limit: float
    value: float | None
    unit: str = ""
    video: str | None = None
    passed: bool | None
    note: str = ""

    @property
    def holds(self) -> bool:
        """Whether it is no failure: it passed, or could not be measured."""
        return self.passed is not False

    @property
    def bound(self) -> str:
        """The limit with its direction: "≥ 0.88"."""
        return f"{'≥' if self.name.startswith('min_') else '≤'} {self.limit:.4g}{self.unit}"

    @property
    def measured(self) -> str:
        """The value with its unit, or why there is none."""
        if self.value is None:
            return self.note
        return f"{self.value:.4g}{self.unit}{f' ({self.note})' if self.note else ''}"

    @property
    def line(self) -> str:
        """What failed, in one line: "worst SSIM 0.81, must be ≥ 0.88; worst video: clip-3.mkv"."""
        worst = f"; worst video: {self.video}" if self.video else ""
        return f"{self.title} {self.measured}, must be {self.bound}{worst}"


def metrics_for(limits: VerdictLimits) -> tuple[str, ...]:
    """Names of the metrics that an evaluation needs for these limits."""
    names = [MEASURES[_split(name)[2]][0] for name in limits.given() if name not in (LOST, FVD)]
    others = [metric for name, metric in ((LOST, "coherence"), (FVD, "fvd")) if name in limits.given()]
    return tuple(dict.fromkeys([*names, *others]))


def weigh(result: EvaluationResult, limits: VerdictLimits) -> list[Check]:
    """One check for each limit that is set, in their order; those that the evaluation did not measure have
    `passed` None."""
    compared = [row for row in result.videos if row.fidelity is not None]
    given = limits.given()
    of_pairs = weigh_pairs(compared, limits)
    return [*of_pairs, _distance(given[FVD], result)] if FVD in given else of_pairs


def weigh_pairs(rows: Sequence[VideoResult], limits: VerdictLimits) -> list[Check]:
    """One check for each limit of pairs, FVD's left out, of rows with `fidelity`."""
    return [
        _lost(limit, rows) if name == LOST else _of_pairs(name, limit, rows)
        for name, limit in limits.given().items() if name != FVD
    ]  # fmt: skip


def _split(name: str) -> tuple[str, str, str]:
    """`min_worst_colour_shift`: min, worst, colour_shift."""
    direction, over, measure = name.split("_", 2)
    return direction, over, measure


def _of_pairs(name: str, limit: float, rows: Sequence[VideoResult]) -> Check:
    direction, over, measure = _split(name)
    _, part, title, unit = MEASURES[measure]
    fidelities: list[tuple[str, dict[str, Any]]] = [(row.video, row.fidelity or {}) for row in rows]
    found = [(value, video) for video, values in fidelities if (value := values.get(part)) is not None]
    about: dict[str, Any] = {"name": name, "title": f"{over} {title}", "limit": limit, "unit": unit}
    if not found:
        equal = part == "psnr" and bool(fidelities) and all(values.get("identical") for _, values in fidelities)
        note = "all frames are equal" if equal else _why_none(part, fidelities)
        return Check(**about, value=None, passed=True if equal else None, note=note)
    least = direction == "min"
    worst, video = (min if least else max)(found)
    value = worst if over == "worst" else float(np.mean([one for one, _ in found]))
    return Check(**about, value=value, video=video, passed=value >= limit if least else value <= limit)


def _why_none(part: str, fidelities: Sequence[tuple[str, dict[str, Any]]]) -> str:
    if any(part in values for _, values in fidelities):
        return "not measurable on these videos"
    return "not measured"


def _lost(limit: float, rows: Sequence[VideoResult]) -> Check:
    """The share of videos that fail a check of coherence which their full runs pass."""
    about: dict[str, Any] = {"name": LOST, "title": "share that lost coherence", "limit": limit}
    checked = [row for row in rows if row.coherence and row.coherence_reference]
    if not checked:
        return Check(**about, value=None, passed=None, note="not measured")
    lost = [row for row in checked if row.lost_coherence]
    share = len(lost) / len(checked)
    worst = max(lost, key=lambda row: len(row.lost_coherence), default=None)
    names = sorted({name.replace("_", " ") for row in lost for name in row.lost_coherence})
    return Check(**about, value=share, video=worst.video if worst else None, passed=share <= limit,
                 note=", ".join(names))  # fmt: skip


@dataclass(frozen=True)
class Interval:
    """95 % interval of an estimate."""

    low: float
    high: float


def interval_of(row: dict[str, Any]) -> Interval | None:
    """Of a metric of a result; None where its standard error is not known."""
    value, error = row.get("value"), row.get("standard_error")
    if value is None or error is None:
        return None
    return Interval(value - CONFIDENCE * error, value + CONFIDENCE * error)


def _distance(limit: float, result: EvaluationResult) -> Check:
    """FVD between the sets: the upper end of its interval is held to the limit, so that few videos do not pass by
    chance."""
    title = next((name for name in result.metrics if name.startswith("FVD") and "∞" not in name), "FVD")
    interval = interval_of(result.metrics.get(title, {}))
    about: dict[str, Any] = {"name": FVD, "title": f"{title}, upper end", "limit": limit}
    if interval is None:
        return Check(**about, value=None, passed=None, note="not measured: it takes three pairs or more")
    note = f"95 % interval {interval.low:.3g} to {interval.high:.3g}"
    return Check(**about, value=interval.high, passed=interval.high <= limit, note=note)
