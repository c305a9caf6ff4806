"""What a queue's folder holds, read again only where a file has changed: jobs, records, videos."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from videoada.errors import VideoAdaError
from videoada.media.outputs import FORMATS
from videoada.records.find import settings_of
from videoada.records.record import RunRecord
from videoada.rendering.folder import HIDDEN, OWN_FILES, read_json
from videoada.rendering.queue.jobs import JOBS, QueuedJob

Stamp = tuple[int, int, int]  # of a file: changes when it is written again


class Made(NamedTuple):
    """A video that is there, with its record."""

    record: dict[str, Any]
    video: Path
    stamp: Stamp

    @property
    def modified(self) -> float:
        return self.stamp[0] / 1e9


class Contents:
    """Of one folder. What is read is kept by the file's time, size and number."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read: dict[str, tuple[Stamp, dict[str, Any]]] = {}
        self._settings: dict[str, tuple[Stamp, dict[str, Any]]] = {}

    def jobs(self) -> dict[str, QueuedJob]:
        """By id, in the order of being added."""
        found = []
        for entry in _listed(self.folder / JOBS):
            if entry.name.endswith(".json") and (job := QueuedJob.from_values(self._values(entry)[0])) is not None:
                found.append(job)
        return {job.id: job for job in sorted(found, key=lambda job: job.added)}

    def jobs_changed(self) -> float:
        """When a job was last written."""
        try:
            return (self.folder / JOBS).stat().st_mtime
        except OSError:
            return 0.0

    def made(self) -> dict[str, Made]:
        """Every complete video by its path without the ending, those of full runs left out."""
        found: dict[str, Made] = {}
        seen: set[str] = set()
        for inside, entry, names in _walk(self.folder, ""):
            seen.add(entry.path)
            if (made := self._made(entry, names)) is not None:
                found[inside.removesuffix(".json")] = made
        for gone in [p for p in self._read if p not in seen and f"/{HIDDEN}/" not in p]:
            del self._read[gone]
        return found

    def made_by(self, job: QueuedJob) -> Made | None:
        """The video of a job of the queue, where it is done."""
        record, stamp = self._values(self.folder / f"{job.id}.json")
        if record.get("job_sha256") != job.sha256:
            return None
        paths = (self.folder / f"{job.id}{ending}" for ending in (*FORMATS, ""))
        video = next((path for path in paths if path.exists()), None)
        return None if video is None else Made(record, video, stamp)

    def settings_of(self, id: str, made: Made) -> dict[str, Any]:
        """The settings that repeat a video, by its record; the prompt alone where its image was given as an object."""
        kept = self._settings.get(id)
        if kept is None or kept[0] != made.stamp:
            try:
                found = settings_of(RunRecord.model_validate(made.record), ending=made.video.suffix)
            except (VideoAdaError, ValueError):
                request = made.record.get("request") or {}
                found = {name: request[name] for name in ("prompt", "seed") if name in request}
            kept = self._settings[id] = made.stamp, found
        return kept[1]

    def _made(self, entry: os.DirEntry[str], names: dict[str, os.DirEntry[str]]) -> Made | None:
        base = entry.name.removesuffix(".json")
        ending = next((ending for ending in (*FORMATS, "") if f"{base}{ending}" in names), None)
        record, stamp = self._values(entry)
        if ending is None or "job_sha256" not in record:
            return None
        return Made(record, Path(entry.path).with_name(f"{base}{ending}"), stamp)

    def _values(self, file: os.DirEntry[str] | Path) -> tuple[dict[str, Any], Stamp]:
        """The object in a file; {} where there is none, or none any more."""
        try:
            about = file.stat()
        except OSError:
            return {}, (0, 0, 0)
        stamp, path = (about.st_mtime_ns, about.st_size, about.st_ino), os.fspath(file)
        kept = self._read.get(path)
        if kept is None or kept[0] != stamp:
            kept = self._read[path] = stamp, read_json(Path(path))
        return kept[1], stamp


def _listed(folder: Path | str) -> list[os.DirEntry[str]]:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        return list(entries)
    return []


def _walk(folder: Path | str, inside: str) -> Iterator[tuple[str, os.DirEntry[str], dict[str, os.DirEntry[str]]]]:
    """(path inside the folder, entry, all entries beside it) of each JSON file that may be a record."""
    names = {entry.name: entry for entry in _listed(folder)}
    for name, entry in names.items():
        if name.endswith(".json") and inside + name not in OWN_FILES:
            yield inside + name, entry, names
        elif inside + name != HIDDEN and entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path, f"{inside}{name}/")
