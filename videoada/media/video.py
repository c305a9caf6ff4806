"""Video: frames and their rate; written to .mp4, .mov, .mkv, .webm, .gif, .webp and folders of PNG frames, read
from these and many more.

The run's record is saved inside the file as metadata: a JSON text under `comment`, and the prompt and the seed under
their own names where the format has names.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videoada.files import written_aside
from videoada.media.encoding import encode_video
from videoada.media.outputs import Encoding, check_output
from videoada.media.reading import open_video, read_all


@dataclass(frozen=True)
class Video:
    """`frames` (F, H, W, 3) uint8, RGB; `fps` frames a second, as 23.976 for 24000/1001."""

    frames: NDArray[np.uint8]
    fps: float = 8

    def __post_init__(self) -> None:
        if self.frames.ndim != 4 or self.frames.shape[-1] != 3 or self.frames.dtype != np.uint8:
            raise ValueError(f"frames must be (F, H, W, 3) uint8, got {self.frames.shape} {self.frames.dtype}")

    @classmethod
    def from_float(cls, frames: NDArray[Any], fps: float = 8) -> Video:
        """From (F, H, W, 3) floats in [0, 1]; rounded, not truncated."""
        return cls(np.rint(np.clip(frames, 0, 1) * 255).astype(np.uint8), fps)

    def sha256(self) -> str:
        """SHA-256 of the shape and the bytes of the frames; a lossless file decodes to the same."""
        return hashlib.sha256(str(self.frames.shape).encode() + self.frames.tobytes()).hexdigest()

    def write(self, path: str | Path, metadata: str | None = None, encoding: Encoding | None = None) -> None:
        """Write the file whole, or none; `metadata` is a JSON object that `read_metadata` finds again.

        `.mp4` and `.mov` are H.264 and `.webm` VP9 (yuv420p, odd sizes padded), `.mkv` FFV1 and `.webp` WebP (both
        lossless), `.gif` has 256 colours and times in hundredths of a second; a name without an ending is a folder of
        PNG frames. `encoding` names another codec or quality. Raises OutputError for another ending, or when the file
        can't be written, ConfigError for a codec that the format does not hold.
        """
        (encoding or Encoding()).check(check_output(path).suffix.lower())
        with written_aside(path) as aside:
            self.encode(aside, metadata, encoding)

    def encode(self, path: Path, metadata: str | None = None, encoding: Encoding | None = None) -> None:
        """Write to `path` directly, in the format of its ending. Raises ConfigError, OSError or OutputError."""
        encode_video(self.frames, self.fps, path, metadata, encoding)

    @classmethod
    def read(cls, path: str | Path) -> Video:
        """Every frame of a film, an animation or a folder of pictures, as a player shows them.

        Raises OutputError when it is not a readable video, ResourceError when it does not fit into memory.
        """
        video = open_video(path)
        return cls(read_all(video), video.fps)
