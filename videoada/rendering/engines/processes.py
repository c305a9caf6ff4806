"""Generation in several processes of this machine, each with a pipeline of its own; GPUs are assigned in turn.

A process asks for the next batch when it has generated the last, so that unequal times balance. One that dies is
replaced, and its jobs are reported as lost; one whose parent dies ends at once.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from typing import Any

from videoada.errors import ModelError, ResourceError, VideoAdaError
from videoada.rendering.jobs import Job
from videoada.rendering.sharing import devices_of
from videoada.rendering.worker import Outcome, Worker, WorkerPlan

LONGEST_WAIT = 0.5  # seconds, for news
MOST_DEATHS = 3  # in a row, of processes that died before their first batch


class Processes:
    """`workers` processes of this machine. Raises ResourceError when they die one after the other while loading."""

    def __init__(self, plan: WorkerPlan, workers: int) -> None:
        self.workers = workers
        self.context = multiprocessing.get_context("spawn")
        self.plans = [_plan_of(plan, i, workers) for i in range(workers)]
        self.deaths = 0
        self.crew = [_Process(self.context, plan) for plan in self.plans]

    def room(self) -> int:
        return sum(process.idle for process in self.crew)

    def submit(self, batch: Sequence[Job]) -> None:
        process = next(p for p in self.crew if p.idle)
        process.give(batch)

    def outcomes(self, wait: bool) -> list[Outcome]:
        found: list[Outcome] = []
        self._read(found, LONGEST_WAIT if wait else 0.0)
        return found

    def close(self, kill: bool = False) -> None:
        for process in self.crew:
            process.end(kill)

    def _read(self, found: list[Outcome], timeout: float) -> None:
        ends: dict[Any, int] = {p.connection: i for i, p in enumerate(self.crew)}
        for end in wait(list(ends), timeout):
            i = ends[end]
            process = self.crew[i]
            try:
                kind, value = process.connection.recv()
            except (EOFError, OSError):
                found += self._replace(i)
                continue
            if kind == "outcome":
                process.jobs.pop(value.name, None)
                found.append(value)
            elif kind == "ready":
                process.idle = process.loaded = True
                self.deaths = 0
            else:
                raise value

    def _replace(self, i: int) -> list[Outcome]:
        process = self.crew[i]
        process.process.join(5)
        code = process.process.exitcode
        how = f"signal {-code}" if code and code < 0 else f"exit code {code}"
        process.end(kill=True)
        self.deaths += not process.loaded
        if self.deaths > MOST_DEATHS:
            raise ResourceError(
                f"{self.deaths} worker processes died one after the other while loading the model ({how}); memory may "
                "be short: fewer `workers`"
            )
        self.crew[i] = _Process(self.context, self.plans[i])
        return [Outcome(name, "lost", f"its worker process died ({how})") for name in process.jobs]


class _Process:
    def __init__(self, context: Any, plan: WorkerPlan) -> None:
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(theirs, plan), daemon=True)
        with _without_interrupts():
            self.process.start()
        theirs.close()
        self.idle = self.loaded = False  # until its pipeline is
        self.jobs: dict[str, Job] = {}

    def give(self, batch: Sequence[Job]) -> None:
        self.idle = False
        self.jobs |= {job.name: job for job in batch}
        with contextlib.suppress(OSError):  # it died: reading from it will show that
            self.connection.send(list(batch))

    def end(self, kill: bool) -> None:
        try:
            if not kill:
                self.connection.send(None)
                self.process.join(60)
        except OSError:
            pass
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.connection.close()


@contextlib.contextmanager
def _without_interrupts() -> Iterator[None]:
    """What is started here ignores Ctrl-C from its first moment: it reaches the parent, which ends its children."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _plan_of(plan: WorkerPlan, index: int, workers: int) -> WorkerPlan:
    """A share of the CPU's cores, and the GPU whose turn it is."""
    loading = plan.loading.model_copy(update={"device": devices_of(plan.loading, workers)[index]})
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return replace(plan, loading=loading, threads=plan.threads or max(1, cores // workers))


def work(connection: Connection, plan: WorkerPlan) -> None:
    """What a process does: batches in, ("ready" | "outcome" | "error", value) out, until None comes."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        worker = Worker(plan)
    except VideoAdaError as error:
        connection.send(("error", error))
        return
    except Exception as error:  # as it is, it might not travel
        connection.send(("error", ModelError(f"a worker process could not start: {type(error).__name__}: {error}")))
        return
    connection.send(("ready", None))
    while True:
        if connection.poll(0.02 if worker.waiting else None):
            batch = connection.recv()
            if batch is None:
                break
            worker.generate(batch)
            connection.send(("ready", None))
        for outcome in worker.outcomes():
            connection.send(("outcome", outcome))
    for outcome in worker.outcomes(wait_for_all=True):
        connection.send(("outcome", outcome))
    worker.close()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
