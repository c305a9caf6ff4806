"""Videos decoded: films strictly through PyAV, animations and folders of PNG frames through Pillow and imageio.

What FFmpeg would repair in silence is an error here. It conceals damage: it repeats what it has and goes on, so that a
measurement would be of frames that nobody generated.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videoada.errors import OutputError
from videoada.media.outputs import FRAME_NAME, frame_files, is_frame_folder

EXIF_DESCRIPTION = 0x010E  # ImageDescription
MOST_REPEATS = 10_000  # frames that one frame of an animation may stand for
MOST_BYTES = 2**32  # that an animation may unfold to
MOST_FPS = 240
ANIMATIONS = (".gif", ".webp")
MOST_METADATA = 2**20  # characters that are read back: files come from anywhere
STRICT = {"err_detect": "crccheck+bitstream+buffer+explode"}
logging.getLogger("libav").addHandler(logging.NullHandler())  # FFmpeg's messages become errors, not lines on stderr


def decode_film(path: Path) -> Iterator[tuple[Any, Any]]:
    """Each frame (an `av.VideoFrame`) with its stream, in order. Raises OutputError for a film that is damaged."""
    import av
    import av.logging

    if av.logging.get_level() is None:
        av.logging.set_level(av.logging.ERROR)
    count, complete = 0, 0
    try:
        with av.logging.Capture(local=True) as messages, av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.codec_context.options = STRICT
            stream.thread_type = "NONE"  # FFV1 reports damage in a message only, which its own threads would lose
            complete = stream.frames
            for frame in container.decode(stream):
                if messages:
                    raise ValueError(f"{messages[0][1]}: {messages[0][2]}")
                count += 1
                yield frame, stream
            if messages:
                raise ValueError(f"{messages[0][1]}: {messages[0][2]}")
    except OutputError:
        raise
    except GeneratorExit:  # the caller has what it wants
        raise
    except Exception as error:  # FFmpegError, and whatever else comes of bytes that can be anything
        raise unreadable(path, error) from None
    if not count:
        raise unreadable(path, "it has no frames")
    if complete and count != complete:
        raise unreadable(path, f"it promises {complete} frames and has {count}")


def count_frames(path: Path) -> int:
    """Frames of a film, counted from its packets without decoding. Raises OutputError when it can't be read."""
    import av

    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            return sum(1 for packet in container.demux(stream) if packet.size)
    except Exception as error:
        raise unreadable(path, error) from None


def read_rate(path: Path) -> int | None:
    """Frames a second of a film, an animation or a folder of PNG frames, a film's without decoding; None where it does
    not say. Raises OutputError when it can't be read."""
    if path.is_dir():
        return _number(_animation_metadata(path), "fps", MOST_FPS)
    if path.suffix.lower() in ANIMATIONS:
        return decode_video(path)[1]
    import av

    try:
        with av.open(str(path)) as container:
            rate = container.streams.video[0].average_rate
    except Exception as error:
        raise unreadable(path, error) from None
    return None if rate is None else round(rate)


def unreadable(path: Path, error: BaseException | str) -> OutputError:
    """One line that names the file and what is wrong with it."""
    text = " ".join(str(error).split()) or type(error).__name__
    return OutputError(f"can't read a video from {path}: {text[:300]}")


def decode_video(path: Path) -> tuple[NDArray[np.uint8], int]:
    """All frames (F, H, W, 3) of a film, an animation or a folder of PNG frames, and frames a second.

    Raises OutputError when it is not a readable video.
    """
    try:
        if path.is_dir():
            return _decode_folder(path)
        if path.suffix.lower() in ANIMATIONS:
            return _decode_animation(path)
        frames, rate = [], None
        for frame, stream in decode_film(path):
            frames.append(frame.to_ndarray(format="rgb24"))
            rate = stream.average_rate
        return np.stack(frames), round(rate or 8)
    except OutputError:
        raise
    except Exception as error:  # whatever Pillow, FFmpeg and NumPy make of bytes that can be anything
        raise unreadable(path, error) from None


def read_metadata(path: str | Path) -> str | None:
    """The JSON text that `write` put into the file, or None. Raises OutputError when the file can't be read."""
    import av

    path = Path(path)
    try:
        if path.is_dir() or path.suffix.lower() in (*ANIMATIONS, ".png"):
            text = _animation_metadata(path)
        else:
            with av.open(str(path)) as container:
                text = next((v for k, v in container.metadata.items() if k.lower() == "comment"), None)
    except Exception as error:
        raise OutputError(f"can't read {path}: {' '.join(str(error).split()) or type(error).__name__}") from None
    return text if text and len(text) <= MOST_METADATA and text.lstrip().startswith("{") else None


def _decode_animation(path: Path) -> tuple[NDArray[np.uint8], int]:
    """Encoders join equal frames into one that lasts longer: give each its frames back."""
    from PIL import Image, ImageSequence

    frames, durations = [], []
    with Image.open(path) as image:  # not imageio: it tells the first frame's duration only
        for frame in ImageSequence.Iterator(image):
            frames.append(np.asarray(frame.convert("RGB")))
            durations.append(float(frame.info.get("duration") or 0))
    text = _animation_metadata(path)
    fps = _number(text, "fps", MOST_FPS) or round(1000 / (min(durations) or 125)) or 1
    unit = round(100 / fps) * 10 if path.suffix.lower() == ".gif" else round(1000 / fps)
    counts = [min(max(round(duration / (unit or 10)), 1), MOST_REPEATS) for duration in durations]
    if sum(counts) * frames[0].nbytes > MOST_BYTES:
        raise ValueError(f"its {len(frames)} frames stand for {sum(counts)}, more than fit into memory")
    if len(frames) == 1:  # a clip that stands still becomes a picture, whose duration is not kept
        counts = [_number(text, "num_frames", MOST_REPEATS) or counts[0]]
    return np.repeat(np.stack(frames), counts, axis=0), fps


def _decode_folder(path: Path) -> tuple[NDArray[np.uint8], int]:
    import imageio.v3 as iio

    if not is_frame_folder(path):
        raise ValueError("the folder holds more than PNG frames")
    files = frame_files(path)
    if not files:
        raise ValueError("the folder is empty")
    frames = np.stack([iio.imread(f, mode="RGB") for f in files])
    return frames, _number(_animation_metadata(path), "fps", MOST_FPS) or 8


def _number(metadata: str | None, name: str, most: int) -> int | None:
    """A whole number from 1 to `most` in the metadata, or None: files come from anywhere."""
    try:
        value = flat_record(json.loads(metadata or "{}")).get(name)
    except (ValueError, RecursionError):
        return None
    return value if type(value) is int and 1 <= value <= most else None


def _animation_metadata(path: Path) -> str | None:
    from PIL import Image

    if path.is_dir():
        path = path / FRAME_NAME.format(0)
        if not path.is_file():
            return None
    with Image.open(path) as image:
        text = image.getexif().get(EXIF_DESCRIPTION) if image.format == "WEBP" else image.info.get("comment")
    return text.decode("utf-8", "replace") if isinstance(text, bytes) else text


def flat_record(values: Any) -> dict[str, Any]:
    """A record's values with those of its request among them; {} for what is no record."""
    if not isinstance(values, dict):
        return {}
    request = values.get("request")
    return (request | values) if isinstance(request, dict) else values
