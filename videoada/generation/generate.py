"""generate(): requests in, videos with their records out."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from videoada.config.goals import make_skip, split_fields
from videoada.config.run import TARGETS, GenerationConfig, SkipConfig
from videoada.devices import reset_peak_memory
from videoada.errors import ConfigError, counted
from videoada.generation.events import Event, Reporter, VideoDone
from videoada.generation.make_record import make_record, savings, with_measures
from videoada.learned.early_exit import exits_of, find_heads
from videoada.learned.step_policy import with_chosen_steps, with_max_steps
from videoada.media.video import Video
from videoada.models.arguments import check_request as check_supported
from videoada.models.arguments import one_a_call
from videoada.models.call import call_pipeline
from videoada.models.denoisers import device_of
from videoada.models.pipelines import model_info
from videoada.models.placement import has_first_costs
from videoada.models.recommended import left_to_model, with_recommended
from videoada.models.schedulers import scheduler_of
from videoada.models.source_videos import video_fingerprint
from videoada.models.tokens import watch_tokens
from videoada.records.record import RunRecord
from videoada.skipping.rules.window import check_budget
from videoada.skipping.skip_steps import skip_steps
from videoada.skipping.step_call import LatentsCallback, Listeners, StepCallback

BatchCallback = Callable[[Sequence[int], Sequence[GenerationConfig]], None]  # indices of requests, and what they ask


def generate(
    pipe: Any,
    requests: Sequence[GenerationConfig] | None = None,
    *,
    skip: SkipConfig | None = None,
    batch_size: int = 1,
    on_step: StepCallback | None = None,
    on_latents: LatentsCallback | None = None,
    on_video: Callable[[Video, RunRecord], None] | None = None,
    on_event: Callable[[Event], None] | None = None,
    measure: bool = True,
    **fields: Any,
) -> list[tuple[Video, RunRecord]]:
    """One video with its record for each request, skipping as `skip` says (default: the shipped policy).

    Give `requests`, or the fields of a single one, and a SkipConfig, or how to skip as keywords beside them:
    `generate(pipe, prompt="…", seed=7, tolerance=0.1)`, `generate(pipe, requests, quality="high")`.

    Up to `batch_size` neighbours that differ only in prompts, image and seed run as one batch, still with one decision
    for each; a pipeline that takes one a call generates one by one. `on_step(step, num_steps, computed)` is called
    after each step, `on_latents(step, latents)` with what it left, `on_video` after each video, and `on_event` with
    each event of `generate_events` but previews. Each video uses one CPU
    generator with its own seed for everything random in it, so the batch size changes nothing but rounding. A record's
    seconds are its share of the batch's. With `measure` False a record lacks what is measured on the frames, until
    `with_measures` adds it. Raises ConfigError for a request that can't be met.
    """
    reporter = Reporter(on_event) if on_event else None
    found = generate_each(
        pipe, requests, skip=skip, batch_size=batch_size, measure=measure,
        listeners=Listeners(on_step, on_latents, reporter.on_report if reporter else None),
        on_batch=reporter.on_batch if reporter else None, **fields,
    )  # fmt: skip
    results: dict[int, tuple[Video, RunRecord]] = {}
    for index, video, record in found:
        results[index] = video, record
        if on_video:
            on_video(video, record)
        if on_event:
            on_event(VideoDone(index, video, record))
    return [results[index] for index in sorted(results)]


def generate_each(
    pipe: Any,
    requests: Sequence[GenerationConfig] | None = None,
    *,
    skip: SkipConfig | None = None,
    batch_size: int = 1,
    listeners: Listeners | None = None,
    on_batch: BatchCallback | None = None,
    measure: bool = True,
    **fields: Any,
) -> Iterator[tuple[int, Video, RunRecord]]:
    """(index, video, record) of each request as it is done, batch by batch; the rest is as `generate` has it.

    `on_batch(indices, requests)` is called before each batch, with the model's own settings filled in.
    """
    request_fields, skip_fields = split_fields(fields)
    if requests is None:
        requests = [GenerationConfig(**request_fields)]
    elif request_fields:
        raise ConfigError(f"give requests or the fields of one, not both (`{next(iter(request_fields))}`)")
    if batch_size < 1:
        raise ConfigError(f"the batch size must be at least 1, got {batch_size}")
    asked, requests = requests, with_max_steps(pipe, with_recommended(pipe, requests))
    skip = skip_of(pipe, requests, skip, skip_fields)
    chosen = with_chosen_steps(pipe, requests)
    for request in chosen:
        check_request(pipe, request, skip)
    order = list(range(len(chosen)))
    if any(request.step_policy for request in chosen):  # those with equally many steps together
        order.sort(key=lambda i: chosen[i].num_steps)
    at_once = 1 if one_a_call(pipe) else batch_size
    for _, alike in itertools.groupby(order, key=lambda i: _settings(chosen[i])):
        waiting = list(alike)
        for first in range(0, len(waiting), at_once):
            indices = waiting[first : first + at_once]
            if on_batch:
                on_batch(indices, [chosen[i] for i in indices])
            batch = _generate_batch(pipe, [(asked[i], chosen[i]) for i in indices], skip, listeners or Listeners())
            for i, (video, record) in zip(indices, batch, strict=True):
                most = requests[i].num_steps if requests[i].step_policy else record.num_inference_steps
                taken = left_to_model(pipe, asked[i])
                unused = list(record.not_used)
                if at_once < min(batch_size, len(requests)):
                    unused.append(f"`batch_size`: {type(pipe).__name__} generates one video a call")
                update: dict[str, Any] = {"savings": savings(record, most), "model_defaults": taken, "not_used": unused}
                if requests[i].step_policy:
                    update["most_steps"] = most
                record = record.model_copy(update=update)
                yield i, video, with_measures(record, video) if measure else record


def paid_first_costs(pipe: Any, results: Sequence[tuple[Video, RunRecord]]) -> bool:
    """Whether the seconds of these runs hold slow first calls, of sizes that were new to the process."""
    return has_first_costs(pipe) and any(record.first_call_seconds for _, record in results)


def timed_again(
    pipe: Any, results: list[tuple[Video, RunRecord]], run: Callable[[], list[tuple[Video, RunRecord]]]
) -> list[tuple[Video, RunRecord]]:
    """The results with the seconds of a second `run`, where the first one paid for sizes that were new to the process.

    What such first calls cost (compiling, choosing kernels) is no part of what a method takes.
    """
    if not paid_first_costs(pipe, results):
        return results
    timed = run()
    return [
        (video, record.model_copy(update={name: getattr(again, name) for name in ("seconds", "first_call_seconds")}))
        for (video, record), (_, again) in zip(results, timed, strict=True)
    ]


def skip_of(
    pipe: Any, requests: Sequence[GenerationConfig], skip: SkipConfig | None, fields: Mapping[str, Any]
) -> SkipConfig:
    """How to skip, given as a SkipConfig or as keywords, of which targets are for this model and these requests.

    Raises ConfigError where both are given, and for a target that the requests, of several kinds, can't share.
    """
    if skip is not None and fields:
        raise ConfigError(f"give `skip` or its fields, not both (`{next(iter(fields))}`)")
    if skip is not None or not fields:
        return skip or SkipConfig()
    kinds = {(request.scheduler, request.num_inference_steps, request.guidance_scale) for request in requests}
    for name in TARGETS:
        if fields.get(name) is not None and len(kinds) > 1:
            raise ConfigError(
                f"`{name}` is read off a curve of one scheduler, number of steps and guidance; the requests differ"
            )
        if fields.get(name) is not None and any(request.step_policy for request in requests):
            raise ConfigError(f"`{name}` is calibrated for skipping alone; give it without `step_policy`")
    scheduler, steps, guidance = next(iter(kinds), (None, None, None))
    return make_skip(
        fields, model=model_info(pipe).name, scheduler=scheduler, num_inference_steps=steps, guidance_scale=guidance
    )


def check_request(pipe: Any, request: GenerationConfig, skip: SkipConfig) -> None:
    """Raises ConfigError if this pipeline can't run the request, ModelError if it generates no videos."""
    [request] = with_recommended(pipe, [request])
    check_supported(pipe, request)
    if skip.early_exit:
        find_heads(pipe, skip.exit_heads)
    if skip.mask and len(skip.mask) != request.num_inference_steps and request.video is None:
        raise ConfigError(
            f"the mask has {counted(len(skip.mask), 'entry', 'entries')} but the run has "
            f"{counted(request.num_steps, 'step')}"
        )
    if skip.num_predictions is not None and request.step_policy is not None:
        raise ConfigError("`num_predictions` is of a known number of steps: give it without `step_policy`")
    if request.video is None:  # of whose steps a share runs
        check_budget(skip, request.num_steps)


