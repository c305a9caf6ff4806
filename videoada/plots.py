"""A matplotlib figure in the house's style, the colours, and its SVG: the same bytes for the same figure.

No prompt ever enters one: matplotlib would read it as markup.
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

from videoada.files import written_aside

BLUE, GREY, GREEN = "#2563eb", "#94a3b8", "#2ea043"
OTHERS = ("#dc2626", "#f59e0b", "#16a34a", "#a855f7", "#0891b2", "#78716c", "#db2777", "#84cc16", "#94a3b8")


def new_figure(size: tuple[float, float] = (5.2, 3.1)) -> tuple[Any, Any]:
    """A figure of that many inches, and its axes."""
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


def svg_text(figure: Any) -> str:
    """The <svg> element alone; the same text for the same figure."""
    import matplotlib

    out = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "videoada", "font.family": "sans-serif"}):
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    text = out.getvalue()
    return re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
