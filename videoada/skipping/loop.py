"""Loop: which steps of a schedule a denoising loop takes, found from the timesteps that the scheduler gets.

Pipelines cut their timesteps: image-to-image begins in the middle, `denoising_end` ends before the last. So a step is
known by its timestep, and the number of steps by what the pipeline says of itself.

A scheduler on a GPU's timesteps waits for the GPU at each step, several times: it looks its tables up on the CPU. What
it gets instead are the same numbers on the CPU, where they are only looked up: the step is the same, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from videoada.patching import unpatched
from videoada.skipping.schedule import RunSchedule

# Classes of diffusers that look timesteps up and no more; the first ones in a list, where a plain number will do.
BY_NUMBER = ("DDIMScheduler", "DDIMParallelScheduler", "CogVideoXDDIMScheduler", "CogVideoXDPMScheduler")
LOOK_UP = (
    *BY_NUMBER, "DDPMScheduler", "DDPMParallelScheduler", "TCDScheduler", "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler", "DEISMultistepScheduler", "UniPCMultistepScheduler", "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler", "LMSDiscreteScheduler", "EDMEulerScheduler", "EDMDPMSolverMultistepScheduler",
    "FlowMatchEulerDiscreteScheduler", "FlowMatchLCMScheduler", "LTXEulerAncestralRFScheduler",
)  # fmt: skip


class Loop:
    """The steps of one loop. `schedule` is of these alone; `num_steps` is how many there will be."""

    def __init__(self, scheduler: Any, schedule: RunSchedule | None, steps_said: Callable[[], int | None]):
        self.given = scheduler.timesteps  # kept, so that nothing else comes to lie at its addresses
        self.on_cpu = self.given.cpu()
        self.timesteps = [float(t) for t in self.on_cpu.tolist()]
        self.addresses = _addresses(self.given)
        self.of_all = schedule
        self.steps_said = steps_said
        self.begun = False
        self._take(list(range(len(self.timesteps))))

    @property
    def num_steps(self) -> int:
        return len(self.indices)

    def arrive(self, scheduler: Any, step: int, timestep: Any) -> bool:
        """Call it with what the scheduler gets at `step`. True where that is not the timestep that was to come."""
        if self.begun and step < len(self.indices) and self._is(timestep, self.indices[step]):
            return False
        begin = getattr(scheduler, "begin_index", None)
        if not self.begun and isinstance(begin, int) and begin < len(self.timesteps) and self._is(timestep, begin):
            index = begin
        else:
            index = self._index_of(timestep)
        rest = len(self.timesteps) - index
        said = self.steps_said()
        done, jumped = self.indices[:step] if self.begun else [], self.begun
        if said is not None and 0 < said - len(done) <= rest:
            rest = said - len(done)
        self.begun = True
        self._take([*done, *range(index, index + rest)])
        return jumped

    def on_host(self, scheduler: Any, timestep: Any) -> Any:
        """What to give the scheduler for one of its own timesteps, so that it waits for no GPU; any other as given."""
        own = isinstance(timestep, Tensor) and timestep.numel() == 1 and timestep.dtype == self.on_cpu.dtype
        if not own or timestep.data_ptr() not in self.addresses or not _looks_up(scheduler, LOOK_UP):
            return timestep
        index = self.addresses.index(timestep.data_ptr())
        if _looks_up(scheduler, BY_NUMBER) and not timestep.ndim and not timestep.is_floating_point():
            return int(self.timesteps[index])
        return self.on_cpu[index].reshape(timestep.shape)

    @contextmanager
    def timesteps_on_host(self, scheduler: Any) -> Iterator[None]:
        """For the length of a step the scheduler finds its list of timesteps on the CPU, too."""
        before = scheduler.timesteps
        if before is not self.given or before.device.type == "cpu" or not _looks_up(scheduler, LOOK_UP):
            yield
            return
        scheduler.timesteps = self.on_cpu
        try:
            yield
        finally:
            if scheduler.timesteps is self.on_cpu:
                scheduler.timesteps = before

    def _take(self, indices: list[int]) -> None:
        self.indices = indices
        self.schedule = self.of_all.of_steps(indices) if self.of_all is not None else None

    def _is(self, timestep: Any, index: int) -> bool:
        """The nearest one counts: some pipelines round theirs. Compared by address where it is a view of the
        scheduler's own timesteps: no wait for a GPU."""
        return self.timesteps[self._index_of(timestep)] == self.timesteps[index]

    def _index_of(self, timestep: Any) -> int:
        if isinstance(timestep, Tensor) and timestep.data_ptr() in self.addresses and timestep.numel() == 1:
            return self.addresses.index(timestep.data_ptr())
        number = _number(timestep)
        return min(range(len(self.timesteps)), key=lambda i: abs(self.timesteps[i] - number))


def _looks_up(scheduler: Any, names: tuple[str, ...]) -> bool:
    """Whether it is of one of these classes of diffusers itself: of one made from them nothing is known."""
    kind = unpatched(type(scheduler))
    return kind.__name__ in names and kind.__module__.startswith("diffusers.")


def _addresses(timesteps: Tensor) -> list[int]:
    size = timesteps.element_size()
    return [timesteps.data_ptr() + i * size for i in range(len(timesteps))] if timesteps.is_contiguous() else []


def _number(timestep: Any) -> float:
    """Of a timestep for each token, that of the noisiest."""
    return float(timestep.max()) if isinstance(timestep, Tensor) else float(timestep)
