"""Video: frames and their rate; written to and read from .mp4, .mkv, .gif, .webp and folders of PNG frames.

The run's record is saved inside the file as metadata: a JSON text under `comment`, and the prompt and the seed under
their own names where the format has names.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videoada.errors import OutputError
from videoada.files import written_aside
from videoada.media.films import decode, unreadable
from videoada.media.outputs import FRAME_NAME, check_output, frame_files, is_frame_folder

EXIF_DESCRIPTION = 0x010E  # ImageDescription
MOST_REPEATS = 10_000  # frames that one frame of an animation may stand for
MOST_BYTES = 2**32  # that an animation may unfold to
MOST_METADATA = 2**20  # characters that are read back: files come from anywhere


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

    def sha256(self) -> str:
        """SHA-256 of the shape and the bytes of the frames; a lossless file decodes to the same."""
        return hashlib.sha256(str(self.frames.shape).encode() + self.frames.tobytes()).hexdigest()

    def write(self, path: str | Path, metadata: str | None = None) -> None:
        """Write the file whole, or none; `metadata` is a JSON object that `read_metadata` finds again.

        `.mp4` is H.264 (yuv420p, crf 17, odd sizes padded), `.mkv` FFV1 and `.webp` WebP (both lossless), `.gif` has
        256 colours and times in hundredths of a second; a name without an ending is a folder of PNG frames. Raises
        OutputError for another ending, or when the file can't be written.
        """
        check_output(path)
        with written_aside(path) as aside:
            self.encode(aside, metadata)

    def encode(self, path: Path, metadata: str | None = None) -> None:
        """Write to `path` directly, in the format of its ending. Raises OSError or OutputError."""
        match path.suffix.lower():
            case ".mp4" | ".mkv":
                _encode_film(self, path, metadata)
            case ".gif" | ".webp":
                _encode_animation(self, path, metadata)
            case _:
                _encode_folder(self, path, metadata)

    @classmethod
    def read(cls, path: str | Path) -> Video:
        """Decode every frame of a file or folder. Raises OutputError when it is not a readable video."""
        path = Path(path)
        try:
            if path.is_dir():
                return _decode_folder(path)
            if path.suffix.lower() in (".gif", ".webp"):
                return _decode_animation(path)
            frames, rate = [], None
            for frame, stream in decode(path):
                frames.append(frame.to_ndarray(format="rgb24"))
                rate = stream.average_rate
            return cls(np.stack(frames), round(rate or 8))
        except OutputError:
            raise
        except Exception as error:  # whatever Pillow, FFmpeg and NumPy make of bytes that can be anything
            raise unreadable(path, error) from None


def read_metadata(path: str | Path) -> str | None:
    """The JSON text that `write` put into the file, or None. Raises OutputError when the file can't be read."""
    import av

    path = Path(path)
    try:
        if path.is_dir() or path.suffix.lower() in (".gif", ".webp", ".png"):
            text = _animation_metadata(path)
        else:
            with av.open(str(path)) as container:
                text = next((v for k, v in container.metadata.items() if k.lower() == "comment"), None)
    except Exception as error:
        raise OutputError(f"can't read {path}: {' '.join(str(error).split()) or type(error).__name__}") from None
    return text if text and len(text) <= MOST_METADATA and text.lstrip().startswith("{") else None


# ---- films: PyAV ---------------------------------------------------------------------------------------------------


def _encode_film(video: Video, path: Path, metadata: str | None) -> None:
    import av

    lossless = path.suffix.lower() == ".mkv"
    frames = video.frames
    if not lossless:  # 4:2:0 needs even sizes: repeat the last row and column, never rescale
        _, height, width, _ = frames.shape
        frames = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    options = {} if lossless else {"movflags": "+faststart+use_metadata_tags"}  # else only FFmpeg's own tags are kept
    try:
        with av.open(str(path), "w", options=options) as container:
            for name, value in _tags(metadata).items():
                container.metadata[name] = value
            stream = container.add_stream("ffv1" if lossless else "libx264", rate=video.fps)
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt = "bgr0" if lossless else "yuv420p"
            if not lossless:
                # with mbtree, x264's AVX-512 code gives other files from the same frames now and then
                stream.options = {"crf": "17", "preset": "medium", "x264-params": "mbtree=0"}
            for i, pixels in enumerate(frames):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
                frame.pts, frame.time_base = i, Fraction(1, video.fps)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    except av.FFmpegError as error:
        raise OutputError(f"can't write the video: {error.strerror or error}") from None


