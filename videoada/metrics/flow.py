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
        self._scaled = first.astype(np.float32) / 255
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
        planes_2HW = np.ascontiguousarray(forth.transpose(2, 0, 1))  # sums over a last axis of two are slow
        dx, dy = planes_2HW
        x, y = self._x + dx, self._y + dy
        back_x, back_y = cv2.split(cv2.remap(back, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
        scaled = frame.astype(np.float32) / 255
        # Ruder et al., arXiv 1604.08610, eq. 5 and 6: where flow forth and back disagree, and at motion boundaries
        squared, squared_back = dx * dx + dy * dy, back_x * back_x + back_y * back_y
        occluded = (dx + back_x) ** 2 + (dy + back_y) ** 2 > 0.01 * (squared + squared_back) + 0.5
        boundary = _squared_slope(planes_2HW) > 0.01 * squared_back + 0.002
        outside = (x < 0) | (y < 0) | (x > width - 1) | (y > height - 1)
        seen = ~(occluded | boundary | outside)
        if seen.any():
            error = cv2.remap(scaled, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            error -= self._scaled
            error *= error
            self._errors.append(sum(cv2.mean(error, mask=seen.view(np.uint8))[:3]))  # in float64
        magnitude = np.sqrt(squared).ravel()
        self._magnitudes.append(float(magnitude.mean()))
        count = max(len(magnitude) // 20, 1)
        self._largest.append(float(np.partition(magnitude, -count)[-count:].mean()))
        self._frame, self._scaled = frame, scaled

    def result(self) -> dict[str, float | None]:
        """`warping_error` (None where nothing could be followed), `flow_magnitude`, `dynamic_degree`."""
        return {
            "warping_error": float(np.mean(self._errors)) if self._errors else None,
            "flow_magnitude": float(np.mean(self._magnitudes)),
            "dynamic_degree": float(np.mean(self._largest)),
        }


def _squared_slope(planes_2HW: NDArray[np.float32]) -> Any:
    """(H, W): squared gradient of both planes, as `np.gradient` has it: one-sided at the borders."""
    down, right = np.empty_like(planes_2HW), np.empty_like(planes_2HW)
    np.subtract(planes_2HW[:, 2:], planes_2HW[:, :-2], out=down[:, 1:-1])
    np.subtract(planes_2HW[:, :, 2:], planes_2HW[:, :, :-2], out=right[:, :, 1:-1])
    down[:, 1:-1] /= 2
    right[:, :, 1:-1] /= 2
    for i, j in ((0, 1), (-1, -2)):  # their sign is lost in the square
        down[:, i] = planes_2HW[:, j] - planes_2HW[:, i]
        right[:, :, i] = planes_2HW[:, :, j] - planes_2HW[:, :, i]
    down *= down
    right *= right
    return (down[0] + down[1]) + (right[0] + right[1])
