"""Temporal PSNR: whether a video changes from frame to frame as its full run does."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from videoada.metrics.arguments import check_frame, over_pair


def temporal_psnr(preds: NDArray[np.uint8], target: NDArray[np.uint8]) -> float | None:
    """PSNR in dB of the differences of neighbouring frames, of clips (F, H, W, 3) uint8: higher is better.

    10 log₁₀(255² ÷ mean ((x_{t+1} − x_t) − (y_{t+1} − y_t))²), the error pooled over pixels and pairs. None stands for
    infinite, where both change alike, and for a single frame. It does not see what is wrong in all frames alike: a blur
    of what stands still, another colour, other content. Raises MetricError for what are not two clips of one shape.
    """
    return over_pair(ChangeMeter, preds, target)


class ChangeMeter:
    """`temporal_psnr` of two clips that come frame by frame."""

    def __init__(self) -> None:
        self._last: NDArray[np.int32] | None = None  # preds − target
        self._errors: list[float] = []

    def add(self, preds: NDArray[np.uint8], target: NDArray[np.uint8]) -> None:
        """The next frame (H, W, 3) uint8 of both. Raises MetricError for what are none."""
        check_frame(preds, name="preds")
        check_frame(target, preds, "target")
        error = preds.astype(np.int32) - target  # the difference of both clips' differences is that of errors
        if self._last is not None:
            self._errors.append(float(np.square(error - self._last).mean(dtype=np.float64)))
        self._last = error

    def result(self) -> float | None:
        return float(10 * np.log10(255**2 / np.mean(self._errors))) if any(self._errors) else None

    def row(self) -> dict[str, Any]:
        """`temporal_psnr`, and `temporal_identical`: whether both change alike."""
        return {"temporal_psnr": self.result(), "temporal_identical": bool(self._errors) and not any(self._errors)}
