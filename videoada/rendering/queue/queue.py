"""RenderQueue: a render folder to which jobs are added one by one, and which says what became of them.

It only writes and reads the folder: a worker, which is a process of its own, generates (`work.py`). Everything that it
says is in the folder, so that it is the same after whatever was killed.
"""

from __future__ import annotations

import contextlib
import itertools
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from videoada.config.settings import RunSettings
from videoada.errors import ConfigError, PromptError
from videoada.files import check_folder
from videoada.media.outputs import FORMATS, Encoding
from videoada.rendering.checks import check_job
from videoada.rendering.folder import MANIFEST, SETTINGS, RenderFolder, output_errors, read_json
from videoada.rendering.jobs import Job, plan_job
from videoada.rendering.locks import NameLocks
from videoada.rendering.manifest import index
from videoada.rendering.naming import slug
from videoada.rendering.queue.contents import Contents, Made
from videoada.rendering.queue.entry import QueueEntry, entry_of, entry_of_made
from videoada.rendering.queue.jobs import (
    FULL,
    INPUTS,
    JOBS,
    LIVE,
    PREVIEWS,
    WORKER,
    QueuedJob,
    copy_inputs,
    full_id,
    in_full,
    kept_settings,
    key_of,
)

FORMAT = ".mp4"


class RenderQueue:
    """The queue in a folder, which is made if it is not there; `videoada render` may use the folder as well.

        queue = videoada.RenderQueue("videos/")
        [id] = queue.add([RunSettings(prompt="a red circle growing on a black background", quality="high")])
        videoada.start_worker("videos/")
        print(queue.entry(id).state)

    Methods may be called from any thread. Raises OutputError where the folder can't be made or written to.
    """

    def __init__(self, path: str | Path, locks: NameLocks | None = None) -> None:
        self.path = check_folder(path)
        self.folder = RenderFolder(self.path, FORMAT, locks)
        self.contents = Contents(self.path)
        self._lock = threading.RLock()
        with output_errors(f"can't write to the folder {str(path)[:200]}"):
            for name in (JOBS, PREVIEWS):
                (self.path / name).mkdir(parents=True, exist_ok=True)
        for job in self.contents.jobs().values():
            if job.wish == "deleted" and not self._running(job.id):
                self.purge(job)

    def close(self) -> None:
        """Let go of the folder."""
        self.folder.close()

    # ---- asking ------------------------------------------------------------------------------------------------------

    def add(self, runs: Sequence[RunSettings]) -> list[str]:
        """Ask for a video of each of the settings, or for `num_videos` with seeds one apart; answers their ids.

        All are checked first. A random seed is picked here; input images and videos are copied into the folder. Raises
        ConfigError, PromptError, ModelError or ImageError for what can't be met; then nothing is added.
        """
        planned = []
        for run in runs:
            run = run.with_seed()
            for i in range(run.num_videos):
                one = run.model_copy(update={"seed": run.first_seed + i, "num_videos": 1})
                planned.append((one, self._checked(one)))
        with self._lock, self.folder.holding("queue"):
            jobs = self.contents.jobs()
            turn = max([time.time(), *(job.turn + 1e-6 for job in jobs.values())])
            ids = []
            for i, (one, job) in enumerate(planned):
                id = self._free_name(one, job, jobs)
                with output_errors(f"can't write to the folder {self.path}"):
                    settings = copy_inputs(kept_settings(one), self.path, id)
                jobs[id] = QueuedJob(id, settings, job.sha256, added=turn + 1e-6 * i, turn=turn + 1e-6 * i)
                self.put(jobs[id])
                ids.append(id)
        return ids

    def stop(self, id: str) -> None:
        """Take a waiting one out of the queue, let a running one stop at its next step; others stay as they are.
        Raises PromptError for an id that is not there."""
        with self._changing(id) as job:
            if job is not None and job.wish == "waiting" and self.contents.made_by(job) is None:
                self.put(job.changed(wish="stopped"))

    def again(self, id: str) -> None:
        """Let a stopped or failed one wait again, as the last. Raises PromptError for an id that is not there,
        ConfigError for one that is neither stopped nor failed."""
        with self._changing(id) as job:
            if job is None or job.wish not in ("stopped", "failed") or self.contents.made_by(job) is not None:
                raise ConfigError(f"'{id[:80]}' is {self.entry(id).state}: only what stopped or failed can be again")
            self.put(job.changed(wish="waiting", turn=time.time(), error="", begun=0, steps="", num_steps=None))

    def delete(self, id: str) -> None:
        """Remove a video with its record, its full run, and all else that was made for it; one that is running stops.
        Raises PromptError for an id that is not there."""
        with self._changing(id) as job:
            if not id.startswith(f"{FULL}/") and full_id(id) in self.contents.jobs():
                self.delete(full_id(id))
            if job is None:
                self._remove_video(id)
            else:
                self.put(job.changed(wish="deleted"))
                if not self._running(id):
                    self.purge(job)
        if (self.path / MANIFEST).exists():
            index(self.folder, str(read_json(self.path / SETTINGS).get("naming", "id")))

    def compare(self, id: str) -> None:
        """Ask for the full run of an entry: the same in everything, and nothing skipped; it becomes the entry's `full`.
        Where that failed or was stopped it waits again. Raises PromptError for an id that is not there, ConfigError
        for a full run."""
        with self._lock:
            entry = self.entry(id)
            if entry.full is not None:
                if entry.full.state in ("failed", "stopped"):
                    self.again(entry.full.id)
                return
            settings = in_full(entry.settings)
            if entry.full_of is not None or entry.settings.get("policy") == "none":
                raise ConfigError(f"'{id[:80]}' is a full run itself: nothing is skipped in it")
            job, now = self._checked(RunSettings(**settings)), time.time()
            with self.folder.holding("queue"), output_errors(f"can't write to the folder {self.path}"):
                settings = copy_inputs(kept_settings(RunSettings(**settings)), self.path, full_id(id))
                self.put(QueuedJob(full_id(id), settings, job.sha256, added=now, turn=now, full_of=id))

    # ---- looking -----------------------------------------------------------------------------------------------------

    def entries(self) -> list[QueueEntry]:
        """All videos of the folder, asked for or done, in the order of being added; full runs are those of others."""
        with self._lock:
            jobs, made = self.contents.jobs(), self.contents.made()
            live = self.live()
            asked = [id for id, job in jobs.items() if job.full_of is None and job.is_wanted]
            found = [self._entry(id, jobs, None, live) for id in asked]
            found += [self._entry(id, jobs, video, live) for id, video in made.items() if id not in jobs]
        return sorted(found, key=lambda entry: entry.added)

    def entry(self, id: str) -> QueueEntry:
        """One of them, or a full run. Raises PromptError for an id that is not there."""
        with self._lock:
            jobs = self.contents.jobs()
            made = None if id in jobs else self.contents.made().get(id)
            if not (jobs[id].is_wanted if id in jobs else made is not None):
                raise PromptError(f"there is no video '{id[:80]}' in the queue")
            return self._entry(id, jobs, made, self.live())

    def _entry(self, id: str, jobs: dict[str, QueuedJob], made: Made | None, live: dict[str, Any]) -> QueueEntry:
        job, full = jobs.get(id), jobs.get(full_id(id))
        of_full = None
        if full is not None and full.is_wanted:
            of_full = entry_of(full, self.contents.made_by(full), self.path, live)
        if job is not None:
            return entry_of(job, self.contents.made_by(job), self.path, live, of_full)
        assert made is not None
        return entry_of_made(id, made, self.contents.settings_of(id, made), of_full)

    def repeated(self, ids: Sequence[str]) -> list[str]:
        """Those of the ids whose video is the same, by all its settings, as one that was made, that waits, or that has
        an id before it among these."""
        with self._lock:
            jobs, made = self.contents.jobs(), self.contents.made()
        seen = {str(video.record["job_sha256"]) for id, video in made.items() if id not in ids}
        seen |= {
            job.sha256 for id, job in jobs.items() if id not in ids and job.full_of is None and job.wish == "waiting"
        }
        found = []
        for id in ids:
            if id not in jobs:  # deleted meanwhile
                continue
            if jobs[id].sha256 in seen:
                found.append(id)
            seen.add(jobs[id].sha256)
        return found

    def live(self) -> dict[str, Any]:
        """What the worker says of the job that it is at; {} where none is at work."""
        return read_json(self.path / LIVE) if self.at_work() else {}

    def at_work(self) -> bool:
        """Whether a worker is at work on the folder."""
        return self.folder.locks.taken(WORKER)

    def waiting(self) -> list[QueuedJob]:
        """The jobs that a worker has to generate, in their turn."""
        with self._lock:
            jobs = [job for job in self.contents.jobs().values() if job.wish == "waiting"]
            return sorted((job for job in jobs if self.contents.made_by(job) is None), key=lambda job: job.turn)

    # ---- the folder --------------------------------------------------------------------------------------------------

    def job(self, id: str) -> QueuedJob | None:
        """The job as its file has it now."""
        return QueuedJob.from_values(read_json(self.path / f"{JOBS}/{key_of(id)}.json"))

    def put(self, job: QueuedJob) -> None:
        self.folder.put(job.file, job.to_json())

    def purge(self, job: QueuedJob) -> None:
        """Remove all that belongs to a job, its file last."""
        self._remove_video(job.id)
        (self.path / job.preview).unlink(missing_ok=True)
        for name in ("image", "video"):
            if str(job.settings.get(name, "")).startswith(f"{INPUTS}/"):
                _remove(self.path / job.settings[name])
        (self.path / job.file).unlink(missing_ok=True)

    def _remove_video(self, id: str) -> None:
        """The record first: without it there is no video."""
        with output_errors(f"can't remove '{id[:80]}' from {self.path}"):
            (self.path / f"{id}.json").unlink(missing_ok=True)
            for ending in (*FORMATS, ""):
                _remove(self.path / f"{id}{ending}")

    @contextlib.contextmanager
    def _changing(self, id: str) -> Iterator[QueuedJob | None]:
        """Inside the block a job is this object's to change; None for a video that no job of the queue made."""
        with self._lock:
            self.entry(id)
            with self.folder.holding(f"{JOBS}/{key_of(id)}.json"):
                yield self.job(id)

    def _checked(self, settings: RunSettings) -> Job:
        settings.loading()
        job = plan_job(settings, FORMAT)
        Encoding.of(settings).check(FORMAT)
        check_job(settings, job)
        return job

    def _free_name(self, settings: RunSettings, job: Job, jobs: dict[str, QueuedJob]) -> str:
        title = settings.prompt or Path(settings.image or settings.video or "").stem
        taken = {*jobs, *(path.name.partition(".")[0] for path in self.path.iterdir())}
        first = slug(title, job.sha256)
        return next(n for i in itertools.count(1) if (n := f"{first}-{i}" if i > 1 else first) not in taken)

    def _running(self, id: str) -> bool:
        """Whether a worker has it, or another command a video of its name."""
        return self.folder.locks.taken(id)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
