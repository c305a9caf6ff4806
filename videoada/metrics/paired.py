"""Fidelity of a video to the full run of the same prompt and seed."""

from __future__ import annotations

import importlib.util
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)

from videoada.errors import ConfigError, MetricError
from videoada.metrics.arguments import check_frame, check_pair
from videoada.metrics.flow import SMALLEST_FLOW, dis_of

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
    check_pair(preds, target)
    meter = FidelityMeter(flow)
    for p, t in zip(preds, target, strict=True):
        meter.add(p, t)
    return meter.result()


class FidelityMeter:
    """`paired_fidelity` of two clips that come frame by frame, in the memory of a few frames however long they are."""

    def __init__(self, flow: bool = True) -> None:
        self._errors: list[float] = []
        self._ssim: list[float] = []
        self._flow = FlowErrorMeter() if flow else None

    def add(self, preds: NDArray[np.uint8], target: NDArray[np.uint8]) -> None:
        """The next frame (H, W, 3) uint8 of both. Raises MetricError for what are none."""
        check_frame(preds, name="preds")
        check_frame(target, preds, "target")
        self._errors.append(_squared_error(preds, target))
        self._ssim.append(1.0 if not self._errors[-1] else frame_ssim(preds, target))
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
    return float(np.square(a_HWC.astype(np.int32) - b_HWC).mean(dtype=np.float64))


def _psnr(squared_error: torch.Tensor) -> torch.Tensor:
    """dB, of errors in grey levels of 255; by torchmetrics, from the error of a single number."""
    return peak_signal_noise_ratio(
        squared_error.sqrt()[..., None], torch.zeros_like(squared_error)[..., None], data_range=255.0, dim=-1,
        reduction="none",
    )  # fmt: skip


def frame_ssim(a_HWC: NDArray[np.uint8], b_HWC: NDArray[np.uint8]) -> float:
    """SSIM of two frames, torchmetrics' mean over the whole picture: a Gaussian of 11 pixels, or a box where less fits.

    Frame by frame and in float32: torchmetrics takes a hundred times a picture's memory.
    """
    short = min(a_HWC.shape[:2])
    gaussian, side = (True, 11) if short >= 11 else (False, max(short // 2 * 2 - 1, 1))
    a, b = (torch.from_numpy(v.copy()).permute(2, 0, 1)[None].float() for v in (a_HWC, b_HWC))
    return float(
        structural_similarity_index_measure(a, b, gaussian_kernel=gaussian, kernel_size=side, data_range=255.0)
    )


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
    check_pair(preds, target)
    meter = FlowErrorMeter()
    for p, t in zip(preds, target, strict=True):
        meter.add(p, t)
    return meter.result()


class FlowErrorMeter:
    """`temporal_flow_error` of two clips that come frame by frame."""

    def __init__(self) -> None:
        self._dis: Any = None
        self._grey: list[Any] = []
        self._errors: list[float] = []

    def add(self, preds: NDArray[np.uint8], target: NDArray[np.uint8]) -> None:
        """The next frame (H, W, 3) uint8 of both."""
        import cv2

        if min(preds.shape[:2]) < SMALLEST_FLOW:
            return
        self._dis = self._dis or dis_of(*preds.shape[:2])
        grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (preds, target)]
        if self._grey:
            of_preds, of_target = (self._dis.calc(a, b, None) for a, b in zip(self._grey, grey, strict=True))
            self._errors.append(float(np.abs(of_preds - of_target).mean()))
        self._grey = grey

    def result(self) -> float | None:
        return float(np.mean(self._errors)) if self._errors else None
