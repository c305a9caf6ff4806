"""Watching: which calls of a pipeline's parts are of the run, and where a generation begins and ends.

Several loops in one call of the pipeline (FreeInit) are one generation. A scheduler that is put in place of another
between two calls is followed; what a copy or another scheduler does within a call is not the run's.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from videoada.patching import replaced
from videoada.skipping.passing import Passing
from videoada.skipping.stepping import Stepping


class Watch:
    """Of one `with`. `follow` patches a scheduler for the rest of it, or raises ConfigError for one that won't do."""

    def __init__(self, pipe: Any, run: Stepping | Passing, follow: Callable[[Any], None]):
        self.pipe = weakref.ref(pipe)
        self.run, self.follow = run, follow
        self.followed: list[weakref.ref[Any]] = []
        self.depth = 0  # of calls of the pipeline within one another
        self.loops = 0  # since the outermost began

    def enter(self, stack: ExitStack, denoisers: list[Any], pipe: Any) -> None:
        """Patch the pipeline's call and its denoisers' until the stack unwinds."""
        for denoiser in denoisers:
            timed = self.run.clock.timed(self.on_denoiser_call, of_denoiser=True)
            stack.enter_context(replaced(denoiser, "__call__", timed))
        if callable(pipe):
            stack.enter_context(replaced(pipe, "__call__", self.on_pipe_call))
        self._follow(pipe.scheduler)

    def patch(self, stack: ExitStack, scheduler: Any) -> None:
        stack.enter_context(replaced(scheduler, "set_timesteps", self.on_set_timesteps))
        stack.enter_context(replaced(scheduler, "step", self.run.clock.timed(self.on_scheduler_step)))

    # ---- the pipeline ----

    def on_pipe_call(self, inherited: Callable[..., Any], pipe: Any, *args: Any, **kwargs: Any) -> Any:
        if self.depth == 0:
            self.loops = 0
            self._follow(pipe.scheduler)
        self.depth += 1
        try:
            return inherited(*args, **kwargs)
        finally:
            self.depth -= 1
            if self.depth == 0:
                self._end(pipe)

    def _end(self, pipe: Any) -> None:
        trace = self.run.trace
        if self.loops and trace.decisions:
            trace.num_steps = len(trace.decisions)  # fewer than expected where the pipeline was interrupted
        if self.loops and not trace.decisions and trace.config.skips:
            trace.warn(
                f"no step was skipped: {type(pipe).__name__} does not take its steps with its own scheduler and "
                "denoiser, but with copies or others"
            )

    def _follow(self, scheduler: Any) -> None:
        if scheduler is not None and not any(ref() is scheduler for ref in self.followed):
            self.follow(scheduler)
            self.followed.append(weakref.ref(scheduler))

    def _steps_said(self) -> int | None:
        """How many steps the pipeline says that it takes; it knows once it has cut its timesteps."""
        said = getattr(self.pipe(), "_num_timesteps", None) if self.depth else None
        return said if isinstance(said, int) else None

    # ---- its parts ----

    def on_set_timesteps(self, inherited: Callable[..., Any], scheduler: Any, *args: Any, **kwargs: Any) -> Any:
        result = inherited(*args, **kwargs)
        if self._is_current(scheduler):
            if self.depth == 0 or self.loops == 0:
                self.run.trace.begin()
            self.loops += 1
            self.run.begin_loop(scheduler, self._steps_said)
        return result

    def on_scheduler_step(self, inherited: Callable[..., Any], scheduler: Any, *args: Any, **kwargs: Any) -> Any:
        if self.run.loop is None or not self._is_current(scheduler):
            return inherited(*args, **kwargs)
        return self.run.on_scheduler_step(inherited, scheduler, *args, **kwargs)

    def on_denoiser_call(self, inherited: Callable[..., Any], denoiser: Any, *args: Any, **kwargs: Any) -> Any:
        if self.run.loop is not None and not self._is_current(None):
            if self.run.trace.config.skips:
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
            return current is None or any(ref() is current for ref in self.followed)
        return current is scheduler
