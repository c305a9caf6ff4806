"""Means over the videos of an evaluation, metric by metric."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from videoada.evaluation.result import VideoResult
from videoada.evaluation.set_metrics import Row
from videoada.evaluation.tables import PAIRS, VIDEOS, PairMetric, mean_of


def summarize(rows: Sequence[VideoResult], wanted: set[str]) -> dict[str, Row]:
    """The wanted metrics of pairs and of single videos by title, as far as any video has them.

    A video equal to its reference has an infinite PSNR: it is counted, not averaged.
    """
    metrics: dict[str, Row] = {}
    fidelities = [row.fidelity for row in rows if row.fidelity is not None]
    for name, metric in PAIRS.items():
        if fidelities and name in wanted:
            metrics |= {title: _mean_fidelity(fidelities, part, metric) for title, part in metric.titles.items()}
    for name, single in VIDEOS.items():
        if name in wanted and (average := single.average(rows)):
            metrics[single.title] = average
    return metrics


def _mean_fidelity(fidelities: Sequence[Row], part: str, metric: PairMetric) -> Row:
    """Mean, its standard error, the worst and how many there were; None where there is nothing to average."""
    found = np.array([value for one in fidelities if (value := one.get(part)) is not None], np.float64)
    row = mean_of(found.tolist()) | {
        "standard_error": float(found.std(ddof=1) / len(found) ** 0.5) if len(found) > 1 else None,
        "worst": float(metric.worst(found)) if len(found) else None,
    }
    if metric.counts_identical:
        row["identical"] = sum(bool(one.get(metric.counts_identical)) for one in fidelities)
    return row
