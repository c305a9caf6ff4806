"""One video and its partner, decoded once and measured; many of them in threads that work ahead."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from videoada.errors import OutputError, counted
from videoada.evaluation.config import EvaluationConfig
from videoada.evaluation.form import LOSSLESS, Form
from videoada.evaluation.pairing import Job, Sides, VideoSet
from videoada.evaluation.result import VideoResult
from videoada.evaluation.tables import PAIRS, VIDEOS, Clip, Frame
from videoada.failures import reading
from videoada.media.clips import Reading, read_clips
from videoada.media.reading import open_video
from videoada.metrics.coherence import CoherenceLimits
from videoada.metrics.frame_memo import FrameMemo
from videoada.records.record import RunRecord


@dataclass
class Taken:
    """What a video gave: its `clips` for the extractor (None: nobody asks for them), the size (F, H, W) of each, how
    many frames it has, frames a second, whether its file keeps every pixel, what to know of it, and its codec."""

    sizes: list[tuple[int, ...]]
    total: int
    fps: float
    lossless: bool
    notes: list[str]
    codec: str
    clips: list[Clip] | None = None

    @property
    def form(self) -> Form:
        """What other videos must have in common with it."""
        num_frames, height, width = self.sizes[0]
        return Form((width, height), num_frames, round(self.fps, 4), LOSSLESS if self.lossless else self.codec)


@dataclass
class Outcome:
    """What a job gave: what was taken of both sides, the row of the generated video, videos that are bad."""

    made: Taken | None = None
    real: Taken | None = None
    row: VideoResult | None = None
    bad: list[tuple[Path, str]] = field(default_factory=list)


class Meters:
    """The wanted measures of a generated video and its partner, which come frame by frame."""

    def __init__(self, wanted: set[str], record: RunRecord | None, limits: CoherenceLimits) -> None:
        kinds = dict.fromkeys(m for name, metric in PAIRS.items() if name in wanted for m in metric.meters)
        memo = FrameMemo()
        self.pairs = [kind(memo) for kind in kinds]
        self.videos = [metric.meter(record, limits, memo) for name, metric in VIDEOS.items() if name in wanted]

    def add(self, frame: Frame | None, partner: Frame | None) -> None:
        """The next frame of both; None where one has ended. Pairs of other sizes are not compared."""
        for meter in self.videos:
            if frame is not None:
                meter.add(frame)
            if partner is not None:
                meter.add_partner(partner)
        if frame is not None and partner is not None and frame.shape == partner.shape:
            for pair in self.pairs:
                pair.add(frame, partner)

    def values(self, own: Taken, other: Taken | None) -> dict[str, Any]:
        """Fields of a VideoResult."""
        found: dict[str, Any] = {}
        if other is not None:
            if own.sizes[0] == other.sizes[0] and own.total == other.total:
                found["fidelity"] = {part: value for pair in self.pairs for part, value in pair.row().items()}
            else:
                sides = (f"{counted(t.total, 'frame')} of {t.sizes[0][2]}×{t.sizes[0][1]}" for t in (own, other))
                found["not_compared"] = " against ".join(sides)
        for meter in self.videos:
            found |= meter.row()
        return found


def measure_video(job: Job, sides: Sides, wanted: set[str], config: EvaluationConfig, keep: bool = True) -> Outcome:
    """Read a video and its partner, and measure what needs no network. Runs in a worker thread.

    Without `keep`, nobody asks for the clips themselves: where they are all of the videos, these are let go frame by
    frame. Raises ResourceError where memory runs out.
    """
    outcome = Outcome()
    record = sides.made.records.get(job[0]) if job[0] and sides.made else None
    meters = Meters(wanted if job[0] else set(), record, config.limits or CoherenceLimits())
    own = _source(job[0], sides.made, config, keep, outcome.bad)
    other = _source(job[1], sides.real, config, keep, outcome.bad)
    for frame, partner in zip_longest(_frames(own, outcome.bad), _frames(other, outcome.bad)):
        meters.add(frame, partner)
    bad = {path for path, _ in outcome.bad}
    outcome.made = own.taken() if own and job[0] not in bad else None
    outcome.real = other.taken() if other and job[1] not in bad else None
    if not (job[0] and sides.made and outcome.made):
        return outcome
    row = VideoResult(
        video=sides.made.name_of(job[0]),
        prompt=record.request.prompt if record else None,
        seed=record.request.seed if record else None,
        num_predictions=record.num_predictions if record else None,
        num_inference_steps=record.num_inference_steps if record else None,
    )
    values: dict[str, Any] = {}
    if job[1] and sides.real and outcome.real:
        values = {"reference": sides.real.name_of(job[1])}
    outcome.row = row.model_copy(update=values | meters.values(outcome.made, outcome.real if job[1] else None))
    return outcome


class Source(Protocol):
    """The first clip of a video frame by frame, then what was taken of it."""

    path: Path

    def frames(self) -> Iterator[Frame]: ...

    def taken(self) -> Taken: ...


class Held:
    """A video whose clips are in memory."""

    def __init__(
        self, path: Path, reading: Reading, record: RunRecord | None, size: tuple[int, int] | None = None
    ) -> None:
        self.path, self._reading = path, reading
        self._clips = [np.stack([resized(frame, size) for frame in clip]) if size else clip for clip in reading.clips]
        if reading.whole is not None and record is not None:
            check = RecordCheck(path, record)
            for frame in reading.whole:
                check.add(frame)
            check.result(reading.lossless)

    def frames(self) -> Iterator[Frame]:
        yield from self._clips[0]

    def taken(self) -> Taken:
        r = self._reading
        sizes: list[tuple[int, ...]] = [clip.shape[:3] for clip in self._clips]
        return Taken(sizes, r.total, r.fps, r.lossless, r.notes, r.codec, self._clips)


class Streamed:
    """A video that is read once and let go, every `stride`-th frame of it."""

    def __init__(self, path: Path, stride: int, record: RunRecord | None, size: tuple[int, int] | None = None) -> None:
        self._wanted_size = size
        self.path, self._video, self._stride = path, open_video(path), stride
        self._check = RecordCheck(path, record) if record is not None and stride == 1 else None
        self._count, self._size = 0, (0, 0)

    def frames(self) -> Iterator[Frame]:
        wanted = None if self._stride == 1 else lambda i: i % self._stride == 0
        for frame in self._video.frames(wanted):
            if frame is not None:
                if self._check:
                    self._check.add(frame)
                shown = resized(frame, self._wanted_size) if self._wanted_size else frame
                self._count, self._size = self._count + 1, shown.shape[:2]
                yield shown
        if self._check:
            self._check.result(self._video.lossless)

    def taken(self) -> Taken:
        v = self._video
        return Taken([(self._count, *self._size)], v.num_frames, v.fps, v.lossless, v.notes, v.codec)


def resized(frame: Frame, size: tuple[int, int]) -> Frame:
    """A frame (H, W, 3) at another width and height: each pixel the mean of those that it covers, or between them."""
    if frame.shape[1::-1] == size:
        return frame
    smaller = size[0] <= frame.shape[1] and size[1] <= frame.shape[0]
    found: Frame = cv2.resize(frame, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)
    return found


def _source(
    path: Path | None, side: VideoSet | None, config: EvaluationConfig, keep: bool, bad: list[tuple[Path, str]]
) -> Source | None:
    if path is None or side is None:
        return None
    record = side.records.get(path)
    try:
        if not keep and config.num_frames is None and config.match_fps is None:
            return Streamed(path, config.stride, record, config.width_and_height)
        return Held(path, read_clips(path, config.sampling()), record, config.width_and_height)
    except OutputError as error:
        bad.append((path, str(error)))
        return None


def _frames(source: Source | None, bad: list[tuple[Path, str]]) -> Iterator[Frame]:
    """The frames as far as they can be read; why not all, if so, is put down in `bad`."""
    if source is not None:
        try:
            with reading(source.path):
                yield from source.frames()
        except OutputError as error:
            bad.append((source.path, str(error)))


class RecordCheck:
    """Whether the frames of a file are those of its record: it can be damaged in silence."""

    def __init__(self, path: Path, record: RunRecord) -> None:
        self._path, self._record, self._count = path, record, 0
        self._size: tuple[int, ...] = (0, 0)
        shape = (record.num_frames, record.height, record.width, 3)
        self._hash = hashlib.sha256(str(shape).encode())  # as Video.sha256

    def add(self, frame: Frame) -> None:
        self._count, self._size = self._count + 1, frame.shape[:2]
        self._hash.update(frame.tobytes())

    def result(self, lossless: bool) -> None:
        """Raises OutputError when they are not."""
        r, found = self._record, (self._count, *self._size)
        shape = (r.num_frames, r.height, r.width)
        padded = (shape[0], *(side + side % 2 for side in shape[1:]))
        if found != shape and (lossless or found != padded):
            text = f"{counted(found[0], 'frame')} of {found[2]}×{found[1]}"
            raise OutputError(
                f"{self._path} has {text}, its record says {counted(shape[0], 'frame')} of {shape[2]}×{shape[1]}"
            )
        if lossless and r.frames_sha256 not in (None, self._hash.hexdigest()):
            raise OutputError(f"{self._path} is damaged: its frames are not those of its record")


def run_jobs(
    jobs: Sequence[Job], measure_job: Callable[[Job], Outcome], workers: int | None
) -> Iterator[tuple[Job, Outcome]]:
    """Each job with its outcome, in order; threads work ahead, by a few videos only."""
    workers = workers or min(4, os.cpu_count() or 1)
    if workers < 2:
        yield from ((job, measure_job(job)) for job in jobs)
        return
    with ThreadPoolExecutor(workers) as pool:
        waiting: list[tuple[Job, Future[Outcome]]] = []
        try:
            for job in jobs:
                waiting.append((job, pool.submit(measure_job, job)))
                if len(waiting) > 2 * workers:
                    first, future = waiting.pop(0)
                    yield first, future.result()
            while waiting:
                first, future = waiting.pop(0)
                yield first, future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
