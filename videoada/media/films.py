"""Films decoded strictly, through PyAV: what FFmpeg would repair in silence is an error here.

FFmpeg conceals damage: it repeats what it has and goes on, so that a measurement would be of frames that nobody
generated.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from videoada.errors import OutputError

STRICT = {"err_detect": "crccheck+bitstream+buffer+explode"}
logging.getLogger("libav").addHandler(logging.NullHandler())  # FFmpeg's messages become errors, not lines on stderr


def decode(path: Path) -> Iterator[tuple[Any, Any]]:
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


def unreadable(path: Path, error: BaseException | str) -> OutputError:
    """One line that names the file and what is wrong with it."""
    text = " ".join(str(error).split()) or type(error).__name__
    return OutputError(f"can't read a video from {path}: {text[:300]}")
