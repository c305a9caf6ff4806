"""Optical flow between neighbouring frames, by OpenCV's DIS: warping error and how much moves."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

SMALLEST_FLOW = 12  # pixels; DIS takes nothing smaller
FLOW = ("warping_error", "flow_magnitude", "dynamic_degree")


def dis_of(height: int, width: int) -> cv2.DISOpticalFlow:
    """OpenCV's DIS, of its medium preset, for frames of that size.

    It leaves the finest level out, which frames below 46 pixels do not have: then it chooses levels by the width alone,
    for good. A frame of 12 to 15 by 40 pixels or more gets a level lower than a patch, and the process dies.
    """
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    if min(height, width) < 16 or max(height, width) < 46:
        dis.setFinestScale(0)
    return dis


class FlowMeter:
    """Measures of flow over a clip that comes frame by frame, beginning with `first` (H, W, 3) uint8."""

    def __init__(self, first: NDArray[np.uint8]) -> None:
        self._dis = dis_of(*first.shape[:2])
        self._grey = cv2.cvtColor(first, cv2.COLOR_RGB2GRAY)
        self._frame = first
        height, width = first.shape[:2]
        self._grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).astype(np.float32)
        self._errors: list[float] = []
        self._magnitudes: list[float] = []
        self._largest: list[float] = []

    def add(self, frame: NDArray[np.uint8]) -> None:
        """The next frame, of the same size."""
        height, width = frame.shape[:2]
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        forth, back = self._dis.calc(self._grey, grey, None), self._dis.calc(grey, self._grey, None)
        target = self._grid + forth
        back_there = cv2.remap(back, target[..., 0], target[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        warped = cv2.remap(
            frame.astype(np.float32) / 255, target[..., 0], target[..., 1], cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        # Ruder et al., arXiv 1604.08610, eq. 5 and 6: where flow forth and back disagree, and at motion boundaries
        length = (forth**2).sum(-1) + (back_there**2).sum(-1)
        occluded = ((forth + back_there) ** 2).sum(-1) > 0.01 * length + 0.5
        slope = sum((g**2).sum(-1) for g in np.gradient(forth, axis=(0, 1)))
        boundary = slope > 0.01 * (back_there**2).sum(-1) + 0.002
        outside = (target < 0).any(-1) | (target[..., 0] > width - 1) | (target[..., 1] > height - 1)
        seen = ~(occluded | boundary | outside)
        if seen.any():
            self._errors.append(float(((warped - self._frame / 255) ** 2).sum(-1)[seen].mean()))
        magnitude = np.sqrt((forth**2).sum(-1)).ravel()
        self._magnitudes.append(float(magnitude.mean()))
        count = max(len(magnitude) // 20, 1)
        self._largest.append(float(np.partition(magnitude, -count)[-count:].mean()))
        self._grey, self._frame = grey, frame

    def result(self) -> dict[str, float | None]:
        """`warping_error` (None where nothing could be followed), `flow_magnitude`, `dynamic_degree`."""
        return {
            "warping_error": float(np.mean(self._errors)) if self._errors else None,
            "flow_magnitude": float(np.mean(self._magnitudes)),
            "dynamic_degree": float(np.mean(self._largest)),
        }