def _settings(request: GenerationConfig) -> str:
    """Equal for requests that can be one batch; of several videos, which may differ in size, each is its own."""
    alike = request.model_dump_json(exclude={"prompt", "negative_prompt", "image", "video", "seed"})
    return f"{alike} {video_fingerprint(request.video)}"


def _generate_batch(
    pipe: Any,
    asked: Sequence[tuple[GenerationConfig, GenerationConfig]],
    skip: SkipConfig,
    listeners: Listeners,
) -> list[tuple[Video, RunRecord]]:
    """Of one call: requests as they were given, each with what the model's own settings make of it."""
    batch = [request for _, request in asked]
    reset_peak_memory(device_of(pipe))
    with (
        scheduler_of(pipe, batch[0].scheduler),
        exits_of(pipe, skip, guided=batch[0].guided) as exits,
        skip_steps(pipe, skip.steps_alone, **vars(listeners)) as trace,
        watch_tokens(pipe) as tokens,
    ):
        started = time.perf_counter()
        videos, total = call_pipeline(pipe, batch)
    seconds = {
        "load": 0.0,
        "encode": trace.started - started,
        "denoise": trace.finished - trace.started,
        "decode": started + total - trace.finished,
        "write": 0.0,
        "total": total,
    }
    seconds = {name: value / len(batch) for name, value in seconds.items()}
    return [
        (video, make_record(pipe, *each, skip, trace, exits, index, video, seconds, tokens))
        for index, (each, video) in enumerate(zip(asked, videos, strict=True))
    ]
