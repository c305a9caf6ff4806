"""Passing: the policy `none`. Every call goes through as it is, whatever the pipeline; the trace counts them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor

from videoada.config.run import SkipConfig
from videoada.errors import ConfigError
from videoada.skipping.clock import Clock
from videoada.skipping.loop import Loop
from videoada.skipping.outputs import Leaf, leaves_of
from videoada.skipping.rows import batch_of, count_prompts
from videoada.skipping.rules.decision import Decision
from videoada.skipping.schedule import RunSchedule, one_for_each_row, read_schedule
from videoada.skipping.step_call import Listeners, latents_of
from videoada.skipping.trace import StepTrace


class Passing:
    """The state of one `with` in which nothing is skipped. What can't be counted raises nothing."""

    def __init__(self, config: SkipConfig, listeners: Listeners):
        self.listeners = listeners
        self.trace = StepTrace(config)
        self.clock = Clock(self.trace)
        self.forget()

    def forget(self) -> None:
        self.loop: Loop | None = None
        self.step = 0
        self.rows = self.num_rows = 0  # of the present step's calls together, and of its last
        self.leaf: Leaf | None = None

    def begin_loop(self, scheduler: Any, steps_said: Callable[[], int | None]) -> None:
        self.forget()
        try:
            self.loop = Loop(scheduler, self._schedule_of(scheduler), steps_said)
        except (AttributeError, TypeError, ValueError):  # not a list of timesteps
            self.loop = None
        self.trace.expect(self.loop.num_steps if self.loop else 0)

    def on_denoiser_call(self, inherited: Callable[..., Any], denoiser: Any, *args: Any, **kwargs: Any) -> Any:
        result = inherited(*args, **kwargs)
        self.num_rows, listed = batch_of(args, kwargs)
        self.rows += self.num_rows
        try:
            self.leaf = leaves_of(result, listed)[0]
        except ValueError:
            self.leaf = None
        self.trace.unet_rows += self.num_rows if self.loop is not None else 0
        return result

    def on_scheduler_step(self, inherited: Callable[..., Any], scheduler: Any, *args: Any, **kwargs: Any) -> Any:
        values = _by_name(scheduler, args, kwargs)
        sample, given, timestep = (values.get(name) for name in ("sample", "model_output", "timestep"))
        if isinstance(kwargs.get("generator"), list) and isinstance(sample, Tensor) and sample.ndim:
            kwargs["generator"] = one_for_each_row(kwargs["generator"], len(sample))
        result = inherited(*args, **kwargs)
        if self.loop is None or self.leaf is None or not isinstance(given, Tensor):
            return result
        if not self.loop.begun and _is_number(timestep):
            self.loop.arrive(scheduler, 0, timestep)
            self.trace.expect(self.loop.num_steps)
        first = self.leaf[0] if isinstance(self.leaf, list) else self.leaf
        shape = (len(self.leaf), *first.shape) if isinstance(self.leaf, list) else tuple(first.shape)
        try:
            prompts = count_prompts(self.num_rows, shape, given.shape)
        except ConfigError:
            prompts = 1
        computed = (True,) * prompts
        self.trace.add(Decision(computed, (None,) * prompts, (None,) * prompts), self.rows)
        self.rows, self.leaf = 0, None
        with self.clock.callers():
            self.listeners.report(self.trace, latents_of(result), partial(self._clean, values, self.step))
        self.step += 1
        return result

    def _schedule_of(self, scheduler: Any) -> RunSchedule | None:
        """Only where somebody listens; None where it is not known."""
        try:
            schedule = read_schedule(scheduler) if self.listeners.on_report else None
        except Exception:  # of any scheduler at all, which need not be readable
            return None
        return schedule if schedule and len(schedule.levels) == len(scheduler.timesteps) else None

    def _clean(self, values: dict[str, Any], step: int) -> Tensor | None:
        schedule = self.loop.schedule if self.loop else None
        apart = values.get("pred_original_sample"), values.get("per_token_timesteps")
        if schedule is None or step >= len(schedule.levels) or any(value is not None for value in apart):
            return None
        return schedule.clean(values["model_output"], values["sample"], step)


def _by_name(scheduler: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    try:
        return dict(inspect.signature(scheduler.step).bind_partial(*args, **kwargs).arguments)
    except TypeError:
        return {}


def _is_number(timestep: Any) -> bool:
    return isinstance(timestep, (int, float)) or (isinstance(timestep, Tensor) and timestep.numel() > 0)
