"""Fidelity of a video to the full run of the same prompt and seed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure


@dataclass(frozen=True)
class Fidelity:
    """`psnr` is of the error pooled over all frames, in dB; None stands for infinite, where frames are equal."""

    psnr: float | None
    psnr_frame_mean: float | None  # over the frames that differ, None if none does
    psnr_worst_frame: float | None
    ssim: float  # mean over frames, in [-1, 1]
    identical: bool

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def paired_fidelity(preds: NDArray[np.uint8], target: NDArray[np.uint8]) -> Fidelity:
    """Compare two clips (F, H, W, 3) uint8 of equal shape. Raises ValueError when the shapes differ."""
    if preds.shape != target.shape:
        raise ValueError(f"clips differ in shape: {preds.shape} and {target.shape}")
    p_FCHW, t_FCHW = (torch.from_numpy(v.copy()).permute(0, 3, 1, 2).double() for v in (preds, target))
    frames = peak_signal_noise_ratio(p_FCHW, t_FCHW, data_range=255.0, dim=(1, 2, 3), reduction="none")
    differing = frames[frames.isfinite()]
    identical = not len(differing)
    ssim = structural_similarity_index_measure(p_FCHW, t_FCHW, data_range=255.0)
    return Fidelity(
        psnr=None if identical else float(peak_signal_noise_ratio(p_FCHW, t_FCHW, data_range=255.0)),
        psnr_frame_mean=None if identical else float(differing.mean()),
        psnr_worst_frame=None if identical else float(differing.min()),
        ssim=float(ssim),
        identical=identical,
    )
