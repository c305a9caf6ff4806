"""apply_skipping(): skipping for a denoiser module without a pipeline, on diffusers' registry of hooks.

A module sees its inputs and outputs, not the scheduler. So there are no noise levels, no x̂₀ and no corrector: raw
outputs are held or extrapolated in the timestep, and the error is estimated relative to the output's own size.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.hooks import HookRegistry, ModelHook
from diffusers.hooks.hooks import StateManager
from torch import Tensor, nn

from videoada.config.run import TARGETS, SkipConfig
from videoada.errors import ConfigError, ModelError, counted
from videoada.skipping import outputs
from videoada.skipping.module.runs import ContextRun, HeldOutputs
from videoada.skipping.module.trace import ModuleTrace
from videoada.skipping.owners import run_of
from videoada.skipping.rows import batch_of, names_of_arguments
from videoada.skipping.rules import raw_output
from videoada.skipping.rules.build import build_policy
from videoada.skipping.rules.decision import SkipState
from videoada.skipping.rules.window import end_step, first_step

HOOK = "videoada_skipping"  # its name in the registry
TIMESTEPS = ("timestep", "timesteps", "t", "time_step")  # names of that argument
POLICIES = ("none", "every-n", "mask", "error-controlled")
APPROXIMATIONS = {  # by predictor: the function, and the order of its error
    "hold": (raw_output.held, 1), "hold-output": (raw_output.held, 1), "linear": (raw_output.linear, 2),
}  # fmt: skip


def apply_skipping(
    module: nn.Module, config: SkipConfig | None = None, *, num_inference_steps: int | None = None, **fields: Any
) -> ModuleTrace:
    """Skip calls of a denoiser module by its outputs and timesteps alone, until `remove_skipping(module)`.

    For those who hold a UNet or a DiT and no pipeline; with a pipeline, `enable` knows more and is better. `config` is
    a SkipConfig, or its fields are keywords. Returns the trace of the latest run; `summary(module)` is its text. Put on
    again, new settings replace the old and histories begin again.

    It differs from `skip_steps`, as a module sees no scheduler: the predictor `linear` extrapolates the raw output in
    the timestep, `hold` and `hold-output` return the last one (for v-prediction, `skip_steps` holds x̂₀ and ε̂ instead).
    `error-controlled` compares the next term of Newton's polynomial, relative to the output's size, with `tolerance`:
    the same number is not the same loss as there. There is one decision for all rows of a call, by the worst of them
    (`batch_decision=mean`: by their mean). `corrector` has no effect, and the last `final_steps` are
    known only where `num_inference_steps` is given here or by `cache_context`; the trace says so.

    A module in training is computed: in train mode, with gradients of its parameters.

    States are apart for each `cache_context`; several calls at one timestep are known by their order. They begin
    again with `module._reset_stateful_cache()`, the registry's `reset_stateful_hooks()`, an exception in the
    module, and where the timestep turns back. A run broken off at its first step needs one of the first two. Reading
    the timestep waits for a GPU at each call. `HookRegistry.remove_hook("videoada_skipping")` removes it, too.

    Raises ModelError for a module whose forward takes no timestep; ConfigError for policies (`third-order`,
    `third-order-release`, `budget`), predictors (`linear-eps`, `taylor2`) and settings (`quality`, `target_psnr`,
    `target_speedup`, `guidance_tolerance`, `early_exit`) that need a scheduler or a pipeline, for a module inside
    `skip_steps` or `enable`, and at a call for a mask of another length.
    """
    for name in ("quality", *TARGETS):
        if name in fields:
            raise ConfigError(f"`{name}` is calibrated for pipelines: give `tolerance`, or `enable` the pipeline")
    if config is not None and fields:
        raise ConfigError("give a SkipConfig or separate fields, not both")
    if not isinstance(config, SkipConfig | None):
        raise ConfigError(f"`config` is a SkipConfig, not {config!r:.60}")
    config = config or SkipConfig(**fields)
    _check(config, num_inference_steps)
    if not set(TIMESTEPS) & set(names_of_arguments(module)):
        raise ModelError(f"the forward of {type(module).__name__} takes no `timestep`; it is no denoiser to skip")
    if run_of(module) is not None:
        raise ConfigError("the module's pipeline is enabled or in a skip_steps block: `disable` it or leave it first")
    registry = HookRegistry.check_if_exists_or_initialize(module)
    hook = registry.get_hook(HOOK)
    if isinstance(hook, SkippingHook):
        hook.configure(config, num_inference_steps)
        return hook.trace
    hook = SkippingHook(config, num_inference_steps)
    registry.register_hook(hook, HOOK)
    return hook.trace


def remove_skipping(module: nn.Module) -> None:
    """End what `apply_skipping` began; other hooks stay. A module without it stays as it is, without an error."""
    if hook_of(module) is None:
        return
    HookRegistry.check_if_exists_or_initialize(module).remove_hook(HOOK, recurse=False)
    left = vars(module).get("forward")
    if getattr(left, "__func__", None) is type(module).forward:  # which diffusers leaves: a cycle
        del vars(module)["forward"]


def hook_of(module: Any) -> SkippingHook | None:
    """The hook that `apply_skipping` put on a module."""
    registry = getattr(module, "_diffusers_hook", None)
    hook = registry.get_hook(HOOK) if registry is not None else None
    return hook if isinstance(hook, SkippingHook) else None


def _check(config: SkipConfig, num_inference_steps: int | None) -> None:
    if config.policy == "budget":
        raise ConfigError("`num_predictions` needs the scheduler's noise levels: `enable` the pipeline instead")
    if config.policy not in POLICIES:
        raise ConfigError(
            f"policy '{config.policy}' compares latents, which a module does not see: choose from "
            f"{', '.join(POLICIES)}, or `enable` the pipeline"
        )
    if config.predictor not in APPROXIMATIONS:
        raise ConfigError(
            f"predictor '{config.predictor}' needs noise levels, which a module does not see: choose from "
            f"{', '.join(APPROXIMATIONS)}, or `enable` the pipeline"
        )
    if config.guidance_tolerance:
        raise ConfigError("`guidance_tolerance` needs the scheduler's noise levels: `enable` the pipeline instead")
    if config.early_exit:
        raise ConfigError("`early_exit` is no part of skipping steps: add `with videoada.early_exit(pipe):`")
    if num_inference_steps is not None and num_inference_steps < 1:
        raise ConfigError(f"`num_inference_steps` must be at least 1, got {num_inference_steps}")


class SkippingHook(ModelHook):
    """A forward of the module's own that returns approximated outputs on skipped steps."""

    _is_stateful = True

    def __init__(self, config: SkipConfig, num_inference_steps: int | None):
        super().__init__()
        self.states = StateManager(ContextRun)  # found by `cache_context`
        self.trace = ModuleTrace(config)
        self.configure(config, num_inference_steps)

    def configure(self, config: SkipConfig, num_inference_steps: int | None) -> None:
        self.config, self.num_steps = config, num_inference_steps
        self.policy = build_policy(config)
        self.approximate, self.order = APPROXIMATIONS[config.predictor]
        self.trace.config, self.trace.not_used = config, []
        self.trace.begin()
        self._forget()
        if config.corrector and config.skips:
            self.trace.not_use("`corrector`: a module alone has no scheduler whose steps could be taken again")

    def _forget(self) -> None:
        context = self._context()
        self.states.reset()
        self.states.set_context(context)  # a run may begin inside a context
        self.without_context = ContextRun()
        self.ended = True

    def reset_state(self, module: nn.Module) -> nn.Module:
        self._forget()
        self.states.set_context(None)
        return module

    def new_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if module.training and torch.is_grad_enabled() and any(p.requires_grad for p in module.parameters()):
            self.trace.warn("nothing is skipped in training: call `module.eval()`, or the module in `torch.no_grad()`")
            return self.fn_ref.original_forward(*args, **kwargs)
        timestep = self._timestep(module, args, kwargs)
        if self._run().turns_back(timestep):
            self._forget()
        if self.ended:
            self.ended = False
            self.trace.begin()
        context, run = self._context(), self._run()
        name = context.name if context is not None else ""
        num_rows, listed = batch_of(args, kwargs)
        kind = num_rows, listed, _shape_of(args, kwargs), kwargs.get("return_dict")
        first = run.arrive(timestep)
        held = run.held.get(run.call)
        usable = held is not None and held.kind == kind
        if first:
            run.compute, signal = self._decide(run, held if usable else None, timestep)
            run.skipped_in_a_row = 0 if run.compute else run.skipped_in_a_row + 1
            self.trace.add(name, run.compute, signal)
        self.trace.rows_full += num_rows
        if not run.compute and held is not None and usable:
            return held.approximated(self.approximate(held.past, timestep, self.config.damping))
        try:
            result = self.fn_ref.original_forward(*args, **kwargs)
        except BaseException:
            self._forget()
            raise
        self.trace.rows += num_rows
        if self.config.skips:
            self._keep(run, kind, result, listed, timestep)
        return result

    def _keep(self, run: ContextRun, kind: tuple[Any, ...], result: Any, listed: bool, timestep: float) -> None:
        if outputs.is_tensors_alone(result):
            run.keep(kind, result, listed, timestep)
        else:
            self.trace.warn("nothing is skipped: the module returns more than tensors, which can't be held")

    def _decide(self, run: ContextRun, held: HeldOutputs | None, timestep: float) -> tuple[bool, float | None]:
        """Compute the step that begins? And the estimated relative error of skipping it, where a rule ran."""
        known, config = self._num_steps(), self.config
        if config.mask and known is not None and len(config.mask) != known:
            self._forget()
            raise ConfigError(
                f"the mask has {counted(len(config.mask), 'entry', 'entries')} but the run has {counted(known, 'step')}"
            )
        if config.skips and known is None:
            for name in ("final_steps", "skip_from", "skip_to"):
                if getattr(config, name):
                    self.trace.not_use(f"`{name}`: how many steps there are is not known; give `num_inference_steps`")
        if held is None or not config.skips:
            return True, None
        if config.policy != "error-controlled":
            state = SkipState(run.step, known or 0, 1, (), (run.skipped_in_a_row,))
            return self.policy.decide(state).compute[0], None
        first = first_step(config.warmup_steps or 1, None if known is None else config.skip_from, known or 0, 3)
        if run.step < first or len(held.past) <= self.order:
            return True, None
        errors = raw_output.next_term(held.past, timestep, self.order)
        error = float(errors.mean() if config.batch_decision == "mean" else errors.max())
        last = known is not None and run.step >= end_step(config.final_steps or 0, config.skip_to, known)
        capped = run.skipped_in_a_row >= (config.max_skip_steps or 1)
        return last or capped or not error <= (config.tolerance or 0), error

    def _context(self) -> Any:
        """That of the present call; None where it is made without one."""
        try:
            return self.states.context
        except ValueError:
            return None

    def _run(self) -> ContextRun:
        run: ContextRun = self.without_context if self._context() is None else self.states.get_state()
        return run

    def _num_steps(self) -> int | None:
        said: int | None = getattr(self._context(), "num_inference_steps", None)
        return self.num_steps if said is None else said

    def _timestep(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> float:
        """Of a timestep for each row or token, the largest."""
        values = dict(zip(names_of_arguments(module), args, strict=False)) | kwargs
        value = next(values[name] for name in TIMESTEPS if values.get(name) is not None)
        return float(value.max()) if isinstance(value, Tensor) else float(value)


def _shape_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Shape, type and device of the first tensor that the module is called with."""
    for value in (*args, *kwargs.values()):
        if isinstance(value, list) and value:
            value = value[0]
        if isinstance(value, Tensor):
            return value.shape, value.dtype, value.device
    return None
