"""Where a video may be written and in which formats and codecs, by which names it is known, and the record's name
beside it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from videoada.config.frozen import one_of
from videoada.errors import ConfigError, OutputError
from videoada.failures import url_problem
from videoada.files import FileNames
from videoada.media.kinds import is_frame_folder

FRAME_NAME = "frame-{:05d}.png"


@dataclass(frozen=True)
class Codec:
    """An encoder of FFmpeg's and how it is called. `crf` is its quality where none is named, None for a lossless one;
    `worst` the largest that it takes. `padded`: sizes are made even."""

    encoder: str
    pixels: str
    padded: bool
    crf: int | None = None
    worst: int = 63
    options: dict[str, str] = field(default_factory=dict)


CODECS = {
    # with mbtree, x264's AVX-512 code gives other files from the same frames now and then
    "h264": Codec("libx264", "yuv420p", True, 17, 51, {"preset": "medium", "x264-params": "mbtree=0"}),
    "vp9": Codec("libvpx-vp9", "yuv420p", True, 20, 63, {"deadline": "good", "cpu-used": "2"}),
    "av1": Codec("libsvtav1", "yuv420p", True, 20, 63, {"preset": "6"}),
    "ffv1": Codec("ffv1", "bgr0", False),
}
FILM_FORMATS = {  # with the codecs that each holds, its default first
    ".mp4": ("h264", "vp9", "av1"),
    ".mov": ("h264",),
    ".mkv": ("ffv1", "h264", "vp9", "av1"),
    ".webm": ("vp9", "av1"),
}
FORMATS = (*FILM_FORMATS, ".gif", ".webp")  # and a folder of PNG frames, a name without an ending


@dataclass(frozen=True)
class Encoding:
    """How a film is encoded: `codec` h264, vp9, av1 or ffv1 (None: the format's own), `crf` its quality, from 0, the
    best, to 51 for h264 and 63 for vp9 and av1 (None: 17, 20 and 20)."""

    codec: str | None = None
    crf: int | None = None

    def check(self, ending: str) -> str:
        """The name of the codec for a format; "" where it has none. Raises ConfigError for what does not fit."""
        codecs = FILM_FORMATS.get(ending, ())
        if self.codec is not None:
            try:
                one_of("codec", self.codec, tuple(CODECS))
            except ValueError as error:
                raise ConfigError(str(error)) from None
            if self.codec not in codecs:
                fitting = [form for form, names in FILM_FORMATS.items() if self.codec in names]
                raise ConfigError(f"`codec={self.codec}` goes with {', '.join(fitting)}, not with {ending or 'frames'}")
        name = self.codec or (codecs[0] if codecs else "")
        if self.crf is not None:
            codec = CODECS.get(name)
            if codec is None or codec.crf is None:
                lossy = [n for n in codecs if CODECS[n].crf is not None]
                hint = f"name a lossy one with `codec`: {', '.join(lossy)}" if lossy else "leave it out"
                raise ConfigError(
                    f"`crf={self.crf}`: {ending or 'a folder of frames'} has no quality to choose; {hint}"
                )
            if not 0 <= self.crf <= codec.worst:
                raise ConfigError(f"`crf={self.crf}`: {name} takes 0 (best) to {codec.worst}")
        return name

    @classmethod
    def of(cls, asked: Any) -> Encoding:
        """What a request, or settings, say of the file."""
        return cls(asked.codec, asked.crf)

    @property
    def named(self) -> dict[str, Any]:
        """What was asked for, without what was left to the format."""
        return {name: value for name, value in (("codec", self.codec), ("crf", self.crf)) if value is not None}


def check_output(path: str | Path) -> Path:
    """The path, if a video may be written there. Raises OutputError naming what is wrong.

    A name without an ending is a folder of PNG frames: it may exist when it holds nothing but such frames.
    """
    path = Path(path)
    if url := url_problem(path, writing=True):
        raise OutputError(url)
    if "\0" in str(path):
        raise OutputError("a file's name can't hold a NUL character")
    if not path.name or path.name.lower() in FORMATS:
        raise OutputError(f"'{path}' names no file" + ": put a name before the ending" * bool(path.name))
    if path.suffix and path.suffix.lower() not in FORMATS:
        raise OutputError(
            f"can't tell the format of '{path.name}': end it in {', '.join(FORMATS)}, or in nothing for a PNG folder"
        )
    try:
        if path.suffix and path.is_dir():
            raise OutputError(f"{path} is a folder; name a file in it")
        if not path.suffix and path.exists() and not is_frame_folder(path):
            raise OutputError(f"{path} exists and is no folder of frames; name another, or a file like {path.name}.mp4")
        if record_path(path).is_dir():
            raise OutputError(f"{record_path(path)} is a folder, but the run record goes there; name another file")
        parent = path.parent
        if not parent.is_dir():
            what = "is a file, not a folder; name another" if parent.exists() else "does not exist; make it first"
            raise OutputError(f"the folder {parent} {what}")
    except (OSError, ValueError) as error:  # a name too long, or with a NUL in it
        raise OutputError(f"can't write '{str(path)[:80]}': {getattr(error, 'strerror', None) or error}") from None
    if not os.access(parent, os.W_OK):
        raise OutputError(f"the folder {parent} can't be written to")
    with FileNames(parent) as names:
        if problem := names.problem(max(path.name, record_path(path).name, key=len)):
            raise OutputError(f"can't write {str(path)[:200]!r}: {problem}")
    return path


def record_path(path: Path) -> Path:
    """NAME.json beside NAME.ext."""
    return path.with_suffix(".json") if path.suffix.lower() in FORMATS else path.with_name(path.name + ".json")


def output_paths(path: Path, count: int) -> list[Path]:
    """The path itself for one video; NAME-000.ext, NAME-001.ext, … for several."""
    return [path] if count == 1 else [path.with_stem(f"{path.stem}-{i:03d}") for i in range(count)]


def compared_path(path: Path) -> Path:
    """Where the side-by-side video goes: NAME-compare.ext."""
    return path.with_stem(f"{path.stem}-compare")
