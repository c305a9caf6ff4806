"""Drawing in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from videoada.rendering.jobs import Job
from videoada.rendering.worker import Outcome, Worker, WorkerPlan


class Here:
    """One worker, this process. `submit` returns when the batch is drawn; it is written meanwhile and afterwards."""

    workers = 1

    def __init__(self, plan: WorkerPlan, on_step: Callable[..., None] | None = None) -> None:
        self.worker = Worker(plan, on_step)
        self.drew = False  # a batch since the last look at outcomes

    def room(self) -> int:
        return int(not self.drew)

    def submit(self, batch: Sequence[Job]) -> None:
        self.drew = True
        self.worker.draw(batch)

    def outcomes(self, wait: bool) -> list[Outcome]:
        wait = wait and not self.drew  # there may be more to draw meanwhile
        self.drew = False
        return self.worker.outcomes(wait_for_all=wait)

    def close(self, kill: bool = False) -> None:
        self.worker.close()
