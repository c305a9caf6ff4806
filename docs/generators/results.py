"""The page of results: docs/templates/results.md with a table or plots in place of each `{{ … }}`."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from generators import adapting, tables

ROOT = Path(__file__).resolve().parent.parent.parent
RESULTS = ROOT / "samples" / "results"
TEMPLATE = ROOT / "docs" / "templates" / "results.md"
SLOT = re.compile(r"\{\{ *([\w-]+)(?: *: *([^}]*?))? *\}\}")

# Of what stands in samples/results, who makes the table.
TABLES: dict[str, Callable[[Path], str]] = {
    "adaptivity": adapting.adaptivity,
    "adaptivity-needs": adapting.adaptivity_needs,
    "error-signs.json": adapting.error_signs,
    "variants.json": adapting.variants,
    "budgets": tables.curves,
    "frontier": tables.budgets,
    "baselines": tables.budgets,
    "baselines-dpm": tables.at_budgets,
    "baselines-euler": tables.at_budgets,
    "baselines-unipc": tables.at_budgets,
    "default": tables.curves,
    "batches": tables.batches,
    "efficiency": tables.efficiency,
    "analysis": tables.analyses,
    "early-exit": tables.written,
    "step-count": tables.written,
    "systems": tables.written,
    "estimators.md": tables.written,
    "gaps.md": tables.written,
    "tiny-t2v.json": tables.agreement,
    "tiny-i2v.json": tables.agreement,
    "tiny-wan.json": tables.agreement,
    "v-prediction.json": tables.holding,
    "flow-shifts.json": tables.at_shifts,
    "metrics.json": tables.damages,
    "sensitivity.json": tables.sensitivity,
    "architectures-cpu.json": tables.architectures,
    "architectures-gpu.json": tables.on_gpu,
    "evaluation-cost.json": tables.evaluation_cost,
    "tolerances.json": tables.tolerances,
    "emoji-to-data.json": tables.distances_to_data,
} | dict.fromkeys(("predictors", "guidance", "schedulers", "quality", "quality-stress"), tables.curves)


def page() -> str:
    """The whole page. Raises ValueError for a slot that nothing fills, and for figures that no slot shows."""
    text = TEMPLATE.read_text(encoding="utf-8")
    shown = {name for kind, name in SLOT.findall(text) if kind == "table"}
    if missing := TABLES.keys() - shown:
        raise ValueError(f"{TEMPLATE.name} shows no table of {', '.join(sorted(missing))}")
    plotted = {name for kind, value in SLOT.findall(text) if kind == "plot" for name in value.split(" | ")[:1]}
    if missing := {path.relative_to(RESULTS).as_posix() for path in RESULTS.rglob("*.svg")} - plotted:
        raise ValueError(f"{TEMPLATE.name} does not show {', '.join(sorted(missing))}")
    return SLOT.sub(_filled, text)


def readme_table() -> str:
    """The README's one table: each family of methods at each budget, on emoji-t2v."""
    return tables.budgets_of(RESULTS / "frontier" / "emoji-t2v.json")


def gpu_table() -> str:
    """The README's table of what a GPU gave at the real models' size."""
    return tables.on_gpu_in_short(RESULTS / "architectures-gpu.json")


def _filled(slot: re.Match[str]) -> str:
    kind, value = slot.groups()
    if kind == "table" and value in TABLES:
        return TABLES[value](RESULTS / value).rstrip("\n")
    if kind == "plot":
        name, text = value.split(" | ")
        if (RESULTS / name).is_file():
            return f"![{text}](../samples/results/{name})"
    raise ValueError(f"{TEMPLATE.name}: nothing fills {slot[0]}")
