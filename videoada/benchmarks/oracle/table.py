"""What an analysis adds up to: a table of policies against the oracle, and its plots."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from videoada.benchmarks.oracle.analyse import Analysis, forced_steps
from videoada.benchmarks.oracle.charts import analysis_charts
from videoada.benchmarks.oracle.search import OracleStep, agreement, share_closed
from videoada.files import written_aside
from videoada.plots import write_svg
from videoada.records.record import package_versions

WORSE = "AdaptiveDiffusion release"  # whose distance to the oracle the others close


def error_at(curve: list[OracleStep], skips: float) -> float | None:
    """The error at a number of skips, on straight lines in its logarithm; None outside the curve."""
    points = sorted({step.num_skips: step.cost for step in curve if step.cost > 0}.items())
    if not points or not points[0][0] <= skips <= points[-1][0]:
        return None
    return float(np.exp(np.interp(skips, [n for n, _ in points], [np.log(cost) for _, cost in points])))


def summary(found: Analysis) -> list[dict[str, Any]]:
    """One row for each policy and each of its knob's values: means over prompts.

    `closed` is the share of the distance, in decibels, from the released rule's steps to the oracle's at as many skips,
    under the oracle's predictor for all. `p_below_05` is the share of prompts whose steps agree with the oracle's by
    χ² or Fisher's exact test, forced steps left out; `phi` the correlation of the two masks.
    """
    rows = []
    for name in found.prompts[0].policies:
        for k in range(len(found.prompts[0].policies[name])):
            runs = [(p, p.policies[name][k]) for p in found.prompts]
            closed, tests, beaten = [], [], 0
            for prompt, run in runs:
                oracle = error_at(prompt.oracle, run.num_skips)
                worse = error_at(prompt.policies[WORSE], run.num_skips) if WORSE in prompt.policies else None
                if oracle is not None and worse is not None:
                    closed.append(share_closed(run.cost, worse, oracle))
                if oracle is not None and run.cost < oracle:
                    beaten += 1
                same = next((o for o in prompt.oracle if o.num_skips == run.num_skips), None)
                if same:
                    tests.append(agreement(run.mask, same.mask, forced_steps(len(run.mask))))
            known = [t for t in tests if t]
            shares = [c for c in closed if c is not None]
            rows.append(
                {
                    "policy": name, "place": k, "skips": float(np.mean([r.num_skips for _, r in runs])),
                    "error": float(np.exp(np.mean([np.log(max(r.cost, 1e-9)) for _, r in runs]))),
                    "closed": float(np.mean(shares)) if shares else None, "beats_oracle": beaten,
                    "p_below_05": float(np.mean([t.p_value < 0.05 and t.phi > 0 for t in known])) if known else None,
                    "phi": float(np.mean([t.phi for t in known])) if known else None, "prompts": len(runs),
                }
            )  # fmt: skip
    return rows


def analysis_table(found: Analysis) -> str:
    """Markdown."""
    lines = [
        "| policy | skips | error of the final latents | distance from the release rule to the oracle closed "
        "| agrees with the oracle (p < 0.05) | φ | prompts on which it beats the oracle |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in summary(found):
        closed, agrees, phi = (
            "" if row[name] is None else format(round(row[name], 4) or 0.0, form)
            for name, form in (("closed", ".0%"), ("p_below_05", ".0%"), ("phi", ".2f"))
        )
        lines.append(
            f"| {row['policy']} | {row['skips']:.1f} | {row['error']:.2e} | {closed} | {agrees} | {phi} "
            f"| {row['beats_oracle']} of {row['prompts']} |"
        )
    return "\n".join(lines)


def write_analysis(found: Analysis, folder: Path) -> None:
    """analysis.json, analysis.md and the plots."""
    figures = {"model": found.model, "settings": found.settings, "summary": summary(found),
               "prompts": [asdict(p) for p in found.prompts], "versions": package_versions()}  # fmt: skip
    with written_aside(folder / "analysis.json") as aside:
        aside.write_text(json.dumps(figures) + "\n", encoding="utf-8")
    with written_aside(folder / "analysis.md") as aside:
        aside.write_text(analysis_table(found) + "\n", encoding="utf-8")
    forced = forced_steps(len(found.prompts[0].differences))
    for name, figure in analysis_charts(found.prompts, forced).items():
        write_svg(figure, folder / f"{name}.svg")
