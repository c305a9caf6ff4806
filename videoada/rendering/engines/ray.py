"""Generation on a Ray cluster: an actor for each GPU (or share of a CPU) that holds one pipeline.

The output folder must be one that every machine sees under the same path. An actor gets work once its pipeline is
loaded, one batch to generate and one at hand. A lost actor, or machine, is replaced where there is room for it; its
jobs are reported as lost, and the others generate them.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from videoada.devices import VARIABLE, said_by
from videoada.errors import ConfigError, ResourceError, VideoAdaError
from videoada.rendering.jobs import Job
from videoada.rendering.worker import Outcome, Worker, WorkerPlan

AT_HAND = 2  # batches that an actor has at once
LONGEST_WAIT = 0.5  # seconds, for news
LONGEST_START = 1800.0  # seconds, for the first actor to be placed and to load its model
CHECK_EVERY = 10.0  # seconds between looks at whether this command's own node lives
MOST_DEATHS = 8  # in a row, of actors that died before their first batch


class Actor:
    """A worker on some machine of the cluster."""

    def __init__(self, plan: WorkerPlan) -> None:
        self.problem: VideoAdaError | None = None
        try:
            self.worker = Worker(plan)
        except VideoAdaError as error:
            self.problem = error

    def ready(self) -> list[Outcome]:
        """Answers when the pipeline is loaded; raises what kept it from that."""
        if self.problem is not None:
            raise self.problem
        return []

    def generate(self, batch: Sequence[Job]) -> list[Outcome]:
        """Generate the batch; returns the outcomes that are on the disk by now, of this batch or the last."""
        self.worker.generate(batch)
        return self.worker.outcomes()

    def finish(self) -> list[Outcome]:
        return self.worker.outcomes(wait_for_all=True)

    def close(self) -> None:
        self.worker.close()


class OnRay:
    """Actors on the cluster at `address` ("auto": the one that this machine belongs to; "local": one made here).

    `workers` None takes one for each GPU, or for each machine where there are none; more than there are GPUs share
    them. On an actor `cuda` is the GPU that Ray gave it, so that none can be named. Raises ConfigError where Ray is not
    installed or there is no such cluster, ResourceError when actors die or are not placed, what `load_pipeline` raises.
    """

    def __init__(self, plan: WorkerPlan, workers: int | None = None, address: str = "auto") -> None:
        device = said_by(plan.loading.device)  # here: actors have environments of their own
        if device.startswith("cuda:"):
            said = f"`device={device}`" if device == plan.loading.device else f"{VARIABLE}={device}"
            raise ConfigError(f"{said} with `engine=ray`: Ray gives each actor its GPU; say `device=cuda`")
        try:
            import ray
        except ImportError:
            raise ConfigError("`engine=ray` needs Ray: pip install 'videoada[ray]'") from None
        self.ray, self.own = ray, not ray.is_initialized()
        if self.own:
            os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
            try:
                ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
            except (ConnectionError, ValueError, RuntimeError) as error:
                reason = str(error).strip().splitlines()[0][:200]
                raise ConfigError(f"there is no Ray cluster at '{address}': {reason}") from None
        resources = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        gpus = 0 if device == "cpu" else int(sum(r.get("GPU", 0) for r in resources))
        self.workers = workers or gpus or len(resources)
        on_each = -(-self.workers // max(len(resources), 1))
        cpus = max(1, int(min(r.get("CPU", 1) for r in resources)) // on_each)
        model = str(Path(plan.model).resolve()) if Path(plan.model).is_dir() else plan.model
        self.plan = replace(
            plan, folder=str(Path(plan.folder).resolve()), model=model,
            threads=plan.threads or (None if gpus else cpus),
            loading=plan.loading.model_copy(update={"device": device}),
        )  # fmt: skip
        share = 1 / -(-self.workers // gpus) if gpus else 0  # of a GPU, where there are more actors than GPUs
        needs = {"num_gpus": share} if gpus else {"num_cpus": cpus, "scheduling_strategy": "SPREAD"}
        self.make = ray.remote(max_restarts=0, **needs)(Actor).remote
        self.crew = [_Held(self.make(self.plan)) for _ in range(self.workers)]
        self.deaths = 0
        self.checked = self.idle_since = time.monotonic()

    def room(self) -> int:
        return sum(AT_HAND - len(held.calls) for held in self.crew if held.loaded)

    def submit(self, batch: Sequence[Job]) -> None:
        held = min((held for held in self.crew if held.loaded), key=lambda held: len(held.calls))
        held.jobs |= {job.name for job in batch}
        held.calls.append(held.actor.generate.remote(list(batch)))

    def outcomes(self, wait: bool) -> list[Outcome]:
        for held in self.crew:
            if held.jobs and not held.calls:
                held.calls.append(held.actor.finish.remote())
        calls = {call: held for held in self.crew for call in held.calls}
        ready, _ = self.ray.wait(list(calls), timeout=LONGEST_WAIT if wait else 0) if calls else ([], [])
        if not ready:
            self._check()
            if wait and not calls:
                time.sleep(LONGEST_WAIT)
        found: list[Outcome] = []
        for call in ready:
            held = calls[call]
            try:
                finished = self.ray.get(call)
            except self.ray.exceptions.RayTaskError as error:
                raise error.cause if isinstance(error.cause, VideoAdaError) else error from None
            except self.ray.exceptions.RayActorError as error:
                found += self._replace(held, error)
            else:
                held.calls.remove(call)
                held.loaded, self.deaths = True, 0
                held.jobs -= {outcome.name for outcome in finished}
                found += finished
        return found

    def close(self, kill: bool = False) -> None:
        if not kill:
            closing = [held.actor.close.remote() for held in self.crew if held.loaded]
            self.ray.wait(closing, num_returns=len(closing), timeout=60) if closing else None
        for held in self.crew:
            self.ray.kill(held.actor)
        if self.own:
            self.ray.shutdown()

    def _check(self) -> None:
        """Raises ResourceError where no news can come: nobody was placed, or this command's own node has died."""
        now = time.monotonic()
        if any(held.loaded for held in self.crew):
            self.idle_since = now
        elif now - self.idle_since > LONGEST_START:
            raise ResourceError(
                f"no Ray actor began to generate within {LONGEST_START / 60:.0f} minutes: `ray status` shows whether "
                "the cluster has GPUs or CPUs to spare"
            )
        if now - self.checked < CHECK_EVERY:
            return
        self.checked = now
        own = self.ray.get_runtime_context().get_node_id()
        if not any(node["NodeID"] == own and node["Alive"] for node in self.ray.nodes()):
            raise ResourceError(
                "the Ray node that this command was connected to has died; give the command again: what is done is kept"
            )

    def _replace(self, held: _Held, error: Exception) -> list[Outcome]:
        self.deaths += not held.loaded
        reason = " ".join(str(error).split())[-300:]
        if self.deaths > MOST_DEATHS:
            raise ResourceError(
                f"{self.deaths} Ray actors died one after the other without generating anything: {reason}"
            )
        self.crew[self.crew.index(held)] = _Held(self.make(self.plan))
        return [Outcome(name, "lost", f"its Ray actor died: {reason}") for name in held.jobs]


class _Held:
    """An actor, its calls under way, and the jobs that it has not answered for."""

    def __init__(self, actor: Any) -> None:
        self.actor, self.loaded = actor, False
        self.calls: list[Any] = [actor.ready.remote()]
        self.jobs: set[str] = set()
