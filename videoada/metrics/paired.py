"""Fidelity of a video to the full run of the same prompt and seed."""

from __future__ import annotations

import importlib.util
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    peak_signal_noise_ratio,
)

from videoada.errors import ConfigError, MetricError
from videoada.metrics.arguments import check_frame, check_pair, over_pair
from videoada.metrics.flow import SMALLEST_FLOW
from videoada.metrics.frame_memo import FrameMemo
from videoada.metrics.ssim import WINDOW, frame_ssim

IDENTICAL = 100.0  # dB that stand for equal frames where a mean is taken


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


def paired_fidelity(preds: NDArray[np.uint8], target: NDArray[np.uint8], flow: bool = True) -> Fidelity:
    """Compare two clips (F, H, W, 3) uint8 of equal shape. Without `flow`, `tof` stays None, which is quicker.

    Raises MetricError for what are not two such clips.
    """
    return over_pair(lambda: FidelityMeter(flow), preds, target)


class FidelityMeter:
    """`paired_fidelity` of two clips that come frame by frame, in the memory of a few frames however long they are.

    A `memo` is shared by the measures of the same frames, whose pixels must not change then.
    """

    def __init__(self, flow: bool = True, memo: FrameMemo | None = None) -> None:
        self._memo = memo
        self._errors: list[float] = []
        self._ssim: list[float] = []
        self._flow = FlowErrorMeter(memo) if flow else None

    def add(self, preds: NDArray[np.uint8], target: NDArray[np.uint8]) -> None:
        """The next frame (H, W, 3) uint8 of both. Raises MetricError for what are none."""
        check_frame(preds, name="preds")
        check_frame(target, preds, "target")
        self._errors.append(_squared_error(preds, target))
        known = None
        if self._errors[-1] and self._memo and min(preds.shape[:2]) >= WINDOW:
            known = self._memo.moments(preds), self._memo.moments(target)
        self._ssim.append(1.0 if not self._errors[-1] else frame_ssim(preds, target, known))
        if self._flow:
            self._flow.add(preds, target)

    def result(self) -> Fidelity:
        """Of all frames. Raises MetricError where none came."""
        if not self._errors:
            raise MetricError("a clip must have a frame")
        errors = torch.tensor(self._errors, dtype=torch.float64)
        differing = _psnr(errors[errors > 0])
        identical = not len(differing)
        return Fidelity(
            psnr=None if identical else float(_psnr(errors.mean())),
            psnr_frame_mean=None if identical else float(differing.mean()),
            psnr_worst_frame=None if identical else float(differing.min()),
            ssim=1.0 if identical else float(np.mean(self._ssim)),
            tof=self._flow.result() if self._flow else None,
            identical=identical,
        )


def _squared_error(a_HWC: NDArray[np.uint8], b_HWC: NDArray[np.uint8]) -> float:
    return cv2.norm(a_HWC, b_HWC, cv2.NORM_L2SQR) / a_HWC.size  # of integers: exact


def _psnr(squared_error: torch.Tensor) -> torch.Tensor:
    """dB, of errors in grey levels of 255; by torchmetrics, from the error of a single number."""
    return peak_signal_noise_ratio(
        squared_error.sqrt()[..., None], torch.zeros_like(squared_error)[..., None], data_range=255.0, dim=-1,
        reduction="none",
    )  # fmt: skip


def multiscale_ssim(preds: NDArray[np.uint8], target: NDArray[np.uint8]) -> float | None:
    """MS-SSIM (Wang et al. 2003), mean over frames; None below 176 pixels, where five scales do not fit."""
    check_pair(preds, target)
    if min(preds.shape[1:3]) < 176:
        return None
    return float(np.mean([frame_multiscale_ssim(p, t) for p, t in zip(preds, target, strict=True)]))


def frame_multiscale_ssim(a_HWC: NDArray[np.uint8], b_HWC: NDArray[np.uint8]) -> float:
    """MS-SSIM of two frames of at least 176 pixels."""
    a, b = (torch.from_numpy(v.copy()).permute(2, 0, 1)[None].double() for v in (a_HWC, b_HWC))
    return float(multiscale_structural_similarity_index_measure(a, b, data_range=255.0))


def learned_similarity(preds: NDArray[np.uint8], target: NDArray[np.uint8]) -> float:
    """LPIPS with AlexNet (Zhang et al., arXiv 1801.03924), mean over frames; 0 is equal.

    Needs torchvision and its weights (extra `lpips`), which this project's own machines lack: it is untested there.
    Raises ConfigError without them.
    """
    check_pair(preds, target)
    return float(np.mean([frame_learned_similarity(p, t) for p, t in zip(preds, target, strict=True)]))


def frame_learned_similarity(a_HWC: NDArray[np.uint8], b_HWC: NDArray[np.uint8]) -> float:
    """LPIPS of two frames."""
    if not importlib.util.find_spec("torchvision"):
        raise ConfigError("LPIPS needs torchvision: pip install 'videoada[lpips]', or leave lpips out of `metrics`")
    from torchmetrics.functional.image import learned_perceptual_image_patch_similarity

    a, b = (torch.from_numpy(v.copy()).permute(2, 0, 1)[None].float() / 255 for v in (a_HWC, b_HWC))
    try:
        return float(learned_perceptual_image_patch_similarity(a, b, net_type="alex", normalize=True))
    except Exception as error:  # its backbone's weights are fetched when first used
        raise ConfigError(f"LPIPS can't be computed: {str(error).splitlines()[0][:200]}") from None


def temporal_flow_error(preds: NDArray[np.uint8], target: NDArray[np.uint8]) -> float | None:
    """tOF (Chu et al., arXiv 1811.09393): mean over pixels and both directions of |OF(preds) − OF(target)|, in pixels.

    Flow from each frame to the next of one clip (F, H, W, 3) uint8, by OpenCV's DIS. None for a single frame or one
    smaller than 12 pixels.
    """
    return over_pair(FlowErrorMeter, preds, target)


class FlowErrorMeter:
    """`temporal_flow_error` of two clips that come frame by frame; a `memo` is shared as in `FidelityMeter`."""

    def __init__(self, memo: FrameMemo | None = None) -> None:
        self._shared, self._memo = memo is not None, memo or FrameMemo()
        self._last: tuple[NDArray[np.uint8], NDArray[np.uint8]] | None = None
        self._errors: list[float] = []

    def add(self, preds: NDArray[np.uint8], target: NDArray[np.uint8]) -> None:
        """The next frame (H, W, 3) uint8 of both."""
        if min(preds.shape[:2]) < SMALLEST_FLOW:
            return
        frames = (preds, target) if self._shared else (preds.copy(), target.copy())
        if self._last:
            of_preds, of_target = (self._memo.flow(a, b) for a, b in zip(self._last, frames, strict=True))
            self._errors.append(float(np.abs(of_preds - of_target).mean()))
        self._last = frames

    def result(self) -> float | None:
        return float(np.mean(self._errors)) if self._errors else None
