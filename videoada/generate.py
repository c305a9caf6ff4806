"""generate(): requests in, videos with their records out."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from videoada.config.run import GenerationConfig, SkipConfig
from videoada.config.settings import SHIPPED
from videoada.errors import ConfigError
from videoada.learned.early_exit import exit_record, exits_of, find_heads
from videoada.learned.exit_network import ExitTrace
from videoada.learned.parts import EXIT_HEADS
from videoada.learned.step_policy import choose_steps, find_policy
from videoada.media.video import Video
from videoada.metrics.coherence import check_coherence
from videoada.models.call import check_request as check_drawable
from videoada.models.call import draw_batch
from videoada.models.images import fingerprint, image_name
from videoada.models.pipelines import model_info, scheduler_of, unknown_words
from videoada.records.record import RunRecord
from videoada.skipping.skip_steps import skip_steps
from videoada.skipping.stepping import LatentsCallback, StepCallback
from videoada.skipping.trace import StepTrace

FEW_STEPS = 15  # below it, skipping saves little and costs much


def generate(
    pipe: Any,
    requests: Sequence[GenerationConfig] | None = None,
    *,
    skip: SkipConfig | None = None,
    batch_size: int = 1,
    on_step: StepCallback | None = None,
    on_latents: LatentsCallback | None = None,
    on_video: Callable[[Video, RunRecord], None] | None = None,
    measure: bool = True,
    **fields: Any,
) -> list[tuple[Video, RunRecord]]:
    """Draw one video for each request, skipping as `skip` says (default: the shipped policy).

    Give `requests`, or the fields of a single one: `generate(pipe, prompt="…", seed=7)`. Up to `batch_size` neighbours
    that differ only in prompts, image and seed run as one batch, still with one decision for each. `on_step(
    step, num_steps, computed)` is called after each step, `on_latents(step, latents)` with what it left, `on_video`
    after each video. Each video uses one CPU
    generator with its own seed for everything random in it, so the batch size changes nothing but rounding. A record's
    seconds are its share of the batch's. With `measure` False a record lacks what is measured on the frames, until
    `with_measures` adds it. Raises ConfigError for a request that can't be met.
    """
    if requests is None:
        requests = [GenerationConfig(**fields)]
    elif fields:
        raise ConfigError("give requests or the fields of one, not both")
    if batch_size < 1:
        raise ConfigError(f"the batch size must be at least 1, got {batch_size}")
    skip = skip or SkipConfig()
    requests = with_most_steps(pipe, requests)
    chosen = with_chosen_steps(pipe, requests)
    for request in chosen:
        check_request(pipe, request, skip)
    order = list(range(len(chosen)))
    if any(request.step_policy for request in chosen):  # those with equally many steps together
        order.sort(key=lambda i: chosen[i].num_inference_steps)
    results: dict[int, tuple[Video, RunRecord]] = {}
    for _, alike in itertools.groupby(order, key=lambda i: _settings(chosen[i])):
        waiting = list(alike)
        for first in range(0, len(waiting), batch_size):
            places = waiting[first : first + batch_size]
            batch = _generate_batch(pipe, [chosen[i] for i in places], skip, on_step, on_latents)
            for i, (video, record) in zip(places, batch, strict=True):
                most = requests[i].num_inference_steps
                update = {"most_steps": most if requests[i].step_policy else None, "savings": savings(record, most)}
                record = record.model_copy(update=update)
                results[i] = video, with_measures(record, video) if measure else record
                if on_video:
                    on_video(*results[i])
    return [results[i] for i in range(len(chosen))]


def savings(record: RunRecord, most_steps: int) -> dict[str, float]:
    """Shares of the full run's multiply-adds, adding up to 1: what fewer steps, skipping and early exit saved, and what
    was computed. Each is counted of what those before it left."""
    rows_full = record.unet_rows_full * most_steps / max(record.num_inference_steps, 1)
    rows, macs = record.unet_rows / rows_full, record.early_exit["macs"] if record.early_exit else 1.0
    parts = {
        "step_count": 1 - record.unet_rows_full / rows_full, "skipping": (record.unet_rows_full - record.unet_rows)
        / rows_full, "early_exit": rows * (1 - macs), "computed": rows * macs,
    }  # fmt: skip
    return {name: round(share, 4) for name, share in parts.items()}


def with_most_steps(pipe: Any, requests: Sequence[GenerationConfig]) -> list[GenerationConfig]:
    """The requests, those with a step policy with the most steps that it could choose: those of the full run."""
    most = {
        policy: max(find_policy(pipe, _file(policy)).counts)
        for policy in {r.step_policy for r in requests if r.step_policy is not None}
    }
    return [r.model_copy(update={"num_inference_steps": most[r.step_policy]}) if r.step_policy else r for r in requests]


def _file(step_policy: str) -> str | None:
    return None if step_policy == SHIPPED else step_policy


def with_chosen_steps(pipe: Any, requests: Sequence[GenerationConfig]) -> list[GenerationConfig]:
    """The requests with the number of steps that their step policy chooses, where they have one."""
    chosen = list(requests)
    for policy in {request.step_policy for request in requests if request.step_policy is not None}:
        places = [i for i, request in enumerate(requests) if request.step_policy == policy]
        prompts = [requests[i].prompt for i in places]
        for i, count in zip(places, choose_steps(pipe, prompts, _file(policy)), strict=True):
            chosen[i] = requests[i].model_copy(update={"num_inference_steps": count})
    return chosen


def with_measures(record: RunRecord, video: Video) -> RunRecord:
    """The record with the frames' hash and coherence."""
    return record.model_copy(update={"frames_sha256": video.sha256(), "coherence": check_coherence(video.frames)})


