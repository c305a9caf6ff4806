"""Charts of a report, as SVG text, and the geometry of a step strip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from videoada.plots import BLUE, GREEN, GREY, new_figure, svg_text


def fidelity_chart(predictions: Sequence[int], psnr: Sequence[float], partner: str) -> str:
    """PSNR against predictions, one dot a video."""
    figure, axes = new_figure()
    axes.scatter(predictions, psnr, s=18, color=BLUE, alpha=0.6, linewidths=0)
    axes.set_xlabel("predictions")
    axes.set_ylabel(f"PSNR to the {partner}, dB")
    return svg_text(figure)


def histogram(predictions: Sequence[int], num_steps: int) -> str:
    """How many videos took how many predictions."""
    figure, axes = new_figure()
    low, high = min(predictions), max(predictions)
    axes.hist(predictions, bins=np.arange(low, high + 2) - 0.5, color=GREEN, rwidth=0.85)
    axes.axvline(np.mean(predictions), color=GREY, linestyle="--", linewidth=1)
    axes.set_xlabel(f"predictions of {num_steps} (dashed: the mean)")
    axes.set_ylabel("videos")
    axes.yaxis.get_major_locator().set_params(integer=True)
    return svg_text(figure)


def error_chart(errors: Sequence[Sequence[float]]) -> str:
    """Relative latent error by step: the median and the middle 80 % of the videos."""
    figure, axes = new_figure()
    values = np.array(errors)
    steps = np.arange(values.shape[1])
    low, middle, high = (np.percentile(values, q, axis=0) for q in (10, 50, 90))
    axes.fill_between(steps, low, high, color=BLUE, alpha=0.2, linewidth=0)
    axes.plot(steps, middle, color=BLUE)
    axes.set_xlabel("step (band: the middle 80 % of the videos)")
    axes.set_ylabel("latent error, relative")
    axes.set_ylim(bottom=0)
    return svg_text(figure)


def step_chart(
    computed: Sequence[bool], signal: Sequence[float | None], threshold: float | None,
    depths: Sequence[float] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Geometry of a step strip with its signal: paths of the cells, and the points of a line, in a box of 10 a step
    by 44.

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

    def cells(of: bool) -> str:
        return "".join(
            f"M{10 * i} 44v-{heights[i] if step else 44:g}h9V44z" for i, step in enumerate(computed) if bool(step) == of
        )

    points = [f"{10 * i + 5},{y(s)}" for i, s in enumerate(signal) if s is not None and s > 0]
    return {
        "width": 10 * len(computed),
        "computed": cells(True),
        "skipped": cells(False),
        "points": " ".join(points),
        "threshold": y(threshold) if threshold and points else None,
    }
