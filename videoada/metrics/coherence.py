"""Does one clip hang together from frame to frame? Measures without a reference, and limits that catch broken clips.

A frozen clip scores perfectly on flickering and on warping error, so the share of frozen pairs and the motion always
stand beside them. No network; flow by OpenCV's DIS.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from videoada.config.frozen import FrozenConfig
from videoada.errors import MetricError
from videoada.metrics.arguments import check_clip, check_frame
from videoada.metrics.consistency import FrameFeatures, frame_consistency
from videoada.metrics.flow import FLOW, SMALLEST_FLOW, FlowMeter
from videoada.metrics.frame_memo import FrameMemo
from videoada.metrics.ssim import WINDOW, frame_ssim
from videoada.metrics.transnet import CutDetector, shrink

FROZEN = 0.25  # mean absolute difference of neighbours, in grey levels of 255, below which they are one picture
STILL_BLOCK = 1.0  # grey levels: a pair with a block of 8×8 pixels that changes more moves, however little of it does …
STILL_SHARE = 0.2  # … unless it changes by less than this share of what most pairs do: codecs stir repeated frames
NEARER = 0.8  # neighbours count as more alike below this share of the frame's own difference to one of them
FEWEST_FOR_RETURNS = 8  # frames: in fewer, one turn of a motion would look like a shuffled clip
SPIKE = 3.0  # a cut changes this many times what the clip's other pairs change: not every pair of a clip can be one
FEATURE_BATCH = 16  # frames through an image model at once
PARTS = ("luma", "step", "busiest", "ssim", "error", "content", "second", "leap")
Values = dict[str, NDArray[np.float64]]  # of each frame, pair or three neighbours


class CoherenceLimits(FrozenConfig):
    """What a clip may measure at most. None leaves a check out. The defaults pass every clean clip of the shapes world
    that moves, also a bouncing one (scripts/experiments/metrics.py prints by how much)."""

    max_still_share: float | None = Field(default=0.3, ge=0, le=1)
    max_return_share: float | None = Field(default=0.2, ge=0, le=1)
    max_luma_flicker: float | None = Field(default=3.0, ge=0, le=255)
    max_cut_share: float | None = Field(default=0.0, ge=0, le=1)
    max_warping_error: float | None = Field(default=0.02, ge=0)


def check_coherence(
    frames: NDArray[np.uint8], limits: CoherenceLimits | None = None, frame_features: FrameFeatures | None = None,
    cuts: CutDetector | None = None,
) -> dict[str, Any]:  # fmt: skip
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
      times as much as the clip's median pair: in noise and fast motion every pair passes the rule alone. With `cuts`
      (`load_cut_detector`) it is that network's, and `cut_rule` names it
    - `warping_error`: Lai et al. (arXiv 1808.00449), of frames in [0, 1], where flow forth and back agree
    - `consistency`, `adjacent_cosine`, `all_pairs_cosine`, with `frame_features` (`load_frame_features`) alone:
      VBench's subject or background consistency, and both measures called CLIP frame consistency
    - `flow_magnitude`, `dynamic_degree`: mean flow in pixels, and the mean of its largest 5 % (VBench)
    """
    check_clip(frames)
    meter = CoherenceMeter(limits, frame_features, cuts=cuts)
    for frame in frames:
        meter.add(frame)
    return meter.result()


