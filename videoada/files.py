"""Files written whole or not at all, JSON lines that are appended to, and folders for results."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from videoada.errors import OutputError


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
    """Append a JSON line to a file; it begins a new line also where an interruption cut the last one short."""
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


def model_folder(name: str) -> str:
    """A model's name, which may be a path or a hub id, as the name of one folder or file; plain names as they are."""
    plain = re.sub(r"[^\w.-]+", "-", name).strip("-.")
    return plain if plain == name else f"{plain[-80:]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
