"""Watching: which calls of a pipeline's parts are of the run, and where a generation begins and ends.

The `__call__` of the pipeline and its denoisers and two methods of the scheduler are replaced. `__call__` is outside
`forward`, so it does not matter that offloading removes and adds hooks of `forward` meanwhile. Several loops in one
call of the pipeline (FreeInit) are one generation. A part that is put in place of another between two calls is
followed; what a copy or another scheduler does within a call is not the run's.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import torch

from videoada.errors import ConfigError
from videoada.models.denoisers import denoisers_of
from videoada.patching import replaced
from videoada.skipping.module.apply_skipping import hook_of
from videoada.skipping.owners import alone, enabled
from videoada.skipping.passing import Passing
from videoada.skipping.schedule import check_scheduler
from videoada.skipping.step_call import check_step
from videoada.skipping.stepping import Stepping


class Watch:
    """Of one `with`, or of one pipeline that is enabled (`standing`), perhaps in place of an earlier Watch.

    It keeps neither the pipeline nor its parts alive. While `paused`, blocks inside decide and all passes through.
    """

    def __init__(self, pipe: Any, run: Stepping | Passing, standing: bool = False, instead_of: Watch | None = None):
        self.pipe = weakref.ref(pipe)
        self.run, self.standing, self.instead_of = run, standing, instead_of
        self.stack = ExitStack()  # of the pipeline's own call
        self.parts: dict[int, tuple[weakref.ref[Any], ExitStack]] = {}  # denoisers and schedulers, by their id
        self.paused, self.closed = 0, False
        self.depth = 0  # of calls of the pipeline within one another
        self.loops = 0  # since the outermost began

    def enter(self, pipe: Any) -> None:
        """Replace the calls. Raises ConfigError for a scheduler that won't do, and where another run decides."""
        self._follow(pipe)
        if callable(pipe):
            self.stack.enter_context(replaced(pipe, "__call__", self.on_pipe_call))
        self.instead_of = None

    def leave(self) -> None:
        """Undo what was replaced, and forget the run's tensors; a second time it does nothing."""
        self.closed = True
        self.run.forget()
        self.stack.close()
        while self.parts:
            self.parts.popitem()[1][1].close()

    def _follow(self, pipe: Any) -> None:
        """Patch the parts that the pipeline has now, and let go those that it had before."""
        scheduler = getattr(pipe, "scheduler", None)
        current = [*denoisers_of(pipe), *([] if scheduler is None else [scheduler])]
        for key, (ref, stack) in list(self.parts.items()):
            if not any(part is ref() for part in current):
                del self.parts[key]
                stack.close()
        new = [part for part in current if id(part) not in self.parts]
        if isinstance(self.run, Stepping) and any(part is scheduler for part in new):
            check_scheduler(scheduler)
            check_step(scheduler)
        for part in new:
            with ExitStack() as stack:
                stack.enter_context(self._owned(part))
                if part is scheduler:
                    self._patch_scheduler(stack, part)
                else:
                    self._patch_denoiser(stack, part)
                self.parts[id(part)] = weakref.ref(part), stack.pop_all()

    def _owned(self, part: Any) -> AbstractContextManager[None]:
        return enabled([part], self) if self.standing else alone([part], self.run)

    def _patch_scheduler(self, stack: ExitStack, scheduler: Any) -> None:
        stack.enter_context(replaced(scheduler, "set_timesteps", self.on_set_timesteps))
        stack.enter_context(replaced(scheduler, "step", self.run.clock.timed(self.on_scheduler_step)))

    def _patch_denoiser(self, stack: ExitStack, denoiser: Any) -> None:
        if hook_of(denoiser) is not None:
            raise ConfigError("`apply_skipping` is on for this pipeline's denoiser: `remove_skipping` it first")
        timed = self.run.clock.timed(self.on_denoiser_call, of_denoiser=True)
        stack.enter_context(replaced(denoiser, "__call__", timed))
        if isinstance(getattr(type(denoiser), "dtype", None), property):
            stack.enter_context(replaced(denoiser, "dtype", _remembered_dtype()))

    # ---- the pipeline ----

    def on_pipe_call(self, inherited: Callable[..., Any], pipe: Any, *args: Any, **kwargs: Any) -> Any:
        if self.paused:
            return inherited(*args, **kwargs)
        if self.depth == 0:
            self.loops = 0
            self.run.trace.begin()
            self._follow(pipe)
        self.depth += 1
        try:
            result = inherited(*args, **kwargs)
            if self.depth == 1:
                self._look_whether_steps_were_seen(pipe)
            return result
        finally:
            self.depth -= 1
            if self.depth == 0:
                self._end()

    def _look_whether_steps_were_seen(self, pipe: Any) -> None:
        """Warn after a call that came to its end without one."""
        if self.loops and not self.run.trace.decisions and isinstance(self.run, Stepping):
            self.run.trace.warn(
                f"no step was skipped: {type(pipe).__name__} does not take its steps with its own scheduler and "
                "denoiser, but with copies or others"
            )

    def _end(self) -> None:
        trace = self.run.trace
        if self.loops and trace.decisions:
            trace.num_steps = len(trace.decisions)  # fewer than expected where the pipeline was interrupted
        self.run.forget()

    def _steps_said(self) -> int | None:
        """How many steps the pipeline says that it takes; it knows once it has cut its timesteps."""
        said = getattr(self.pipe(), "_num_timesteps", None) if self.depth else None
        return said if isinstance(said, int) else None

    # ---- its parts ----

    def on_set_timesteps(self, inherited: Callable[..., Any], scheduler: Any, *args: Any, **kwargs: Any) -> Any:
        result = inherited(*args, **kwargs)
        if self._is_current(scheduler) and not self.paused:
            if self.depth == 0 or self.loops == 0:
                self.run.trace.begin()
            self.loops += 1
            self.run.begin_loop(scheduler, self._steps_said)
        return result

    def on_scheduler_step(self, inherited: Callable[..., Any], scheduler: Any, *args: Any, **kwargs: Any) -> Any:
        if self.run.loop is None or self.paused or not self._is_current(scheduler):
            return inherited(*args, **kwargs)
        return self.run.on_scheduler_step(inherited, scheduler, *args, **kwargs)

    def on_denoiser_call(self, inherited: Callable[..., Any], denoiser: Any, *args: Any, **kwargs: Any) -> Any:
        if self.paused:
            return inherited(*args, **kwargs)
        if self.run.loop is not None and not self._is_current(None):
            if isinstance(self.run, Stepping):
                self.run.trace.warn(
                    "the pipeline's scheduler was replaced within a call: what came after that was computed in full"
                )
            return inherited(*args, **kwargs)
        return self.run.on_denoiser_call(inherited, denoiser, *args, **kwargs)

    def _is_current(self, scheduler: Any) -> bool:
        """Whether this is the pipeline's scheduler; of None, whether the pipeline's is one that is followed."""
        pipe = self.pipe()
        current = scheduler if pipe is None else getattr(pipe, "scheduler", scheduler)
        if scheduler is None:
            return current is None or any(ref() is current for ref, _ in self.parts.values())
        return current is scheduler


def _remembered_dtype() -> Callable[..., torch.dtype]:
    """The network's dtype, asked for again when its first parameter changes it: diffusers walks all modules for it at
    each call, 3 % of a call of the small models."""
    known: dict[torch.dtype, torch.dtype] = {}

    def dtype(inherited: Callable[[], torch.dtype], network: Any) -> torch.dtype:
        first = next(network.parameters()).dtype
        if first not in known:
            known[first] = inherited()
        return known[first]

    return dtype
