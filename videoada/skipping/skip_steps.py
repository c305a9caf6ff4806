"""skip_steps(): a context manager round a pipeline's denoiser and scheduler.

The denoiser (`pipe.unet`, or `pipe.transformer` and its second) and the scheduler change their class for the length of
the `with`: their own class with one method replaced. That sits above `forward`, so the hooks that offloading takes off
and puts on again during a generation stay below it, and undoing it is one assignment.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from videoada.config.goals import make_skip
from videoada.config.run import SkipConfig
from videoada.errors import ConfigError, ModelError
from videoada.skipping.rules.build import build_policy
from videoada.skipping.rules.policy import Policy
from videoada.skipping.schedule import calls_twice
from videoada.skipping.stepping import LatentsCallback, StepCallback, Stepping
from videoada.skipping.trace import StepTrace

DENOISERS = ("unet", "transformer", "transformer_2")


@contextmanager
def skip_steps(
    pipe: Any, policy: str | SkipConfig | Policy | None = None, predictor: str | None = None, *,
    on_step: StepCallback | None = None, on_latents: LatentsCallback | None = None, **fields: Any,
) -> Iterator[StepTrace]:  # fmt: skip
    """Skip denoiser calls of every generation inside the `with`; yields the trace of the latest one.

    `policy` is a name (`none`, `every-n`, `mask`, `third-order`, `third-order-release`, `error-controlled`) with its
    fields as keywords (`tolerance=0.05`, `max_skip_steps=8`, …, or `quality="high"`), a SkipConfig, or an object of
    your own that follows the protocol `videoada.Policy`; left out, what SkipConfig makes of the fields. Any diffusers
    pipeline with one denoiser and a scheduler that calls it once a step will do. `on_step` is called after each step,
    `on_latents` with the latents that it left.

    Raises ConfigError for settings that do not fit, also for a scheduler that calls the network more than once a step,
    and ModelError for a pipeline without a denoiser. When the block is left, also by an exception, the pipeline is as
    before.
    """
    own = policy if policy is not None and not isinstance(policy, (str, SkipConfig)) else None
    if isinstance(policy, SkipConfig):
        if predictor is not None or fields:
            raise ConfigError("give a SkipConfig or separate fields, not both")
        config = policy
    else:
        name = "none" if own is not None else policy
        config = make_skip({"policy": name, "predictor": predictor} | fields)
    if config.early_exit:
        raise ConfigError("skip_steps leaves out steps; for early exit add `with videoada.early_exit(pipe):`")
    denoisers = [m for m in (getattr(pipe, name, None) for name in DENOISERS) if m is not None]
    if not denoisers or not hasattr(pipe, "scheduler"):
        raise ModelError(f"{type(pipe).__name__} has no unet or transformer with a scheduler; nothing to skip")
    if calls_twice(pipe.scheduler):
        raise ConfigError(
            f"{type(pipe.scheduler).__name__} calls the network more than once a step, which step skipping can't "
            "count; use DDIM, DPM++, UniPC or Euler"
        )
    if list(inspect.signature(type(pipe.scheduler).step).parameters)[1:4] != ["model_output", "timestep", "sample"]:
        raise ConfigError(
            f"{type(pipe.scheduler).__name__} takes more than an output, a timestep and a sample at each step; "
            "give the pipeline a DDIM, DPM++, UniPC or Euler scheduler"
        )
    run = Stepping(own or build_policy(config), config, on_step, on_latents)
    methods = {
        id(denoiser): {"__call__": run.timed(run.on_denoiser_call, of_denoiser=True)} for denoiser in denoisers
    } | {id(pipe.scheduler): {"set_timesteps": run.on_set_timesteps, "step": run.timed(run.on_scheduler_step)}}
    with replaced_methods([*denoisers, pipe.scheduler], methods, run):
        try:
            yield run.trace
        finally:
            run.forget()


@contextmanager
def replaced_methods(items: list[Any], methods: dict[int, dict[str, Callable[..., Any]]], owner: Any) -> Iterator[None]:
    """Each of `items` with the methods that stand under its id, called with (inherited method, item, …)."""
    if any(getattr(type(item), "_skip_run", None) for item in items):
        raise ConfigError("skip_steps is on already for this pipeline; leave the outer block first")
    originals = [type(item) for item in items]
    try:
        for item in items:
            _replace(item, owner, methods[id(item)])
        yield
    finally:
        for item, original in zip(items, originals, strict=True):
            if getattr(type(item), "_skip_run", None) is owner:
                object.__setattr__(item, "__class__", original)


def _replace(item: Any, owner: Any, methods: dict[str, Callable[..., Any]]) -> None:
    """Give `item` a subclass of its class with these methods."""
    original = type(item)

    def bind(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        inherited = getattr(original, name)

        @functools.wraps(inherited)  # pipelines read the signature of scheduler.step
        def replaced(self: Any, *args: Any, **kwargs: Any) -> Any:
            return method(functools.partial(inherited, self), self, *args, **kwargs)

        return replaced

    body: dict[str, Any] = {name: bind(name, method) for name, method in methods.items()}
    if isinstance(getattr(original, "dtype", None), property):
        body["dtype"] = _dtype_of(original)
    replacement = type(original.__name__, (original,), body | {"_skip_run": owner, "__module__": original.__module__})
    object.__setattr__(item, "__class__", replacement)  # a compiled module hands plain assignments on to what it wraps


def _dtype_of(original: Any) -> property:
    """The network's dtype, found anew when its first parameter changes it: diffusers walks all modules for it at
    each call, 3 % of a call of the small models."""
    known: dict[torch.dtype, torch.dtype] = {}

    def dtype(self: Any) -> torch.dtype:
        first = next(self.parameters()).dtype
        if first not in known:
            known[first] = original.dtype.fget(self)
        return known[first]

    return property(dtype)
