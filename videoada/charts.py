"""Charts of reports and benchmarks. No prompt ever enters one: matplotlib would read it as markup."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from videoada.outputs import written_aside

BLUE, GREY, GREEN = "#2563eb", "#94a3b8", "#2ea043"


def fidelity_chart(predictions: Sequence[int], psnr: Sequence[float], partner: str) -> str:
    """PSNR against predictions, one dot a video."""
    figure, axes = _figure()
    axes.scatter(predictions, psnr, s=18, color=BLUE, alpha=0.6, linewidths=0)
    axes.set_xlabel("predictions")
    axes.set_ylabel(f"PSNR to the {partner}, dB")
    return _svg(figure)


def histogram(predictions: Sequence[int], num_steps: int) -> str:
    """How many videos took how many predictions."""
    figure, axes = _figure()
    low, high = min(predictions), max(predictions)
    axes.hist(predictions, bins=np.arange(low, high + 2) - 0.5, color=GREEN, rwidth=0.85)
    axes.axvline(np.mean(predictions), color=GREY, linestyle="--", linewidth=1)
    axes.set_xlabel(f"predictions of {num_steps} (dashed: the mean)")
    axes.set_ylabel("videos")
    axes.yaxis.get_major_locator().set_params(integer=True)
    return _svg(figure)


def error_chart(errors: Sequence[Sequence[float]]) -> str:
    """Relative latent error by step: the median and the middle 80 % of the videos."""
    figure, axes = _figure()
    values = np.array(errors)
    steps = np.arange(values.shape[1])
    low, middle, high = (np.percentile(values, q, axis=0) for q in (10, 50, 90))
    axes.fill_between(steps, low, high, color=BLUE, alpha=0.2, linewidth=0)
    axes.plot(steps, middle, color=BLUE)
    axes.set_xlabel("step (band: the middle 80 % of the videos)")
    axes.set_ylabel("latent error, relative")
    axes.set_ylim(bottom=0)
    return _svg(figure)


def _figure(size: tuple[float, float] = (5.2, 3.1)) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(color="#e5e7eb", linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def write_svg(figure: Any, path: Path) -> None:
    """A whole file; the same bytes for the same figure."""
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "videoada"}), written_aside(path) as aside:
        figure.savefig(aside, format="svg", metadata={"Date": None})


def _svg(figure: Any) -> str:
    """The <svg> element alone; the same text for the same figure."""
    import matplotlib

    out = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "videoada", "font.family": "sans-serif"}):
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    text = out.getvalue()
    return re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)


def step_chart(
    computed: Sequence[bool], signal: Sequence[float | None], threshold: float | None,
    depths: Sequence[float] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """A step strip with its signal: cells, and the points of a line, in a box of 10 a step by 40; the template draws.

    The signal is on a logarithmic scale that spans it and the threshold; None where no rule measured. A computed step's
    cell is as high as its share of `depths` (1 without them), how deep into the network it went.
    """
    heights = [round(44 * depth, 1) for depth in depths or [1.0] * len(computed)]
    levels = [s for s in signal if s is not None and s > 0]
    if threshold:
        levels.append(threshold)
    low, high = (np.log(min(levels)), np.log(max(levels))) if levels else (0.0, 1.0)
    span = max(high - low, 1e-9)

    def y(value: float) -> float:
        return round(float(36 - 32 * (np.log(value) - low) / span), 1)

    points = [f"{10 * i + 5},{y(s)}" for i, s in enumerate(signal) if s is not None and s > 0]
    return {
        "width": 10 * len(computed),
        "cells": [(10 * i, bool(step), heights[i] if step else 44) for i, step in enumerate(computed)],
        "points": " ".join(points),
        "threshold": y(threshold) if threshold and points else None,
    }


OTHERS = ("#dc2626", "#f59e0b", "#16a34a", "#a855f7", "#0891b2", "#78716c", "#db2777", "#84cc16", "#94a3b8")


def frontier_chart(curves: Mapping[str, Sequence[tuple[float, float]]], title: str) -> Any:
    """PSNR against the share of the full run's UNet rows, one line for each family, the first one in bold."""
    figure, axes = _figure((8.0, 4.2))
    for i, (family, points) in enumerate(curves.items()):
        shares, values = zip(*sorted(points), strict=True)
        style = {"color": BLUE, "linewidth": 2.2, "markersize": 4, "zorder": 3}
        if i:
            style = {"color": OTHERS[(i - 1) % len(OTHERS)], "linewidth": 1.1, "markersize": 3, "zorder": 2}
        axes.plot([100 * s for s in shares], values, marker="o", label=family, **style)
    axes.set_xlabel("UNet rows (multiply-adds for DeepCache), % of the full run")
    axes.set_ylabel("PSNR to the full run, dB")
    axes.set_title(title, fontsize=10)
    figure.legend(loc="outside right upper", fontsize=8, frameon=False)
    return figure


POLICY_COLOURS = ("#dc2626", "#f59e0b", "#a855f7", BLUE)


def analysis_charts(prompts: Sequence[Any], forced: Sequence[int]) -> dict[str, Any]:
    """Figures of an analysis by name; `forced` are the steps that every policy computes."""
    return {
        "errors": _errors(prompts), "agreement": _agreement(prompts, forced), "differences": _differences(prompts),
        "latent-errors": _latent_errors(prompts), "predictions": _predictions(prompts),
    }  # fmt: skip


def _labelled(x: str, y: str | None = None, log: bool = False) -> tuple[Any, Any]:
    figure, axes = _figure((6.4, 4.0))
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
    from videoada.skip.oracle import agreement

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
