"""Engine: the interface between the jobs to generate and the processes that generate them.

Each has `room()`, how many batches it takes now; `submit(batch)`; `outcomes(wait)`, what became of jobs since the last
call, after a short wait for news where `wait` is true; and `close(kill)`. An engine that loses a worker reports which
jobs were lost with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from videoada.rendering.jobs import Job
from videoada.rendering.worker import Outcome


class Engine(Protocol):
    """Takes batches of jobs and returns their outcomes, in whatever order they finish."""

    workers: int

    def room(self) -> int: ...

    def submit(self, batch: Sequence[Job]) -> None: ...

    def outcomes(self, wait: bool) -> list[Outcome]: ...

    def close(self, kill: bool = False) -> None: ...
