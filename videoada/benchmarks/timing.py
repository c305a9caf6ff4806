"""time_pairs(): full and skipped runs in interleaved pairs, and how close the time saved comes to the ideal.

The two runs of a pair take turns, step by step, so that whatever else slows the machine slows both alike: on a shared
machine a network call may take 125 ms now and 200 ms a few seconds later.
"""

from __future__ import annotations

import copy
import functools
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import greenlet
import torch

from videoada.benchmarks.every_prompt import FEW, of_nearly_all
from videoada.config.run import GenerationConfig, SkipConfig
from videoada.devices import synchronize
from videoada.errors import ConfigError
from videoada.generation.generate import check_request
from videoada.learned.early_exit import exits_of, find_heads
from videoada.learned.exit_heads import ExitHeads
from videoada.learned.step_policy import with_chosen_steps, with_max_steps
from videoada.metrics.paired import IDENTICAL, paired_fidelity
from videoada.models.call import call_pipeline
from videoada.models.denoisers import device_of, dtype_of, names_of_denoisers
from videoada.models.pipelines import copied, model_info
from videoada.models.placement import compile_denoiser, has_first_costs
from videoada.models.recommended import with_recommended
from videoada.models.schedulers import scheduler_of
from videoada.records.record import package_versions
from videoada.skipping.skip_steps import skip_steps


@dataclass(frozen=True)
class Pair:
    """A full run and a skipped run of one batch, in turns. Times in seconds, rows of the UNet's batch."""

    full: float
    skipped: float
    denoiser: float  # of the full run
    denoiser_skipped: float  # of the skipped run
    rows_full: int
    rows: int
    own: float  # that the skipped run spent deciding and predicting
    num_steps_full: int
    num_steps: int  # of the skipped run: fewer where a step policy chose so
    psnr: tuple[float, ...]  # of each video
    full_denoising: float  # of `full`, from the timesteps to the last latents
    skipped_denoising: float
    first_calls: float  # seconds of both, in network calls whose shapes this process had not seen

    @property
    def call(self) -> float:
        """One UNet call of the full run."""
        return self.denoiser / self.num_steps_full

    @property
    def ideal(self) -> float:
        """The full time less what the network saved at the batch sizes it was called with: skipping that costs
        nothing."""
        return self.full - self.denoiser + self.denoiser_skipped

    @property
    def ideal_by_rows(self) -> float:
        """The full time less the skipped rows' share of its network time, assuming that time per row does not depend on
        the batch size."""
        return self.full - (self.rows_full - self.rows) * self.denoiser / self.rows_full


@dataclass(frozen=True)
class Timing:
    """Medians over pairs. `efficiency` = ideal ÷ measured time, `row_efficiency` the same assuming that time per row
    does not depend on the batch size; `policy_share` = own time a step ÷ one UNet call."""

    model: str
    embedded: bool
    policy: str
    device: str
    dtype: str
    batch_size: int
    pairs: int
    num_inference_steps: int
    predictions: float
    speedup: float  # of the full run, from the prompt to the frames
    speedup_denoising: float
    ideal_speedup: float
    efficiency: float
    row_efficiency: float
    policy_share: float
    videos: int  # of which the fidelity is: each once, however often it was timed
    psnr: float | None  # mean; None where all are the full runs' own
    psnr_of_95: float | None  # that 95 % of them have or exceed; None of so few that it would be the worst
    versions: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def time_pairs(
    pipe: Any,
    requests: Sequence[GenerationConfig],
    *,
    skip: SkipConfig | None = None,
    batch_size: int = 1,
    pairs: int = 9,
    on_pair: Callable[[int, Pair], None] | None = None,
) -> Timing:
    """Time `pairs` pairs of runs over the requests in turn, after one warm-up.

    A run is timed from the prompt to the decoded frames, while it has its turn; which of a pair begins alternates. A
    pair that met sizes new to the process is run again where such first calls are slow (a GPU, or compiled). With
    a step policy, a batch holds requests for which it chooses the same number of steps, and its full run has the most
    steps that the policy can choose. Raises ConfigError for requests that can't be met.
    """
    skip = skip or SkipConfig()
    if pairs < 1 or len(requests) < batch_size:
        raise ConfigError(f"a benchmark needs a pair or more and {batch_size} prompts a batch, got {len(requests)}")
    requests = with_max_steps(pipe, with_recommended(pipe, requests))
    chosen = with_chosen_steps(pipe, requests)
    for request in chosen:
        check_request(pipe, request, skip)
    batches = _batches([request.num_steps for request in chosen], batch_size)
    if not batches:
        raise ConfigError(f"no {batch_size} prompts have equally many steps; give more prompts, or smaller batches")

    def pair(number: int) -> Pair:
        indices = batches[number % len(batches)]
        return _pair(pipe, [requests[i] for i in indices], [chosen[i] for i in indices], skip, number % 2 == 0)

    pair(0)
    measured = []
    for i in range(pairs):
        found = pair(i)
        if found.first_calls and has_first_costs(pipe):
            found = pair(i)
        measured.append(found)
        if on_pair:
            on_pair(i, measured[-1])
    info = model_info(pipe)
    median = statistics.median
    psnrs = [psnr for p in measured[: len(batches)] for psnr in p.psnr]
    same = min(psnrs) == IDENTICAL
    return Timing(
        model=info.name,
        embedded=info.embedded,
        policy=skip.policy,
        device=str(device_of(pipe)),
        dtype=str(dtype_of(pipe)).removeprefix("torch."),
        batch_size=batch_size,
        pairs=pairs,
        num_inference_steps=requests[0].num_steps,
        predictions=statistics.fmean(p.num_steps_full * p.rows / p.rows_full for p in measured),
        speedup=median(p.full / p.skipped for p in measured),
        speedup_denoising=median(p.full_denoising / p.skipped_denoising for p in measured),
        ideal_speedup=median(p.full / p.ideal for p in measured),
        efficiency=median(p.ideal / p.skipped for p in measured),
        row_efficiency=median(p.ideal_by_rows / p.skipped for p in measured),
        policy_share=median(p.own / p.num_steps / p.call for p in measured),
        psnr=None if same else statistics.fmean(psnrs),
        videos=len(psnrs),
        psnr_of_95=None if same or len(psnrs) < FEW else of_nearly_all(psnrs),
        versions=package_versions(),
    )