class CoherenceMeter:
    """`check_coherence` of a clip that comes frame by frame, in the memory of a few frames however long it is; with
    `cuts` 4 kB a frame more.

    A `memo` is shared by the measures of the same frames, whose pixels must not change then.
    """

    def __init__(
        self, limits: CoherenceLimits | None = None, frame_features: FrameFeatures | None = None,
        memo: FrameMemo | None = None, cuts: CutDetector | None = None,
    ) -> None:  # fmt: skip
        self._shared, self._memo = memo is not None, memo or FrameMemo()
        self._limits, self._features = limits or CoherenceLimits(), frame_features
        self._cuts = cuts
        self._small: list[NDArray[np.uint8]] = []  # frames as the cuts' network sees them
        self._count = 0
        self._last: list[NDArray[np.uint8]] = []  # the last two frames
        self._flow: FlowMeter | None = None
        self._values: dict[str, list[float]] = {name: [] for name in PARTS}
        self._waiting: list[NDArray[np.uint8]] = []
        self._found: list[Tensor] = []

    def add(self, frame: NDArray[np.uint8]) -> None:
        """The next frame (H, W, 3) uint8. Raises MetricError for another thing or another size."""
        check_frame(frame, self._last[-1] if self._last else None)
        frame = frame if self._shared else frame.copy()
        values, self._count = self._values, self._count + 1
        values["luma"].append(sum(cv2.sumElems(frame)) / frame.size)  # of integers: exact
        if self._last:
            previous = self._last[-1]
            values["step"].append(_difference(frame, previous))
            values["busiest"].append(_busiest_block(cv2.absdiff(frame, previous)))
            known = None
            if min(frame.shape[:2]) >= WINDOW:
                known = self._memo.moments(frame), self._memo.moments(previous)
            values["ssim"].append(frame_ssim(frame, previous, known))
            values["error"].append(cv2.norm(frame, previous, cv2.NORM_L2SQR) / frame.size)
            # PySceneDetect's content: the mean difference in hue, saturation and value
            values["content"].append(_difference(self._memo.hsv(frame), self._memo.hsv(previous)))
            if min(frame.shape[:2]) >= SMALLEST_FLOW:
                self._flow = self._flow or FlowMeter(previous, self._memo)
                self._flow.add(frame)
        if len(self._last) == 2:
            before, middle = self._last
            second = frame.astype(np.int16) - 2 * middle.astype(np.int16) + before
            values["second"].append(cv2.norm(second, cv2.NORM_L1) / frame.size)
            values["leap"].append(_difference(frame, before))
        self._last = [*self._last[-1:], frame]
        if self._cuts is not None:
            self._small.append(shrink(frame[None])[0])
        if self._features is not None:
            self._waiting.append(frame)
            if len(self._waiting) == FEATURE_BATCH:
                self._extract()

    def _extract(self) -> None:
        assert self._features is not None
        self._found.append(self._features(np.stack(self._waiting)))
        self._waiting = []

    def result(self) -> dict[str, Any]:
        """As `check_coherence`. Raises MetricError where no frame came."""
        if not self._count:
            raise MetricError("a clip must have a frame")
        values = {name: np.array(found) for name, found in self._values.items()}
        found: dict[str, Any] = {"num_frames": self._count}
        found |= _differences(values) | _neighbours(values) | _cuts(values)
        if self._cuts is not None:
            found |= {"cut_share": self._cuts.cut_share(np.stack(self._small)), "cut_rule": self._cuts.name}
        found |= self._flow.result() if self._flow else dict.fromkeys(FLOW)
        if self._features is not None:
            if self._waiting:
                self._extract()
            found |= frame_consistency(torch.cat(self._found))
        failed = []
        for name, most in self._limits.model_dump().items():
            value = found[name.removeprefix("max_")]
            if most is not None and value is not None and value > most:
                failed.append(name.removeprefix("max_"))
        return found | {"failed": failed, "passed": not failed}


def _differences(values: Values) -> dict[str, float | int | None]:
    names = ("temporal_flickering", "second_difference", "second_difference_ratio", "freeze_share", "longest_freeze",
             "still_share", "return_share", "luma_flicker")  # fmt: skip
    found: dict[str, float | int | None] = dict.fromkeys(names)
    step = values["step"]  # (F − 1,), grey levels
    if not len(step):
        return found
    frozen = step < FROZEN
    still = frozen & ((values["busiest"] < STILL_BLOCK) | (step < STILL_SHARE * np.percentile(step, 75)))
    runs = np.diff(np.flatnonzero(np.concatenate([[True], ~frozen, [True]])))  # frames that are one picture, run by run
    found |= {
        "temporal_flickering": float((255 - step.mean()) / 255),
        "freeze_share": float(frozen.mean()),
        "longest_freeze": int(runs.max()),
        "still_share": float(still.mean()),
    }
    if len(values["second"]):
        second = float(values["second"].mean())
        found |= {
            "second_difference": second,
            "second_difference_ratio": second / float(step.mean()) if step.any() else 0.0,
            "luma_flicker": float(np.abs(np.diff(values["luma"], n=2)).mean()),
        }
    if len(step) + 1 >= FEWEST_FOR_RETURNS:
        farther = np.maximum(step[:-1], step[1:])
        found["return_share"] = float(((farther > 0) & (values["leap"] < NEARER * farther)).mean())
    return found


def _difference(a_HWC: NDArray[np.uint8], b_HWC: NDArray[np.uint8]) -> float:
    """Mean |a − b|, exact: the sum is of integers."""
    return float(cv2.norm(a_HWC, b_HWC, cv2.NORM_L1) / a_HWC.size)


def _busiest_block(change_HWC: NDArray[Any]) -> float:
    """Largest mean over a block of 8×8 pixels; of smaller frames, over the whole."""
    height, width = change_HWC.shape[:2]
    side = min(8, height, width)
    cut = change_HWC[: height // side * side, : width // side * side]
    sums = cut.reshape(height // side, side, width // side, 3 * side).sum((1, 3), dtype=np.int64)
    return float(sums.max() / (3 * side**2))


def _neighbours(values: Values) -> dict[str, float | None]:
    names = [f"adjacent_{kind}_{what}" for kind in ("ssim", "psnr") for what in ("min", "mean", "p5")]
    error = values["error"]
    psnr = 10 * np.log10(255**2 / error[error > 0])
    shown: dict[str, float | None] = dict.fromkeys(names)
    for kind, found in (("ssim", values["ssim"]), ("psnr", psnr)):
        if len(found):
            shown |= {
                f"adjacent_{kind}_min": float(found.min()),
                f"adjacent_{kind}_mean": float(found.mean()),
                f"adjacent_{kind}_p5": float(np.percentile(found, 5)),
            }
    return shown


def _cuts(values: Values) -> dict[str, float | None]:
    step = values["step"]
    if not len(step):
        return {"cut_share": None}
    return {"cut_share": float(((values["content"] > 27) & (step > SPIKE * np.median(step))).mean())}
