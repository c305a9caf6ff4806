"""skip_steps(): a context manager round a pipeline's denoiser and scheduler, and the trace of what it did.

The denoiser (`pipe.unet`, or `pipe.transformer` and its second) and the scheduler change their class for the length of
the `with`: their own class with one method replaced. That sits above `forward`, so the hooks that offloading takes off
and puts on again during a generation stay below it, and undoing it is one assignment.

A run begins where the pipeline sets the timesteps. Latents are observed at the scheduler's step. Within a step the
denoiser may be called once with both guidance halves, or once for each: every call of a step has its own memory.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from videoada.config import SkipConfig
from videoada.errors import ConfigError, ModelError
from videoada.rows import rows_of, sample_of, select_rows, take_output
from videoada.schedule import calls_twice, latent_scales, noise_levels, one_for_each_row
from videoada.skip.level import Level
from videoada.skip.policy import Decision, Never, Policy, SkipState, build_policy
from videoada.skip.predictors import PREDICTORS, Memory, PredictionType, Predictor
from videoada.trace import StepTrace

StepCallback = Callable[[int, int, tuple[bool, ...]], None]  # step, number of steps, computed for each prompt
LatentsCallback = Callable[[int, Tensor], None]  # step, latents after it: (B, N), one row for each prompt


@contextmanager
def skip_steps(
    pipe: Any, policy: str | SkipConfig | Policy = "third-order", predictor: str | None = None, *,
    on_step: StepCallback | None = None, on_latents: LatentsCallback | None = None, **fields: Any,
) -> Iterator[StepTrace]:  # fmt: skip
    """Skip denoiser calls of every generation inside the `with`; yields the trace of the latest one.

    `policy` is a name (`none`, `every-n`, `mask`, `third-order`, `third-order-release`) with its fields as keywords
    (`threshold=0.15`, `max_skip_steps=4`, …), a SkipConfig, or an object of your own that follows the protocol
    `videoada.skip.policy.Policy`. Any diffusers pipeline with one denoiser and a scheduler
    that calls it once a step will do. `on_step` is called after each step, `on_latents` with the latents that it left.

    Raises ConfigError for settings that do not fit, also for a scheduler that calls the network more than once a step,
    and ModelError for a pipeline without a denoiser. When the block is left, also by an exception, the pipeline is as
    before.
    """
    if isinstance(policy, SkipConfig):
        if predictor is not None or fields:
            raise ConfigError("give a SkipConfig or separate fields, not both")
        config = policy
    elif not isinstance(policy, str):
        config = SkipConfig(policy="none", predictor=predictor or "hold", **fields)
    else:
        given = {"predictor": predictor} if predictor else {}
        config = SkipConfig(policy=policy, **given, **fields)
    denoisers = [m for m in (getattr(pipe, n, None) for n in ("unet", "transformer", "transformer_2")) if m is not None]
    if not denoisers or not hasattr(pipe, "scheduler"):
        raise ModelError(f"{type(pipe).__name__} has no unet or transformer with a scheduler; nothing to skip")
    if calls_twice(pipe.scheduler):
        raise ConfigError(
            f"{type(pipe.scheduler).__name__} calls the network more than once a step, which step skipping can't "
            "count; use DDIM, DPM++, UniPC or Euler"
        )
    observed = [*denoisers, pipe.scheduler]
    if any(getattr(type(item), "_skip_run", None) for item in observed):
        raise ConfigError("skip_steps is on already for this pipeline; leave the outer block first")

    decides = policy if not isinstance(policy, (str, SkipConfig)) else build_policy(config)
    run = _Run(decides, PREDICTORS[config.predictor], config, on_step, on_latents)
    originals = [type(item) for item in observed]
    try:
        for denoiser in denoisers:
            _replace(denoiser, run, __call__=run.timed(run.on_denoiser_call))
        _replace(pipe.scheduler, run, set_timesteps=run.on_set_timesteps, step=run.timed(run.on_scheduler_step))
        yield run.trace
    finally:
        for item, original in zip(observed, originals, strict=True):
            if getattr(type(item), "_skip_run", None) is run:
                object.__setattr__(item, "__class__", original)
        run.forget()


def _replace(item: Any, run: _Run, **methods: Callable[..., Any]) -> None:
    """Give `item` a subclass of its class with these methods, which are called with (inherited method, item, …)."""
    original = type(item)

    def bind(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        inherited = getattr(original, name)

        @functools.wraps(inherited)  # pipelines read the signature of scheduler.step
        def replaced(self: Any, *args: Any, **kwargs: Any) -> Any:
            return method(functools.partial(inherited, self), self, *args, **kwargs)

        return replaced

    body = {name: bind(name, method) for name, method in methods.items()}
    replacement = type(original.__name__, (original,), body | {"_skip_run": run, "__module__": original.__module__})
    object.__setattr__(item, "__class__", replacement)  # a compiled module hands plain assignments on to what it wraps


class _Run:
    """The state of one `with`: forgotten when a new generation sets its timesteps and when the block is left."""

    def __init__(
        self, policy: Policy, predictor: Predictor, config: SkipConfig, on_step: StepCallback | None,
        on_latents: LatentsCallback | None,
    ):  # fmt: skip
        self.policy, self.predictor, self.config = policy, predictor, config
        self.on_step, self.on_latents = on_step, on_latents
        self.trace = StepTrace(config)
        self.forget()

    def forget(self) -> None:
        self.step = 0
        self.num_prompts = 0  # unknown until the first scheduler step
        self.latents: list[Tensor] = []  # (B, N), newest last, at most policy.num_latents
        self.latent_levels: list[Level] = []
        self.memories: dict[int, Memory] = {}  # of the n-th denoiser call of a step
        self.dtypes: dict[int, torch.dtype] = {}
        self.rebuild: dict[int, Callable[[Tensor], Any]] = {}  # puts a tensor into what that call returned
        self.calls = 0  # denoiser calls since the last scheduler step
        self.numel = 0  # of the denoiser's outputs within this step
        self.rows = 0
        self.decision: Decision | None = None
        self.levels: list[Level] = []
        self.scales: list[float] = []
        self.kind: PredictionType = "epsilon"

    def timed(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """`method`, whose own time (all but the inherited call's) adds to the trace."""

        def measured(inherited: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            inside = 0.0

            def outside(*args: Any, **kwargs: Any) -> Any:
                nonlocal inside
                began = time.perf_counter()
                result = inherited(*args, **kwargs)
                if self.trace.synchronize and torch.cuda.is_available():
                    torch.cuda.synchronize()
                inside += time.perf_counter() - began
                return result

            began = time.perf_counter()
            result = method(outside, *args, **kwargs)
            self.trace.own_seconds += time.perf_counter() - began - inside
            if method == self.on_denoiser_call:
                self.trace.denoiser_seconds += inside
            return result

        return measured

    # ---- the scheduler ----

    def on_set_timesteps(self, inherited: Callable[..., Any], scheduler: Any, *args: Any, **kwargs: Any) -> Any:
        result = inherited(*args, **kwargs)
        self.forget()
        steps = scheduler.timesteps.tolist()
        if self.config.mask and len(self.config.mask) != len(steps):
            raise ConfigError(f"the mask has {len(self.config.mask)} entries but the run has {len(steps)} steps")
        self.levels = noise_levels(scheduler, steps)
        self.scales = latent_scales(scheduler, len(steps))
        self.kind = getattr(scheduler.config, "prediction_type", "epsilon")
        self.trace.begin(len(steps))
        return result

    def on_scheduler_step(
        self, inherited: Callable[..., Any], scheduler: Any, model_output: Tensor, timestep: Any, sample: Tensor,
        *args: Any, **kwargs: Any,
    ) -> Any:  # fmt: skip
        if self.step == 0:
            self.num_prompts = self._count_prompts(model_output)
            self._observe(sample, 0)
        if isinstance(kwargs.get("generator"), list):
            kwargs["generator"] = one_for_each_row(kwargs["generator"], len(sample))
        result = inherited(model_output, timestep, sample, *args, **kwargs)
        latents = result[0] if isinstance(result, tuple) else result.prev_sample
        self._observe(latents, self.step + 1)
        decision = self.decision or Decision.all(self._state())
        if len(decision.compute) != self.num_prompts:  # the first step did not know yet how many prompts there are
            decision = Decision.all(self._state())
        self.trace.add(decision, rows_full=self.rows * self.calls)
        self.step += 1
        self.calls, self.numel, self.decision = 0, 0, None
        if self.on_step or self.on_latents:
            began = time.perf_counter()
            if self.on_latents:
                self.on_latents(self.step - 1, latents.detach().reshape(self.num_prompts, -1))
            if self.on_step:
                self.on_step(self.step - 1, len(self.levels), decision.compute)
            self.trace.own_seconds -= time.perf_counter() - began  # the caller's time, not ours
        return result

    def _count_prompts(self, model_output: Tensor) -> int:
        """Rows of one denoiser call ÷ its guidance halves, which are its outputs ÷ what reached the scheduler."""
        halves = max(self.numel // model_output.numel() // max(self.calls, 1), 1)
        return max(self.rows // halves, 1)

    def _observe(self, latents: Tensor, index: int) -> None:
        if self.policy.num_latents:
            flat = latents.detach().reshape(self.num_prompts, -1)
            scale = self.scales[index]
            self.latents.append(flat if scale == 1 else flat / scale)
            # after the last step there is no level, and no decision either
            self.latent_levels.append(self.levels[min(index, len(self.levels) - 1)])
            del self.latents[: -self.policy.num_latents], self.latent_levels[: -self.policy.num_latents]

    # ---- the denoiser ----

    def on_denoiser_call(self, inherited: Callable[..., Any], denoiser: Any, *args: Any, **kwargs: Any) -> Any:
        if self.step >= len(self.levels):  # outside a denoising loop: not ours
            return inherited(*args, **kwargs)
        call, self.calls = self.calls, self.calls + 1
        if call == 0:
            self.decision = self.policy.decide(self._state())
        if call not in self.memories:
            self.decision = Decision.all(self._state())  # nothing to hold yet
        assert self.decision is not None
        compute, level = self.decision.compute, self.levels[self.step]

        if all(compute):
            result = inherited(*args, **kwargs)
            output, self.rebuild[call] = take_output(result)
            self.rows, self.numel = len(output), self.numel + output.numel()
            if not isinstance(self.policy, Never):
                self.memories[call] = self.predictor.remember(output, sample_of(args, kwargs), level, self.kind)
                self.dtypes[call] = output.dtype
            self.trace.unet_rows += len(output)
            return result

        predicted = self.predictor.predict(self.memories[call], level, self.kind).to(self.dtypes[call], copy=True)
        if any(compute):
            rows = rows_of(compute, len(predicted), predicted.device)
            args, kwargs = select_rows(args, kwargs, rows, len(predicted))
            output, _ = take_output(inherited(*args, **kwargs))
            predicted[rows] = output
            fresh = self.predictor.remember(output, sample_of(args, kwargs), level, self.kind)
            self.memories[call] = tuple(
                old.index_copy(0, rows, new) for old, new in zip(self.memories[call], fresh, strict=True)
            )
            self.trace.unet_rows += len(output)
        return self.rebuild[call](predicted)

    def _state(self) -> SkipState:
        prompts = self.num_prompts or 1
        return SkipState(
            self.step,
            len(self.levels),
            prompts,
            tuple(self.latents),
            self.trace.skipped_in_a_row(prompts),
            tuple(self.latent_levels),
        )
