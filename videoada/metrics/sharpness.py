"""Sharpness of a video against that of its full run: a skipped video can be blurred where PSNR hardly falls."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from videoada.metrics.arguments import check_frame, over_pair

FLAT = 1e-3  # grey levels²: below it a full run has no edges whose sharpness could be compared


@dataclass(frozen=True)
class Sharpness:
    """Ratios, positive, 1 at best; None where the full run is flat."""

    sharpness_ratio: float | None  # by the variance of the Laplacian
    tenengrad_ratio: float | None


def sharpness_ratio(preds: NDArray[np.uint8], target: NDArray[np.uint8]) -> Sharpness:
    """How sharp a clip (F, H, W, 3) uint8 is, ÷ how sharp its full run is: 1 is best, below it is blurred, above it is
    sharper or noisier.

    The variance of the Laplacian of grey frames (Pech-Pacheco et al. 2000), and Tenengrad, the mean of gx² + gy² by
    Sobel's filters of 3×3 (Krotkov 1988), in grey levels², each averaged over frames before the division. It does not
    see whether details are the right ones and in the right position, and takes noise for sharpness. Raises MetricError
    for what are not two clips of one shape.
    """
    return over_pair(SharpnessMeter, preds, target)


class SharpnessMeter:
    """`sharpness_ratio` of two clips that come frame by frame."""

    def __init__(self) -> None:
        self._found: list[tuple[tuple[float, float], tuple[float, float]]] = []  # of preds and target

    def add(self, preds: NDArray[np.uint8], target: NDArray[np.uint8]) -> None:
        """The next frame (H, W, 3) uint8 of both. Raises MetricError for what are none."""
        check_frame(preds, name="preds")
        check_frame(target, preds, "target")
        self._found.append((_sharpness(preds), _sharpness(target)))

    def result(self) -> Sharpness:
        """Both None where no frame came."""
        made, full = np.mean(self._found, axis=0) if self._found else np.zeros((2, 2))
        return Sharpness(*(float(m / f) if f > FLAT else None for m, f in zip(made, full, strict=True)))

    def row(self) -> dict[str, float | None]:
        """`sharpness_ratio` and `tenengrad_ratio`."""
        return asdict(self.result())


def _sharpness(frame: NDArray[np.uint8]) -> tuple[float, float]:
    """The variance of the Laplacian, and Tenengrad, of a frame's grey levels."""
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    across, down = cv2.Sobel(grey, cv2.CV_64F, 1, 0, ksize=3), cv2.Sobel(grey, cv2.CV_64F, 0, 1, ksize=3)
    return float(cv2.Laplacian(grey, cv2.CV_64F).var()), float((across**2 + down**2).mean())
