"""What it takes until nearly every prompt is near enough to its full run, and what knowing each prompt would save.

One setting for all prompts has to serve the worst of them. Had each prompt the cheapest setting that is enough for it,
which only a full run beside it shows, the mean cost would be that in hindsight: no rule that gives hard prompts more
and easy ones less goes below it with the same predictor and the same way to choose steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import binom

from videoada.config.quality import CONFIDENCE
from videoada.metrics.paired import IDENTICAL

if TYPE_CHECKING:
    from videoada.benchmarks.benchmark import Cell

SHARE = 0.95  # of the prompts, which have to be as near as the level
FEW = round(1 / (1 - SHARE))  # of fewer prompts the rest is less than one
LEVELS = (40.0, 45.0)  # PSNR to the full run, dB
ENOUGH = math.ceil(math.log(1 - CONFIDENCE) / math.log(SHARE))  # prompts, of which the worst is below what 95 % have


@dataclass(frozen=True)
class Need:
    """Shares of the full run's multiply-adds that a family takes for a PSNR of `level` dB.

    `one_setting` brings SHARE of the prompts there, None where no setting between those measured does; `hindsight` is
    the mean over the prompts of what each takes by itself, the full run for those that get there no other way.
    """

    family: str
    level: float
    one_setting: float | None
    hindsight: float

    def as_dict(self) -> dict[str, Any]:
        values = asdict(self)
        return {name: round(value, 4) if isinstance(value, float) else value for name, value in values.items()}


def needs(cells: Sequence[Cell], levels: Sequence[float] = LEVELS) -> list[Need]:
    """For each family and level, read on straight lines between its settings; those with all prompts count.

    `cells` are of one model.
    """
    prompts = {cell.prompt for cell in cells}
    found = []
    for family in dict.fromkeys(c.family for c in cells if not c.family.startswith("full run")):
        settings: dict[str, dict[int, Cell]] = {}
        for cell in cells:
            if cell.family == family:
                settings.setdefault(cell.method, {})[cell.prompt] = cell
        complete = [by_prompt for by_prompt in settings.values() if by_prompt.keys() == prompts]
        if not complete:
            continue
        for level in levels:
            together = [
                (float(np.mean([c.macs for c in setting.values()])),
                 float(np.quantile([_psnr(c) for c in setting.values()], 1 - SHARE)))
                for setting in complete
            ]  # fmt: skip
            own = [
                _cost([(s[prompt].macs, _psnr(s[prompt])) for s in complete] + [(1.0, IDENTICAL)], level)
                for prompt in prompts
            ]
            hindsight = float(np.mean([cost for cost in own if cost is not None]))
            found.append(Need(family, level, _cost(together, level), hindsight))
    return found


def _psnr(cell: Cell) -> float:
    return IDENTICAL if cell.psnr is None else min(cell.psnr, IDENTICAL)


def _cost(points: Sequence[tuple[float, float]], level: float) -> float | None:
    """The least cost from which the (cost, PSNR) points are at the level; None where the best of them is below."""
    best: list[tuple[float, float]] = []
    for cost, psnr in sorted(points):
        if not best or psnr > best[-1][1]:
            best.append((cost, psnr))
    if level > best[-1][1]:
        return None
    return float(np.interp(level, [psnr for _, psnr in best], [cost for cost, _ in best]))


def needs_table(found: Sequence[Need]) -> str:
    """A Markdown table, a line for each family: one setting for all, in brackets each prompt's own in hindsight."""
    levels = list(dict.fromkeys(need.level for need in found))
    lines = [
        f"| family | {' | '.join(f'{SHARE:.0%} of prompts at {level:g} dB (in hindsight)' for level in levels)} |",
        "|---|" + "---|" * len(levels),
    ]
    for family in dict.fromkeys(need.family for need in found):
        cells = [
            f"{'—' if need.one_setting is None else f'{need.one_setting:.1%}'} ({need.hindsight:.1%})"
            for need in found if need.family == family
        ]  # fmt: skip
        lines.append(f"| {family} | {' | '.join(cells)} |")
    return "\n".join(lines)


def of_nearly_all(psnr: Sequence[float]) -> float:
    """The PSNR that a video not seen here has or exceeds with a probability of 95 %: of fewer than 19, the worst.

    The quantile at (n + 1)·p, definition 6 of Hyndman and Fan (1996), for the sample's own promises too much.
    """
    return float(np.quantile(psnr, 1 - SHARE, method="weibull"))


def limit_of_nearly_all(psnr: Sequence[float]) -> float:
    """A PSNR that 95 % of all such videos have or exceed, whatever its distribution is, as sure as `limit_rank` says.

    A one-sided tolerance limit (Wilks 1941).
    """
    rank, _ = limit_rank(len(psnr))
    return sorted(psnr)[rank - 1]


def limit_rank(count: int) -> tuple[int, float]:
    """Which of so many values, from the smallest, is that limit, and how sure it is, 0 to 1.

    The largest that is at least 90 % sure: of 96 the second smallest, of 45 the smallest; of fewer the smallest, too,
    but it is less sure.
    """
    ranks = np.arange(1, count + 1)
    sure = binom.sf(ranks - 1, count, 1 - SHARE)  # so many or more of them are below what 95 % have
    rank = max(int(np.sum(sure >= CONFIDENCE)), 1)
    return rank, float(sure[rank - 1])
