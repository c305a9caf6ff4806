"""Worker: one loaded pipeline that generates batches of jobs; a thread writes the videos meanwhile."""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import torch

from videoada.config.loading import LoadConfig
from videoada.config.run import GenerationConfig
from videoada.errors import ModelError, OutputError, VideoAdaError
from videoada.generation.generate import generate
from videoada.generation.make_record import with_measures
from videoada.models.arguments import decodes_in_chunks, takes_chunk_size
from videoada.models.pipelines import load_pipeline
from videoada.models.recommended import with_recommended
from videoada.rendering.folder import RenderFolder
from videoada.rendering.jobs import Job

FATAL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)
MOST_WAITING = 2  # batches generated and not yet written: their frames are in memory


@dataclass(frozen=True)
class WorkerPlan:
    """What a worker needs to know; it travels to other processes and machines."""

    folder: str
    format: str
    model: str
    loading: LoadConfig
    metadata: bool = True
    overwrite: bool = False  # generate again where videos of other settings are
    threads: int | None = None  # of torch, on a CPU (None: as torch decides)


@dataclass(frozen=True)
class Outcome:
    """What became of a job: `drawn` (generated), `there` (it was already), `busy` (another generates it), `failed`,
    `lost` (its worker died). A fatal failure, as of a full disk, would meet every other job too."""

    name: str
    state: str
    error: str = ""
    fatal: bool = False
    predictions: int = 0
    num_steps: int = 0
    rows: int = 0
    rows_full: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    not_used: tuple[str, ...] = ()  # of its record


class Worker:
    """Generates and writes videos. Raises what `load_pipeline` and RenderFolder raise when it is made."""

    def __init__(self, plan: WorkerPlan, on_step: Callable[..., None] | None = None) -> None:
        if plan.threads and "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(plan.threads)
        self.plan, self.on_step = plan, on_step
        self.pipe: Any = load_pipeline(plan.model, plan.loading)
        self.folder = RenderFolder(plan.folder, plan.format)
        self.can_be_chunked = decodes_in_chunks(self.pipe) and not takes_chunk_size(self.pipe)
        self.writer = ThreadPoolExecutor(1)
        self.waiting: deque[list[Future[Outcome]]] = deque()
        self.finished: list[Outcome] = []

    def generate(self, batch: Sequence[Job]) -> None:
        """Generate the jobs of the batch that nobody else does or has done; returns when the frames are there, before
        they are written."""
        mine = [job for job in batch if self._claimed(job)]
        if not mine:
            return
        try:
            requests = [self._with_chunks(job.request, len(mine)) for job in mine]
            results = generate(
                self.pipe, requests, skip=mine[0].skip, batch_size=len(mine), on_step=self.on_step, measure=False
            )
        except Exception as error:
            for job in mine:
                self.folder.locks.release(job.name)
                # exit heads or a step policy of another model, which the other jobs would meet too
                fatal = isinstance(error, ModelError)
                self.finished.append(Outcome(job.name, "failed", _reason(error), fatal))
            return
        except BaseException:
            for job in mine:
                self.folder.locks.release(job.name)
            raise
        self.waiting.append(
            [self.writer.submit(self._write, job, *result) for job, result in zip(mine, results, strict=True)]
        )
        while len(self.waiting) > MOST_WAITING:
            self._collect()

    def outcomes(self, wait_for_all: bool = False) -> list[Outcome]:
        """What is finished since the last call."""
        while self.waiting and (wait_for_all or all(future.done() for future in self.waiting[0])):
            self._collect()
        found, self.finished = self.finished, []
        return found

    def close(self) -> None:
        """Finish writing what is generated, and let go of the folder."""
        self.writer.shutdown(wait=True)
        self.folder.close()

    def _with_chunks(self, request: GenerationConfig, videos: int) -> GenerationConfig:
        """A batch, which the pipeline would decode at once, decoded in no more memory than one video."""
        if request.decode_chunk_size or videos == 1 or not self.can_be_chunked:
            return request
        [filled] = with_recommended(self.pipe, [request])
        return request.model_copy(update={"decode_chunk_size": max(1, (filled.num_frames or 1) // videos)})

    def _claimed(self, job: Job) -> bool:
        if not self.folder.locks.acquire(job.name):
            self.finished.append(Outcome(job.name, "busy"))
            return False
        try:
            there = self.folder.done(job)
        except OutputError as error:
            self.finished.append(Outcome(job.name, "failed", _reason(error)))
        else:
            if there is None or (there is False and self.plan.overwrite):
                return True
            self.finished.append(
                Outcome(job.name, "there") if there else Outcome(job.name, "failed", "another video has its name")
            )
        self.folder.locks.release(job.name)
        return False

    def _write(self, job: Job, video: Any, record: Any) -> Outcome:
        try:
            record = self.folder.write(job, video, with_measures(record, video), self.plan.metadata)
        except Exception as error:
            return Outcome(job.name, "failed", _reason(error), fatal=_meets_all(error))
        finally:
            self.folder.locks.release(job.name)
        most = record.unet_rows_full * (record.most_steps or record.num_inference_steps) // record.num_inference_steps
        return Outcome(
            job.name, "drawn", predictions=record.num_predictions, num_steps=record.num_inference_steps,
            rows=record.unet_rows, rows_full=most, seconds=record.seconds,
            not_used=tuple(record.not_used),
        )  # fmt: skip

    def _collect(self) -> None:
        self.finished += [future.result() for future in self.waiting.popleft()]


def _meets_all(error: BaseException | None) -> bool:
    """Whether writing failed for a reason that every other video would meet: a full disk, a folder closed to us."""
    while error is not None:
        if getattr(error, "errno", None) in FATAL:
            return True
        error = error.__cause__ or error.__context__
    return False


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())[:500]
    return text if isinstance(error, VideoAdaError) and text else f"{type(error).__name__}: {text}"
