"""Plots of an analysis: policies beside the greedy oracle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from videoada.benchmarks.oracle.search import agreement
from videoada.plots import BLUE, GREY, new_figure

POLICY_COLOURS = ("#dc2626", "#f59e0b", "#a855f7", BLUE)


def analysis_charts(prompts: Sequence[Any], forced: Sequence[int]) -> dict[str, Any]:
    """Figures of an analysis by name; `forced` are the steps that every policy computes."""
    return {
        "errors": _errors(prompts), "agreement": _agreement(prompts, forced), "differences": _differences(prompts),
        "latent-errors": _latent_errors(prompts), "predictions": _predictions(prompts),
    }  # fmt: skip


def _labelled(x: str, y: str | None = None, log: bool = False) -> tuple[Any, Any]:
    figure, axes = new_figure((6.4, 4.0))
    axes.set_xlabel(x)
    if y:
        axes.set_ylabel(y)
    if log:
        axes.set_yscale("log")
    return figure, axes


def _with_legend(figure: Any, axes: Any, **style: Any) -> Any:
    axes.legend(**({"fontsize": 7, "frameon": False} | style))
    return figure


def _errors(prompts: Sequence[Any]) -> Any:
    figure, axes = _labelled("steps skipped (grey: the greedy oracle, prompt by prompt)",
                             "error of the final latents, relative", log=True)  # fmt: skip
    for p in prompts:
        axes.plot([o.num_skips for o in p.oracle], [o.cost for o in p.oracle], color=GREY, linewidth=0.8)
    for colour, name in zip(POLICY_COLOURS, prompts[0].policies, strict=False):
        runs = [run for p in prompts for run in p.policies[name]]
        axes.scatter([r.num_skips for r in runs], [r.cost for r in runs], s=12, color=colour, label=name, zorder=3)
    return _with_legend(figure, axes)


def _agreement(prompts: Sequence[Any], forced: Sequence[int]) -> Any:
    """φ, so that agreeing less than by chance shows; filled where p < 0.05."""
    figure, axes = _labelled("steps skipped", "agreement with the oracle, φ (filled: p < 0.05)")
    for colour, name in zip(POLICY_COLOURS, prompts[0].policies, strict=False):
        points = []
        for p in prompts:
            for run in p.policies[name]:
                same = next((o for o in p.oracle if o.num_skips == run.num_skips), None)
                found = agreement(run.mask, same.mask, forced) if same else None
                if found:
                    points.append((run.num_skips, found.phi, found.p_value < 0.05))
        if points:
            axes.scatter([s for s, _, _ in points], [phi for _, phi, _ in points], s=14, edgecolors=colour, label=name,
                         facecolors=[colour if sure else "none" for *_, sure in points], linewidths=0.8)  # fmt: skip
    axes.axhline(0, color=GREY, linestyle="--", linewidth=1)
    return _with_legend(figure, axes)


def _differences(prompts: Sequence[Any]) -> Any:
    figure, axes = _labelled("step", log=True)
    steps = len(prompts[0].differences)
    for i, name in enumerate(("first", "second", "third")):
        values = [[p.differences[k][i] for p in prompts] for k in range(steps)]
        known = [(k, float(np.mean(v))) for k, v in enumerate(values) if None not in v]
        axes.plot(*zip(*known, strict=True), label=f"{name} difference, relative", linewidth=1.4)
    needed = [np.mean([next((o.num_skips for o in p.oracle if not o.mask[k]), steps) for p in prompts]) / steps
              for k in range(steps)]  # fmt: skip
    axes.bar(range(steps), needed, color=GREY, alpha=0.35, label="the oracle skips it at this share of skips")
    return _with_legend(figure, axes)


def _latent_errors(prompts: Sequence[Any]) -> Any:
    figure, axes = _labelled("step", "latent error, relative (mean)", log=True)
    for name in prompts[0].latent_errors:
        axes.plot(np.mean([p.latent_errors[name] for p in prompts], axis=0), linewidth=0.9, label=name)
    return _with_legend(figure, axes, fontsize=5, ncols=2)


def _predictions(prompts: Sequence[Any]) -> Any:
    figure, axes = _labelled("predictions", "prompts")
    steps = len(prompts[0].differences)
    for colour, name in zip(POLICY_COLOURS, prompts[0].policies, strict=False):
        middle = [p.policies[name][len(p.policies[name]) // 2] for p in prompts]
        axes.hist([steps - m.num_skips for m in middle], bins=np.arange(0.5, steps + 1), color=colour, alpha=0.6,
                  label=f"{name}, middle of its knob")  # fmt: skip
    return _with_legend(figure, axes)
