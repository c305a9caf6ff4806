"""Where a video may be written, by which names it is known, and the record's name beside it."""

from __future__ import annotations

import os
from pathlib import Path

from videoada.errors import OutputError
from videoada.media.kinds import is_frame_folder

FORMATS = (".mp4", ".mkv", ".gif", ".webp")  # and a folder of PNG frames, a name without an ending
FRAME_NAME = "frame-{:05d}.png"


def check_output(path: str | Path) -> Path:
    """The path, if a video may be written there. Raises OutputError naming what is wrong.

    A name without an ending is a folder of PNG frames: it may exist when it holds nothing but such frames.
    """
    path = Path(path)
    if "\0" in str(path):
        raise OutputError("a file's name can't hold a NUL character")
    if not path.name:
        raise OutputError(f"'{path}' names no file")
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
            raise OutputError(f"the folder {parent} does not exist; make it first")
    except (OSError, ValueError) as error:  # a name too long, or with a NUL in it
        raise OutputError(f"can't write '{str(path)[:80]}': {getattr(error, 'strerror', None) or error}") from None
    if not os.access(parent, os.W_OK):
        raise OutputError(f"the folder {parent} can't be written to")
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
