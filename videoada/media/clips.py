"""Clips cut from videos: what evaluation reads. A video is decoded once; what is not in a clip is let go at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from videoada.errors import OutputError, counted
from videoada.media.reading import Readable, open_video, read_all


@dataclass(frozen=True)
class Sampling:
    """Which frames of a video make a clip: `num_frames` (None: all), every `stride`-th, `clips_per_video` of them.

    Clips lie evenly in the video: one in its middle, two with equal gaps, and so on; so each run takes the same. With
    `fps` they are cut from the frames that a player would show at that rate, which must not be above the video's own.
    """

    num_frames: int | None = None
    stride: int = 1
    clips_per_video: int = 1
    fps: float | None = None

    def indices(self, total: int) -> list[NDArray[np.int64]]:
        """Frame numbers of each clip. Raises OutputError for a video that is too short."""
        if self.num_frames is None:
            return [np.arange(0, total, self.stride)]
        span = (self.num_frames - 1) * self.stride + 1
        if total < span:
            raise OutputError(f"it has {counted(total, 'frame')}, {span} are needed")
        room = total - span
        starts = [round(room * (i + 0.5) / self.clips_per_video) for i in range(self.clips_per_video)]
        if len(set(starts)) < len(starts):
            raise OutputError(f"its {total} frames have no room for {len(starts)} different clips of {span}")
        return [start + self.stride * np.arange(self.num_frames) for start in starts]


@dataclass(frozen=True)
class Reading:
    """The clips of one video, each (F, H, W, 3) uint8, how many frames it has, all of them where they were read, frames
    a second, whether its file keeps every pixel, what to know of it (`notes`), and the `codec`."""

    clips: list[NDArray[np.uint8]]
    total: int
    whole: NDArray[np.uint8] | None = None
    fps: float = 8
    lossless: bool = False
    notes: list[str] = field(default_factory=list)
    codec: str = ""


def read_clips(path: str | Path, sampling: Sampling | None = None) -> Reading:
    """Cut clips from a video. Raises OutputError, naming the file and what is wrong with it.

    Every frame is decoded, also those that no clip takes: so a video that is damaged or cut off is refused whichever
    frames are asked for, and how many there are is counted, not estimated.
    """
    sampling = sampling or Sampling()
    video = open_video(path)
    if sampling.fps is not None:
        return _at_rate(video, sampling, sampling.fps)
    if sampling.num_frames is None:
        frames = read_all(video, None if sampling.stride == 1 else lambda i: i % sampling.stride == 0)
        complete = frames if sampling.stride == 1 else None
        return Reading([frames], video.num_frames, complete, video.fps, video.lossless, video.notes, video.codec)
    try:
        return _sampled(video, sampling)
    except OutputError as error:
        raise error if video.path.name in str(error) else OutputError(f"{path}: {error}") from None


def _sampled(video: Readable, sampling: Sampling) -> Reading:
    """Clips around indices that depend on how many frames there are: taken for what the file says of itself, and read
    again in the few films where that is not so."""
    total = video.expected()
    try:
        clips = sampling.indices(total)
    except OutputError:  # too short: it may have more than it says
        clips = []
    while True:
        wanted = sorted({int(i) for chosen in clips for i in chosen})
        found = read_all(video, set(wanted).__contains__)
        if clips and video.num_frames == total:
            break
        total, clips = video.num_frames, sampling.indices(video.num_frames)
    index_of = {index: i for i, index in enumerate(wanted)}
    chosen_frames = [found[[index_of[int(i)] for i in chosen]] for chosen in clips]
    return Reading(chosen_frames, total, None, video.fps, video.lossless, video.notes, video.codec)


def _at_rate(video: Readable, sampling: Sampling, fps: float) -> Reading:
    """Clips of the frames nearest in time to those of a film of `fps` frames a second. Raises OutputError for a video
    of fewer."""
    frames = read_all(video)
    step = video.fps / fps
    if step < 1 - 1e-6:
        raise OutputError(f"{video.path} has {video.fps:.6g} frames a second, fewer than `match_fps={fps:.6g}`")
    count = int((len(frames) - 1) / step + 1e-6) + 1
    kept = frames[np.minimum((np.arange(count) * step + 0.5).astype(int), len(frames) - 1)]
    try:
        clips = [kept[indices] for indices in sampling.indices(count)]
    except OutputError as error:
        raise OutputError(f"{video.path}: {error}, at {fps:.6g} a second") from None
    return Reading(clips, count, frames, fps, video.lossless, video.notes, video.codec)
