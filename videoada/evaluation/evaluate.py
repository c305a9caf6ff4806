"""evaluate(): a folder of generated videos against a reference: distances of the sets, fidelity of the pairs, each
video.

Every video is decoded once and then let go; what is kept of it is a row of numbers and its features.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from videoada.errors import ConfigError, ModelError, OutputError, PromptError
from videoada.evaluation.config import PAIR_METRICS, EvaluationConfig
from videoada.evaluation.distances import check_alike, statistics_summary, with_distances
from videoada.evaluation.pairing import Job, VideoSet, jobs_of, open_set, pair
from videoada.evaluation.result import EvaluationResult, VideoRow, summarize
from videoada.media.clips import Reading, Sampling, read_clips
from videoada.media.video import Video
from videoada.metrics.coherence import CoherenceLimits, check_coherence
from videoada.metrics.features import describe, load_extractor
from videoada.metrics.paired import learned_similarity, multiscale_ssim, paired_fidelity
from videoada.metrics.statistics import VideoStatistics
from videoada.records.record import RunRecord
from videoada.shapes import agreement, measure, parse

Clips = list[NDArray[np.uint8]]
WAITING = 8  # batches of clips that wait for others of their shape, at most
LOSSLESS = (".mkv", ".webp", "")  # as `videoada generate` writes them; a folder of PNG frames has no ending


def evaluate(
    generated: str | Path | None = None,
    reference: str | Path | VideoStatistics | None = None,
    config: EvaluationConfig | None = None,
    *,
    extractor: nn.Module | None = None,
    save_statistics: str | Path | None = None,
    on_video: Callable[[int, int], None] | None = None,
    **fields: Any,
) -> EvaluationResult:
    """Measure the videos of a folder, against those of another folder or its cached statistics.

    `config` or its fields say what and how; `extractor` is an `nn.Module` of your own instead of a name. Videos are
    paired by what their run records say (prompt, seed, image), never by their names. `save_statistics` also keeps the
    reference's features in a file; then `generated` may be left out. `on_video(done, of)` follows the progress. Raises
    OutputError for a video that can't be used unless `bad_videos` is "skip", ConfigError for a request that can't be
    met.
    """
    config = config or EvaluationConfig(**fields)
    statistics = reference if isinstance(reference, VideoStatistics) else None
    if save_statistics and (reference is None or statistics is not None):
        raise ConfigError("`save_statistics` keeps the features of a `reference` folder; there is none")
    if generated is None and not save_statistics:
        raise ConfigError(
            "there are no generated videos: only `save_statistics` of a `reference` folder can do without"
        )
    wanted = config.wanted(generated is not None, reference is not None and statistics is None, statistics is not None)
    network: nn.Module | None = None
    if wanted & {"fvd", "kvd", "fvd-infinity", "paired-feature-distance"} or save_statistics:
        network = load_extractor(config.extractor, config.device) if extractor is None else extractor.eval()
    about: dict[str, Any] = {"extractor": describe(network) if network else None, "sampling": config.sampling_as_dict()}
    if statistics and network:
        check_alike(statistics, about)
    made = open_set(generated, config.most_videos)
    real = None if isinstance(reference, VideoStatistics) else open_set(reference, config.most_videos)
    pairs, unpaired = pair(made, real)
    jobs = jobs_of(made, real, pairs)

    rows, skipped = [], []
    batches = _Batches(network, config.batch_size)
    outcomes = _run(jobs, lambda job: _measure(job, made, real, wanted, config), config.workers)
    for done, (job, outcome) in enumerate(outcomes):
        for bad, reason in outcome.bad:
            if config.bad_videos == "fail":
                raise OutputError(f"{reason}; `bad_videos=skip` leaves such videos out and lists them")
            skipped.append({"file": str(bad), "reason": reason})
        for side, path, clips in ((made, job[0], outcome.made), (real, job[1], outcome.real)):
            if side and path and clips:
                batches.add(side, path, clips)
        if outcome.row:
            rows.append(outcome.row)
        if on_video:
            on_video(done + 1, len(jobs))
    batches.flush()
    for side, name in ((made, "generated"), (real, "reference")):
        if side is not None and not side.owners:
            raise OutputError(f"no video of the {name} folder can be used: {skipped[0]['reason'] if skipped else ''}")

    if save_statistics and real:
        kept = about | {"videos": len(set(real.owners)), "folder": Path(real.folder).name}
        VideoStatistics(real.stacked(), kept).save(save_statistics)
    warnings = made.warnings(pairs, real) if made and wanted & set(PAIR_METRICS) else []
    if config.clips_per_video > 1:
        warnings.append("pairs and single videos are measured on each video's first clip; clips of one video are not "
                        "independent: standard errors are too small")  # fmt: skip
    result = EvaluationResult(
        generated=made.summary() if made else None,
        reference=statistics_summary(statistics) if statistics else real.summary() if real else None,
        extractor=about["extractor"],
        sampling=about["sampling"],
        metrics=summarize(rows, wanted),
        videos=rows,
        unpaired=unpaired,
        skipped=skipped,
        warnings=warnings,
    )
    if network and made:
        return with_distances(result, made, real, statistics, wanted, config)
    return result


# ---- one video -----------------------------------------------------------------------------------------------------


@dataclass
class _Outcome:
    made: Clips | None = None
    real: Clips | None = None
    row: VideoRow | None = None
    bad: list[tuple[Path, str]] = field(default_factory=list)


def _measure(
    job: Job, made: VideoSet | None, real: VideoSet | None, wanted: set[str], config: EvaluationConfig
) -> _Outcome:
    """Decode a video and its partner, and measure what needs no network. Runs in a worker thread."""
    outcome = _Outcome()
    readings = [_read(path, side, config.sampling(), outcome.bad) for path, side in zip(job, (made, real), strict=True)]
    outcome.made, outcome.real = (reading.clips if reading else None for reading in readings)
    if job[0] is None or made is None or not readings[0]:
        return outcome
    record = made.records.get(job[0])
    row = VideoRow(
        video=job[0].name,
        prompt=record.request.prompt if record else None,
        seed=record.request.seed if record else None,
        num_predictions=record.num_predictions if record else None,
        num_inference_steps=record.num_inference_steps if record else None,
    )
    clip = readings[0].clips[0]
    values: dict[str, Any] = {}
    if job[1] and readings[1]:
        other = readings[1].clips[0]
        values["reference"] = job[1].name
        if clip.shape == other.shape and readings[0].total == readings[1].total:
            values["fidelity"] = _fidelity(clip, other, wanted)
        else:
            sizes = (f"{r.total} frames of {r.clips[0].shape[2]}×{r.clips[0].shape[1]}" for r in readings if r)
            values["not_compared"] = " against ".join(sizes)
    if "coherence" in wanted:
        limits = config.limits or CoherenceLimits()
        values["coherence"] = check_coherence(clip, limits)
        if job[1] and readings[1]:
            values["coherence_reference"] = check_coherence(readings[1].clips[0], limits)
    if "agreement" in wanted and record:
        with contextlib.suppress(PromptError):  # a prompt outside the shapes grammar
            values["agreement"] = agreement(parse(record.request.prompt), measure(clip))
    outcome.row = row.model_copy(update=values)
    return outcome


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
    """Raises OutputError when the frames are not those that the record tells of: a file can be damaged in silence."""
    lossless = path.suffix.lower() in LOSSLESS
    shape = (record.num_frames, record.height, record.width)
    padded = shape if lossless else (shape[0], *(side + side % 2 for side in shape[1:]))
    if frames.shape[:3] not in (shape, padded):
        told = f"{shape[0]} frames of {shape[2]}×{shape[1]}"
        raise OutputError(f"{path} has {_shape(frames)}, its record tells of {told}")
    if lossless and record.frames_sha256 not in (None, Video(frames).sha256()):
        raise OutputError(f"{path} is damaged: its frames are not those that its record tells of")


def _shape(clip: NDArray[np.uint8]) -> str:
    return f"{len(clip)} frames of {clip.shape[2]}×{clip.shape[1]}"


def _fidelity(preds: NDArray[np.uint8], target: NDArray[np.uint8], wanted: set[str]) -> dict[str, Any]:
    found = paired_fidelity(preds, target, flow="tof" in wanted).as_dict() if wanted & {"psnr", "ssim", "tof"} else {}
    if "ms-ssim" in wanted:
        found["ms_ssim"] = multiscale_ssim(preds, target)
    if "lpips" in wanted:
        found["lpips"] = learned_similarity(preds, target)
    return found


def _run(
    jobs: Sequence[Job], measure_job: Callable[[Job], _Outcome], workers: int | None
) -> Iterator[tuple[Job, _Outcome]]:
    """Each job with its outcome, in order; threads work ahead, by a few videos only."""
    workers = workers or min(4, os.cpu_count() or 1)
    if workers < 2:
        yield from ((job, measure_job(job)) for job in jobs)
        return
    with ThreadPoolExecutor(workers) as pool:
        waiting: list[tuple[Job, Future[_Outcome]]] = []
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


# ---- the sets ------------------------------------------------------------------------------------------------------


class _Batches:
    """Clips of one side and shape, gathered and put through the extractor together."""

    def __init__(self, network: nn.Module | None, batch_size: int):
        self.network, self.batch_size, self.done = network, batch_size, 0
        self.waiting: dict[tuple[int, Any], tuple[VideoSet, list[tuple[int, NDArray[np.uint8]]]]] = {}

    def add(self, side: VideoSet, path: Path, clips: Clips) -> None:
        for clip in clips:
            place = len(side.owners)
            side.owners.append(path)
            side.sizes.add(clip.shape[:3])
            if self.network is None:
                continue
            side.features.append(torch.empty(0))  # its place, so that features keep the videos' order
            group = self.waiting.setdefault((id(side), clip.shape), (side, []))[1]
            group.append((place, clip))
            if len(group) == self.batch_size:
                self._extract(*self.waiting.pop((id(side), clip.shape)))
            elif sum(len(g) for _, g in self.waiting.values()) > WAITING * self.batch_size:  # many shapes
                largest = max(self.waiting, key=lambda key: len(self.waiting[key][1]))
                self._extract(*self.waiting.pop(largest))

    def flush(self) -> None:
        for side, group in self.waiting.values():
            self._extract(side, group)
        self.waiting = {}

    @torch.inference_mode()
    def _extract(self, side: VideoSet, group: list[tuple[int, NDArray[np.uint8]]]) -> None:
        assert self.network is not None
        videos = torch.from_numpy(np.stack([clip for _, clip in group])).permute(0, 1, 4, 2, 3)
        try:
            found = self.network(videos).float().cpu()
        except ValueError as error:  # clips that the extractor does not take
            raise ConfigError(
                f"{error}; leave the distances of sets out of `metrics`, or use another extractor"
            ) from None
        except RuntimeError as error:  # also no memory left
            raise ModelError(f"the extractor failed: {str(error).strip().splitlines()[0][:200]}") from None
        if found.ndim != 2 or len(found) != len(group):
            raise ConfigError(f"the extractor must give (B, D), got {tuple(found.shape)} for {len(group)} videos")
        for (place, _), row in zip(group, found, strict=True):
            side.features[place] = row[None].clone()
        self.done += 1
        if self.done % 8 == 0:
            return_memory()


def return_memory() -> None:
    """Give freed memory back to the system where the C library keeps it: frames come from threads, whose heaps grow."""
    with contextlib.suppress(AttributeError, OSError, TypeError):  # glibc alone has this
        ctypes.CDLL(None).malloc_trim(0)
