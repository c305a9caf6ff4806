"""One video and its partner, decoded once and measured; many of them in threads that work ahead."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videoada.errors import OutputError
from videoada.evaluation.config import EvaluationConfig
from videoada.evaluation.pairing import Job, Sides, VideoSet
from videoada.evaluation.result import VideoResult
from videoada.evaluation.tables import PAIRS, VIDEOS, Clip, Seen
from videoada.media.clips import Reading, Sampling, read_clips
from videoada.media.video import Video
from videoada.metrics.coherence import CoherenceLimits
from videoada.records.record import RunRecord

LOSSLESS = (".mkv", ".webp", "")  # as `videoada generate` writes them; a folder of PNG frames has no ending


@dataclass
class Outcome:
    """What a job gave: clips of both sides for the extractor, the row of the generated video, videos that are bad."""

    made: list[Clip] | None = None
    real: list[Clip] | None = None
    row: VideoResult | None = None
    bad: list[tuple[Path, str]] = field(default_factory=list)


def measure_video(job: Job, sides: Sides, wanted: set[str], config: EvaluationConfig) -> Outcome:
    """Decode a video and its partner, and measure what needs no network. Runs in a worker thread."""
    outcome = Outcome()
    own = _read(job[0], sides.made, config.sampling(), outcome.bad)
    other = _read(job[1], sides.real, config.sampling(), outcome.bad)
    outcome.made, outcome.real = (reading.clips if reading else None for reading in (own, other))
    if job[0] and sides.made and own:
        record = sides.made.records.get(job[0])
        row = VideoResult(
            video=job[0].name,
            prompt=record.request.prompt if record else None,
            seed=record.request.seed if record else None,
            num_predictions=record.num_predictions if record else None,
            num_inference_steps=record.num_inference_steps if record else None,
        )
        values: dict[str, Any] = {}
        if job[1] and other:
            values = {"reference": job[1].name} | _compared(own, other, wanted)
        limits = config.limits or CoherenceLimits()
        seen = Seen(own.clips[0], other.clips[0] if job[1] and other else None, record, limits)
        for name, metric in VIDEOS.items():
            if name in wanted:
                values |= metric.measure(seen)
        outcome.row = row.model_copy(update=values)
    return outcome


def _compared(own: Reading, other: Reading, wanted: set[str]) -> dict[str, Any]:
    """`fidelity` of the first clips, or why they are `not_compared`."""
    preds, target = own.clips[0], other.clips[0]
    if preds.shape == target.shape and own.total == other.total:
        measures = (m for name, metric in PAIRS.items() if name in wanted for m in metric.measures)
        fidelity: dict[str, Any] = {}
        for measure in dict.fromkeys(measures):
            fidelity |= measure(preds, target)
        return {"fidelity": fidelity}
    sizes = (f"{r.total} frames of {r.clips[0].shape[2]}×{r.clips[0].shape[1]}" for r in (own, other))
    return {"not_compared": " against ".join(sizes)}


def _read(path: Path | None, side: VideoSet | None, sampling: Sampling, bad: list[tuple[Path, str]]) -> Reading | None:
    if path is None or side is None:
        return None
    try:
        reading = read_clips(path, sampling)
        if reading.whole is not None and path in side.records:
            check_against_record(path, reading.whole, side.records[path])
        return reading
    except OutputError as error:
        bad.append((path, str(error)))
        return None


def check_against_record(path: Path, frames: NDArray[np.uint8], record: RunRecord) -> None:
    """Raises OutputError when the frames are not those of the record: a file can be damaged in silence."""
    lossless = path.suffix.lower() in LOSSLESS
    shape = (record.num_frames, record.height, record.width)
    padded = shape if lossless else (shape[0], *(side + side % 2 for side in shape[1:]))
    if frames.shape[:3] not in (shape, padded):
        found = f"{len(frames)} frames of {frames.shape[2]}×{frames.shape[1]}"
        raise OutputError(f"{path} has {found}, its record says {shape[0]} frames of {shape[2]}×{shape[1]}")
    if lossless and record.frames_sha256 not in (None, Video(frames).sha256()):
        raise OutputError(f"{path} is damaged: its frames are not those of its record")


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
