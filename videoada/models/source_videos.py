"""Input videos: the frames that a video-to-video pipeline starts from, as pictures of a size that it takes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from videoada.errors import ImageError, OutputError
from videoada.media.decoding import ANIMATIONS, MOST_FPS, count_frames, read_rate
from videoada.media.video import Video
from videoada.models.images import as_rgb, cover

T = TypeVar("T")


def read_source_video(
    video: Any, num_frames: int | None = None, height: int | None = None, width: int | None = None, multiple: int = 8
) -> list[Any]:
    """The first `num_frames` pictures (PIL, RGB) of a file, a folder of frames, a Video or a list of pictures.

    They are scaled and cut around their centre to height × width; where these are None, to the video's own, rounded
    down to a multiple of `multiple` pixels. Raises ImageError for what can't be read, or has too few frames.
    """
    from PIL import Image

    name = repr(video) if isinstance(video, str) else "the video"
    if isinstance(video, str):
        video = _asked(Video.read, video)
    frames = [Image.fromarray(frame) for frame in video.frames] if isinstance(video, Video) else list(video)
    pictures = [as_rgb(f if hasattr(f, "convert") else Image.fromarray(np.asarray(f))) for f in frames]
    if len(pictures) < (num_frames or 1):
        raise ImageError(f"`video`: {name} has {len(pictures)} frames, and {num_frames or 1} are asked for")
    size = [
        asked or max(own // multiple * multiple, multiple)
        for asked, own in ((width, pictures[0].width), (height, pictures[0].height))
    ]
    return [cover(picture, *size) for picture in pictures[:num_frames]]


def source_rate(video: Any) -> int | None:
    """Frames a second of a file, a folder of frames or a Video; None for what has no rate. Raises ImageError."""
    if isinstance(video, Video):
        return video.fps
    rate = _asked(read_rate, video) if isinstance(video, str) else None
    return None if rate is None else min(max(rate, 1), MOST_FPS)


def source_length(video: Any) -> int:
    """Frames of what `read_source_video` reads, a film's without decoding. Raises ImageError."""
    if not isinstance(video, str):
        return len(video.frames if isinstance(video, Video) else video)
    film = Path(video).is_file() and Path(video).suffix.lower() not in ANIMATIONS
    return _asked(count_frames, video) if film else len(_asked(Video.read, video).frames)


def _asked(read: Callable[[Path], T], video: str) -> T:
    """What `read` makes of the file. Raises ImageError."""
    try:
        return read(Path(video))
    except OutputError as error:
        raise ImageError(f"`video`: {error}") from None


def video_fingerprint(video: str | Video | Sequence[Any] | None) -> str | None:
    """SHA-256 of a video's file or frames; of a folder, of its frames' bytes in the order of their names."""
    if video is None:
        return None
    if isinstance(video, str) and Path(video).is_file():
        return hashlib.sha256(Path(video).read_bytes()).hexdigest()
    if isinstance(video, str):
        video = Video.read(video)
    if isinstance(video, Video):
        return video.sha256()
    return hashlib.sha256(b"".join(np.asarray(frame).tobytes() for frame in video)).hexdigest()
