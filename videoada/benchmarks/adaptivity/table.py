"""The experiment as files: figures as JSON, tables as Markdown, a plot."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from videoada.benchmarks.adaptivity.compare import (
    Comparison,
    Correlation,
    Interval,
    by_kind,
    comparisons,
    correlations,
    curves_of,
    kinds_of,
)
from videoada.benchmarks.adaptivity.compared import BATCH, OTHER, OWN, STATIC
from videoada.benchmarks.adaptivity.experiment import Experiment
from videoada.benchmarks.benchmark import Cell
from videoada.benchmarks.every_prompt import Need, needs, needs_table
from videoada.benchmarks.frontier import summarize
from videoada.errors import counted
from videoada.files import model_folder, written_aside
from videoada.plots import BLUE, OTHERS, new_figure, write_svg
from videoada.records.record import package_versions


def write_experiment(found: Experiment, folder: Path) -> str:
    """The Markdown text; MODEL.json, MODEL.md and MODEL.svg are in `folder`. Raises OutputError where they can't be."""
    count = len(found.prompts)
    compared = comparisons(found.cells, count, found.tolerances)
    kinds = by_kind(found.cells, found.prompts, texts := kinds_of(found.prompts), found.tolerances)
    ranks = correlations(found.cells, count, found.tolerances)
    every = needs_of(found.cells)
    text = experiment_text(found, compared, every, {kind: len(texts[kind]) for kind in kinds}, kinds, ranks)
    figures = {
        "model": _what(found), "prompts": count, "num_inference_steps": found.num_steps,
        "calibration_prompts": list(found.calibration), "searched": found.searched,
        "comparisons": [asdict(c) for c in compared], "needs": [need.as_dict() for need in every],
        "kinds": {
            kind: {"prompts": len(texts[kind]), "comparisons": [asdict(c) for c in each]}
            for kind, each in kinds.items()
        },
        "rank_correlations": [asdict(c) for c in ranks],
        "masks": {
            family: {str(calls): "".join("01"[step] for step in mask) for calls, mask in masks.items()}
            for family, masks in found.static.items()
        },
        "points": [point.as_dict() for point in summarize(found.cells)], "versions": package_versions(),
    }  # fmt: skip
    name = model_folder(found.model)
    with written_aside(folder / f"{name}.json") as aside:
        aside.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    with written_aside(folder / f"{name}.md") as aside:
        aside.write_text(text, encoding="utf-8")
    write_svg(experiment_chart(found), folder / f"{name}.svg")
    return text


def _what(found: Experiment) -> str:
    return (
        f"{found.model}{' (small embedded model)' if found.embedded else ''}, {counted(len(found.prompts), 'prompt')}, "
        f"masks from {counted(len(found.calibration), 'other')}, paths and oracle from {found.searched} of them"
    )


def needs_of(cells: Sequence[Cell]) -> list[Need]:
    """What each family takes until nearly every prompt is near enough; another prompt's masks count by tolerance."""
    return needs([replace(cell, method=cell.method.split(", of prompt ")[0]) for cell in cells])


def experiment_text(
    found: Experiment, compared: Sequence[Comparison], every: Sequence[Need], sizes: dict[str, int],
    kinds: dict[str, list[Comparison]], ranks: Sequence[Correlation],
) -> str:  # fmt: skip
    """Markdown: the families at equal predictions, their differences by kind of prompt, rank correlations."""
    parts = [
        _what(found),
        "At the mean predictions of own decisions; differences to own decisions, prompt by prompt (95 %).",
        comparisons_table(compared),
        "Rows until nearly every prompt is near enough to its full run; a dash where no setting measured here is.",
        needs_table(every),
    ]
    if kinds:
        parts += ["Mean differences by kind of prompt.", kinds_table(kinds, sizes)]
    parts += [
        "Rank correlation of PSNR with a prompt's own number of predictions (95 %): negative where the rule spends "
        "more on prompts that lose more.",
        correlations_table(ranks),
    ]
    return "\n\n".join(parts) + "\n"


