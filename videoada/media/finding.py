"""The videos of a folder, and what lies beside them that is not read: said, never left out without a word."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from videoada.errors import OutputError, counted
from videoada.failures import url_problem
from videoada.media.kinds import FRAME_ENDINGS, VIDEO_ENDINGS, is_animated, is_frame_folder, stray

BESIDE = (".json", ".jsonl", ".txt", ".csv", ".md", ".html", ".yaml", ".yml", ".svg", ".safetensors", ".log")


@dataclass(frozen=True)
class Found:
    """The videos of a folder by name, and a line for each kind of thing in it that is not read."""

    videos: list[Path]
    not_read: list[str]


def find_videos(folder: str | Path, recursive: bool = False) -> list[Path]:
    """Films, animations and folders of frames in a folder, by name; without NAME-compare.ext beside NAME.ext.

    With `recursive` also those of the folders below, by their paths. Raises OutputError when the folder does not exist
    or holds none.
    """
    return search_videos(folder, recursive).videos


def search_videos(folder: str | Path, recursive: bool | None = False) -> Found:
    """As `find_videos`, with what is not read: folders below it, files that are no videos.

    `recursive` is None for those who can't read the folders below.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise OutputError(url_problem(folder) or f"there is no folder {folder}" + ", but a file" * folder.is_file())
    videos: list[Path] = []
    below: list[Path] = []
    others: list[Path] = []
    _search(folder, recursive, videos, below, others)
    names = set(videos)
    videos = [p for p in videos if not (p.stem.endswith("-compare") and _compared(p) in names)]
    not_read = []
    if below:
        more = f" and {len(below) - 1} more" if len(below) > 1 else ""
        remedy = "only those of the folder itself are read" if recursive is None else "`recursive` reads them, too"
        not_read.append(f"videos in folders below {folder} ({below[0].name}{more}): {remedy}")
    if others:
        kinds = sorted({path.suffix.lower() or path.name for path in others})
        shown = f"'{sorted(others)[0].relative_to(folder)}'{' and others' if len(others) > 1 else ''}"
        not_read.append(
            f"{counted(len(others), 'file')} in {folder} with endings that are no video's "
            f"({', '.join(kinds)[:80]}): {shown}"
        )
    if not videos:
        hint = f"; not read: {'; '.join(not_read)}" if not_read else ""
        raise OutputError(f"{folder} holds no videos (films, GIF, WebP, or folders of PNG, JPEG or WebP frames){hint}")
    return Found(videos, not_read)


def _compared(path: Path) -> Path:
    return path.with_name(path.name.replace("-compare", ""))


def _search(folder: Path, recursive: bool | None, videos: list[Path], below: list[Path], others: list[Path]) -> None:
    """Broken links, empty files, empty folders and pointers with a video's ending are found, so that reading says what
    they are."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            if (is_frame_folder(path) and any(path.iterdir())) or _frames_and_more(path):
                videos.append(path)
            elif recursive and not (path.suffix.lower() in VIDEO_ENDINGS and not any(path.iterdir())):
                _search(path, recursive, videos, below, others)
            elif _holds_videos(path):
                below.append(path)
            elif path.suffix.lower() in VIDEO_ENDINGS:
                videos.append(path)
        elif path.suffix.lower() in VIDEO_ENDINGS and not _is_still(path):
            videos.append(path)
        elif not stray(path) and path.suffix.lower() not in BESIDE:
            others.append(path)


def _frames_and_more(folder: Path) -> bool:
    """Whether a folder holds frames and files that are none: a video that reading refuses, saying which file."""
    files = [path for path in folder.iterdir() if not stray(path)]
    endings = {path.suffix.lower() for path in files}
    frames = endings & set(FRAME_ENDINGS) - {".webp"}
    return bool(frames) and not endings & set(VIDEO_ENDINGS) and not any(path.is_dir() for path in files)


def _is_still(path: Path) -> bool:
    """Whether a file is a WebP picture that lies among pictures, as frames that have something else beside them."""
    return (
        path.suffix.lower() == ".webp"
        and path.is_file()
        and not is_animated(path)
        and any(f.suffix.lower() in FRAME_ENDINGS and f.suffix.lower() != ".webp" for f in path.parent.iterdir())
    )


def _holds_videos(folder: Path) -> bool:
    """Whether a folder, or one below it, seems to hold any; the first that is met ends the search."""
    try:
        inside = sorted(folder.iterdir())
    except OSError:
        return False
    files = [path for path in inside if not path.name.startswith(".")]
    if any(path.suffix.lower() in (*VIDEO_ENDINGS, *FRAME_ENDINGS) for path in files):
        return True
    return any(path.is_dir() and _holds_videos(path) for path in files)
