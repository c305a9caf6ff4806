"""StepCall: one call of a scheduler's `step`, its arguments by their names; and what those who listen learn of it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from videoada.errors import ConfigError
from videoada.skipping.loop import Loop
from videoada.skipping.schedule import RunSchedule, one_for_each_row
from videoada.skipping.trace import StepTrace

NEEDED = ("model_output", "timestep", "sample")
TIMESTEPS = ("timestep", "timestep_back")
CARRIED = "old_pred_original_sample"  # of the step before, which CogVideoX's DPM scheduler takes and returns


@dataclass(frozen=True)
class StepReport:
    """A step that was taken. `step` counts from 0 among the `num_steps` that run; `computed` has an entry for each
    prompt, and so has `again`: the earlier steps, skipped at first, that the corrector took again at this one.

    `latents` are those after the step, as the pipeline shapes them. `clean()` is x̂₀, what the network's output says
    that they will become, in the same shape; None where the schedule is not known.
    """

    step: int
    num_steps: int
    computed: tuple[bool, ...]
    again: tuple[tuple[int, ...], ...]
    latents: Tensor
    clean: Callable[[], Tensor | None]


StepCallback = Callable[[int, int, tuple[bool, ...]], None]  # step, number of steps, computed for each prompt
LatentsCallback = Callable[[int, Tensor], None]  # step, latents after it: (B, N), one row for each prompt
ReportCallback = Callable[[StepReport], None]


@dataclass(frozen=True)
class Listeners:
    """Who is called after each step."""

    on_step: StepCallback | None = None
    on_latents: LatentsCallback | None = None
    on_report: ReportCallback | None = None

    def report(self, trace: StepTrace, latents: Tensor, clean: Callable[[], Tensor | None]) -> None:
        """Of the step that the trace has last."""
        step, computed, latents = len(trace.decisions) - 1, trace.decisions[-1].compute, latents.detach()
        if self.on_latents:
            self.on_latents(step, latents.reshape(len(computed), -1))
        if self.on_step:
            self.on_step(step, trace.num_steps, computed)
        if self.on_report:
            again = tuple(tuple(range(step - count, step)) for count in trace.again[-1] or (0,) * len(computed))
            self.on_report(StepReport(step, trace.num_steps, computed, again, latents, clean))


class StepArguments:
    """What a scheduler's `step` takes, read once for all calls of a loop."""

    def __init__(self, step: Callable[..., Any]):
        self.signature = inspect.signature(step)
        parameters = self.signature.parameters.values()
        self.known = {p.name for p in parameters}
        self.positional = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        open_ended = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        self.required = {p.name for p in parameters if p.default is p.empty and p.kind not in open_ended}

    def by_name(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Each value by its name. Raises TypeError, as Python does, for what the method does not take."""
        values = dict(zip(self.positional, args, strict=False)) | kwargs
        if len(values) < len(args) + len(kwargs) or not self.required <= values.keys() <= self.known:
            self.signature.bind(*args, **kwargs)
        return values


class StepCall:
    """`call` is the method; what a step returns is its latents and, second, what some carry to the next step."""

    def __init__(
        self, takes: StepArguments, call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ):  # fmt: skip
        self.call = call
        self.surroundings: Callable[[], AbstractContextManager[None]] = nullcontext
        self.values = takes.by_name(args, kwargs)
        self.positional, self.named = takes.positional[: len(args)], tuple(kwargs)
        self.rest = args[len(self.positional) :]
        if isinstance(self.generator, list):
            self.values["generator"] = one_for_each_row(self.generator, len(self.sample))

    @property
    def timestep(self) -> Any:
        return self.values["timestep"]

    @property
    def sample(self) -> Tensor:
        sample: Tensor = self.values["sample"]
        return sample

    @property
    def generator(self) -> Any:
        return self.values.get("generator")

    @property
    def output(self) -> Tensor:
        """What the network predicted, guided."""
        output: Tensor = self.values["model_output"] if self._clean is None else self._clean
        return output

    @property
    def _clean(self) -> Any:
        """x₀, where the pipeline reads it out itself (Cosmos)."""
        return self.values.get("pred_original_sample")

    def off_the_gpu(self, loop: Loop, scheduler: Any) -> None:
        """Let the scheduler look its timesteps up without a wait for the GPU, now and when the step is taken again."""
        values = self.values
        values.update({name: loop.on_host(scheduler, values[name]) for name in TIMESTEPS if name in values})
        if loop.given.device.type != "cpu":
            self.surroundings = functools.partial(loop.timesteps_on_host, scheduler)

    def read(self, schedule: RunSchedule) -> RunSchedule:
        """The schedule in terms of what this call passes on."""
        if self._clean is not None:
            return schedule.of_clean()
        if self.values.get("per_token_timesteps") is not None:  # LTX: x − Δσ·output, which gets −v
            return schedule.of_tokens()
        return schedule

    def take(self, output: Tensor, sample: Tensor, carried: Any = None) -> Any:
        """The step with another output and sample, and with what the step before it now carries; else as called."""
        changed = self.values | {"model_output": output, "sample": sample}
        if self._clean is not None:
            changed["pred_original_sample"] = output
        if carried is not None and CARRIED in changed:
            changed[CARRIED] = carried
        args, kwargs = [changed[name] for name in self.positional], {name: changed[name] for name in self.named}
        with self.surroundings():
            return self.call(*args, *self.rest, **kwargs)


def latents_of(result: Any) -> Tensor:
    """What a step made of its sample."""
    latents: Tensor = result[0] if isinstance(result, tuple) else result.prev_sample
    return latents


def carried_of(result: Any) -> Any:
    """What a step returned for the next one to take; None where there is no such thing."""
    if isinstance(result, tuple):
        return result[1] if len(result) > 1 else None
    return getattr(result, "pred_original_sample", None)


def check_step(scheduler: Any) -> None:
    """Raises ConfigError for a scheduler whose `step` does not take an output, a timestep and a sample."""
    parameters = inspect.signature(type(scheduler).step).parameters
    missing = [name for name in NEEDED if name not in parameters]
    if missing:
        raise ConfigError(
            f"{type(scheduler).__name__}'s step takes no {' and no '.join(missing)}; give the pipeline a DDIM, DPM++, "
            "UniPC or Euler scheduler"
        )
