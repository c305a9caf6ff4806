"""What metrics take: clips, features and videos, each checked where it is given and refused in one line."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from videoada.errors import MetricError

CLIP = "a NumPy array (F, H, W, 3) of uint8, 0 to 255"
VIDEOS = "a torch tensor (B, T, 3, H, W), uint8 or float in [0, 1]"
Result = TypeVar("Result", covariant=True)


class MeterOfPairs(Protocol[Result]):
    """Takes two clips frame by frame, each (H, W, 3) uint8."""

    def add(self, preds: NDArray[np.uint8], target: NDArray[np.uint8]) -> None: ...

    def result(self) -> Result: ...


def _described(value: Any) -> str:
    """What somebody gave, in a few words."""
    if isinstance(value, Tensor):
        return f"a torch tensor {tuple(value.shape)} of {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, np.ndarray):
        return f"a NumPy array {value.shape} of {value.dtype}"
    if isinstance(value, (list, tuple)):
        return f"a {type(value).__name__} of {len(value)}"
    return "None" if value is None else f"{type(value).__name__} {str(value)[:40]!r}"


def _hint(value: Any) -> str:
    """How what was given becomes a clip, where that is clear."""
    if isinstance(value, Tensor):
        moved = ".permute(0, 2, 3, 1)" if value.ndim == 4 and value.shape[1] == 3 and value.shape[-1] != 3 else ""
        scaled = ".mul(255).round().byte()" if value.is_floating_point() else ""
        return f"; give frames{moved}{scaled}.cpu().numpy()"
    if not isinstance(value, np.ndarray):
        return "; join frames with np.stack" if isinstance(value, (list, tuple)) else ""
    if value.ndim == 5:
        return "; give one video of the batch at a time"
    if value.ndim == 4 and value.shape[-1] == 4:
        return "; leave the alpha channel out"
    if value.ndim == 4 and value.shape[1] == 3:
        return "; give np.moveaxis(frames, 1, -1)"
    if np.issubdtype(value.dtype, np.floating):
        return "; floats in [0, 1] become np.rint(frames * 255).astype(np.uint8)"
    return ""


def check_clip(frames: Any, name: str = "frames") -> NDArray[np.uint8]:
    """The clip (F, H, W, 3) uint8, F, H and W at least 1. Raises MetricError for anything else."""
    clip = isinstance(frames, np.ndarray) and frames.ndim == 4 and frames.shape[-1] == 3 and frames.dtype == np.uint8
    if not clip:
        raise MetricError(f"`{name}` must be {CLIP}, got {_described(frames)}{_hint(frames)}")
    if not frames.size:
        raise MetricError(f"`{name}` must be a frame or more, with pixels, got {_described(frames)}")
    found: NDArray[np.uint8] = frames
    return found


def check_pair(preds: Any, target: Any) -> None:
    """Raises MetricError for what are not two clips of one shape."""
    if check_clip(preds, "preds").shape != check_clip(target, "target").shape:
        raise MetricError(f"`preds` and `target` must have the same shape, got {preds.shape} and {target.shape}")


def over_pair(meter: Callable[[], MeterOfPairs[Result]], preds: NDArray[np.uint8], target: NDArray[np.uint8]) -> Result:
    """What a `meter` says of two whole clips (F, H, W, 3) uint8. Raises MetricError for what are none of one shape."""
    check_pair(preds, target)
    made = meter()
    for frames in zip(preds, target, strict=True):
        made.add(*frames)
    return made.result()


def check_frame(frame: Any, like: NDArray[np.uint8] | None = None, name: str = "frame") -> None:
    """Raises MetricError for what is no frame (H, W, 3) uint8, or has another size than the frame `like`."""
    if not (isinstance(frame, np.ndarray) and frame.ndim == 3 and frame.shape[-1] == 3 and frame.dtype == np.uint8):
        raise MetricError(f"`{name}` must be a NumPy array (H, W, 3) of uint8, got {_described(frame)}")
    if not frame.size or (like is not None and frame.shape != like.shape):
        size = "" if like is None else f" of {like.shape[1]}×{like.shape[0]} as the others are"
        raise MetricError(f"`{name}` must be a picture{size}, got {frame.shape[1]}×{frame.shape[0]}")


def check_features(features: Any, name: str, least: int = 2) -> Tensor:
    """As float64 (N, D), N at least `least`, all finite. Raises MetricError."""
    if not isinstance(features, Tensor):
        turn = "; give torch.from_numpy(features)" if isinstance(features, np.ndarray) else ""
        raise MetricError(f"`{name}` features must be a torch tensor (N, D), got {_described(features)}{turn}")
    if features.ndim != 2 or len(features) < least or not features.shape[1]:
        raise MetricError(f"`{name}` features must be (N, D) with N at least {least}, got {tuple(features.shape)}")
    if features.is_complex() or features.dtype == torch.bool:
        raise MetricError(f"`{name}` features must be real numbers, got {_described(features)}")
    features = features.double()
    if not features.isfinite().all():
        raise MetricError(f"`{name}` features hold values that are not finite")
    return features


def check_same_length(real: Tensor, fake: Tensor) -> None:
    """Raises MetricError where the features of two sets have another number of dimensions."""
    if real.shape[1] != fake.shape[1]:
        raise MetricError(f"features differ in length: {real.shape[1]} and {fake.shape[1]}")


def check_videos(videos: Any) -> None:
    """Raises MetricError for what is no batch of videos (B, T, 3, H, W), uint8 or float in [0, 1]."""
    if not isinstance(videos, Tensor):
        turn = ""
        if isinstance(videos, np.ndarray):
            turn = "; an array of (B, T, H, W, 3) is given as torch.from_numpy(videos).permute(0, 1, 4, 2, 3)"
        raise MetricError(f"`videos` must be {VIDEOS}, got {_described(videos)}{turn}")
    if videos.ndim != 5 or videos.shape[2] != 3 or not videos.numel():
        turn = "; give videos.permute(0, 1, 4, 2, 3)" if videos.ndim == 5 and videos.shape[-1] == 3 else ""
        turn = "; give videos[None]" if videos.ndim == 4 and videos.shape[1] == 3 else turn
        raise MetricError(f"`videos` must be (B, T, 3, H, W), none of them 0, got {tuple(videos.shape)}{turn}")
    if videos.dtype != torch.uint8 and not videos.is_floating_point():
        raise MetricError(f"`videos` must be uint8 or float in [0, 1], got {videos.dtype}")
    if videos.is_floating_point() and not (videos.amin() >= 0 and videos.amax() <= 1):
        raise MetricError("float `videos` must lie in [0, 1]; those from 0 to 255 are divided by 255")


def check_gaussian(mean: Any, cov: Any, which: str) -> None:
    """Raises MetricError for what is no mean (D,) and covariance (D, D) of finite numbers."""
    for name, value, rank in ((f"mean_{which}", mean, 1), (f"cov_{which}", cov, 2)):
        if not isinstance(value, Tensor) or value.ndim != rank or not value.numel():
            shape = "(D,)" if rank == 1 else "(D, D)"
            raise MetricError(f"`{name}` must be a torch tensor {shape}, got {_described(value)}")
        if not value.isfinite().all():
            raise MetricError(f"`{name}` holds values that are not finite")
    if tuple(cov.shape) != (len(mean), len(mean)):
        raise MetricError(f"`cov_{which}` must be ({len(mean)}, {len(mean)}) as its mean is, got {tuple(cov.shape)}")


def check_name(name: Any, what: str) -> str:
    """A model's name or path as text. Raises MetricError for what is neither."""
    if not isinstance(name, (str, os.PathLike)) or not str(name):
        raise MetricError(f"{what} is named by text or a path, got {_described(name)}")
    return str(name)
