"""Videos encoded, in the format of a name's ending, with the run record inside."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videoada.errors import OutputError
from videoada.media.metadata import EXIF_DESCRIPTION, flat_record
from videoada.media.outputs import FRAME_NAME

Frames = NDArray[np.uint8]


def encode_video(frames: Frames, fps: int, path: Path, metadata: str | None = None) -> None:
    """Write (F, H, W, 3) to `path` directly, in the format of its ending. Raises OSError or OutputError."""
    match path.suffix.lower():
        case ".mp4" | ".mkv":
            _encode_film(frames, fps, path, metadata)
        case ".gif" | ".webp":
            _encode_animation(frames, fps, path, metadata)
        case _:
            _encode_folder(frames, path, metadata)


def _encode_film(frames: Frames, fps: int, path: Path, metadata: str | None) -> None:
    import av

    lossless = path.suffix.lower() == ".mkv"
    if not lossless:  # 4:2:0 needs even sizes: repeat the last row and column, never rescale
        _, height, width, _ = frames.shape
        frames = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    options = {} if lossless else {"movflags": "+faststart+use_metadata_tags"}  # else only FFmpeg's own tags are kept
    try:
        with av.open(str(path), "w", options=options) as container:
            for name, value in _tags(metadata).items():
                container.metadata[name] = value
            stream = container.add_stream("ffv1" if lossless else "libx264", rate=fps)
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt = "bgr0" if lossless else "yuv420p"
            if not lossless:
                # with mbtree, x264's AVX-512 code gives other files from the same frames now and then
                stream.options = {"crf": "17", "preset": "medium", "x264-params": "mbtree=0"}
            for i, pixels in enumerate(frames):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
                frame.pts, frame.time_base = i, Fraction(1, fps)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    except av.FFmpegError as error:
        raise OutputError(f"can't write the video: {error.strerror or error}") from None


def _encode_animation(frames: Frames, fps: int, path: Path, metadata: str | None) -> None:
    import imageio.v3 as iio
    from PIL import Image

    options: dict[str, Any] = {"loop": 0}
    if path.suffix.lower() == ".gif":
        options |= {"duration": round(100 / fps) * 10 or 10}
        if metadata is not None:
            options["comment"] = _ascii(metadata)
    else:
        options |= {"duration": round(1000 / fps), "lossless": True, "method": 4}
        if metadata is not None:
            exif = Image.Exif()
            exif[EXIF_DESCRIPTION] = _ascii(metadata).decode()
            options["exif"] = exif.tobytes()
    iio.imwrite(path, frames, plugin="pillow", **options)


def _ascii(metadata: str) -> bytes:
    return json.dumps(json.loads(metadata), ensure_ascii=True).encode("ascii")


def _encode_folder(frames: Frames, path: Path, metadata: str | None) -> None:
    import imageio.v3 as iio
    from PIL.PngImagePlugin import PngInfo

    path.mkdir()
    for i, frame in enumerate(frames):
        options: dict[str, Any] = {}
        if i == 0 and metadata is not None:
            options["pnginfo"] = PngInfo()
            for name, value in _tags(metadata).items():
                options["pnginfo"].add_itxt(name, value)
        iio.imwrite(path / FRAME_NAME.format(i), frame, plugin="pillow", **options)


def _tags(metadata: str | None) -> dict[str, str]:
    if metadata is None:
        return {}
    values = flat_record(json.loads(metadata))
    return {"comment": metadata} | {name: str(values[name]) for name in ("prompt", "seed") if name in values}
