"""The methods that a benchmark compares, and `generate_with`: one signature to generate videos by any of them."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

from pydantic import Field, field_validator

from videoada.benchmarks.baselines.baseline import BASELINES, generate_by, skipping_by
from videoada.benchmarks.baselines.deepcache import BlockCache, cached_blocks
from videoada.benchmarks.baselines.dpm_adaptive import solved_adaptively
from videoada.benchmarks.generated import Generated
from videoada.config.frozen import FrozenConfig, one_of
from videoada.config.run import GenerationConfig, SchedulerName, SkipConfig
from videoada.errors import ConfigError
from videoada.generation.generate import generate, paid_first_costs
from videoada.learned.early_exit import exits_of
from videoada.media.video import Video
from videoada.models.call import call_pipeline
from videoada.models.denoisers import denoiser_of
from videoada.models.placement import has_first_costs
from videoada.models.recommended import recommended_of, with_recommended
from videoada.models.schedulers import FLOW, make_scheduler, names_for, scheduler_of
from videoada.records.record import RunRecord

Spacing = Literal["leading", "trailing", "karras", "shifted"]  # the last is flow matching's own
NONE = SkipConfig(policy="none")


class Method(FrozenConfig):
    """What differs from the full run. `family` is the curve of which it is a point, `knob` the value that makes
    the point.

    `full_scheduler` is that of the full run that it is measured against; None of either is the model's own.
    `num_inference_steps` None means as many as that run. `prompts` are the indices of those that it is for (None: all).
    """

    family: str
    knob: str
    scheduler: SchedulerName | None = None
    full_scheduler: SchedulerName | None = None
    num_inference_steps: int | None = None
    timestep_spacing: Spacing | None = None
    step_policy: str | None = None  # a file, or "shipped": how many steps each prompt gets
    skip: SkipConfig = NONE
    cache_interval: int | None = Field(default=None, ge=1)
    solver_tolerance: float | None = Field(default=None, gt=0)
    baseline: str | None = None  # a name of BASELINES, in place of `skip`
    baseline_knob: float | None = None
    batch_size: int | None = None
    prompts: tuple[int, ...] | None = None

    @field_validator("baseline")
    @classmethod
    def _known_baseline(cls, value: str | None) -> str | None:
        return value and one_of("baseline", value, tuple(BASELINES))

    @property
    def name(self) -> str:
        return f"{self.family} {self.knob}".strip()

    def is_for(self, prompt: int) -> bool:
        return self.prompts is None or prompt in self.prompts


def for_model(pipe: Any, method: Method) -> Method:
    """The method with the scheduler recommended for the model where it names none; None is then as it was shipped."""
    own = recommended_of(pipe)["scheduler"]
    named = {"scheduler": method.scheduler or own, "full_scheduler": method.full_scheduler or own}
    return method.model_copy(update=named)


def why_not(pipe: Any, method: Method) -> ConfigError | None:
    """Why this method can't run the model, with another network or noise than the method is for, or compiled or
    offloaded where the method replaces blocks; None if it can. Raises ModelError where trained parts are missing."""
    try:
        for name in {method.scheduler, method.full_scheduler} - {None}:
            make_scheduler(str(name), pipe.scheduler)
        names, own = names_for(pipe.scheduler), type(pipe.scheduler).__name__
        if method.timestep_spacing == "shifted" and names is not FLOW:
            raise ConfigError(f"{own} is not of flow matching")
        if method.timestep_spacing not in (None, "shifted") and not {"ddim", "euler"} <= names.keys():
            raise ConfigError(f"{own} has a process of its own, without such timesteps")
        if method.cache_interval:
            with cached_blocks(denoiser_of(pipe), method.cache_interval):
                pass
        if method.solver_tolerance:
            with solved_adaptively(pipe, method.solver_tolerance, num_steps=1):
                pass
        if method.baseline:
            with scheduler_of(pipe, method.scheduler), skipping_by(pipe, method.baseline, method.baseline_knob or 0):
                pass
        with exits_of(pipe, method.skip):
            pass
    except ConfigError as error:
        return error
    return None


def generate_with(
    pipe: Any, method: Method, requests: Sequence[GenerationConfig], batch_size: int = 1
) -> list[Generated]:
    """One video for each request, by `method`. Raises ConfigError for what the pipeline can't do."""
    num_steps = method.num_inference_steps
    changed = [
        r.model_copy(
            update={"scheduler": method.scheduler, "step_policy": method.step_policy}
            | ({"num_inference_steps": num_steps} if num_steps else {})
        )
        for r in with_recommended(pipe, requests)
    ]
    cache: BlockCache | None = None
    with contextlib.ExitStack() as stack:
        if method.timestep_spacing:
            stack.enter_context(spaced(pipe, str(for_model(pipe, method).scheduler), method.timestep_spacing))
        if method.cache_interval:
            cache = stack.enter_context(cached_blocks(denoiser_of(pipe), method.cache_interval))
        if method.solver_tolerance:
            return _solve(pipe, method.solver_tolerance, changed)
        if method.baseline:
            return generate_by(
                pipe, method.baseline, method.baseline_knob or 0, changed, method.batch_size or batch_size
            )
        run = functools.partial(
            generate, pipe, changed, skip=method.skip, batch_size=method.batch_size or batch_size, measure=False
        )
        results, seconds = _timed(run)
        timed = results
        if paid_first_costs(pipe, results):
            timed, seconds = _timed(run)
    generated = []
    for (video, record), (_, again) in zip(results, timed, strict=True):
        macs = record.unet_rows * (record.early_exit["macs"] if record.early_exit else 1.0)
        if cache and cache.shallow_share is not None:
            deep = -(-record.num_inference_steps // cache.interval) / record.num_inference_steps
            macs *= deep + (1 - deep) * cache.shallow_share
        generated.append(
            Generated(
                video,
                record.num_predictions,
                record.unet_rows,
                macs,
                seconds / len(changed),
                record.peak_memory_bytes,
                record.computed,
                again.seconds["denoise"],
            )
        )
    return generated


def _timed(run: Callable[[], list[tuple[Video, RunRecord]]]) -> tuple[list[tuple[Video, RunRecord]], float]:
    began = time.perf_counter()
    return run(), time.perf_counter() - began


def _solve(pipe: Any, tolerance: float, requests: Sequence[GenerationConfig]) -> list[Generated]:
    """One by one: each chooses its own steps."""
    generated = []
    for request in [*requests[: has_first_costs(pipe)], *requests]:  # the first one twice where first calls are slow
        began = time.perf_counter()
        with solved_adaptively(pipe, tolerance, num_steps=request.num_steps) as calls:
            [video], _ = call_pipeline(pipe, [request.model_copy(update={"num_inference_steps": 1})])
        seconds = time.perf_counter() - began
        generated.append(Generated(video, calls.calls, calls.rows, float(calls.rows), seconds, None, [True]))
    return generated[-len(requests) :]


@contextlib.contextmanager
def spaced(pipe: Any, scheduler: str, spacing: Spacing) -> Iterator[None]:
    """The pipeline with timesteps so spaced, for schedulers made from its own within the block."""
    before = pipe.scheduler
    like = make_scheduler(scheduler, before)
    changes: dict[str, Any] = {"timestep_spacing": spacing}
    if spacing == "karras":
        changes = {"use_karras_sigmas": True}
    if spacing == "shifted":
        changes = {}
    pipe.scheduler = type(like).from_config(like.config, **changes)
    try:
        yield
    finally:
        pipe.scheduler = before
