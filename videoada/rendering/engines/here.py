"""Generation in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from videoada.rendering.jobs import Job
from videoada.rendering.worker import Outcome, Worker, WorkerPlan


class Here:
    """One worker, this process. `submit` returns when the batch is generated; a thread writes the files."""

    workers = 1

    def __init__(self, plan: WorkerPlan, on_step: Callable[..., None] | None = None) -> None:
        self.worker = Worker(plan, on_step)
        self.busy = False  # a batch since the last look at outcomes

    def room(self) -> int:
        return int(not self.busy)

    def submit(self, batch: Sequence[Job]) -> None:
        self.busy = True
        self.worker.generate(batch)

    def outcomes(self, wait: bool) -> list[Outcome]:
        wait = wait and not self.busy  # there may be more to generate meanwhile
        self.busy = False
        return self.worker.outcomes(wait_for_all=wait)

    def close(self, kill: bool = False) -> None:
        self.worker.close()
