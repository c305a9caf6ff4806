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
from videoada.jobs import Job
from videoada.locks import NameLocks, place
from videoada.outputs import record_path
from videoada.records import RunRecord
from videoada.video import Video

SETTINGS = "render.json"
HIDDEN = ".videoada"
LONGEST_WAIT = 30.0  # seconds, for another command that writes the same small file
OWN_FILES = (SETTINGS, "manifest.jsonl", "summary.json", "prompt_file.json", "failures.json")


class RenderFolder:
    """A folder of videos and their records; made if it is not there. Raises OutputError where it can't be."""

    def __init__(self, path: str | Path, format: str = ".mp4") -> None:
        self.path, self.format = Path(path), format
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self.locks = NameLocks(self.path / HIDDEN / "lock")
        except OSError as error:
            raise OutputError(f"can't write to the folder {self.path}: {error.strerror or error}") from None

    def close(self) -> None:
        """Let go; an empty folder goes too."""
        self.locks.close()
        with contextlib.suppress(OSError):
            self.path.rmdir()

    # ---- what it is for ----------------------------------------------------------------------------------------------

    def settle(self, settings: dict[str, Any], overwrite: bool = False, keep: bool = True) -> None:
        """Compare the settings with those kept, and keep them. Raises ConfigError where they differ."""
        path = self.path / SETTINGS
        kept = read_json(path)
        if kept and not overwrite:
            other = sorted(name for name in kept.keys() | settings.keys() if kept.get(name) != settings.get(name))
            if other:
                raise ConfigError(
                    f"{self.path} holds videos of other settings ("
                    + ", ".join(f"{n.replace('_', '-')} {_short(kept.get(n))}" for n in other[:4])
                    + "): name another folder, repeat its settings, or give --overwrite"
                )
        if keep and kept != settings:
            self.put(SETTINGS, json.dumps(settings, indent=2, ensure_ascii=False) + "\n")

    def missing(self, jobs: Sequence[Job], overwrite: bool = False) -> list[Job]:
        """The jobs whose videos are not there. Raises ConfigError where another video has a job's name."""
        waiting = []
        for job in jobs:
            found = self.done(job)
            if found is False and not overwrite:
                raise ConfigError(
                    f"{self.record_of(job)} is of another prompt or other settings than line {job.line} asks for: name "
                    "another folder, repeat its settings, or give --overwrite"
                )
            if not found:
                waiting.append(job)
        return waiting

    def done(self, job: Job) -> bool | None:
        """Whether its video is there; False where the record of its name is another's; None where there is none."""
        path = self.record_of(job)
        if not path.exists():
            return None
        sha256 = read_json(path).get("job_sha256")
        if sha256 == job.sha256:
            return True if self.video_of(job).exists() else None
        return False

    def forget(self) -> None:
        """Take back a folder in which nothing was drawn."""
        for name in OWN_FILES:
            (self.path / name).unlink(missing_ok=True)

    def video_of(self, job: Job) -> Path:
        return self.path / f"{job.name}{self.format}"

    def record_of(self, job: Job) -> Path:
        return record_path(self.video_of(job))

    # ---- writing -----------------------------------------------------------------------------------------------------

    def write(self, job: Job, video: Video, record: RunRecord, metadata: bool = True) -> RunRecord:
        """The video and then its record, whole and on the disk. Raises OutputError. The job must be acquired."""
        began = time.perf_counter()
        target = self.video_of(job)
        record = record.model_copy(update={"job_sha256": job.sha256, "sample": job.sample})
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            self.record_of(job).unlink(missing_ok=True)  # of a video that is drawn again
            with self._aside(job.name, self.format) as aside:
                video.encode(aside, json.dumps(record.model_dump(), allow_nan=False) if metadata else None)
                _to_disk(*([*aside.iterdir()] if aside.is_dir() else ()), aside)
                if target.is_dir():
                    shutil.rmtree(target)
                aside.replace(target)
            seconds = record.seconds | {"write": round(time.perf_counter() - began, 4)}
            seconds["total"] = round(sum(v for k, v in seconds.items() if k != "total"), 4)
            record = record.model_copy(update={"seconds": seconds})
            with self._aside(job.name, ".json") as aside:
                aside.write_text(record.to_json(indent=2) + "\n", encoding="utf-8")
                _to_disk(aside)
                aside.replace(self.record_of(job))
            _to_disk(target.parent)
        except OSError as error:
            raise OutputError(f"can't write {target}: {error.strerror or error}") from None
        return record

    def put(self, name: str, text: str) -> None:
        """A small file of this folder, whole. Waits for another command that is writing it. Raises OutputError."""
        own = self.locks.acquire(name)
        waited = 0.0
        while not own and place(name) not in self.locks.held and waited < LONGEST_WAIT:
            time.sleep(0.05)
            waited += 0.05
            own = self.locks.acquire(name)
        try:
            with self._aside(name, ".json") as aside:
                aside.write_text(text, encoding="utf-8")
                aside.replace(self.path / name)
        except OSError as error:
            raise OutputError(f"can't write {self.path / name}: {error.strerror or error}") from None
        finally:
            if own:
                self.locks.release(name)

    @contextlib.contextmanager
    def _aside(self, name: str, ending: str) -> Iterator[Path]:
        """A path to write to, which says whose lock guards it; nothing is left there."""
        path = self.path / HIDDEN / f"{place(name):016x}-{secrets.token_hex(4)}{ending}"
        try:
            yield path
        finally:
            with contextlib.suppress(OSError):
                _remove(path)

    def sweep(self) -> int:
        """Remove what killed runs left half-written, and their notes; what someone alive has under way stays."""
        swept = 0
        for path in sorted((self.path / HIDDEN).iterdir()):
            found = re.fullmatch(r"([0-9a-f]{16})-[0-9a-f]{8}(\.\w+)?", path.name)
            name = int(found[1], 16) if found else path.stem
            if path.name != "lock" and self.locks.acquire(name):
                _remove(path)
                self.locks.release(name)
                swept += 1
        return swept

    # ---- what is there -----------------------------------------------------------------------------------------------

    def records(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """(video's path inside the folder, record) of each whole video, by name."""
        for path in sorted(self.path.rglob("*.json")):
            inside = path.relative_to(self.path)
            if inside.name in OWN_FILES or inside.parts[0] == HIDDEN:
                continue
            record = read_json(path)
            if "job_sha256" in record:
                yield inside.with_name(inside.name.removesuffix(".json") + self.format).as_posix(), record

    def index(self, naming: str = "id") -> list[dict[str, Any]]:
        """Write manifest.jsonl, and for VBench prompt_file.json and links, from the records; answers the manifest."""
        rows = [
            {name: record.get(name) for name in ("prompt", "negative_prompt", "image", "seed", "sample",
             "num_inference_steps", "num_predictions", "unet_rows", "unet_rows_full", "seconds", "job_sha256")}
            | {"file": file}
            for file, record in self.records()
        ]  # fmt: skip
        self.put("manifest.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        if naming == "vbench":
            prompts = {str(row["file"]): row["prompt"] for row in rows}
            self.put("prompt_file.json", json.dumps(prompts, indent=1, ensure_ascii=False) + "\n")
            _link_all(self.path / "videos", list(prompts))
        return rows

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
        if os.name == "nt" and path.is_dir():
            continue
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


def _link_all(folder: Path, files: Sequence[str]) -> None:
    """A folder that holds the videos and nothing else: VBench's loader takes the ending of whatever is listed first."""
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        if old.is_symlink() and old.name not in files:
            old.unlink()
    for name in files:
        link = folder / name
        if not link.exists():
            link.unlink(missing_ok=True)
            try:
                link.symlink_to(Path("..") / name)
            except OSError:  # no links here: a copy
                shutil.copyfile(folder.parent / name, link)


def _short(value: Any) -> str:
    return str(value if value is not None else "not given")[:40]