def _tags(metadata: str | None) -> dict[str, str]:
    if metadata is None:
        return {}
    values = _flat(json.loads(metadata))
    return {"comment": metadata} | {name: str(values[name]) for name in ("prompt", "seed") if name in values}


def _flat(values: Any) -> dict[str, Any]:
    """A record's values with those of its request among them; {} for what is no record."""
    if not isinstance(values, dict):
        return {}
    request = values.get("request")
    return (request | values) if isinstance(request, dict) else values


# ---- animations and frames: imageio ---------------------------------------------------------------------------------


def _encode_animation(video: Video, path: Path, metadata: str | None) -> None:
    import imageio.v3 as iio
    from PIL import Image

    options: dict[str, Any] = {"loop": 0}
    if path.suffix.lower() == ".gif":
        options |= {"duration": round(100 / video.fps) * 10 or 10}
        if metadata is not None:
            options["comment"] = _ascii(metadata)
    else:
        options |= {"duration": round(1000 / video.fps), "lossless": True, "method": 4}
        if metadata is not None:
            exif = Image.Exif()
            exif[EXIF_DESCRIPTION] = _ascii(metadata).decode()
            options["exif"] = exif.tobytes()
    iio.imwrite(path, video.frames, plugin="pillow", **options)


def _ascii(metadata: str) -> bytes:
    return json.dumps(json.loads(metadata), ensure_ascii=True).encode("ascii")


def _decode_animation(path: Path) -> Video:
    """Encoders join equal frames into one that lasts longer: give each its frames back."""
    from PIL import Image, ImageSequence

    frames, durations = [], []
    with Image.open(path) as image:  # not imageio: it tells the first frame's duration only
        for frame in ImageSequence.Iterator(image):
            frames.append(np.asarray(frame.convert("RGB")))
            durations.append(float(frame.info.get("duration") or 0))
    text = _animation_metadata(path)
    fps = _number(text, "fps", 240) or round(1000 / (min(durations) or 125)) or 1
    unit = round(100 / fps) * 10 if path.suffix.lower() == ".gif" else round(1000 / fps)
    counts = [min(max(round(duration / (unit or 10)), 1), MOST_REPEATS) for duration in durations]
    if sum(counts) * frames[0].nbytes > MOST_BYTES:
        raise ValueError(f"its {len(frames)} frames stand for {sum(counts)}, more than fit into memory")
    if len(frames) == 1:  # a clip that stands still becomes a picture, whose duration is not kept
        counts = [_number(text, "num_frames", MOST_REPEATS) or counts[0]]
    return Video(np.repeat(np.stack(frames), counts, axis=0), fps)


def _number(metadata: str | None, name: str, most: int) -> int | None:
    """A whole number from 1 to `most` in the metadata, or None: files come from anywhere."""
    try:
        value = _flat(json.loads(metadata or "{}")).get(name)
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


def _encode_folder(video: Video, path: Path, metadata: str | None) -> None:
    import imageio.v3 as iio
    from PIL.PngImagePlugin import PngInfo

    path.mkdir()
    for i, frame in enumerate(video.frames):
        options: dict[str, Any] = {}
        if i == 0 and metadata is not None:
            options["pnginfo"] = PngInfo()
            for name, value in _tags(metadata).items():
                options["pnginfo"].add_itxt(name, value)
        iio.imwrite(path / FRAME_NAME.format(i), frame, plugin="pillow", **options)


def _decode_folder(path: Path) -> Video:
    import imageio.v3 as iio

    if not is_frame_folder(path):
        raise ValueError("the folder holds more than PNG frames")
    files = frame_files(path)
    if not files:
        raise ValueError("the folder is empty")
    return Video(
        np.stack([iio.imread(f, mode="RGB") for f in files]), _number(_animation_metadata(path), "fps", 240) or 8
    )
