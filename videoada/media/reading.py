"""Any video, whatever it is kept in, frame by frame: memory does not grow with its length."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from videoada.errors import ResourceError
from videoada.failures import reading, wrong_with
from videoada.media.films.film import Film
from videoada.media.kinds import kind_of
from videoada.media.stills import Animation, FrameFolder

SPARE = 0.8  # share of the memory that is free which frames may take: they are gathered, then joined


class Readable(Protocol):
    """What every kind of video gives; all but `frames` is known once `frames` has come to its end."""

    path: Path
    fps: float
    num_frames: int
    lossless: bool
    codec: str
    notes: list[str]

    def frames(self, wanted: Callable[[int], bool] | None = None) -> Iterator[NDArray[np.uint8] | None]:
        """Each frame (H, W, 3) uint8, RGB; None for those whose number is not `wanted`."""

    def expected(self) -> int:
        """How many frames there seem to be, which `num_frames` may correct."""


def open_video(path: str | Path) -> Readable:
    """A film, an animation, a folder of frames or a picture, by what it is. Raises OutputError for what is none."""
    path = Path(path)
    with reading(path):
        if wrong := wrong_with(path):
            raise ValueError(wrong)  # said again, in the same words
        kind = kind_of(path)
    if kind == "film":
        return Film(path)
    return Animation(path) if kind == "animation" else FrameFolder(path)


def read_all(video: Readable, wanted: Callable[[int], bool] | None = None) -> NDArray[np.uint8]:
    """The frames (F, H, W, 3) of a video that are wanted, in memory at once. Raises OutputError, ResourceError."""
    frames: list[NDArray[np.uint8]] = []
    free = free_memory()
    for pixels in video.frames(wanted):
        if pixels is None:
            continue
        frames.append(pixels)
        if free is not None and len(frames) % 64 == 0 and 2 * len(frames) * pixels.nbytes > SPARE * free:
            raise ResourceError(
                f"{video.path} is too long to be held in memory at once: its first {len(frames)} frames take "
                f"{len(frames) * pixels.nbytes / 2**30:.1f} GiB; cut it, or read fewer frames with `num_frames`"
            )
    with reading(video.path):
        return np.stack(frames) if frames else np.empty((0, 1, 1, 3), np.uint8)


def free_memory() -> int | None:
    """Bytes that programs can take now, None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, ValueError, StopIteration):
        return None
