"""Metrics of pairs and of single videos by name: the tables that measuring, averaging and checking of requests read.

A new metric is one entry in one of the two, for a single video also the field of `VideoResult` that it fills. Their
order is that of a result's metrics, after those of sets (`set_metrics`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from videoada.errors import PromptError
from videoada.evaluation.result import VideoResult
from videoada.evaluation.set_metrics import Row
from videoada.metrics.change import ChangeMeter
from videoada.metrics.coherence import CoherenceLimits, CoherenceMeter
from videoada.metrics.colour import ColourMeter
from videoada.metrics.frame_memo import FrameMemo
from videoada.metrics.motion import MotionMeter, farthest_from_one
from videoada.metrics.paired import (
    FidelityMeter,
    FlowErrorMeter,
    frame_learned_similarity,
    frame_multiscale_ssim,
)
from videoada.metrics.sharpness import SharpnessMeter
from videoada.metrics.vmaf import VmafMeter
from videoada.records.record import RunRecord
from videoada.shapes import agreement, measure, parse

Clip = NDArray[np.uint8]  # (F, H, W, 3)
Frame = NDArray[np.uint8]  # (H, W, 3)


# ---- fidelity of a pair --------------------------------------------------------------------------------------------


class PairMeter(Protocol):
    """Takes two videos frame by frame, each (H, W, 3) uint8, and gives parts of the pair's `fidelity`."""

    def add(self, preds: Frame, target: Frame) -> None: ...

    def row(self) -> Row: ...


@dataclass(frozen=True)
class PairMetric:
    """`meters` of (preds, target), equal in shape, give the parts of a video's `fidelity`; what metrics share is
    measured once. Each is made with the FrameMemo of its two videos.

    `titles` are the result's, each with the part that it is the mean of; `worst` is min or max; with
    `counts_identical`, a part, a row also says of how many pairs it is True: they have no finite value.
    """

    meters: tuple[Callable[[FrameMemo], PairMeter], ...]
    titles: dict[str, str]
    worst: Callable[[NDArray[np.float64]], float] = min
    counts_identical: str | None = None


class Pixels(FidelityMeter):
    def __init__(self, memo: FrameMemo) -> None:
        super().__init__(flow=False, memo=memo)

    def row(self) -> Row:
        return self.result().as_dict()


class Motion(FlowErrorMeter):
    def row(self) -> Row:
        return {"tof": self.result()}


class Scales:
    """Mean over frames of a measure of two frames; None for frames smaller than `smallest`."""

    name, smallest, measure = "ms_ssim", 176, staticmethod(frame_multiscale_ssim)

    def __init__(self, memo: FrameMemo) -> None:
        self._values: list[float] = []

    def add(self, preds: Frame, target: Frame) -> None:
        if min(preds.shape[:2]) >= self.smallest:
            self._values.append(self.measure(preds, target))

    def row(self) -> Row:
        return {self.name: float(np.mean(self._values)) if self._values else None}


class Learned(Scales):
    name, smallest, measure = "lpips", 1, staticmethod(frame_learned_similarity)


def alone(meter: Callable[[], PairMeter]) -> Callable[[FrameMemo], PairMeter]:
    """A meter that shares nothing with others."""
    return lambda memo: meter()


PSNR = {"PSNR (pooled)": "psnr", "PSNR (mean of frames)": "psnr_frame_mean", "PSNR (worst frame)": "psnr_worst_frame"}
SHARPNESS = {"sharpness ratio": "sharpness_ratio", "sharpness ratio (Tenengrad)": "tenengrad_ratio"}
COLOUR = {"colour shift": "colour_shift", "colour shift (ΔE)": "colour_delta_e"}
PAIRS = {
    "psnr": PairMetric((Pixels,), PSNR, counts_identical="identical"),
    "ssim": PairMetric((Pixels,), {"SSIM": "ssim"}),
    "tof": PairMetric((Pixels, Motion), {"tOF": "tof"}, worst=max),
    "ms-ssim": PairMetric((Scales,), {"MS-SSIM": "ms_ssim"}),
    "lpips": PairMetric((Learned,), {"LPIPS (alex)": "lpips"}, worst=max),
    "sharpness-ratio": PairMetric((alone(SharpnessMeter),), SHARPNESS, worst=farthest_from_one),
    "temporal-psnr": PairMetric(
        (alone(ChangeMeter),), {"temporal PSNR": "temporal_psnr"}, counts_identical="temporal_identical"
    ),
    "motion-ratio": PairMetric((MotionMeter,), {"motion ratio": "motion_ratio"}, worst=farthest_from_one),
    "colour-shift": PairMetric((alone(ColourMeter),), COLOUR, worst=max),
    "vmaf": PairMetric((alone(VmafMeter),), {"VMAF": "vmaf"}),
}


