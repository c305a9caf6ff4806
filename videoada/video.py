"""Video: frames and their rate; files written whole or not at all, and read back."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videoada.config import FORMATS
from videoada.errors import OutputError


@dataclass(frozen=True)
class Video:
    """`frames` (F, H, W, 3) uint8, RGB; `fps` frames a second."""

    frames: NDArray[np.uint8]
    fps: int = 8

    def __post_init__(self) -> None:
        if self.frames.ndim != 4 or self.frames.shape[-1] != 3 or self.frames.dtype != np.uint8:
            raise ValueError(f"frames must be (F, H, W, 3) uint8, got {self.frames.shape} {self.frames.dtype}")

    @classmethod
    def from_float(cls, frames: NDArray[Any], fps: int = 8) -> Video:
        """From (F, H, W, 3) floats in [0, 1]; rounded, not truncated."""
        return cls(np.rint(np.clip(frames, 0, 1) * 255).astype(np.uint8), fps)

    def write(self, path: str | Path) -> None:
        """Write `.mp4` (H.264, yuv420p, crf 17, odd sizes padded) or `.mkv` (FFV1, lossless).

        Raises OutputError for another ending, or when the file can't be written; then no file is left.
        """
        check_output(path)
        with written_aside(path) as aside:
            _encode(self, aside)

    @classmethod
    def read(cls, path: str | Path) -> Video:
        """Decode every frame of a file. Raises OutputError when it is not a readable video."""
        import av

        try:
            with av.open(str(path)) as container:
                stream = container.streams.video[0]
                frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
                rate = stream.average_rate or 8
            return cls(np.stack(frames), round(rate))
        except (av.FFmpegError, IndexError, ValueError, OSError) as error:
            raise OutputError(f"can't read a video from {path}: {error}") from None


def check_output(path: str | Path) -> Path:
    """The path, if a video may be written there. Raises OutputError naming what is wrong."""
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise OutputError(f"can't tell the format of '{path.name}': end it in {' or '.join(FORMATS)}")
    if path.is_dir():
        raise OutputError(f"{path} is a folder; name a file in it")
    parent = path.parent
    if not parent.is_dir():
        raise OutputError(f"the folder {parent} does not exist; make it first")
    if not os.access(parent, os.W_OK):
        raise OutputError(f"the folder {parent} can't be written to")
    return path


@contextmanager
def written_aside(path: str | Path) -> Iterator[Path]:
    """Give a temporary name in the same folder; rename it to `path` on success, remove it on any failure."""
    path = Path(path)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.stem[:40]}-", suffix=path.suffix, dir=path.parent)
    except OSError as error:
        raise OutputError(f"can't write {path}: {error.strerror}") from None
    os.close(handle)
    try:
        yield Path(name)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(name, 0o666 & ~mask)  # mkstemp's 0600 would hide the file from the people it is for
        os.replace(name, path)
    except OSError as error:
        raise OutputError(f"can't write {path}: {error.strerror or error}") from None
    finally:
        Path(name).unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")


def _encode(video: Video, path: Path) -> None:
    import av

    lossless = path.suffix.lower() == ".mkv"
    frames = video.frames
    if not lossless:  # 4:2:0 needs even sizes: repeat the last row and column, never rescale
        _, height, width, _ = frames.shape
        frames = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    options = {} if lossless else {"movflags": "+faststart"}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream("ffv1" if lossless else "libx264", rate=video.fps)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "bgr0" if lossless else "yuv420p"
        if not lossless:
            stream.options = {"crf": "17", "preset": "medium"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode())
