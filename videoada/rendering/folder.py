"""RenderFolder: where a prompt file's videos go. What is done is what its records say; nothing else is remembered.

A video is written aside, brought to the disk and renamed, its record last: a record that is there stands for a whole
video. `.videoada/` holds what is under way: the locks, half-written files, and a note for each command at work.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from videoada.errors import ConfigError, OutputError
from videoada.media.outputs import FORMATS, Encoding, record_path
from videoada.media.video import Video
from videoada.records.record import RunRecord
from videoada.records.save import as_saved, metadata_of, with_seconds
from videoada.rendering.jobs import PICKED, Job
from videoada.rendering.locks import NameLocks, byte_of

SETTINGS, MANIFEST, SUMMARY, PROMPT_FILE = "render.json", "manifest.jsonl", "summary.json", "prompt_file.json"
OWN_FILES = (SETTINGS, MANIFEST, SUMMARY, PROMPT_FILE)
HIDDEN = ".videoada"
QUEUE = f"{HIDDEN}/queue"  # jobs that are queued, and what belongs to them
RENDERING = "rendering"  # the name that commands at work on a prompt file share
LONGEST_WAIT = 30.0  # seconds, for another command that writes the same small file


class RenderFolder:
    """A folder of videos and their records; made if it is not there. Raises OutputError where it can't be."""

    def __init__(self, path: str | Path, format: str = ".mp4", locks: NameLocks | None = None) -> None:
        self.path, self.format = Path(path), format
        with output_errors(f"can't write to the folder {str(path)[:200]}"):
            self.made = not self.path.is_dir()
            self.path.mkdir(parents=True, exist_ok=True)
            self.locks = locks or NameLocks(self.path / HIDDEN / "lock")
        self.before: set[Path] = set()  # what stood under the names of missing videos, without a record

    def close(self) -> None:
        """Let go. A folder that this object made and in which nothing was generated is removed."""
        with contextlib.suppress(OSError):
            queued = (self.path / QUEUE).exists()
            if self.locks.close() and self.made and not queued and not any(self.records(complete=False)):
                for name in OWN_FILES:
                    (self.path / name).unlink(missing_ok=True)
                self.path.rmdir()

    # ---- what is asked for and what is there -------------------------------------------------------------------------

    def settle(
        self, settings: dict[str, Any], overwrite: bool = False, keep: bool = True, jobs: Sequence[Job] = ()
    ) -> None:
        """Compare a prompt file's settings with those of the one before, and of other commands at work, and keep them.

        Raises ConfigError where they differ and a job's name is another video's, or the names are of another kind,
        which the folder's listings go by. Videos of other names may have any settings.
        """
        if keep:
            self.locks.share(RENDERING)
        with self.holding(SETTINGS):
            kept = read_json(self.path / SETTINGS)
            if PICKED not in settings and PICKED in kept:  # of the prompt file that had random seeds
                settings = settings | {PICKED: kept[PICKED]}
            other = sorted(name for name in kept.keys() | settings.keys() if kept.get(name) != settings.get(name))
            differences = ", ".join(_kept_as(n, kept.get(n)) for n in other[:4])
            if kept and other and not overwrite and self._clashes("naming" in other, jobs):
                raise ConfigError(
                    f"{self.path} holds videos of other settings ({differences}): name another folder, repeat its "
                    "settings, or give `overwrite`"
                )
            if kept and other and keep and not self.locks.alone(RENDERING):
                raise ConfigError(
                    f"another command is rendering into {self.path} with other settings ({differences}): name another "
                    "folder, or wait until it has ended"
                )
            if keep and kept != settings:
                self.put(SETTINGS, json.dumps(settings, indent=2, ensure_ascii=False) + "\n")

    def _clashes(self, by_naming: bool, jobs: Sequence[Job]) -> bool:
        if by_naming:
            return any(self.records(complete=False))
        return any(self.done(job) is False for job in jobs)

    def missing(self, jobs: Sequence[Job], overwrite: bool = False) -> list[Job]:
        """The jobs whose videos are not there. Raises ConfigError where another video has a job's name."""
        waiting = []
        for job in jobs:
            found = self.done(job)
            if found is False and not overwrite:
                raise ConfigError(
                    f"{self.record_of(job)} is of another prompt or other settings than line {job.line} asks for: name "
                    "another folder, repeat its settings, or give `overwrite`"
                )
            if not found:
                waiting.append(job)
        self.before = {
            self.video_of(j) for j in waiting if self.video_of(j).exists() and not self.record_of(j).exists()
        }
        return waiting

    def done(self, job: Job) -> bool | None:
        """Whether its video is there; False where the record of its name is another's; None where there is none."""
        with output_errors(f"can't read {str(self.path)[:200]}"):
            path = self.record_of(job)
            if not path.exists():
                return None
            if read_json(path).get("job_sha256") != job.sha256:
                return False
            return True if self.video_of(job).exists() else None

    def video_of(self, job: Job) -> Path:
        return self.path / f"{job.name}{self.format}"

    def record_of(self, job: Job) -> Path:
        return record_path(self.video_of(job))

    def records(self, complete: bool = True) -> Iterator[tuple[str, dict[str, Any]]]:
        """(path inside the folder, record) of each complete video, by name; with `complete` False, of every record."""
        return records_in(self.path, complete)

    # ---- writing -----------------------------------------------------------------------------------------------------

    def write(self, job: Job, video: Video, record: RunRecord, metadata: bool = True) -> RunRecord:
        """The video and then its record, complete and on the disk. Raises OutputError. The job must be acquired."""
        began = time.perf_counter()
        target = self.video_of(job)
        encoding = Encoding.of(job.request)
        record = as_saved(record, self.format, encoding)
        record = record.model_copy(update={"job_sha256": job.sha256, "sample": job.sample})
        with output_errors(f"can't write {str(target)[:200]}"):
            target.parent.mkdir(parents=True, exist_ok=True)
            self._drop_old(job)
            with self.aside(job.name, self.format) as aside:
                video.encode(aside, metadata_of(record) if metadata else None, encoding)
                _to_disk(*([*aside.iterdir()] if aside.is_dir() else ()), aside)
                aside.replace(target)
            record = with_seconds(record, write=time.perf_counter() - began)
            with self.aside(job.name, ".json") as aside:
                aside.write_text(record.to_json(indent=2) + "\n", encoding="utf-8")
                _to_disk(aside)
                aside.replace(self.record_of(job))
            _to_disk(target.parent)
        return record

    def _drop_old(self, job: Job) -> None:
        """Remove what a video that is generated again had: its record, and its file in any format."""
        had_record = self.record_of(job).exists()
        self.record_of(job).unlink(missing_ok=True)
        frames = self.path / job.name
        if (had_record or not self.format) and frames.is_dir() and any(frames.iterdir()):
            if not all(re.fullmatch(r"frame-\d+\.png", f.name) for f in frames.iterdir()):
                raise OutputError(f"{frames} holds other files, and a video's frames are to go there: move them")
            shutil.rmtree(frames)
        for ending in FORMATS:
            if had_record and ending != self.format:
                (self.path / f"{job.name}{ending}").unlink(missing_ok=True)

    def put(self, name: str, text: str) -> None:
        """A small file of this folder, whole. Waits for another command that is writing it. Raises OutputError."""
        with self.holding(name), output_errors(f"can't write {self.path / name}"), self.aside(name, ".json") as aside:
            aside.write_text(text, encoding="utf-8")
            aside.replace(self.path / name)

    @contextlib.contextmanager
    def holding(self, name: str) -> Iterator[None]:
        """Inside the block, the lock of that name is held, after a short wait if need be; a lock held before stays."""
        own, began = self.locks.acquire(name), time.monotonic()
        while not own and byte_of(name) not in self.locks.held and time.monotonic() - began < LONGEST_WAIT:
            time.sleep(0.05)
            own = self.locks.acquire(name)
        try:
            yield
        finally:
            if own:
                self.locks.release(name)

    @contextlib.contextmanager
    def aside(self, name: str, ending: str) -> Iterator[Path]:
        """A path to write to, which says whose lock guards it; nothing is left there."""
        path = self.path / HIDDEN / f"{byte_of(name):016x}-{secrets.token_hex(4)}{ending}"
        try:
            yield path
        finally:
            with contextlib.suppress(OSError):
                _remove(path)

    def sweep(self) -> int:
        """Remove half-written files and notes of killed commands; those of live commands stay."""
        swept = 0
        with output_errors(f"can't write to the folder {self.path}"):
            for path in sorted((self.path / HIDDEN).iterdir()):
                found = re.fullmatch(r"([0-9a-f]{16})-[0-9a-f]{8}(\.\w+)?", path.name)
                name = int(found[1], 16) if found else path.stem
                if path.name not in ("lock", "queue") and self.locks.acquire(name):
                    _remove(path)
                    self.locks.release(name)
                    swept += 1
        return swept

    def drop_unrecorded(self, jobs: Sequence[Job]) -> None:
        """Remove the videos whose workers were killed before their record was there. What stood under their names when
        `missing` looked stays, and so does what another command is writing."""
        for job in jobs:
            video = self.video_of(job)
            if video in self.before or not video.exists() or not self.locks.acquire(job.name):
                continue
            if not self.record_of(job).exists():
                _remove(video)
            self.locks.release(job.name)

    # ---- who is at work ----------------------------------------------------------------------------------------------

    def note(self, token: str, values: dict[str, Any]) -> None:
        """What the command with that token is doing, for `status`; the command holds the lock of `run-TOKEN`."""
        values = {"host": socket.gethostname(), "pid": os.getpid(), "updated": time.time()} | values
        self.locks.acquire(f"run-{token}")
        with contextlib.suppress(OutputError):  # a note is worth no failure
            self.put(f"{HIDDEN}/run-{token}.json", json.dumps(values))

    def drop_note(self, token: str) -> None:
        (self.path / HIDDEN / f"run-{token}.json").unlink(missing_ok=True)
        self.locks.release(f"run-{token}")

    def notes(self) -> list[dict[str, Any]]:
        """What the commands that are at work now wrote."""
        found = []
        for path in sorted((self.path / HIDDEN).glob("run-*.json")):
            if self.locks.acquire(path.stem):
                self.locks.release(path.stem)
            elif values := read_json(path):
                found.append(values)
        return found


