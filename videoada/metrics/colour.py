"""How far a video's mean colour lies from its full run's."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from videoada.metrics.arguments import check_frame, over_pair

# sRGB to XYZ under D65 (IEC 61966-2-1), the white that belongs to it, and the linear values of its 256 levels.
XYZ = np.array([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]])
WHITE = np.array([0.95047, 1.0, 1.08883])
LEVELS = np.arange(256) / 255
LINEAR = np.where(LEVELS > 0.04045, ((LEVELS + 0.055) / 1.055) ** 2.4, LEVELS / 12.92)


@dataclass(frozen=True)
class ColourShift:
    """Both are 0 at best, and None where no frame came."""

    colour_shift: float | None  # grey levels of 255
    colour_delta_e: float | None  # CIE 1976


def colour_shift(preds: NDArray[np.uint8], target: NDArray[np.uint8]) -> ColourShift:
    """How far the colours of a clip (F, H, W, 3) uint8 moved as a whole: 0 is best, lower is better.

    `colour_shift` is the largest difference of a channel's mean over the clip, in grey levels; `colour_delta_e` is ΔE
    of CIE 1976 between both clips' mean colours in L*a*b* (sRGB, D65), which is seen from about 2.3 on. It does not see
    where a colour is, nor shifts that cancel in the mean over pixels and frames. Raises MetricError for what are not
    two clips of one shape.
    """
    return over_pair(ColourMeter, preds, target)


class ColourMeter:
    """`colour_shift` of two clips that come frame by frame."""

    def __init__(self) -> None:
        self._levels: list[NDArray[np.float64]] = []  # differences of a frame's means, channel by channel
        self._lab: list[NDArray[np.float64]] = []

    def add(self, preds: NDArray[np.uint8], target: NDArray[np.uint8]) -> None:
        """The next frame (H, W, 3) uint8 of both. Raises MetricError for what are none."""
        check_frame(preds, name="preds")
        check_frame(target, preds, "target")
        self._levels.append(preds.mean((0, 1)) - target.mean((0, 1)))
        self._lab.append(_mean_lab(preds) - _mean_lab(target))

    def result(self) -> ColourShift:
        if not self._levels:
            return ColourShift(None, None)
        levels, lab = (np.mean(found, axis=0) for found in (self._levels, self._lab))
        return ColourShift(float(np.abs(levels).max()), float(np.linalg.norm(lab)))

    def row(self) -> dict[str, float | None]:
        """`colour_shift` and `colour_delta_e`."""
        return asdict(self.result())


def _mean_lab(frame: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The mean over pixels of L*, a*, b*: (3,)."""
    ratio = LINEAR[frame] @ XYZ.T / WHITE
    x, y, z = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116).mean((0, 1))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])
