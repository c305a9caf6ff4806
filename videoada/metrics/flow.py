"""Optical flow between neighbouring frames, by OpenCV's DIS: warping error and how much moves."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from videoada.metrics.frame_memo import FrameMemo

SMALLEST_FLOW = 12  # pixels; DIS takes nothing smaller
FLOW = ("warping_error", "flow_magnitude", "dynamic_degree")


class FlowMeter:
    """Measures of flow over a clip that comes frame by frame, beginning with `first` (H, W, 3) uint8."""

    def __init__(self, first: NDArray[np.uint8], memo: FrameMemo) -> None:
        self._frame, self._memo = first, memo
        height, width = first.shape[:2]
        self._x = np.arange(width, dtype=np.float32)
        self._y = np.arange(height, dtype=np.float32)[:, None]
        self._errors: list[float] = []
        self._magnitudes: list[float] = []
        self._largest: list[float] = []

    def add(self, frame: NDArray[np.uint8]) -> None:
        """The next frame, of the same size."""
        height, width = frame.shape[:2]
        forth, back = self._memo.flow(self._frame, frame), self._memo.flow(frame, self._frame)
        dx, dy = cv2.split(forth)  # planes: sums over a last axis of two are slow
        x, y = self._x + dx, self._y + dy
        back_x, back_y = cv2.split(cv2.remap(back, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
        scaled = frame.astype(np.float32) / 255
        warped = cv2.remap(scaled, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        # Ruder et al., arXiv 1604.08610, eq. 5 and 6: where flow forth and back disagree, and at motion boundaries
        squared, squared_back = dx * dx + dy * dy, back_x * back_x + back_y * back_y
        occluded = (dx + back_x) ** 2 + (dy + back_y) ** 2 > 0.01 * (squared + squared_back) + 0.5
        boundary = _squared_slope(dx, dy) > 0.01 * squared_back + 0.002
        outside = (x < 0) | (y < 0) | (x > width - 1) | (y > height - 1)
        seen = ~(occluded | boundary | outside)
        if seen.any():
            error = warped - self._frame / 255
            error *= error
            self._errors.append(float((error[..., 0] + error[..., 1] + error[..., 2])[seen].mean()))
        magnitude = np.sqrt(squared).ravel()
        self._magnitudes.append(float(magnitude.mean()))
        count = max(len(magnitude) // 20, 1)
        self._largest.append(float(np.partition(magnitude, -count)[-count:].mean()))
        self._frame = frame

    def result(self) -> dict[str, float | None]:
        """`warping_error` (None where nothing could be followed), `flow_magnitude`, `dynamic_degree`."""
        return {
            "warping_error": float(np.mean(self._errors)) if self._errors else None,
            "flow_magnitude": float(np.mean(self._magnitudes)),
            "dynamic_degree": float(np.mean(self._largest)),
        }


def _squared_slope(*planes_HW: Any) -> Any:
    """Squared gradient summed over the planes, as `np.gradient` has it: one-sided at the borders."""
    total: Any = 0
    for axis in (0, 1):
        for plane in planes_HW:
            f = plane if axis == 0 else plane.T
            slope = np.empty_like(f)
            np.subtract(f[2:], f[:-2], out=slope[1:-1])
            slope[1:-1] /= 2
            slope[0], slope[-1] = f[1] - f[0], f[-1] - f[-2]
            slope *= slope
            total = total + (slope if axis == 0 else slope.T)
    return total
