"""How much a video moves against its full run: "motion got faster" is what users of caches complain of."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from videoada.metrics.arguments import check_frame, over_pair
from videoada.metrics.flow import SMALLEST_FLOW
from videoada.metrics.frame_memo import FrameMemo

STILL = 0.01  # pixels a frame: less motion than this counts as so much, so that two still clips move alike


def motion_ratio(preds: NDArray[np.uint8], target: NDArray[np.uint8]) -> float | None:
    """How much moves in a clip (F, H, W, 3) uint8, ÷ how much moves in its full run: 1 is best, above it motion got
    faster, below it slower; a frozen clip is near 0.

    The mean length of the flow from frame to frame (OpenCV's DIS), over pixels and pairs. It does not see where and in
    which direction things move, and takes noise and some of a blur for motion. None for a single frame and below 12
    pixels. Raises MetricError for what are not two clips of one shape.
    """
    return over_pair(MotionMeter, preds, target)


class MotionMeter:
    """`motion_ratio` of two clips that come frame by frame; a `memo` is shared as in `FidelityMeter`."""

    def __init__(self, memo: FrameMemo | None = None) -> None:
        self._shared, self._memo = memo is not None, memo or FrameMemo()
        self._last: tuple[NDArray[np.uint8], NDArray[np.uint8]] | None = None
        self._lengths: list[list[float]] = []  # of preds and target, pair by pair

    def add(self, preds: NDArray[np.uint8], target: NDArray[np.uint8]) -> None:
        """The next frame (H, W, 3) uint8 of both. Raises MetricError for what are none."""
        check_frame(preds, name="preds")
        check_frame(target, preds, "target")
        if min(preds.shape[:2]) < SMALLEST_FLOW:
            return
        frames = (preds, target) if self._shared else (preds.copy(), target.copy())
        if self._last:
            flows = (self._memo.flow(a, b) for a, b in zip(self._last, frames, strict=True))
            self._lengths.append([float(np.hypot(flow[..., 0], flow[..., 1]).mean()) for flow in flows])
        self._last = frames

    def result(self) -> float | None:
        if not self._lengths:
            return None
        made, full = np.maximum(np.mean(self._lengths, axis=0), STILL)
        return float(made / full)

    def row(self) -> dict[str, float | None]:
        """`motion_ratio`."""
        return {"motion_ratio": self.result()}


def farthest_from_one(ratios: NDArray[np.float64]) -> float:
    """The ratio that is the most above or below 1, as a factor."""
    return float(ratios[np.argmax(np.abs(np.log(np.maximum(ratios, 1e-9))))])
