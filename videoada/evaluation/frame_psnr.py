"""psnr_by_frame(): how close each frame of a video is to its partner's, read from the files frame by frame."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from videoada.errors import OutputError
from videoada.media.reading import open_video

HEIGHT, MARGIN = 60, 6  # of the chart, which is 10 a frame wide
MOST_POINTS = 400  # of a long video the worst of several frames in a row


def psnr_by_frame(video: Path, partner: Path) -> list[float | None] | None:
    """PSNR in dB of each frame, None where two are equal; None at all for videos that can't be read or compared."""
    found: list[float | None] = []
    try:
        for a, b in zip_longest(open_video(video).frames(), open_video(partner).frames()):
            if a is None or b is None or a.shape != b.shape:
                return None
            error = cv2.norm(a, b, cv2.NORM_L2SQR) / a.size
            found.append(float(10 * np.log10(255**2 / error)) if error else None)
    except OutputError:
        return None
    return found or None


def psnr_chart(values: Sequence[float | None]) -> dict[str, Any] | None:
    """Geometry of the line and its worst frame in a box of 10 a frame by 60; None where all frames are equal.

    Frames that are equal lie at its upper border.
    """
    differing = [value for value in values if value is not None]
    if not differing:
        return None
    low, high = min(differing), max(differing)
    span = max(high - low, 1.0)

    def y(value: float | None) -> float:
        if value is None:
            return 1.0
        return round(HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * (value - low) / span, 1)

    worst = values.index(low)
    share = -(-len(values) // MOST_POINTS)
    shown = []
    for start in range(0, len(values), share):
        part = values[start : start + share]
        lowest = min((value for value in part if value is not None), default=None)
        shown.append((start + part.index(lowest), lowest))
    return {
        "width": 10 * len(values), "height": HEIGHT, "worst": worst, "x": 10 * worst + 5, "y": y(low),
        "points": " ".join(f"{10 * i + 5},{y(value):g}" for i, value in shown),
        "label": f"PSNR frame by frame, {low:.1f} to {high:.1f} dB; worst: frame {worst + 1} of {len(values)}"
        + (f"; {values.count(None)} equal" if None in values else ""),
    }  # fmt: skip
