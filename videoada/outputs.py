"""Where results may go, and how they get there: whole or not at all."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from videoada.config import FORMATS
from videoada.errors import OutputError

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


def is_frame_folder(path: Path) -> bool:
    """A folder that holds PNG files and nothing else (or nothing at all); what desktops leave in folders aside."""
    return path.is_dir() and all(f.suffix.lower() == ".png" and f.is_file() for f in path.iterdir() if not stray(f))


def stray(path: Path) -> bool:
    """A hidden file, or one that a desktop left."""
    return path.name.startswith(".") or path.name.lower() in ("thumbs.db", "desktop.ini")


def frame_files(folder: Path) -> list[Path]:
    """The PNG files of a folder in the order of the numbers in their names: frame_2 before frame_10."""

    def key(path: Path) -> list[tuple[int, str]]:
        return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"([0-9]+)", path.name)]

    return sorted((f for f in folder.iterdir() if f.suffix.lower() == ".png" and not stray(f)), key=key)


def results_folder(path: str | Path) -> Path:
    """A folder for results, made if it is not there. Raises OutputError where nothing can be written."""
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"can't write to the folder {str(path)[:200]}: {error.strerror or error}") from None
    if not os.access(path, os.W_OK):
        raise OutputError(f"the folder {path} can't be written to")
    return path


@contextmanager
def written_aside(path: str | Path) -> Iterator[Path]:
    """Give a temporary name in the same folder; rename it to `path` on success, remove it on any failure.

    The name is for a file, or for a folder that the caller makes. Raises OutputError for a full disk and the like.
    """
    path = Path(path)
    aside = path.with_name(f".{path.stem[:40]}-{secrets.token_hex(6)}{path.suffix}")
    try:
        yield aside
        if path.is_dir():  # a folder of frames that is to be replaced
            old = path.with_name(f".{path.stem[:40]}-{secrets.token_hex(6)}-old")
            path.replace(old)
            aside.replace(path)
            shutil.rmtree(old, ignore_errors=True)
        else:
            aside.replace(path)
    except OSError as error:
        raise OutputError(f"can't write {path}: {error.strerror or error}") from None
    finally:
        if aside.is_dir():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")


def append_row(path: Path, row: dict[str, Any]) -> None:
    """A JSON line at the end of a file that is gone on from, on a line of its own also where the last was cut short."""
    path.parent.mkdir(parents=True, exist_ok=True)
    broken = path.is_file() and not path.read_bytes().endswith(b"\n")
    with path.open("a", encoding="utf-8") as file:
        file.write("\n" * broken + json.dumps(row, allow_nan=False) + "\n")


def read_appended(path: Path) -> list[dict[str, Any]]:
    """What `append_row` wrote; a line cut short by an interruption is left out."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return [row for row in rows if isinstance(row, dict)]
