"""Any failure of reading, decoding or memory as a line: the input's name, what is wrong, what to do."""

from __future__ import annotations

import errno
import os
import re
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from videoada.errors import OutputError, ResourceError, VideoAdaError

POINTERS = {  # first bytes of what a repository holds for a file that was not fetched
    b"version https://git-lfs.github.com/spec/": "is a Git LFS pointer, not the file itself: fetch it with `git lfs "
    "pull`",
    b"/annex/objects/": "is a git-annex pointer, not the file itself: fetch it with `git annex get`",
}
SCHEMES = ("http", "https", "ftp", "ftps", "sftp", "ssh", "s3", "gs", "gcs", "az", "abfs", "abfss", "hf", "hdfs",
           "rtsp", "rtmp", "rtmps", "file")  # fmt: skip
PAGES = (b"<!doctype", b"<html", b"<?xml", b"<svg")
MOST_REASON = 200  # characters of a library's own words
NO_MEMORY = ("out of memory", "insufficient memory", "cannot allocate memory", "can't allocate memory",
             "failed to allocate", "unable to allocate", "not enough memory",
             "status_alloc_failed")  # the last of CUDA's libraries  # fmt: skip
PROGRAMS = (AttributeError, TypeError, LookupError, AssertionError, UnboundLocalError, struct.error)


@contextmanager
def reading(path: str | Path, what: str = "a video", error: type[VideoAdaError] = OutputError) -> Iterator[None]:
    """Any failure inside the block becomes an `error` that names the file, or a ResourceError where memory ran out."""
    try:
        yield
    except (VideoAdaError, GeneratorExit):
        raise
    except Exception as problem:  # of bytes that can be anything, in libraries that can fail anyhow
        raise said(path, problem, what, error) from None


def said(
    path: str | Path, problem: BaseException | str, what: str = "a video", error: type[VideoAdaError] = OutputError
) -> VideoAdaError:
    """The error to raise for a problem with a file: the file itself is looked at first."""
    if isinstance(problem, BaseException) and is_out_of_memory(problem):
        return out_of_memory(
            f"reading {path}", "close other programs, or use smaller or fewer frames; if it is a small file, it is "
            "damaged and names sizes that no memory holds: get it again"
        )  # fmt: skip
    if wrong := wrong_with(path):
        named = what.startswith("the ") and (wrong.startswith(str(path)[:300]) or url_problem(path))  # the image X …
        return error(f"{what} {wrong}" if named else wrong)
    return error(f"can't read {what} from {path}: {reason_of(problem)}")


def out_of_memory(doing: str, remedy: str) -> ResourceError:
    """Memory ran out in the middle of something."""
    return ResourceError(f"memory ran out while {doing}: {remedy}")


def is_out_of_memory(problem: BaseException) -> bool:
    """Whether any library's error says that memory ran out."""
    if isinstance(problem, MemoryError) or getattr(problem, "errno", None) == errno.ENOMEM:
        return True
    library = isinstance(problem, RuntimeError | OSError) or type(problem).__module__ == "cv2"
    return library and any(text in str(problem).lower() for text in NO_MEMORY)


def url_problem(path: str | Path, writing: bool = False) -> str | None:
    """That a path is a URL and what to do, in words that begin with it; None for what is none or names what is there.

    A Path has lost one of the slashes already: `https:/host/file`.
    """
    text = str(path)
    found = re.match(r"([A-Za-z][A-Za-z0-9]+):/", text)
    if not found or found[1].lower() not in SCHEMES or os.path.lexists(f"{found[1]}:"):
        return None
    rest = text[found.end() :].lstrip("/")
    url = f"{found[1]}://{'/' * (found[1].lower() == 'file')}{rest[:200]}"
    if found[1].lower() == "file":
        return f"{url} is a URL: name the file itself, as /{rest[:200]}"
    if writing:
        return f"{url} is a URL, and nothing is written to URLs: name a file or folder here"
    return f"{url} is a URL, and URLs are not fetched: download it, and name the file"


def wrong_with(path: str | Path) -> str | None:
    """What is wrong with a file before anything is read from it, in one line; None where nothing is."""
    name, path = str(path)[:300], Path(path)
    if "\0" in name:
        return f"{name!r} is no file's name: it holds a NUL character"
    if url := url_problem(name):
        return url
    try:
        if path.is_symlink() and not path.exists():
            return f"{name} is a broken link: {os.readlink(path)[:200]} is not there"
        status = path.stat()
    except FileNotFoundError:
        return f"{name} does not exist"
    except NotADirectoryError:
        return f"{name} does not exist: a part of the path is a file"
    except (OSError, ValueError) as problem:
        return f"can't read {name[:200]}: {getattr(problem, 'strerror', None) or problem}"
    if stat.S_ISDIR(status.st_mode):
        return None
    if not stat.S_ISREG(status.st_mode):
        return f"{name} is no file but a device, pipe or socket; save what it gives to a file first"
    if not status.st_size:
        return f"{name} is empty (0 bytes): get it again"
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError as problem:
        return f"can't read {name}: {problem.strerror or problem}"
    for mark, text in POINTERS.items():
        if start.startswith(mark):
            return f"{name} {text}"
    if start.lstrip().lower().startswith(PAGES):
        return f"{name} is a web page or XML text, not what its name says: get it again"
    return None


def reason_of(problem: BaseException | str) -> str:
    """An error's text in one line, without what FFmpeg adds of its own functions; its type where it has none.

    What Python says of a program that meets what it did not expect (no such attribute, no such index) says nothing of
    the file.
    """
    if isinstance(problem, PROGRAMS) and not getattr(problem, "strerror", None):
        return "it is damaged, or of a form that is not known"
    text = getattr(problem, "strerror", None) or str(problem)
    text = " ".join(str(text).split()) or type(problem).__name__
    return text[:MOST_REASON]
