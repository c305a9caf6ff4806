"""Does one clip hang together from frame to frame? Measures without a reference, and limits that catch broken clips.

A frozen clip scores perfectly on flickering and on warping error, so the share of frozen pairs and the motion always
stand beside them. No network; flow by OpenCV's DIS.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from videoada.config.frozen import FrozenConfig
from videoada.metrics.consistency import FrameFeatures, frame_consistency
from videoada.metrics.paired import frame_ssim

FROZEN = 0.25  # mean absolute difference of neighbours, in grey levels of 255, below which they are one picture
STILL_BLOCK = 1.0  # grey levels: a pair with a block of 8×8 pixels that changes more moves, however little of it does …
STILL_SHARE = 0.2  # … unless it changes by less than this share of what most pairs do: codecs stir repeated frames
NEARER = 0.8  # neighbours count as more alike below this share of the frame's own difference to one of them
FEWEST_FOR_RETURNS = 8  # frames: in fewer, one turn of a motion would look like a shuffled clip
SPIKE = 3.0  # a cut changes this many times what the clip's other pairs change: not every pair of a clip can be one
SMALLEST_FLOW = 12  # pixels; DIS takes nothing smaller


class CoherenceLimits(FrozenConfig):
    """What a clip may measure at most. None leaves a check out. The defaults pass every clean clip of the shapes world
    that moves, also a bouncing one (scripts/experiments/metrics.py prints by how much)."""

    max_still_share: float | None = Field(default=0.3, ge=0, le=1)
    max_return_share: float | None = Field(default=0.2, ge=0, le=1)
    max_luma_flicker: float | None = Field(default=3.0, ge=0, le=255)
    max_cut_share: float | None = Field(default=0.0, ge=0, le=1)
    max_warping_error: float | None = Field(default=0.02, ge=0)


def check_coherence(
    frames: NDArray[np.uint8], limits: CoherenceLimits | None = None, frame_features: FrameFeatures | None = None
) -> dict[str, Any]:
    """Measure a clip (F, H, W, 3) uint8; `failed` names the limits that it exceeds, `passed` is True when none.

    Measures between frames are None for a single frame, those by flow also below 12 pixels.

    - `temporal_flickering`: (255 − mean |x_t − x_{t+1}|) / 255, VBench's; 1 is still
    - `second_difference`, `second_difference_ratio`: D2 = mean |x_{t+1} − 2x_t + x_{t−1}| in grey levels, and D2 ÷
      mean |x_{t+1} − x_t|
    - `freeze_share`, `longest_freeze`: share of neighbouring pairs with a mean difference below 0.25 grey levels, and
      the most frames in a row that are one picture
    - `still_share`: of those, pairs without a block of 8×8 pixels that changes by 1 (slow small objects do move), or
      that change by less than a fifth of the clip's upper quartile
    - `return_share`: share of frames whose two neighbours resemble each other more than the frame resembles both, which
      shuffling and flickering make and motion does not, but where it turns; None below 8 frames
    - `luma_flicker`: mean |second difference| of the frames' mean brightness, in grey levels
    - `adjacent_ssim_*`, `adjacent_psnr_*`: min, mean, 5th percentile over neighbours (PSNR None where all are equal)
    - `cut_share`: share of pairs with a mean HSV difference above 27 (PySceneDetect's content rule) that change three
      times as much as the clip's median pair: in noise and fast motion every pair passes the rule alone
    - `warping_error`: Lai et al. (arXiv 1808.00449), of frames in [0, 1], where flow forth and back agree
    - `consistency`, `adjacent_cosine`, `all_pairs_cosine`, with `frame_features` (`load_frame_features`) alone:
      VBench's subject or background consistency, and both measures called CLIP frame consistency
    - `flow_magnitude`, `dynamic_degree`: mean flow in pixels, and the mean of its largest 5 % (VBench)
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or not len(frames):
        raise ValueError(f"a clip must be (F, H, W, 3) uint8, got {frames.shape} {frames.dtype}")
    found: dict[str, Any] = {"num_frames": len(frames)}
    found |= _differences(frames) | _neighbours(frames) | _cuts(frames) | _flow(frames)
    if frame_features is not None:
        found |= frame_consistency(frame_features(frames))
    limits = limits or CoherenceLimits()
    failed = []
    for name, most in limits.model_dump().items():
        value = found[name.removeprefix("max_")]
        if most is not None and value is not None and value > most:
            failed.append(name.removeprefix("max_"))
    return found | {"failed": failed, "passed": not failed}


def _differences(frames: NDArray[np.uint8]) -> dict[str, float | int | None]:
    names = ("temporal_flickering", "second_difference", "second_difference_ratio", "freeze_share", "longest_freeze",
             "still_share", "return_share", "luma_flicker")  # fmt: skip
    if len(frames) < 2:
        return dict.fromkeys(names)
    x = frames.astype(np.int16)
    change = np.abs(np.diff(x, axis=0))
    step = change.mean((1, 2, 3))  # (F − 1,), grey levels
    frozen = step < FROZEN
    busiest = _blocks(change.mean(3)).max((1, 2))
    still = frozen & ((busiest < STILL_BLOCK) | (step < STILL_SHARE * np.percentile(step, 75)))
    runs = np.diff(np.flatnonzero(np.concatenate([[True], ~frozen, [True]])))  # frames that are one picture, run by run
    values: dict[str, float | int | None] = dict.fromkeys(names)
    values |= {
        "temporal_flickering": float((255 - step.mean()) / 255),
        "freeze_share": float(frozen.mean()),
        "longest_freeze": int(runs.max()),
        "still_share": float(still.mean()),
    }
    if len(frames) > 2:
        second = float(np.abs(np.diff(x, n=2, axis=0)).mean())
        values |= {
            "second_difference": second,
            "second_difference_ratio": second / float(step.mean()) if step.any() else 0.0,
            "luma_flicker": float(np.abs(np.diff(x.mean((1, 2, 3)), n=2)).mean()),
        }
    if len(frames) >= FEWEST_FOR_RETURNS:
        leap = np.abs(x[2:] - x[:-2]).mean((1, 2, 3))
        farther = np.maximum(step[:-1], step[1:])
        values["return_share"] = float(((farther > 0) & (leap < NEARER * farther)).mean())
    return values


def _blocks(change_FHW: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means over blocks of 8×8 pixels; of smaller frames, over the whole."""
    frames, height, width = change_FHW.shape
    side = min(8, height, width)
    cut = change_FHW[:, : height // side * side, : width // side * side]
    means: NDArray[np.float64] = cut.reshape(frames, height // side, side, width // side, side).mean((2, 4))
    return means


def _neighbours(frames: NDArray[np.uint8]) -> dict[str, float | None]:
    names = [f"adjacent_{kind}_{what}" for kind in ("ssim", "psnr") for what in ("min", "mean", "p5")]
    if len(frames) < 2:
        return dict.fromkeys(names)
    ssim = np.array([frame_ssim(b, a) for a, b in zip(frames[:-1], frames[1:], strict=True)])
    pairs = zip(frames[:-1], frames[1:], strict=True)
    error = np.array([np.square(b.astype(np.int32) - a).mean(dtype=np.float64) for a, b in pairs])
    psnr = 10 * np.log10(255**2 / error[error > 0])
    values: dict[str, float | None] = dict.fromkeys(names)
    for kind, found in (("ssim", ssim), ("psnr", psnr)):
        if len(found):
            values |= {
                f"adjacent_{kind}_min": float(found.min()),
                f"adjacent_{kind}_mean": float(found.mean()),
                f"adjacent_{kind}_p5": float(np.percentile(found, 5)),
            }
    return values


def _cuts(frames: NDArray[np.uint8]) -> dict[str, float | None]:
    import cv2

    if len(frames) < 2:
        return {"cut_share": None}
    hsv = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2HSV) for frame in frames]).astype(np.int16)
    content = np.abs(np.diff(hsv, axis=0)).mean((1, 2, 3))
    change = np.abs(np.diff(frames.astype(np.int16), axis=0)).mean((1, 2, 3))
    return {"cut_share": float(((content > 27) & (change > SPIKE * np.median(change))).mean())}


def _flow(frames: NDArray[np.uint8]) -> dict[str, float | None]:
    import cv2

    names = ("warping_error", "flow_magnitude", "dynamic_degree")
    if len(frames) < 2 or min(frames.shape[1:3]) < SMALLEST_FLOW:
        return dict.fromkeys(names)
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    height, width = frames.shape[1:3]
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).astype(np.float32)
    errors, magnitudes, largest = [], [], []
    for t in range(len(frames) - 1):
        forth, back = dis.calc(grey[t], grey[t + 1], None), dis.calc(grey[t + 1], grey[t], None)
        target = grid + forth
        back_there = cv2.remap(back, target[..., 0], target[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        warped = cv2.remap(
            frames[t + 1].astype(np.float32) / 255, target[..., 0], target[..., 1], cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        # Ruder et al., arXiv 1604.08610, eq. 5 and 6: where flow forth and back disagree, and at motion boundaries
        length = (forth**2).sum(-1) + (back_there**2).sum(-1)
        occluded = ((forth + back_there) ** 2).sum(-1) > 0.01 * length + 0.5
        slope = sum((g**2).sum(-1) for g in np.gradient(forth, axis=(0, 1)))
        boundary = slope > 0.01 * (back_there**2).sum(-1) + 0.002
        outside = (target < 0).any(-1) | (target[..., 0] > width - 1) | (target[..., 1] > height - 1)
        seen = ~(occluded | boundary | outside)
        if seen.any():
            errors.append(float(((warped - frames[t] / 255) ** 2).sum(-1)[seen].mean()))
        magnitude = np.sqrt((forth**2).sum(-1)).ravel()
        magnitudes.append(float(magnitude.mean()))
        count = max(len(magnitude) // 20, 1)
        largest.append(float(np.partition(magnitude, -count)[-count:].mean()))
    return {
        "warping_error": float(np.mean(errors)) if errors else None,
        "flow_magnitude": float(np.mean(magnitudes)),
        "dynamic_degree": float(np.mean(largest)),
    }
