"""Plot how x̂₀ moves along a run: computed, extrapolated, corrected, beside the full run, with the decisions below.

    python scripts/experiments/trajectory.py --output docs/assets/trajectory.svg

One real run of the embedded model at the shipped defaults. The values are projections of x̂₀ onto the two directions in
which the full run's x̂₀ varies most.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from gaps import predictions
from torch import Tensor

import videoada
from videoada.models.recommended import with_recommended
from videoada.plots import BLUE, GREEN, GREY, OTHERS, write_svg
from videoada.skipping.rules.build import build_predictor
from videoada.skipping.rules.decision import Mask
from videoada.skipping.rules.level import Level
from videoada.skipping.rules.prediction import Prediction, PredictionType, read_prediction
from videoada.skipping.rules.predictors import gap_start, interpolate

RED = OTHERS[0]
FIRST_SHOWN = 14  # before it x̂₀ moves thirty times as far, and would press the rest into a line


@dataclass
class Listening:
    """Another predictor, and each x̂₀ that it extrapolated, by the angle of the noise level."""

    predictor: videoada.Predictor
    said: dict[float, Tensor] = field(default_factory=dict)
    num_predictions = 3

    def predict(self, past: Sequence[Prediction], sample: Tensor, level: Level, kind: PredictionType) -> Tensor:
        output = self.predictor.predict(past, sample, level, kind)
        self.said[level.angle] = read_prediction(0, output, sample, level, kind).x0
        return output


def corrected(computed: dict[int, Prediction], levels: Sequence[Level]) -> dict[int, Tensor]:
    """x̂₀ of every skipped step between two computed ones, as the corrector takes it."""
    steps, values = sorted(computed), {}
    for before, after in zip(steps, steps[1:], strict=False):
        past = [computed[step] for step in steps if step <= before]
        if after > before + 1:
            begin = replace(past[-1], x0=gap_start(past, computed[after]))
        for step in range(before + 1, after):
            values[step] = interpolate(begin, computed[after], levels[step])
    return values


def make_figure(
    angles: Sequence[float], full: Tensor, computed: dict[int, Tensor], extrapolated: dict[int, Tensor],
    interpolated: dict[int, Tensor],
) -> Any:  # fmt: skip
    """Two projections, the distance to the full run, and the strip of decisions, all against the angle.

    `full` is (S, N), x̂₀ of every step of the full run; the others hold x̂₀ (N,) by step.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 8.2), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(4, 1, sharex=True, height_ratios=(3, 3, 2.4, 0.5))
    mean, directions = full.mean(0), principal_directions(full)
    for axes, direction, name in zip(panels, directions, ("first", "second"), strict=False):

        def project(x0: Tensor, direction: Tensor = direction) -> float:
            return float((x0 - mean) @ direction)

        axes.plot(angles, [project(x0) for x0 in full], color=GREY, linewidth=1.6, label="full run", zorder=1)
        plot_gaps(axes, angles, {step: project(x0) for step, x0 in computed.items()},
                  {step: project(x0) for step, x0 in extrapolated.items()},
                  {step: project(x0) for step, x0 in interpolated.items()})  # fmt: skip
        shown = [
            project(x0) for x0 in (*full[FIRST_SHOWN:], *(extrapolated[s] for s in extrapolated if s >= FIRST_SHOWN))
        ]
        margin = 0.08 * (max(shown) - min(shown))
        axes.set_ylim(min(shown) - margin, max(shown) + margin)
        axes.set_ylabel(f"x̂₀, {name} component")
    panels[0].legend(frameon=False, loc="lower right")

    def away(values: dict[int, Tensor]) -> dict[int, float]:
        return {step: float((x0 - full[step]).norm() / x0.numel() ** 0.5) for step, x0 in values.items()}

    plot_gaps(panels[2], angles, away(computed), away(extrapolated), away(interpolated))
    panels[2].set_ylabel("distance to\nthe full run, RMS")
    panels[2].set_ylim(bottom=0)
    plot_strip(panels[3], angles, set(computed))
    panels[3].set_xlim(angles[FIRST_SHOWN] + 0.012, -0.02)
    panels[3].set_xlabel("angle φ of the noise level: the run goes from noise (left) to the video (right)")
    for axes in panels[:3]:
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        axes.grid(color="#e5e7eb", linewidth=0.6)
        axes.set_axisbelow(True)
    return figure


