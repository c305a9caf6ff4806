"""FrameMemo: what several measures need of the same frames, computed once.

A frame of a pair is looked at by PSNR, SSIM, tOF and coherence, and as the neighbour of two others: without a memo its
grey levels, its blurred moments and the flow to it would be computed up to three times.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from videoada.metrics.ssim import Moments, moments

LASTING = 4  # frames that are kept: the last two of both videos
MOST_KEPT = 2**19  # pixels: of larger frames the moments, 48 bytes a pixel, are computed again


def dis_of(height: int, width: int) -> cv2.DISOpticalFlow:
    """OpenCV's DIS, of its medium preset, for frames of that size.

    The preset ends at half the frame's size. Where that is too small, DIS chooses its levels by the width alone: its
    first flow is another than later ones, and frames 12 to 15 high and 40 or more wide are read beyond their end, which
    can end the process. Such frames are followed at their full size.
    """
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    if min(height, width) < 16 or max(height, width) < 46:
        dis.setFinestScale(0)
    return dis


class _Views:
    """What was computed of one frame so far."""

    def __init__(self, frame: NDArray[np.uint8]) -> None:
        self.frame = frame
        self.grey: Any = None
        self.hsv: Any = None
        self.moments: Moments | None = None
        self.flows: list[tuple[NDArray[np.uint8], NDArray[np.float32]]] = []  # (frame to which, flow)


class FrameMemo:
    """Views of frames (H, W, 3) uint8. A frame is known by its identity: its pixels must not change while it is used.

    For one thread. Only the last few frames are kept, so memory does not grow with a video.
    """

    def __init__(self) -> None:
        self._kept: list[_Views] = []
        self._dis: Any = None

    def _of(self, frame: NDArray[np.uint8]) -> _Views:
        for views in reversed(self._kept):
            if views.frame is frame:
                return views
        self._kept = [*self._kept[1 - LASTING :], _Views(frame)]
        return self._kept[-1]

    def grey(self, frame: NDArray[np.uint8]) -> Any:
        """(H, W) uint8."""
        views = self._of(frame)
        if views.grey is None:
            views.grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        return views.grey

    def hsv(self, frame: NDArray[np.uint8]) -> Any:
        """(H, W, 3) uint8: hue in [0, 180), saturation, value."""
        views = self._of(frame)
        if views.hsv is None:
            views.hsv = cv2.cvtColor(frame, cv2.COLOR_RGB2HSV)
        return views.hsv

    def moments(self, frame: NDArray[np.uint8]) -> Moments:
        """Local means and variances, as `frame_ssim` takes them."""
        views = self._of(frame)
        if views.moments is not None:
            return views.moments
        found = moments(frame)
        if frame.shape[0] * frame.shape[1] <= MOST_KEPT:
            views.moments = found
        return found

    def flow(self, start: NDArray[np.uint8], end: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(H, W, 2), pixels from `start` to `end` by OpenCV's DIS. Both at least `SMALLEST_FLOW` pixels wide and
        high."""
        grey = self.grey(start), self.grey(end)
        flows = self._of(start).flows
        for other, known in flows:
            if other is end:
                return known
        self._dis = self._dis or dis_of(*start.shape[:2])
        found: NDArray[np.float32] = self._dis.calc(*grey, None)
        flows.append((end, found))
        return found