def _batches(steps: Sequence[int], batch_size: int) -> list[list[int]]:
    """Full batches of request indices with the same number of steps, the smallest indices first."""
    found = []
    for count in set(steps):
        indices = [i for i, own in enumerate(steps) if own == count]
        found += [indices[i : i + batch_size] for i in range(0, len(indices) - batch_size + 1, batch_size)]
    return sorted(found)


def _pair(
    pipe: Any, in_full: Sequence[GenerationConfig], batch: Sequence[GenerationConfig], skip: SkipConfig,
    full_first: bool,
) -> Pair:  # fmt: skip
    heads = find_heads(pipe, skip.exit_heads) if skip.early_exit else None
    full, skipped = _timed(pipe, in_full, SkipConfig(policy="none")), _timed(twin(pipe), batch, skip, heads)
    results = in_turn(full, skipped) if full_first else reversed(in_turn(skipped, full))
    ((full_frames, full_trace, full_denoising), full_seconds), ((frames, trace, denoising), seconds) = results
    psnrs = [paired_fidelity(a.frames, b.frames).psnr for a, b in zip(frames, full_frames, strict=True)]
    counted = tuple(IDENTICAL if p is None else min(p, IDENTICAL) for p in psnrs)
    return Pair(
        full_seconds, seconds, full_trace.denoiser_seconds, trace.denoiser_seconds, full_trace.unet_rows,
        trace.unet_rows, trace.own_seconds, full_trace.num_steps, trace.num_steps, counted,
        full_denoising, denoising, full_trace.first_call_seconds + trace.first_call_seconds,
    )  # fmt: skip


def _timed(
    pipe: Any, batch: Sequence[GenerationConfig], skip: SkipConfig, heads: ExitHeads | None = None
) -> Callable[[Callable[[], None]], Any]:
    """A run for `in_turn` that hands over after each step."""

    device = device_of(pipe)

    def run(hand_over: Callable[[], None]) -> Any:
        denoising = began = 0.0

        def on_step(step: int, *_: Any) -> None:
            nonlocal denoising, began
            synchronize(device)
            denoising += time.perf_counter() - (began if step else trace.started)
            hand_over()
            began = time.perf_counter()

        with (
            scheduler_of(pipe, batch[0].scheduler),
            exits_of(pipe, skip, batch[0].guided, heads),
            skip_steps(pipe, skip.steps_alone, on_step=on_step) as trace,
        ):
            trace.synchronize = True
            frames, _ = call_pipeline(pipe, batch)
        return frames, trace, denoising

    return run


def twin(pipe: Any) -> Any:
    """The same weights behind a second pipeline, scheduler and denoiser objects, which skip_steps can wrap apart."""
    twin = copied(pipe)
    twin.scheduler = copy.deepcopy(pipe.scheduler)  # a run with the pipeline's own makes no other
    for name in names_of_denoisers(pipe):  # a unet, its lists of blocks, the blocks: early exit wraps those as well
        denoiser = getattr(pipe, name)
        shell = _shell(denoiser, depth=2)
        if getattr(denoiser, "_compiled_call_impl", None) is not None:  # which copies lose; the graphs are shared
            compile_denoiser(shell)
        setattr(twin, name, shell)
    return twin


def _shell(module: Any, depth: int) -> Any:
    shell = copy.copy(module)
    if depth:
        shell._modules = {name: part and _shell(part, depth - 1) for name, part in module._modules.items()}
    return shell


def in_turn(*runs: Callable[[Callable[[], None]], Any]) -> list[tuple[Any, float]]:
    """Each run's result and the seconds in which it had the turn: only one runs at a time.

    A run is called with a function that passes the turn on and returns when it has come back. An exception in one ends
    all, and is raised. All run in this one thread: a second one would bring its own pool of workers for torch, and two
    pools that wait for each other's processors make a call of a small model take 1.7 times as long.
    """
    here = greenlet.getcurrent()
    turns = [greenlet.greenlet(functools.partial(run, here.switch)) for run in runs]
    results, seconds = [None] * len(runs), [0.0] * len(runs)
    try:
        with torch.no_grad():  # else the first to end would switch gradients on for the others: it found them so
            while not all(turn.dead for turn in turns):
                for i, turn in enumerate(turns):
                    if not turn.dead:
                        began = time.perf_counter()
                        results[i] = turn.switch()
                        seconds[i] += time.perf_counter() - began
    finally:
        for turn in turns:
            if not turn.dead:  # after an exception in another
                turn.throw()
    return list(zip(results, seconds, strict=True))
