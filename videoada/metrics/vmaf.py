"""VMAF, the video quality that Netflix trained on people's judgement of compressed films, by the package vmaf-torch."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from videoada.errors import ConfigError, MetricError
from videoada.metrics.arguments import check_frame, over_pair

SMALLEST = 32  # pixels: the coarsest of its four scales is an eighth of the picture, and needs its filters' width
# Luma of limited range, as films hold it and FFmpeg converts to it (BT.601): grey levels 16 to 235 of 0 to 255.
LUMA = np.array([65.481, 128.553, 24.966]) / 255
BORDER = 0.1  # of a scale's sides, which its detail measure (ADM) leaves out


def vmaf_score(preds: NDArray[np.uint8], target: NDArray[np.uint8]) -> float:
    """VMAF v0.6.1 of a clip (F, H, W, 3) uint8 against its full run, in [0, 100]: higher is better. Mean over frames.

    It was made for compression and scaling of films that are watched on a television. It looks at luma alone and takes
    motion from the full run: it does not see wrong colours, another brightness or flicker, and equal clips get 97 to
    100. Needs the extra `vmaf` (vmaf-torch, BSD-3). Agrees with libvmaf's model in floating point (vmaf_float_v0.6.1)
    to 0.05 at any size; libvmaf's default counts in whole numbers and is up to 0.5 off that below 48 pixels, 0.1 from
    there on. Raises ConfigError without the extra, MetricError for what are not two clips of one shape of 32 pixels or
    more.
    """
    return over_pair(VmafMeter, preds, target)


class VmafMeter:
    """`vmaf_score` of two clips that come frame by frame, in the memory of two frames. Raises ConfigError without the
    extra."""

    def __init__(self) -> None:
        self._model = load_vmaf()
        self._last: Tensor | None = None
        self._motion: list[Tensor] = []  # of each frame since the one before it, 0 for the first
        self._features: list[tuple[Tensor, Tensor]] = []

    @torch.inference_mode()
    def add(self, preds: NDArray[np.uint8], target: NDArray[np.uint8]) -> None:
        """The next frame (H, W, 3) uint8 of both. Raises MetricError for what are none, or smaller than 32 pixels."""
        check_frame(preds, name="preds")
        check_frame(target, preds, "target")
        if min(preds.shape[:2]) < SMALLEST:
            size = f"{preds.shape[1]}×{preds.shape[0]}"
            raise MetricError(f"VMAF needs frames of at least 32×32 pixels, got {size}: leave vmaf out of `metrics`")
        made, full = luma(preds), luma(target)
        self._features.append((detail(self._model, full, made), self._model.compute_vif_features(full, made)))
        blurred = self._blur(full)
        last = blurred if self._last is None else self._last
        self._motion.append((blurred - last).abs().mean()[None])
        self._last = blurred

    def _blur(self, luma: Tensor) -> Tensor:
        """By the package's filter of 5 pixels, mirrored at all edges as libvmaf does; the package repeats some."""
        row = self._model.motion.blur_win.view(1, 1, 1, 5)
        padded = nn.functional.pad(luma, (2, 2, 2, 2), mode="reflect")
        return nn.functional.conv2d(nn.functional.conv2d(padded, row), row.mT)

    def result(self) -> float:
        """The mean over frames. Raises MetricError where none came."""
        if not self._motion:
            raise MetricError("a clip must have a frame")
        with torch.inference_mode():
            motion = torch.stack(self._motion)
            motion[:-1] = torch.minimum(motion[:-1], motion[1:])  # the lesser of both neighbours' …
            motion[0] = 0  # … and none of the first, as libvmaf has it
            adm, vif = (torch.cat(parts) for parts in zip(*self._features, strict=True))
            return float(self._model.predict(adm, motion, vif).double().mean())

    def row(self) -> dict[str, float | None]:
        """`vmaf`; None where no frame came."""
        return {"vmaf": self.result() if self._motion else None}


def detail(model: Any, full: Tensor, made: Tensor) -> Tensor:
    """The measure of lost detail (ADM) as libvmaf has it, (1, 1), of luma (1, 1, H, W).

    Each scale adds a constant that grows with its area inside the border. libvmaf cuts the border's width to a whole
    number towards zero, vmaf-torch 1.1 downwards, which gives scales of fewer than 5 pixels a border below zero.
    """
    above, below = model.adm.adm_num_den(full, made)  # (1, 4)
    height, width = full.shape[-2:]
    missing = 0.0
    for _ in range(4):
        height, width = -(-height // 2), -(-width // 2)
        inside = [
            math.prod(side - 2 * cut(side * BORDER - 0.5) for side in (height, width))
            for cut in (math.trunc, math.floor)
        ]
        missing += 3 * ((inside[0] / 32) ** (1 / 3) - (inside[1] / 32) ** (1 / 3))
    score: Tensor = ((above.sum(-1) + missing) / (below.sum(-1) + missing))[:, None]
    return score


def luma(frame: NDArray[np.uint8]) -> Tensor:
    """Luma (1, 1, H, W), float32, whole grey levels from 16 to 235, of a frame (H, W, 3) uint8."""
    return torch.from_numpy(np.rint(16 + frame @ LUMA)).float()[None, None]


@functools.cache
def load_vmaf() -> Any:
    """The package's model, its scores held to [0, 100]. Raises ConfigError without the package."""
    try:
        from vmaf_torch import VMAF
    except ImportError:
        raise ConfigError(
            "VMAF needs vmaf-torch: pip install 'videoada[vmaf]', or leave vmaf out of `metrics`"
        ) from None
    return VMAF(clip_score=True).eval()