def check_request(pipe: Any, request: GenerationConfig, skip: SkipConfig) -> None:
    """Raises ConfigError if this pipeline can't draw the request, ModelError if it draws no videos at all."""
    check_drawable(pipe, request)
    if skip.early_exit:
        find_heads(pipe, skip.exit_heads)
    if skip.mask and len(skip.mask) != request.num_inference_steps:
        raise ConfigError(f"the mask has {len(skip.mask)} entries but the run has {request.num_inference_steps} steps")


def _settings(request: GenerationConfig) -> str:
    return request.model_dump_json(exclude={"prompt", "negative_prompt", "image", "seed"})


def _generate_batch(
    pipe: Any,
    batch: Sequence[GenerationConfig],
    skip: SkipConfig,
    on_step: StepCallback | None,
    on_latents: LatentsCallback | None,
) -> list[tuple[Video, RunRecord]]:
    if (device := pipe._execution_device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with (
        scheduler_of(pipe, batch[0].scheduler),
        exits_of(pipe, skip, guided=batch[0].guidance_scale > 1) as exits,
        skip_steps(pipe, skip.steps_alone, on_step=on_step, on_latents=on_latents) as trace,
    ):
        started = time.perf_counter()
        videos, total = draw_batch(pipe, batch)
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
        (video, _record(pipe, each, skip, trace, exits, index, video, seconds))
        for index, (each, video) in enumerate(zip(batch, videos, strict=True))
    ]


def _heads_of(pipe: Any, skip: SkipConfig) -> dict[str, Any]:
    """Whose exit heads they were: the file's name where it is one's own, and its hash."""
    own = {"heads": str(skip.exit_heads)} if skip.exit_heads else {}
    return own | {"heads_sha256": EXIT_HEADS.sha256(pipe, skip.exit_heads)}


def _peak_memory(pipe: Any) -> int | None:
    """Most bytes held: of the GPU during this run, or of the whole process so far on a CPU."""
    if (device := pipe._execution_device).type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


def _record(
    pipe: Any,
    request: GenerationConfig,
    skip: SkipConfig,
    trace: StepTrace,
    exits: ExitTrace | None,
    index: int,
    video: Video,
    seconds: dict[str, float],
) -> RunRecord:
    predictions = trace.num_predictions[index]
    rows = trace.rows_per_prediction
    warnings = []
    if unknown := unknown_words(pipe, f"{request.prompt} {request.negative_prompt or ''}"):
        warnings.append(f"the model has never seen: {', '.join(unknown)}")
    if skip.policy != "none" and skip.limit != 0:
        if predictions == trace.num_steps and trace.num_steps > 1:
            warnings.append(
                f"no step was skipped: nothing was saved on this prompt; raise the {skip.limit_name} to skip more"
            )
        if trace.num_steps < FEW_STEPS:
            warnings.append(
                f"with {trace.num_steps} steps there is little to skip; skipping pays from about {FEW_STEPS}"
            )
    left = exit_record(exits, trace.computed, index) | _heads_of(pipe, skip) if exits else None
    if left and left["threshold"] and left["macs"] >= 1:
        warnings.append(
            f"no step left the network early, and asking took {left['macs'] - 1:.1%} of the work of those computed: "
            "raise the exit-threshold, or leave early exit out"
        )
    policy = {
        name: getattr(skip, name)
        for name in (
            "threshold",
            "tolerance",
            "guidance_tolerance",
            "every",
            "mask",
            "max_skip_steps",
            "warmup_steps",
            "final_steps",
        )
        if getattr(skip, name) is not None
    }
    if skip.batch_decision != "prompt":
        policy["batch_decision"] = skip.batch_decision
    return RunRecord(
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        image=image_name(request.image),
        image_sha256=fingerprint(request.image),
        target_fps=request.target_fps,
        model=model_info(pipe),
        scheduler=request.scheduler,
        num_inference_steps=trace.num_steps,
        guidance_scale=request.guidance_scale,
        seed=request.seed,
        num_frames=len(video.frames),
        height=video.frames.shape[1],
        width=video.frames.shape[2],
        fps=request.fps,
        policy={"name": skip.policy, **policy},
        predictor={"name": skip.predictor}
        | ({"damping": skip.damping} if skip.damping is not None else {})
        | ({"corrector": skip.corrector} if skip.policy != "none" else {}),
        early_exit=left,
        computed=trace.computed[index],
        signal=trace.signal[index],
        signal_percentiles=trace.signal_percentiles(index),
        num_predictions=predictions,
        guidance_skipped=trace.guidance_skipped(index) if skip.guidance_tolerance else None,
        unet_rows=trace.rows_of(index),
        unet_rows_full=rows * trace.num_steps,
        seconds={name: round(value, 4) for name, value in seconds.items()},
        peak_memory_bytes=_peak_memory(pipe),
        warnings=warnings,
        device=str(pipe._execution_device),
        dtype=str(getattr(pipe, "unet", pipe).dtype).removeprefix("torch."),
    )