def principal_directions(full: Tensor) -> Tensor:
    """(2, N): the two directions in which x̂₀ varies most along the full run, signed so that the run ends high."""
    directions = torch.linalg.svd(full - full.mean(0), full_matrices=False)[2][:2]
    return directions * torch.sign(directions @ (full[-1] - full.mean(0)))[:, None]


def plot_gaps(
    axes: Any, angles: Sequence[float], computed: dict[int, float], extrapolated: dict[int, float],
    interpolated: dict[int, float],
) -> None:  # fmt: skip
    """Dots where the network was called; from each a red line along what was extrapolated, crosses where corrected."""
    nodes = sorted(computed)
    for before, after in zip(nodes, nodes[1:], strict=False):
        steps = [before, *range(before + 1, after)]
        if len(steps) > 1:
            values = [computed[before], *(extrapolated[step] for step in steps[1:])]
            axes.plot([angles[step] for step in steps], values, color=RED, linewidth=0.9, alpha=0.6, zorder=2)
    marks: dict[str, Any] = {"linestyle": "none", "zorder": 3}
    for values, label, style in (
        (extrapolated, "skipped: extrapolated", {"marker": "o", "color": RED, "markersize": 4.5, "fillstyle": "none"}),
        (interpolated, "the same step, corrected", {"marker": "x", "color": GREEN, "markersize": 5}),
        (computed, "computed", {"marker": "o", "color": BLUE, "markersize": 6}),
    ):
        axes.plot([angles[s] for s in values], list(values.values()), label=label, **style, **marks)


def plot_strip(axes: Any, angles: Sequence[float], computed: set[int]) -> None:
    """One cell a step, its middle at the step's angle: dark where the network was called."""
    edges = [angles[0], *((a + b) / 2 for a, b in zip(angles, angles[1:], strict=False)), angles[-1] - 0.04]
    for step, (left, right) in enumerate(zip(edges, edges[1:], strict=False)):
        colour = BLUE if step in computed else "#e2e8f0"
        axes.barh(0, right - left, left=left, height=1, color=colour, edgecolor="white", linewidth=1)
    axes.set_yticks([])
    axes.set_ylabel("decision", rotation=0, ha="right", va="center")
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompt", default="a red circle moving right on a black background")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--output", type=Path, default=Path("docs/assets/trajectory.svg"))
    args = parser.parse_args()
    torch.set_num_threads(1)  # sums in one order, so that the file's bytes depend on the machine alone
    args.output.parent.mkdir(parents=True, exist_ok=True)
    pipe = videoada.load_pipeline("tiny-t2v", device="cpu")
    request = videoada.GenerationConfig(prompt=args.prompt, seed=args.seed)
    [request], skip = with_recommended(pipe, [request]), videoada.SkipConfig()
    every = predictions(pipe, request, Mask((True,) * request.num_steps), predictor="linear", corrector=True)
    listening = Listening(build_predictor(skip))
    computed = predictions(pipe, request, skip, predictor=listening)
    levels = [every[step].level for step in range(request.num_steps)]
    angles = [level.angle for level in levels]
    skipped = {step: angle for step, angle in enumerate(angles) if step not in computed}
    figure = make_figure(
        angles,
        torch.stack([every[step].x0 for step in range(len(levels))]),
        {step: prediction.x0 for step, prediction in computed.items()},
        {step: listening.said[angle] for step, angle in skipped.items()},
        corrected(computed, levels),
    )
    write_svg(figure, args.output)
    print(f"{args.output}: {len(computed)} of {len(levels)} predictions")


if __name__ == "__main__":
    main()
