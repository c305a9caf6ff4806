"""Videos encoded, in the format of a name's ending, with the run record inside."""

from __future__ import annotations

import json
import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videoada.errors import OutputError
from videoada.files import file_url
from videoada.media.films.rates import exact_rate
from videoada.media.metadata import EXIF_DESCRIPTION, flat_record
from videoada.media.outputs import CODECS, FILM_FORMATS, FRAME_NAME, Codec, Encoding

Frames = NDArray[np.uint8]


def encode_video(
    frames: Frames, fps: float, path: Path, metadata: str | None = None, encoding: Encoding | None = None
) -> None:
    """Write (F, H, W, 3) to `path` directly, in the format of its ending. Raises ConfigError, OSError, OutputError."""
    ending = path.suffix.lower()
    name = (encoding or Encoding()).check(ending)
    if ending in FILM_FORMATS:
        crf = encoding.crf if encoding else None
        _encode_film(frames, exact_rate(fps), path, metadata, CODECS[name], crf)
    elif ending in (".gif", ".webp"):
        _encode_animation(frames, fps, path, metadata)
    else:
        _encode_folder(frames, path, metadata)


def _encode_film(
    frames: Frames, rate: Fraction, path: Path, metadata: str | None, codec: Codec, crf: int | None
) -> None:  # fmt: skip
    import av

    if codec.padded:  # 4:2:0 needs even sizes: repeat the last row and column, never rescale
        _, height, width, _ = frames.shape
        frames = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    # else only FFmpeg's own tags are kept
    if codec.encoder == "libsvtav1":
        os.environ.setdefault("SVT_LOG", "1")  # errors alone: else it prints its settings
    options = {"movflags": "+faststart+use_metadata_tags"} if path.suffix.lower() in (".mp4", ".mov") else {}
    try:
        with av.open(file_url(path), "w", options=options) as container:
            for name, value in _tags(metadata).items():
                container.metadata[name] = value
            stream = container.add_stream(codec.encoder, rate=rate)
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt = codec.pixels
            stream.bit_rate = 0  # the quality decides
            stream.options = codec.options | (
                {} if codec.crf is None else {"crf": str(codec.crf if crf is None else crf)}
            )
            for i, pixels in enumerate(frames):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
                frame.pts, frame.time_base = i, 1 / rate
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    except av.codec.codec.UnknownCodecError:
        raise OutputError(f"can't write {path.name}: this FFmpeg lacks {codec.encoder}; pip install -U av") from None
    except av.FFmpegError as error:
        raise OutputError(f"can't write the video {path.name}: {error.strerror or error}") from None


def _encode_animation(frames: Frames, fps: float, path: Path, metadata: str | None) -> None:
    import imageio.v3 as iio
    from PIL import Image

    options: dict[str, Any] = {"loop": 0}
    ending = path.suffix.lower()
    options["duration"] = _milliseconds(ending, fps)
    if ending == ".gif":
        if metadata is not None:
            options["comment"] = _ascii(metadata)
    else:
        options |= {"lossless": True, "method": 4}
        if metadata is not None:
            exif = Image.Exif()
            exif[EXIF_DESCRIPTION] = _ascii(metadata).decode()
            options["exif"] = exif.tobytes()
    with path.open("wb") as file:  # not by its name, which imageio might take for a URL
        iio.imwrite(file, frames, plugin="pillow", extension=ending, **options)


def _milliseconds(ending: str, fps: float) -> int:
    """How long an animation shows a frame: whole hundredths of a second in a GIF, milliseconds in a WebP."""
    return max(round(100 / fps), 1) * 10 if ending == ".gif" else max(round(1000 / fps), 1)


def rounded_rate(ending: str, fps: float) -> str | None:
    """What to say of a file that can't hold the frame rate that is asked for; None where it can."""
    if ending not in (".gif", ".webp"):
        return None
    held = 1000 / _milliseconds(ending, fps)
    if abs(held - fps) <= 1e-9 * fps:
        return None
    unit = "hundredths of a second" if ending == ".gif" else "milliseconds"
    return f"`fps={fps:.6g}`: a {ending} file holds whole {unit} a frame, so it plays at {held:.6g}"


def _ascii(metadata: str) -> bytes:
    return json.dumps(json.loads(metadata), ensure_ascii=True).encode("ascii")


def _encode_folder(frames: Frames, path: Path, metadata: str | None) -> None:
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    path.mkdir()
    for i, frame in enumerate(frames):
        options: dict[str, Any] = {}
        if i == 0 and metadata is not None:
            options["pnginfo"] = PngInfo()
            for name, value in _tags(metadata).items():
                options["pnginfo"].add_itxt(name, value)
        Image.fromarray(frame).save(path / FRAME_NAME.format(i), "PNG", **options)


def _tags(metadata: str | None) -> dict[str, str]:
    if metadata is None:
        return {}
    values = flat_record(json.loads(metadata))
    return {"comment": metadata} | {name: str(values[name]) for name in ("prompt", "seed") if name in values}
