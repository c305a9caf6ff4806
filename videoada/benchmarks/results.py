"""Results of a benchmark as files: the points as JSON, their tables as Markdown, the frontier as a plot."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from videoada.benchmarks.charts import frontier_chart
from videoada.benchmarks.every_prompt import Need, needs, needs_table
from videoada.benchmarks.frontier import Point, best_curve, budgets_table, points_table, psnr_table
from videoada.errors import ConfigError, counted
from videoada.files import model_folder, written_aside
from videoada.plots import write_svg
from videoada.records.record import package_versions

if TYPE_CHECKING:
    from videoada.benchmarks.benchmark import Cell


def check_scheduler(folder: Path, model: str, scheduler: str | None) -> None:
    """Raises ConfigError, before hours of work, for a folder whose figures of the model are under another scheduler."""
    path = folder / f"{model_folder(model)}.json"
    try:
        before = json.loads(path.read_text(encoding="utf-8")).get("scheduler")
    except (OSError, ValueError, AttributeError):
        return  # none, or none of ours
    if before != scheduler:
        shown = before or "the model's own scheduler"
        raise ConfigError(f"{folder} holds figures under {shown}, which these would replace; name another folder")


def write_results(
    folder: Path, model: str, embedded: bool, points: Sequence[Point], budgets: Sequence[float], prompts: int,
    cells: Sequence[Cell], scheduler: str | None = None,
) -> str:  # fmt: skip
    """The Markdown text of a benchmark's points; NAME.json, NAME.md and NAME.svg of one model are in `folder`.

    `budgets` are shares of the full run's UNet rows, in (0, 1]; `cells` are what the points are means of; `scheduler`
    is named where one was. Raises OutputError where they can't be written.
    """
    every = [Need(**need.as_dict()) for need in needs(cells)]
    points = [Point(**point.as_dict()) for point in points]  # so that whoever reads the JSON comes to the same tables
    what = f"{model}{' (small embedded model)' if embedded else ''}, {counted(prompts, 'prompt')}"
    what += f", {scheduler}" if scheduler else ""
    families = dict.fromkeys(p.family for p in points if not p.family.startswith("full run"))
    text = f"{what}\n\n{points_table(points)}\n\n{budgets_table(points, budgets)}\n\n{psnr_table(points)}\n"
    text += f"\n{needs_table(every)}\n" if every else ""
    model = model_folder(model)
    curves = {f: best_curve([p for p in points if p.family == f]) for f in families}
    figures = {
        "model": what, "scheduler": scheduler, "points": [p.as_dict() for p in points], "budgets": budgets,
        "needs": [need.as_dict() for need in every], "versions": package_versions(),
    }  # fmt: skip
    with written_aside(folder / f"{model}.json") as aside:
        aside.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    with written_aside(folder / f"{model}.md") as aside:
        aside.write_text(text, encoding="utf-8")
    if curves:
        write_svg(frontier_chart(curves, what), folder / f"{model}.svg")
    return text
