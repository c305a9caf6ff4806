"""Files written whole or not at all, JSON lines that are appended to, folders for results, and what names a file system
can hold."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import tempfile
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from videoada.errors import ConfigError, OutputError
from videoada.failures import reason_of, url_problem

PLAIN = re.compile(r"(?!\.)[\w .-]{1,100}(?<![ .])", re.ASCII)  # names that any file system can hold
RESERVED = ("con", "prn", "aux", "nul", "com", "lpt")  # but for these, on Windows


def results_folder(path: str | Path) -> Path:
    """A folder for results, made if it is not there. Raises OutputError where nothing can be written."""
    path = check_folder(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"can't write to the folder {str(path)[:200]}: {error.strerror or error}") from None
    return path


def check_folder(path: str | Path) -> Path:
    """A folder that `results_folder` could make, which is not made here: what comes before it may fail. Raises
    OutputError where nothing could be written."""
    path = Path(path)
    if url := url_problem(path, writing=True):
        raise OutputError(url)
    try:
        there = next(part for part in (path, *path.absolute().parents) if os.path.lexists(part))
        if not there.is_dir():
            raise OutputError(f"can't write to the folder {str(path)[:200]}: {there} is a file; name another folder")
    except (OSError, ValueError) as error:  # a name too long, or with a NUL in it
        raise OutputError(f"can't write to the folder {str(path)[:200]!r}: {reason_of(error)}") from None
    if not os.access(there, os.W_OK):
        raise OutputError(f"the folder {there} can't be written to")
    return path


def check_file(path: str | Path | None, parameter: str, *endings: str) -> None:
    """Raises ConfigError, before hours of work, where the file that `parameter` names could not be written.

    None is no file, which is fine; a name must end in one of `endings` if there are any.
    """
    if path is None:
        return
    path = Path(path)
    if url := url_problem(path, writing=True):
        raise ConfigError(f"`{parameter}`: {url}")
    if endings and path.suffix.lower() not in endings:
        raise ConfigError(f"`{parameter}`: '{path.name}' must end in {' or '.join(endings)}")
    try:
        if path.is_dir():
            raise ConfigError(f"`{parameter}`: {path} can't be written: it is a folder")
        if not path.parent.is_dir():
            raise ConfigError(f"`{parameter}`: {path} can't be written: make its folder first")
        if not os.access(path.parent, os.W_OK):
            raise ConfigError(f"`{parameter}`: {path} can't be written: its folder can't be written to")
    except (OSError, ValueError) as error:  # a name too long, or with a NUL in it
        raise ConfigError(f"`{parameter}`: {str(path)[:200]!r} can't be written: {reason_of(error)}") from None
    with FileNames(path.parent) as names:
        if problem := names.problem(path.name):
            raise ConfigError(f"`{parameter}`: {path} can't be written: {problem}")


class FileNames:
    """What names the file system of a folder, which need not be there yet, can hold and tells apart.

    It is tried with empty files in a folder beside the real ones, which is gone after the `with`; nothing is tried for
    plain names. Raises OutputError where nothing can be written.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(os.path.abspath(folder))
        self._tried: Path | None = None
        self._most = 0

    def __enter__(self) -> FileNames:
        return self

    def __exit__(self, *_: object) -> None:
        if self._tried:
            shutil.rmtree(self._tried, ignore_errors=True)
            self._tried = None

    def problem(self, name: str) -> str | None:
        """Why no file in the folder can have that name (a path inside it, with /), as a sentence; None if one can."""
        parts = name.split("/")
        if all(PLAIN.fullmatch(part) and not part.lower().startswith(RESERVED) for part in parts) and len(name) < 200:
            return None
        try:
            path = self._trial()
            if len(os.fsencode(self.folder / name)) >= self._most:
                return f"the path has more than {self._most - 1} bytes"
            for part in parts:
                (path / part).touch()
                listed = os.listdir(path)
                (path / part).unlink()
                if not any(same_letters(part, other) for other in listed):  # as where dots at the end fall away
                    return f"the file system would name it '{listed[0] if listed else ''}'"
        except (OSError, ValueError) as error:
            return f"the file system can't hold this name ({reason_of(error)})"
        return None

    def apart(self, name: str, other: str) -> bool:
        """Whether two names are those of two files here: not so on many systems where letters' case or composition is
        all that they differ by."""
        if name == other:
            return False
        path = self._trial() / "apart"
        try:
            (path / name).parent.mkdir(parents=True)
            (path / name).touch()
            return not (path / other).exists()
        except (OSError, ValueError):
            return False
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def _trial(self) -> Path:
        if self._tried is None:
            there = next((path for path in (self.folder, *self.folder.parents) if path.is_dir()), self.folder)
            try:
                self._tried = Path(tempfile.mkdtemp(prefix=".videoada-", dir=there))
                self._most = os.pathconf(there, "PC_PATH_MAX") if hasattr(os, "pathconf") else 260
            except OSError as error:
                raise OutputError(f"can't write to the folder {there}: {error.strerror or error}") from None
        return self._tried


def same_letters(name: str, other: str) -> bool:
    """Whether two names are equal but for letters' case and composition."""
    return folded(name) == folded(other)


def folded(name: str) -> str:
    """Equal for names that some file system takes for one: letters' case and composition aside."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def file_url(path: str | Path) -> str:
    """A local file by any name, for FFmpeg, which would take `12:30.mp4` for a protocol called 12."""
    return f"file:{os.fspath(path)}"


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
