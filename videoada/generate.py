"""generate(): requests in, videos with their records out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from videoada.config import GenerationConfig, SkipConfig
from videoada.denoiser import StepCallback, skip_steps
from videoada.errors import ConfigError
from videoada.pipelines import model_info, scheduler_of, unknown_words
from videoada.records import RunRecord
from videoada.trace import StepTrace
from videoada.video import Video

FEW_STEPS = 15  # below it, skipping saves little and costs much


def generate(
    pipe: Any,
    requests: Sequence[GenerationConfig] | None = None,
    *,
    skip: SkipConfig | None = None,
    on_step: StepCallback | None = None,
    on_video: Callable[[Video, RunRecord], None] | None = None,
    **fields: Any,
) -> list[tuple[Video, RunRecord]]:
    """Draw one video for each request, skipping as `skip` says (default: the shipped policy).

    Give `requests`, or the fields of a single one: `generate(pipe, prompt="…", seed=7)`. `on_step(step, num_steps,
    computed)` is called after each step, `on_video` after each video. Each video uses one CPU generator with its own
    seed for everything random in it. Raises ConfigError for a request that can't be met.
    """
    if requests is None:
        requests = [GenerationConfig(**fields)]
    elif fields:
        raise ConfigError("give requests or the fields of one, not both")
    for request in requests:
        check_request(pipe, request, skip or SkipConfig())
    results = []
    for request in requests:
        results.append(_generate_one(pipe, request, skip or SkipConfig(), on_step))
        if on_video:
            on_video(*results[-1])
    return results


def check_request(pipe: Any, request: GenerationConfig, skip: SkipConfig) -> None:
    """Raises ConfigError if this pipeline can't draw the request."""
    factor = getattr(pipe, "vae_scale_factor", 8)
    for name, value in (("height", request.height), ("width", request.width)):
        if value is not None and value % factor:
            raise ConfigError(f"{name} {value} is not a multiple of {factor}, which the model's VAE needs")
    if skip.mask and len(skip.mask) != request.num_inference_steps:
        raise ConfigError(f"the mask has {len(skip.mask)} entries but the run has {request.num_inference_steps} steps")


def _generate_one(
    pipe: Any, request: GenerationConfig, skip: SkipConfig, on_step: StepCallback | None
) -> tuple[Video, RunRecord]:
    started = time.perf_counter()
    with scheduler_of(pipe, request.scheduler), skip_steps(pipe, skip, on_step=on_step) as trace:
        output = pipe(
            prompt=request.prompt,
            negative_prompt=request.negative_prompt,
            num_inference_steps=request.num_inference_steps,
            guidance_scale=request.guidance_scale,
            num_frames=request.num_frames,
            height=request.height,
            width=request.width,
            generator=torch.Generator("cpu").manual_seed(request.seed),
            output_type="np",
        )
    video = Video.from_float(output.frames[0], request.fps)
    finished = time.perf_counter()
    seconds = {
        "load": 0.0,
        "encode": trace.started - started,
        "denoise": trace.finished - trace.started,
        "decode": finished - trace.finished,
        "write": 0.0,
        "total": finished - started,
    }
    return video, _record(pipe, request, skip, trace, video, seconds)


def _record(
    pipe: Any, request: GenerationConfig, skip: SkipConfig, trace: StepTrace, video: Video, seconds: dict[str, float]
) -> RunRecord:
    predictions = trace.num_predictions[0]
    rows = trace.rows_per_prediction
    warnings = []
    if unknown := unknown_words(pipe, f"{request.prompt} {request.negative_prompt or ''}"):
        warnings.append(f"the model has never seen: {', '.join(unknown)}")
    if skip.policy != "none" and skip.threshold != 0:
        if predictions == trace.num_steps and trace.num_steps > 1:
            warnings.append("no step was skipped: nothing was saved on this prompt; raise the threshold to skip more")
        if trace.num_steps < FEW_STEPS:
            warnings.append(
                f"with {trace.num_steps} steps there is little to skip; skipping pays from about {FEW_STEPS}"
            )
    policy = {
        name: getattr(skip, name)
        for name in ("threshold", "every", "mask", "max_skip_steps", "warmup_steps", "final_steps")
        if getattr(skip, name) is not None
    }
    return RunRecord(
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
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
        predictor={"name": skip.predictor},
        computed=trace.computed[0],
        signal=trace.signal[0],
        signal_percentiles=trace.signal_percentiles(),
        num_predictions=predictions,
        unet_rows=rows * predictions,
        unet_rows_full=rows * trace.num_steps,
        seconds={name: round(value, 4) for name, value in seconds.items()},
        warnings=warnings,
        device=str(pipe.device),
        dtype=str(getattr(pipe, "unet", pipe).dtype).removeprefix("torch."),
    )
