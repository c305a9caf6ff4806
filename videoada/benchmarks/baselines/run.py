"""skipping_by(): a pipeline that skips as a named baseline does, for the length of a `with`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from videoada.benchmarks.baselines.caches import EasyCache, TeaCache
from videoada.benchmarks.baselines.meancache import SCHEDULES, MeanCache
from videoada.benchmarks.baselines.seacache import SeaCache
from videoada.benchmarks.baselines.spectrum import Spectrum
from videoada.benchmarks.baselines.step_level import Approximation, StepLevel
from videoada.benchmarks.baselines.taylorseer import TaylorSeer
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
# What the number is called, and the values that cover about half to a quarter of the steps on the embedded models.
KNOBS: dict[str, tuple[str, tuple[float, ...]]] = {
    "easycache": ("threshold", (0.05, 0.1, 0.2, 0.3)),
    "teacache": ("threshold", (0.05, 0.1, 0.2, 0.3)),
    "seacache": ("threshold", (0.05, 0.1, 0.2, 0.3)),
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
