"""enable(), disable(), summary(): skipping that stays on for a pipeline, without a block."""

from __future__ import annotations

from typing import Any

from videoada.config.run import SkipConfig
from videoada.errors import ConfigError
from videoada.skipping.module.apply_skipping import hook_of
from videoada.skipping.rules.decision import Policy
from videoada.skipping.rules.predictors import Predictor
from videoada.skipping.skip_steps import make_run
from videoada.skipping.step_call import LatentsCallback, Listeners, ReportCallback, StepCallback
from videoada.skipping.trace import StepTrace
from videoada.skipping.watching import Watch

_NAME = "_videoada_enabled"  # an attribute of the pipeline, so that nothing else keeps either alive


class _Enabled:
    """Undone when the pipeline is collected, also where others still hold its parts. Its copies are None."""

    def __init__(self, watch: Watch):
        self.watch = watch

    def __reduce__(self) -> tuple[Any, ...]:
        return type(None), ()

    def __del__(self) -> None:
        self.watch.leave()


def enable(
    pipe: Any, policy: str | SkipConfig | Policy | None = None, predictor: str | Predictor | None = None, *,
    on_step: StepCallback | None = None, on_latents: LatentsCallback | None = None,
    on_report: ReportCallback | None = None, **fields: Any,
) -> StepTrace:  # fmt: skip
    """Skip denoiser calls of every later call of the pipeline, until `disable(pipe)`: `skip_steps` without a block.

    Takes what `skip_steps` takes, and gives the same frames bit for bit. Each call begins with no history of the one
    before. Returns the trace of the latest call, one object that each call fills again; `summary(pipe)` is its text.
    Enabled again, a pipeline takes the new settings in place of the old, which stay where the new ones are refused.

    An exception or Ctrl-C inside a call leaves the pipeline enabled. A `skip_steps` block, `generate` or `compare` of
    an enabled pipeline goes by its own settings alone; what was enabled waits. Other pipelines that share both the
    denoiser and the scheduler skip, too; copies and pickles are not enabled. It ends with the pipeline.

    Raises what `skip_steps` raises, and ConfigError inside a `skip_steps` block of the pipeline or where another
    pipeline with its denoiser or scheduler is enabled.
    """
    run = make_run(pipe, policy, predictor, Listeners(on_step, on_latents, on_report), fields)
    before = _watch_of(pipe)
    watch = Watch(pipe, run, standing=True, instead_of=before)
    try:
        watch.enter(pipe)
    except BaseException:
        watch.leave()
        raise
    if before is not None:
        before.leave()
    vars(pipe)[_NAME] = _Enabled(watch)
    return run.trace


def disable(pipe: Any) -> None:
    """End what `enable` began: the classes of the pipeline, its denoisers and its scheduler are their own again.

    A pipeline that is not enabled stays as it is, without an error.
    """
    watch = _watch_of(pipe)
    if watch is not None:
        del vars(pipe)[_NAME]
        watch.leave()


def summary(item: Any) -> str:
    """What the latest call of an enabled pipeline computed and skipped, in plain English.

    Of a module after `apply_skipping`, what its latest run did. Raises ConfigError for what is neither.
    """
    watch, hook = _watch_of(item), hook_of(item)
    if watch is not None:
        return watch.run.trace.summary()
    if hook is not None:
        return hook.trace.summary()
    raise ConfigError(
        f"skipping is not enabled for this {type(item).__name__}: call `videoada.enable(pipe)` or "
        "`videoada.apply_skipping(module)` first"
    )


def _watch_of(pipe: Any) -> Watch | None:
    found = getattr(pipe, "__dict__", {}).get(_NAME)
    return found.watch if isinstance(found, _Enabled) else None