def records_in(folder: Path, complete: bool = True) -> Iterator[tuple[str, dict[str, Any]]]:
    """As `RenderFolder.records`, without taking part."""
    for path in sorted(folder.rglob("*.json")):
        inside = path.relative_to(folder).as_posix()
        if inside in OWN_FILES or inside.startswith(f"{HIDDEN}/"):
            continue
        base = inside.removesuffix(".json")
        ending = next((ending for ending in (*FORMATS, "") if (folder / f"{base}{ending}").exists()), None)
        if (ending is not None or not complete) and "job_sha256" in (record := read_json(path)):
            yield f"{base}{ending or ''}", record


@contextlib.contextmanager
def output_errors(problem: str) -> Iterator[None]:
    """What the system refuses, as one line."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{problem}: {error.strerror or error}") from error


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file; {} where there is none that can be read."""
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def _to_disk(*paths: Path) -> None:
    """fsync files and folders."""
    for path in paths:
        file = os.open(path, os.O_RDONLY)
        try:
            os.fsync(file)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # a folder where such a thing is not known
                raise
        finally:
            os.close(file)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _kept_as(name: str, value: Any) -> str:
    """A setting of the videos that are there, as messages show it."""
    return f"`{name}` not given" if value is None else f"`{name}={str(value)[:40]}`"
