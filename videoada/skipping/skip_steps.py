"""skip_steps(): training-free caching of noise predictions, as a context manager for a diffusers pipeline.

What is replaced for it is in `watching.py`; `enable.py` has the same without a block.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from videoada.config.goals import make_skip
from videoada.config.run import SkipConfig
from videoada.errors import ConfigError, ModelError
from videoada.models.denoisers import denoisers_of
from videoada.models.pipelines import model_info
from videoada.skipping.passing import Passing
from videoada.skipping.rules.build import build_policy, build_predictor
from videoada.skipping.rules.decision import Never, Policy
from videoada.skipping.rules.predictors import Predictor
from videoada.skipping.step_call import LatentsCallback, Listeners, ReportCallback, StepCallback
from videoada.skipping.stepping import Stepping
from videoada.skipping.trace import StepTrace
from videoada.skipping.watching import Watch


@contextmanager
def skip_steps(
    pipe: Any, policy: str | SkipConfig | Policy | None = None, predictor: str | Predictor | None = None, *,
    on_step: StepCallback | None = None, on_latents: LatentsCallback | None = None,
    on_report: ReportCallback | None = None, **fields: Any,
) -> Iterator[StepTrace]:  # fmt: skip
    """Skip denoiser calls of every generation inside the `with`; yields the trace of the latest one.

    Training-free caching of noise predictions: a skipped call is approximated from the cached outputs of earlier calls.
    Each call of the denoiser, a UNet or a DiT, is one function evaluation (NFE).

    `policy` is a name (`none`, `every-n`, `mask`, `third-order`, `third-order-release`, `error-controlled`,
    `budget`) with its
    fields as keywords (`tolerance=0.05`, `max_skip_steps=8`, …, or `quality="high"`), a SkipConfig, or an object of
    your own that follows the protocol `videoada.Policy`; left out, what SkipConfig makes of the fields. `predictor` is
    a name (`linear`, `hold`, …) or an object of your own that follows the protocol `videoada.Predictor`, which goes
    with any policy. Diffusers pipelines with a `unet` or a `transformer` will do, with a scheduler that
    `skipping/schedule.py` knows; `none` passes through any. `on_step` is called after each step, with its number among
    those that run and how many these are, `on_latents` with the latents that it left, `on_report` with a StepReport.

    Raises ConfigError for settings that do not fit, for a scheduler that is not known or calls the network more than
    once a step, and inside the block for a batch whose rows can't be split by prompt; ModelError for a pipeline
    without a denoiser. When the block is left, also by an exception, the pipeline is as before.
    """
    run = make_run(pipe, policy, predictor, Listeners(on_step, on_latents, on_report), fields)
    watch = Watch(pipe, run)
    try:
        watch.enter(pipe)
        yield run.trace
    finally:
        watch.leave()


def make_run(
    pipe: Any, policy: str | SkipConfig | Policy | None, predictor: str | Predictor | None,
    listeners: Listeners, fields: Mapping[str, Any],
) -> Stepping | Passing:  # fmt: skip
    """The run that these arguments of `skip_steps` ask for, with the same errors; nothing is replaced yet."""
    own = policy if policy is not None and not isinstance(policy, (str, SkipConfig)) else None
    named = predictor if isinstance(predictor, str) else None
    if isinstance(policy, SkipConfig):
        if named is not None or fields:
            raise ConfigError("give a SkipConfig or separate fields, not both")
        config = policy
    else:
        name = "none" if own is not None else policy
        model = model_info(pipe).name if fields.get("quality") is not None else None
        config = make_skip({"policy": name, "predictor": named, **fields}, model=model)
    if predictor is None or isinstance(predictor, str):
        what_instead = build_predictor(config)
    else:
        what_instead = _checked(predictor, config)
    if config.early_exit:
        raise ConfigError("skip_steps leaves out steps; for early exit add `with videoada.early_exit(pipe):`")
    if not denoisers_of(pipe) or not hasattr(pipe, "scheduler"):
        raise ModelError(f"{type(pipe).__name__} has no unet or transformer with a scheduler; nothing to skip")
    rule = own or build_policy(config)
    if isinstance(rule, Never):
        return Passing(config, listeners)
    return Stepping(rule, what_instead, config, listeners)


def _checked(predictor: Predictor, config: SkipConfig) -> Predictor:
    """The same object. Raises ConfigError for one that is no predictor, and for a `damping` that it would not see."""
    complete = callable(getattr(predictor, "predict", None)) and isinstance(
        getattr(predictor, "num_predictions", None), int
    )
    if not complete or isinstance(predictor, type):
        raise ConfigError(
            f"a predictor is a name or an object with `predict` and `num_predictions`, not {predictor!r:.60}"
        )
    if config.damping is not None:
        raise ConfigError("`damping` is a setting of the predictors with names; give your own its settings itself")
    return predictor
