"""Write what is generated: the README's tables of flags and of benchmarks, and the run record's JSON Schema.

    python docs/write_reference.py

A test compares all with the code and with samples/results, so that they can't fall behind.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from videoada.benchmarks.frontier import Point, budgets_table, psnr_table
from videoada.cli import app
from videoada.records.record import RunRecord

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- flags: written by docs/write_reference.py -->\n", "<!-- end of flags -->"
RESULTS = ROOT / "samples" / "results"
BUDGETS = ("frontier",)
POINTS = ("early-exit", "step-count", "systems")
CURVES = (
    "predictors",
    "guidance",
    "schedulers",
    "quality",
    "quality-stress",
)  # where a table is worth more than budgets


def flags() -> str:
    """One table for each command: its options, what they do, their defaults."""
    sections = []
    for name, command in commands(typer.main.get_command(app)):
        rows = []
        for parameter in command.params:
            default = getattr(parameter, "show_default", None)
            if not isinstance(default, str):
                default = "" if parameter.default in (None, False) else str(parameter.default)
            text = (getattr(parameter, "help", "") or "").replace("|", "\\|")
            is_option = parameter.param_type_name == "option"
            shown = ", ".join(f"`{opt}`" for opt in parameter.opts) if is_option else f"`{parameter.name.upper()}`"
            rows.append(f"| {shown} | {text} | {default} |")
        rows = [row for row in rows if "`--help`" not in row]
        table = "\n".join(["| option | what | default |", "|---|---|---|", *rows])
        sections.append(f"#### `videoada {name}`\n\n{command.help.strip().splitlines()[0]}\n\n{table}\n")
    return "\n".join(sections)


def commands(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """Each command and its name, those of groups within groups with the group's before theirs, by name."""
    for name, command in sorted(group.commands.items()):
        if hasattr(command, "commands"):
            yield from commands(command, f"{before}{name} ")
        else:
            yield before + name, command


def schema() -> str:
    """JSON Schema of a run record, schema version 1 of the contract."""
    return json.dumps(RunRecord.model_json_schema(), indent=2) + "\n"


def budgets(folder: Path) -> str:
    """What each family's best curve reaches at each budget, model by model."""
    parts = []
    for path in sorted(folder.glob("tiny-*.json"), reverse=True):
        figures = json.loads(path.read_text(encoding="utf-8"))
        points = [Point(**point) for point in figures["points"]]
        parts.append(f"{figures['model']}:\n\n{budgets_table(points, figures['budgets'])}\n")
    return "\n".join(parts)


def curves(folder: Path) -> str:
    """Every method's UNet rows and PSNR, model beside model."""
    files = sorted(folder.glob("tiny-*.json"), reverse=True)
    found = [[Point(**p) for p in json.loads(path.read_text(encoding="utf-8"))["points"]] for path in files]
    lines = [
        "| method | " + " | ".join(f"{points[0].model}: rows · PSNR · worst" for points in found) + " |",
        "|---" * (len(found) + 1) + "|",
    ]
    for same in zip(*found, strict=True):
        if same[0].rows < 1:
            cells = (f"{p.rows:.1%} · {p.psnr:.1f} · {p.psnr_worst:.1f}" for p in same)
            lines.append(f"| {same[0].method} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def batches(folder: Path) -> str:
    """The same, and read at equal PSNR and at equal rows."""
    parts = [curves(folder)]
    for path in sorted(folder.glob("tiny-*.json"), reverse=True):
        figures = json.loads(path.read_text(encoding="utf-8"))
        points = [Point(**point) for point in figures["points"]]
        at_rows = budgets_table(points, (0.4, 0.32, 0.28))
        parts.append(f"{figures['model']}, for equal PSNR and at equal rows:\n\n{psnr_table(points)}\n\n{at_rows}\n")
    return "\n".join(parts)


def efficiency(folder: Path) -> str:
    """Timed pairs of a full and a skipped run."""
    lines = ["| model | batch | pairs | predictions of 50 | speed-up | efficiency | decision, of a UNet call |",
             "|---|---|---|---|---|---|---|"]  # fmt: skip
    for path in sorted(folder.glob("*.json"), key=lambda p: (p.name[:8] != "tiny-t2v", p.name)):
        f = json.loads(path.read_text(encoding="utf-8"))
        lines.append(
            f"| {f['model']} | {f['batch_size']} | {f['pairs']} | {f['predictions']:.1f} | {f['speedup']:.2f}× | "
            f"{f['efficiency']:.3f} | {f['policy_share']:.2%} |"
        )
    return "\n".join(lines) + "\n"


def analyses(folder: Path) -> str:
    """Every policy against the greedy oracle, model by model."""
    parts = []
    for path in sorted(folder.glob("tiny-*/analysis.json"), reverse=True):
        figures = json.loads(path.read_text(encoding="utf-8"))
        table = path.with_suffix(".md").read_text(encoding="utf-8")
        parts.append(f"{figures['model']}, {len(figures['prompts'])} prompts:\n\n{table}")
    return "\n".join(parts)


def points(folder: Path) -> str:
    """The table that a script wrote."""
    return (folder / "points.md").read_text(encoding="utf-8")


def with_benchmarks(readme: str) -> str:
    tables = dict.fromkeys(CURVES, curves) | dict.fromkeys(BUDGETS, budgets)
    tables |= {"batches": batches, "efficiency": efficiency, "analysis": analyses} | dict.fromkeys(POINTS, points)
    for name, table in tables.items():
        begin, end = f"<!-- {name}: written by docs/write_reference.py -->\n", f"<!-- end of {name} -->"
        if begin in readme and (RESULTS / name).is_dir():
            before, rest = readme.split(begin)
            readme = before + begin + "\n" + table(RESULTS / name) + "\n" + end + rest.split(end)[1]
    return readme


def with_flags(readme: str) -> str:
    before, rest = readme.split(BEGIN)
    return before + BEGIN + "\n" + flags() + "\n" + END + rest.split(END)[1]


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(with_benchmarks(with_flags(readme.read_text(encoding="utf-8"))), encoding="utf-8")
    (ROOT / "videoada" / "records" / "run-record.schema.json").write_text(schema(), encoding="utf-8")
