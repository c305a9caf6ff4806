"""What a benchmark's cells add up to: a point for each method, a curve for each family, tables of both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from videoada.benchmarks.judged import verdict_of
from videoada.errors import counted
from videoada.metrics.paired import IDENTICAL

if TYPE_CHECKING:
    from videoada.benchmarks.benchmark import Cell

LATER = ("speedup_denoising", "verdict")  # fields that points of older versions lack
SAMPLES = 2000  # of the bootstrap
MORE = {"psnr_worst": ".1f", "psnr_reference": ".1f", "agreement": ".1%"}  # measures beside the PSNR, and their form


@dataclass(frozen=True)
class Point:
    """One method over the prompts: means, `psnr` with the 95 % interval of a bootstrap over prompts, worst prompt."""

    model: str
    method: str
    family: str
    prompts: int
    predictions: float
    rows: float  # share of the full run's UNet rows
    macs: float  # share of its multiply-adds
    psnr: float
    psnr_low: float
    psnr_high: float
    psnr_worst: float
    ssim: float
    tof: float | None
    psnr_reference: float | None
    agreement: float | None
    coherent: float
    speedup: float
    peak_memory_bytes: int | None
    speedup_denoising: float | None = None  # None where a cell lacks it
    verdict: str | None = None  # by the limits of `videoada verdict`; None where a cell lacks a measure

    def as_dict(self) -> dict[str, Any]:
        values = {k: v for k, v in asdict(self).items() if k not in LATER or v is not None}
        return {name: round(value, 4) if isinstance(value, float) else value for name, value in values.items()}


def summarize(cells: Sequence[Cell], seed: int = 0) -> list[Point]:
    """A point for each model and method, in the order in which they first appear."""
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.model, cell.method), []).append(cell)
    return [_point(group, seed) for group in groups.values()]


def _point(cells: Sequence[Cell], seed: int) -> Point:
    psnr = np.array([IDENTICAL if c.psnr is None else min(c.psnr, IDENTICAL) for c in cells])
    low, high = bootstrap(psnr, seed)
    first = cells[0]
    memory = [c.peak_memory_bytes for c in cells if c.peak_memory_bytes]
    return Point(
        model=first.model, method=first.method, family=first.family, prompts=len(cells),
        predictions=_mean(c.predictions for c in cells), rows=_mean(c.rows for c in cells),
        macs=_mean(c.macs for c in cells), psnr=float(psnr.mean()), psnr_low=low, psnr_high=high,
        psnr_worst=float(psnr.min()), ssim=_mean(c.ssim for c in cells), tof=_mean_known(c.tof for c in cells),
        psnr_reference=_mean_known(c.psnr_reference for c in cells),
        agreement=_mean_known(c.agreement for c in cells), coherent=_mean(float(c.coherent) for c in cells),
        speedup=sum(c.seconds_full for c in cells) / max(sum(c.seconds for c in cells), 1e-9),
        peak_memory_bytes=max(memory) if memory else None, speedup_denoising=_speedup_denoising(cells),
        verdict=verdict_of(cells),
    )  # fmt: skip


def _speedup_denoising(cells: Sequence[Cell]) -> float | None:
    pairs = [(c.denoising_full, c.denoising) for c in cells if c.denoising_full and c.denoising]
    return sum(full for full, _ in pairs) / sum(own for _, own in pairs) if len(pairs) == len(cells) else None


def bootstrap(values: Any, seed: int = 0) -> tuple[float, float]:
    """The 95 % interval of the mean over prompts: percentiles of resampled means; of a single one, itself."""
    values = np.asarray(values, dtype=np.float64)
    chosen = np.random.default_rng(seed).integers(len(values), size=(SAMPLES, len(values)))
    low, high = np.percentile(values[chosen].mean(axis=1), (2.5, 97.5))
    return float(low), float(high)


def best_curve(points: Sequence[Point], measure: str = "psnr", cost: str = "macs") -> list[tuple[float, float]]:
    """(cost, measure) of the points that no cheaper one equals, by cost."""
    best: list[tuple[float, float]] = []
    for x, y in sorted((getattr(p, cost), getattr(p, measure)) for p in points if getattr(p, measure) is not None):
        if best and best[-1][0] == x:
            best.pop()  # sorted: this one is better at the same cost
        if not best or y > best[-1][1]:
            best.append((x, y))
    return best


def at_budget(points: Sequence[Point], budget: float, measure: str = "psnr", cost: str = "macs") -> float | None:
    """The best curve's value at a budget, on straight lines; None below its cheapest point, its best above its dearest.

    `measure` other than PSNR is read along the curve of PSNR, at the points that make it.
    """
    curve = best_curve(points, "psnr", cost)
    if not curve or budget < curve[0][0] - 1e-9:
        return None
    values = [next(getattr(p, measure) for p in points if (getattr(p, cost), p.psnr) == point) for point in curve]
    if any(value is None for value in values):
        return None
    return float(np.interp(budget, [x for x, _ in curve], values))


def points_table(points: Sequence[Point]) -> str:
    """A Markdown table, one line for each method.

    No times: each cell's were taken minutes or hours from its full run's, which is no pair. `time_pairs` measures them.
    """
    most = max((p.prompts for p in points), default=0)
    judged = any(p.verdict for p in points)
    lines = [
        "| method | predictions | UNet rows | MACs | PSNR, dB (95 %) | worst | SSIM | tOF | agreement | reference "
        f"| coherent |{' verdict |' if judged else ''}",
        f"|---|---|---|---|---|---|---|---|---|---|---|{'---|' if judged else ''}",
    ]
    for p in points:
        identical = p.psnr >= IDENTICAL
        interval = f" ({p.psnr_low:.1f}–{p.psnr_high:.1f})" if p.prompts > 2 else ""
        quality = "identical" if identical else f"{p.psnr:.1f}{interval}"
        fewer = f" ({p.prompts} of {counted(most, 'prompt')})" if p.prompts < most else ""
        lines.append(
            f"| {p.method}{fewer} | {p.predictions:.1f} | {p.rows:.1%} | {p.macs:.1%} | {quality} "
            f"| {'' if identical else f'{p.psnr_worst:.1f}'} | {p.ssim:.4f} | {_text(p.tof, '.3f')} "
            f"| {_text(p.agreement, '.1%')} | {_text(p.psnr_reference, '.1f')} | {p.coherent:.0%} |"
            f"{f' {p.verdict or str()} |' if judged else ''}"
        )
    return "\n".join(lines)


def budgets_table(points: Sequence[Point], budgets: Sequence[float], first: str = "videoada") -> str:
    """A Markdown table: each family's best curve at each budget, and how far below the first family it is.

    With the worst prompt, and where they were measured the distance to the reference run and the agreement; then, in
    square brackets, what it takes where that is less than the budget: no setting that takes more is better.
    """
    most = max((p.prompts for p in points), default=0)
    points = [p for p in points if p.prompts == most]  # means over other prompts do not compare
    families = list(dict.fromkeys(p.family for p in points if not p.family.startswith("full run")))
    families.sort(key=lambda family: family != first)
    also = {name: form for name, form in MORE.items() if any(getattr(p, name) is not None for p in points)}
    head = " · ".join(("PSNR", *(name.removeprefix("psnr_") for name in also)))
    lines = [
        "| family | " + " | ".join(f"at {b:.0%}: {head}" for b in budgets) + " |",
        "|---|" + "---|" * len(budgets),
    ]
    for family in families:
        own = [p for p in points if p.family == family]
        cells = []
        for budget in budgets:
            found = at_budget(own, budget)
            ours = at_budget([p for p in points if p.family == first], budget)
            if found is None:
                cells.append("—")
                continue
            behind = f" ({found - ours:+.1f})" if ours is not None and family != first else ""
            more = (_text(at_budget(own, budget, name), form) for name, form in also.items())
            takes = best_curve(own)[-1][0]
            less = f" [{takes:.0%}]" if round(takes, 2) < round(budget, 2) else ""
            cells.append(" · ".join((f"{found:.1f}{behind}", *more)) + less)
        lines.append(f"| {family} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


PSNR_LEVELS = (40.0, 45.0, 50.0)  # dB


def psnr_table(points: Sequence[Point], levels: Sequence[float] = PSNR_LEVELS) -> str:
    """A Markdown table: the share of the full run that each family's best curve takes for a mean PSNR."""
    most = max((p.prompts for p in points), default=0)
    lines = ["| family | " + " | ".join(f"for {level:g} dB" for level in levels) + " |",
             "|---|" + "---|" * len(levels)]  # fmt: skip
    for family in dict.fromkeys(p.family for p in points if not p.family.startswith("full run")):
        curve = best_curve([p for p in points if p.family == family and p.prompts == most])
        cells = []
        for level in levels:
            reached = curve and curve[0][1] <= level <= curve[-1][1]
            cells.append(f"{np.interp(level, [y for _, y in curve], [x for x, _ in curve]):.1%}" if reached else "—")
        lines.append(f"| {family} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _mean(values: Any) -> float:
    found = list(values)
    return float(sum(found) / len(found))


def _mean_known(values: Any) -> float | None:
    found = [v for v in values if v is not None and math.isfinite(v)]
    return float(sum(found) / len(found)) if found else None


def _text(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
