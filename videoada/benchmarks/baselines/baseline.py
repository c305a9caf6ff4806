"""Baselines by name: a pipeline that skips as one does, and videos by it."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from videoada.benchmarks.baselines.caches import EasyCache, TeaCache
from videoada.benchmarks.baselines.meancache import SCHEDULES, MeanCache
from videoada.benchmarks.baselines.seacache import SeaCache
from videoada.benchmarks.baselines.spectrum import Spectrum
from videoada.benchmarks.baselines.step_level import Approximation, StepLevel
from videoada.benchmarks.baselines.taylorseer import TaylorSeer
from videoada.benchmarks.generated import Generated
from videoada.config.run import GenerationConfig
from videoada.devices import peak_memory, reset_peak_memory
from videoada.models.arguments import one_a_call
from videoada.models.call import call_pipeline
from videoada.models.denoisers import device_of
from videoada.models.placement import has_first_costs
from videoada.models.schedulers import scheduler_of
from videoada.skipping.skip_steps import skip_steps
from videoada.skipping.trace import StepTrace

BASELINES: dict[str, Callable[[float], StepLevel]] = {
    "easycache": EasyCache,
    "teacache": TeaCache,
    "seacache": SeaCache,
    "taylorseer": lambda interval: TaylorSeer(int(interval)),
    "taylorseer-2": lambda interval: TaylorSeer(int(interval), order=2),
    "spectrum": Spectrum,
    "spectrum-replay": lambda growth: Spectrum(growth, replay=True),
    "meancache": lambda calls: MeanCache(int(calls)),
}
TITLES = {
    "easycache": "EasyCache",
    "teacache": "TeaCache",
    "seacache": "SeaCache",
    "taylorseer": "TaylorSeer",
    "taylorseer-2": "TaylorSeer, order 2",
    "spectrum": "Spectrum",
    "spectrum-replay": "Spectrum, replay",
    "meancache": "MeanCache",
}
# What the number is called, and the values that leave about half to a quarter of the calls on tiny-t2v. SeaCache, with
# two reuses in a row at most, leaves no fewer than 36 %.
KNOBS: dict[str, tuple[str, tuple[float, ...]]] = {
    "easycache": ("threshold", (0.05, 0.07, 0.1, 0.14, 0.2)),
    "teacache": ("threshold", (0.05, 0.065, 0.08, 0.1, 0.12)),
    "seacache": ("threshold", (0.06, 0.08, 0.1, 0.14, 0.3)),
    "taylorseer": ("interval", (2, 3, 4, 5)),
    "taylorseer-2": ("interval", (2, 3, 4, 5)),
    "spectrum": ("growth", (0, 0.1, 0.25, 0.5, 0.75)),
    "spectrum-replay": ("growth", (0, 0.1, 0.25, 0.5, 0.75)),
    "meancache": ("calls", tuple(SCHEDULES)),
}


@contextlib.contextmanager
def skipping_by(pipe: Any, baseline: str, knob: float) -> Iterator[StepTrace]:
    """Inside the block, calls of the pipeline skip as `baseline` does; yields the trace of the latest one.

    Raises ConfigError for a pipeline or a scheduler that `skip_steps` refuses.
    """
    rule = BASELINES[baseline](knob)
    with contextlib.ExitStack() as stack:
        stack.enter_context(rule.around(pipe.scheduler))  # below the skipping: it sees what the scheduler is given
        rule.trace = stack.enter_context(skip_steps(pipe, rule, Approximation(rule)))
        yield rule.trace


def generate_by(
    pipe: Any, baseline: str, knob: float, requests: Sequence[GenerationConfig], batch_size: int
) -> list[Generated]:
    """One video for each request, neighbours with the same settings at once. Raises ConfigError as `skipping_by`."""
    generated, first_calls = _generate(pipe, baseline, knob, requests, batch_size)
    if has_first_costs(pipe) and first_calls:
        again, _ = _generate(pipe, baseline, knob, requests, batch_size)
        generated = [
            replace(video, seconds=timed.seconds, denoising_seconds=timed.denoising_seconds)
            for video, timed in zip(generated, again, strict=True)
        ]
    return generated


def _generate(
    pipe: Any, baseline: str, knob: float, requests: Sequence[GenerationConfig], batch_size: int
) -> tuple[list[Generated], float]:
    generated, first_calls = [], 0.0
    at_once = 1 if one_a_call(pipe) else batch_size
    for _, alike in itertools.groupby(requests, key=_settings):
        waiting = list(alike)
        for first in range(0, len(waiting), at_once):
            batch = waiting[first : first + at_once]
            reset_peak_memory(device_of(pipe))
            with scheduler_of(pipe, batch[0].scheduler), skipping_by(pipe, baseline, knob) as trace:
                videos, seconds = call_pipeline(pipe, batch)
            first_calls += trace.first_call_seconds
            generated += [
                Generated(
                    video, trace.num_predictions[i], trace.rows_of(i), float(trace.rows_of(i)), seconds / len(batch),
                    peak_memory(device_of(pipe)), trace.computed[i], (trace.finished - trace.started) / len(batch),
                )
                for i, video in enumerate(videos)
            ]  # fmt: skip
    return generated, first_calls


def _settings(request: GenerationConfig) -> str:
    """Equal for requests that can be one batch."""
    return request.model_dump_json(exclude={"prompt", "negative_prompt", "image", "seed"})
