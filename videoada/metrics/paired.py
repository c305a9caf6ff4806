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
    tof: float | None  # mean |flow difference| in pixels, None for a single frame; 0 where motion is the same
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
        ssim=1.0 if identical else float(ssim),
        tof=temporal_flow_error(preds, target),
        identical=identical,
    )


def temporal_flow_error(preds: NDArray[np.uint8], target: NDArray[np.uint8]) -> float | None:
    """tOF (Chu et al., arXiv 1811.09393): mean over pixels and both directions of |OF(preds) − OF(target)|, in pixels.

    Flow from each frame to the next of one clip (F, H, W, 3) uint8, by OpenCV's DIS. None for a single frame or one
    smaller than 12 pixels.
    """
    import cv2

    if len(preds) < 2 or max(preds.shape[1:3]) < 12:  # DIS takes nothing smaller
        return None
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    errors = []
    grey = [[cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in clip] for clip in (preds, target)]
    for i in range(len(preds) - 1):
        of_preds, of_target = (flow.calc(clip[i], clip[i + 1], None) for clip in grey)
        errors.append(np.abs(of_preds - of_target).mean())
    return float(np.mean(errors))
