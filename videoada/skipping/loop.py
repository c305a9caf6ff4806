"""Loop: which steps of a schedule a denoising loop takes, found from the timesteps that the scheduler gets.

Pipelines cut their timesteps: image-to-image begins in the middle, `denoising_end` ends before the last. So a step is
known by its timestep, and the number of steps by what the pipeline says of itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from videoada.skipping.schedule import RunSchedule


class Loop:
    """The steps of one loop. `schedule` is of these alone; `num_steps` is how many there will be."""

    def __init__(self, scheduler: Any, schedule: RunSchedule | None, steps_said: Callable[[], int | None]):
        self.timesteps = [float(t) for t in scheduler.timesteps.tolist()]
        self.addresses = _addresses(scheduler.timesteps)
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

    def _take(self, indices: list[int]) -> None:
        self.indices = indices
        self.schedule = self.of_all.of_steps(indices) if self.of_all is not None else None

    def _is(self, timestep: Any, index: int) -> bool:
        """The nearest one counts: some pipelines round theirs. Compared by address where it is a view of the
        scheduler's own timesteps: no wait for a GPU."""
        if isinstance(timestep, Tensor) and timestep.is_cuda and timestep.data_ptr() == self.addresses[index]:
            return True
        return self.timesteps[self._index_of(timestep)] == self.timesteps[index]

    def _index_of(self, timestep: Any) -> int:
        if isinstance(timestep, Tensor) and timestep.data_ptr() in self.addresses and timestep.numel() == 1:
            return self.addresses.index(timestep.data_ptr())
        number = _number(timestep)
        return min(range(len(self.timesteps)), key=lambda i: abs(self.timesteps[i] - number))


def _addresses(timesteps: Tensor) -> list[int]:
    size = timesteps.element_size()
    return [timesteps.data_ptr() + i * size for i in range(len(timesteps))] if timesteps.is_contiguous() else []


def _number(timestep: Any) -> float:
    """Of a timestep for each token, that of the noisiest."""
    return float(timestep.max()) if isinstance(timestep, Tensor) else float(timestep)
