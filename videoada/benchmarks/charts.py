"""The plot of a benchmark: fidelity against cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from videoada.plots import BLUE, OTHERS, new_figure


def frontier_chart(curves: Mapping[str, Sequence[tuple[float, float]]], title: str) -> Any:
    """PSNR against the share of the full run's UNet rows, one line for each family, the first one in bold."""
    figure, axes = new_figure((8.0, 4.2))
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