def comparisons_table(compared: Sequence[Comparison]) -> str:
    """A Markdown table, one line for each tolerance and family."""
    lines = [
        "| tolerance | masks | predictions | PSNR, dB | worst | difference | difference of the worst |",
        "|---|---|---|---|---|---|---|",
    ]
    for c in compared:
        own = c.family == OWN
        lines.append(
            f"| {c.tolerance:g} | {c.family} | {c.predictions:.1f} | {c.psnr:.1f} {_range(c.psnr_interval)} "
            f"| {c.worst:.1f} {_range(c.worst_interval)} "
            f"| {'' if own else f'{c.difference:+.1f} {_range(c.difference_interval, sign=True)}'} "
            f"| {'' if own else f'{c.worst_difference:+.1f} {_range(c.worst_difference_interval, sign=True)}'} |"
        )
    return "\n".join(lines)


def kinds_table(kinds: dict[str, list[Comparison]], sizes: dict[str, int]) -> str:
    """A Markdown table of mean differences, one column for each kind; of own decisions their PSNR."""
    rows: dict[tuple[float, str], list[str]] = {}
    for compared in kinds.values():
        for c in compared:
            text = f"{c.psnr:.1f} dB" if c.family == OWN else (
                f"{c.difference:+.1f} {_range(c.difference_interval, sign=True)}"
            )  # fmt: skip
            rows.setdefault((c.tolerance, c.family), []).append(text)
    head = " | ".join(f"{kind} ({sizes[kind]})" for kind in kinds)
    lines = [f"| tolerance | masks | {head} |", "|---|---|" + "---|" * len(kinds)]
    lines += [f"| {tolerance:g} | {family} | {' | '.join(row)} |" for (tolerance, family), row in rows.items()]
    return "\n".join(lines)


def correlations_table(ranks: Sequence[Correlation]) -> str:
    """A Markdown table, one line for each family, a column for each tolerance."""
    by_family: dict[str, dict[float, str]] = {}
    for c in ranks:
        text = "—" if c.rank_correlation is None or c.interval is None else (
            f"{c.rank_correlation:+.2f} {_range(c.interval, '.2f', sign=True)}"
        )  # fmt: skip
        by_family.setdefault(c.family, {})[c.tolerance] = text
    tolerances = sorted({c.tolerance for c in ranks})
    head = " | ".join(f"tolerance {t:g}" for t in tolerances)
    lines = [f"| masks | {head} |", "|---|" + "---|" * len(tolerances)]
    for family, row in by_family.items():
        lines.append(f"| {family} | " + " | ".join(row.get(t, "") for t in tolerances) + " |")
    return "\n".join(lines)


def _range(interval: Interval, form: str = ".1f", *, sign: bool = False) -> str:
    low, high = (format(value, f"{'+' if sign else ''}{form}") for value in interval)
    return f"({low} to {high})"


def experiment_chart(found: Experiment) -> Any:
    """Mean PSNR against mean predictions: a line for each family, own decisions and others' masks as points."""
    count = len(found.prompts)
    figure, axes = new_figure((8.0, 4.2))
    marks = {OWN: ("o", BLUE), OTHER: ("x", OTHERS[0])}
    for family, (mark, colour) in marks.items():
        points = [c for t in found.tolerances for c in curves_of(found.cells, count, t) if c.family == family]
        axes.plot(
            [c.predictions[0] for c in points], [float(c.psnr[0].mean()) for c in points], mark, color=colour,
            label=family, zorder=4, markersize=7,
        )  # fmt: skip
    curves = {c.family: c for c in curves_of(found.cells, count, found.tolerances[0])}
    for colour, family in zip(OTHERS[1:], (*STATIC, BATCH), strict=False):
        if curve := curves.get(family):
            axes.plot(
                curve.predictions, [float(v.mean()) for v in curve.psnr], marker=".", linewidth=1.2, color=colour,
                label=family,
            )  # fmt: skip
    axes.set_xlabel(f"predictions of {found.num_steps}, mean")
    axes.set_ylabel("PSNR to the full run, dB, mean")
    axes.set_title(_what(found), fontsize=9)
    figure.legend(loc="outside right upper", fontsize=8, frameon=False)
    return figure
