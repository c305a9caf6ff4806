"""Input videos: the frames that a video-to-video pipeline starts from, as pictures of a size that it takes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from videoada.errors import ImageError, OutputError, counted
from videoada.media.metadata import animation_metadata, number_in
from videoada.media.pictures import as_rgb
from videoada.media.reading import Readable, open_video
from videoada.media.stills import MOST_FPS, FrameFolder
from videoada.media.video import Video
from videoada.models.images import cover


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
        try:
            video = Video.read(video)
        except OutputError as error:
            raise ImageError(f"`video`: {error}") from None
    frames = [Image.fromarray(frame) for frame in video.frames] if isinstance(video, Video) else list(video)
    pictures = [as_rgb(f if hasattr(f, "convert") else Image.fromarray(np.asarray(f))) for f in frames]
    if len(pictures) < (num_frames or 1):
        raise ImageError(f"`video`: {name} has {counted(len(pictures), 'frame')}, and {num_frames or 1} are asked for")
    size = [
        asked or max(own // multiple * multiple, multiple)
        for asked, own in ((width, pictures[0].width), (height, pictures[0].height))
    ]
    return [cover(picture, *size) for picture in pictures[:num_frames]]


def source_rate(video: Any) -> float | None:
    """Frames a second of a file, a folder of frames or a Video; None for what has no rate. Raises ImageError."""
    if isinstance(video, Video):
        return video.fps
    if not isinstance(video, str):
        return None
    source = _passed_through(video)
    if isinstance(source, FrameFolder):
        return number_in(animation_metadata(source.path), "fps", MOST_FPS)
    return source.fps


def source_length(video: Any) -> int:
    """Frames of what `read_source_video` reads, which are decoded but not held. Raises ImageError."""
    if isinstance(video, str):
        return _passed_through(video).num_frames
    return len(video.frames if isinstance(video, Video) else video)


def _passed_through(video: str) -> Readable:
    """The video, whose rate and length are known after its last frame. Raises ImageError."""
    try:
        source = open_video(video)
        for _ in source.frames(lambda number: False):
            pass
    except OutputError as error:
        raise ImageError(f"`video`: {error}") from None
    return source


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
