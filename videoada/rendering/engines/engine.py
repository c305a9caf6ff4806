"""The seam between what is to be drawn and who draws it.

Each has `room()`, how many batches it takes now; `submit(batch)`; `outcomes(wait)`, what became of jobs since the last
call, after waiting a little for news when told to; and `close(kill)`. An engine that loses a worker tells which jobs
were lost with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from videoada.rendering.jobs import Job
from videoada.rendering.worker import Outcome


class Engine(Protocol):
    """The seam between what is to be drawn and who draws it."""

    workers: int

    def room(self) -> int: ...

    def submit(self, batch: Sequence[Job]) -> None: ...

    def outcomes(self, wait: bool) -> list[Outcome]: ...

    def close(self, kill: bool = False) -> None: ...
