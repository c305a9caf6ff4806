"""Drawing on a Ray cluster: an actor for each GPU (or share of a CPU) that holds one pipeline.

The output folder must be one that every machine sees under the same path. Each actor has one batch at work and one at
hand; a lost actor, or machine, is replaced where there is room for it, and what it had is told to be lost.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from videoada.errors import ConfigError, ResourceError, VideoAdaError
from videoada.jobs import Job
from videoada.worker import Outcome, Worker, WorkerPlan

AT_HAND = 2  # batches that an actor has at once
LONGEST_WAIT = 0.5  # seconds, for news
CHECK_EVERY = 10.0  # seconds between looks at whether this command's own node lives
MOST_DEATHS = 8  # in a row, of actors that finished nothing


class Actor:
    """A worker on some machine of the cluster."""

    def __init__(self, plan: WorkerPlan) -> None:
        self.worker = Worker(plan)

    def draw(self, batch: Sequence[Job]) -> list[Outcome]:
        """Draw the batch; answers what is on the disk by now, of this batch or the last."""
        self.worker.draw(batch)
        return self.worker.outcomes()

    def finish(self) -> list[Outcome]:
        return self.worker.outcomes(wait_for_all=True)

    def close(self) -> None:
        self.worker.close()


class OnRay:
    """Actors on the cluster at `address` ("auto": the one that this machine belongs to; "local": one made here).

    `workers` None takes one for each GPU, or for each machine where there are none. Raises ConfigError where Ray is not
    installed or there is no such cluster, ResourceError when actors die without drawing anything.
    """

    def __init__(self, plan: WorkerPlan, workers: int | None = None, address: str = "auto") -> None:
        try:
            import ray
        except ImportError:
            raise ConfigError("--engine ray needs Ray: pip install 'videoada[ray]'") from None
        self.ray, self.own = ray, not ray.is_initialized()
        if self.own:
            os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
            try:
                ray.init(None if address == "local" else address, log_to_driver=False, logging_level=logging.ERROR)
            except (ConnectionError, ValueError, RuntimeError) as error:
                reason = str(error).strip().splitlines()[0][:200]
                raise ConfigError(f"there is no Ray cluster at '{address}': {reason}") from None
        resources = ray.cluster_resources()
        gpus = int(resources.get("GPU", 0))
        machines = sum(node["Alive"] for node in ray.nodes())
        self.workers = workers or gpus or machines
        cpus = max(1, int(resources.get("CPU", 1)) // self.workers)
        self.plan = replace(plan, folder=str(Path(plan.folder).resolve()), threads=plan.threads or cpus)
        needs = {"num_gpus": 1} if gpus else {"num_cpus": cpus, "scheduling_strategy": "SPREAD"}
        self.make = ray.remote(max_restarts=0, **needs)(Actor).remote
        self.actors = [_Held(self.make(self.plan)) for _ in range(self.workers)]
        self.deaths = 0
        self.checked = time.monotonic()

    def room(self) -> int:
        return sum(AT_HAND - len(held.calls) for held in self.actors)

    def submit(self, batch: Sequence[Job]) -> None:
        held = min(self.actors, key=lambda held: len(held.calls))
        held.jobs |= {job.name for job in batch}
        held.calls.append(held.actor.draw.remote(list(batch)))

    def outcomes(self, wait: bool) -> list[Outcome]:
        for held in self.actors:
            if held.jobs and not held.calls:
                held.calls.append(held.actor.finish.remote())
        calls = {call: held for held in self.actors for call in held.calls}
        if not calls:
            return []
        ready, _ = self.ray.wait(list(calls), num_returns=1, timeout=LONGEST_WAIT if wait else 0)
        if not ready:
            self._check_own_node()
        found: list[Outcome] = []
        for call in ready:
            held = calls[call]
            try:
                drawn = self.ray.get(call)
            except self.ray.exceptions.RayActorError as error:
                found += self._replace(held, error)
            except self.ray.exceptions.RayTaskError as error:
                raise error.cause if isinstance(error.cause, VideoAdaError) else error from None
            else:
                self.deaths = self.deaths if not drawn else 0
                held.calls.remove(call)
                held.jobs -= {outcome.name for outcome in drawn}
                found += drawn
        return found

    def close(self, kill: bool = False) -> None:
        if not kill:
            self.ray.wait([held.actor.close.remote() for held in self.actors], num_returns=len(self.actors), timeout=60)
        for held in self.actors:
            self.ray.kill(held.actor)
        if self.own:
            self.ray.shutdown()

    def _check_own_node(self) -> None:
        """Raises ResourceError when the node that this command is connected to has died: nothing is heard any more."""
        if (now := time.monotonic()) - self.checked < CHECK_EVERY:
            return
        self.checked = now
        own = self.ray.get_runtime_context().get_node_id()
        if not any(node["NodeID"] == own and node["Alive"] for node in self.ray.nodes()):
            raise ResourceError(
                "the Ray node that this command was connected to has died; give the command again: what is done is kept"
            )

    def _replace(self, held: _Held, error: Exception) -> list[Outcome]:
        cause = getattr(error, "cause", None)
        if isinstance(cause, VideoAdaError):  # it could not load its model
            raise cause
        self.deaths += 1
        reason = " ".join(str(error).split())[-300:]
        if self.deaths > MOST_DEATHS:
            raise ResourceError(f"{self.deaths} Ray actors died one after the other without drawing anything: {reason}")
        self.actors[self.actors.index(held)] = _Held(self.make(self.plan))
        return [Outcome(name, "lost", f"its Ray actor died: {reason}") for name in held.jobs]


class _Held:
    """An actor, its calls under way, and the jobs that it has not answered for."""

    def __init__(self, actor: Any) -> None:
        self.actor = actor
        self.calls: list[Any] = []
        self.jobs: set[str] = set()