# ---- single videos -------------------------------------------------------------------------------------------------


class VideoMeter(Protocol):
    """Takes a generated video and its partner frame by frame, and gives fields of its VideoResult."""

    def add(self, frame: Frame) -> None: ...

    def add_partner(self, frame: Frame) -> None: ...

    def row(self) -> Row: ...


@dataclass(frozen=True)
class VideoMetric:
    """`meter`, made for a video with its record and the FrameMemo of its pair, gives fields of its VideoResult;
    `average` the result's row of many, or None where none was measured."""

    meter: Callable[[RunRecord | None, CoherenceLimits, FrameMemo], VideoMeter]
    title: str
    average: Callable[[Sequence[VideoResult]], Row | None]


class Agreement:
    """Whether a video shows what its prompt says. The judge follows objects through all frames, which are kept: of
    videos with a record of a prompt of the shapes world alone."""

    def __init__(self, record: RunRecord | None, limits: CoherenceLimits, memo: FrameMemo) -> None:
        self._scene: Any = None
        self._frames: list[Frame] = []
        if record:
            with contextlib.suppress(PromptError):  # a prompt outside the shapes grammar
                self._scene = parse(record.request.prompt)

    def add(self, frame: Frame) -> None:
        if self._scene is not None:
            self._frames.append(frame)

    def add_partner(self, frame: Frame) -> None:
        pass

    def row(self) -> Row:
        return {"agreement": agreement(self._scene, measure(np.stack(self._frames)))} if self._frames else {}


def _mean_agreement(rows: Sequence[VideoResult]) -> Row | None:
    """The share of videos that agree in everything, and in each part."""
    judged = [row.agreement for row in rows if row.agreement]
    if not judged:
        return None
    shares = {part: round(float(np.mean([found[part] for found in judged])), 4) for part in judged[0]}
    every = round(float(np.mean([all(found.values()) for found in judged])), 4)
    return {"value": every, **shares, "n": len(judged)}


class Coherence:
    """Coherence of a video, and of its partner where it has one."""

    def __init__(self, record: RunRecord | None, limits: CoherenceLimits, memo: FrameMemo) -> None:
        self._limits, self._memo, self._own = limits, memo, CoherenceMeter(limits, memo=memo)
        self._partner: CoherenceMeter | None = None

    def add(self, frame: Frame) -> None:
        self._own.add(frame)

    def add_partner(self, frame: Frame) -> None:
        self._partner = self._partner or CoherenceMeter(self._limits, memo=self._memo)
        self._partner.add(frame)

    def row(self) -> Row:
        found: Row = {"coherence": self._own.result()}
        return found | ({"coherence_reference": self._partner.result()} if self._partner else {})


def _mean_coherence(rows: Sequence[VideoResult]) -> Row | None:
    """The share that passes every check, how often each failed, and means of the measures."""
    checked = [row.coherence for row in rows if row.coherence]
    if not checked:
        return None
    failed = [name for found in checked for name in found["failed"]]
    shown = ("temporal_flickering", "freeze_share", "second_difference_ratio", "return_share", "warping_error",
             "flow_magnitude")  # fmt: skip
    return {
        "value": round(float(np.mean([found["passed"] for found in checked])), 4),
        "n": len(checked),
        "failed": {name: failed.count(name) for name in sorted(set(failed))},
        "lost": sum(bool(row.lost_coherence) for row in rows),
        **{name: mean_of([found[name] for found in checked])["value"] for name in shown},
    }


VIDEOS = {
    "agreement": VideoMetric(Agreement, "prompt agreement", _mean_agreement),
    "coherence": VideoMetric(Coherence, "coherence", _mean_coherence),
}


def mean_of(values: Sequence[float | None]) -> Row:
    """Mean of those that are there, None where none is, and how many they are."""
    found = np.array([value for value in values if value is not None], np.float64)
    return {"value": float(found.mean()) if len(found) else None, "n": len(found)}
