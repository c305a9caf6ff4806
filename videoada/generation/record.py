"""The record of a run, from its trace: what was skipped, what it cost, what was saved."""

from __future__ import annotations

import sys
from typing import Any

import torch

from videoada.config.run import GenerationConfig, SkipConfig
from videoada.learned.early_exit import exit_record
from videoada.learned.exit_network import ExitTrace
from videoada.learned.parts import EXIT_HEADS
from videoada.media.video import Video
from videoada.metrics.coherence import check_coherence
from videoada.models.denoisers import device_of, dtype_of
from videoada.models.images import fingerprint, image_name
from videoada.models.pipelines import model_info, unknown_words
from videoada.records.record import RunRecord
from videoada.skipping.trace import StepTrace

FEW_STEPS = 15  # below it, skipping saves little and costs much


def _heads_of(pipe: Any, skip: SkipConfig) -> dict[str, Any]:
    """Whose exit heads they were: the file's name where it is one's own, and its hash."""
    own = {"heads": str(skip.exit_heads)} if skip.exit_heads else {}
    return own | {"heads_sha256": EXIT_HEADS.sha256(pipe, skip.exit_heads)}


def _peak_memory(pipe: Any) -> int | None:
    """Most bytes held: of the GPU during this run, or of the whole process so far on a CPU."""
    if (device := device_of(pipe)).type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


def make_record(
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
        device=str(device_of(pipe)),
        dtype=str(dtype_of(pipe)).removeprefix("torch."),
    )


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


def with_measures(record: RunRecord, video: Video) -> RunRecord:
    """The record with the frames' hash and coherence."""
    return record.model_copy(update={"frames_sha256": video.sha256(), "coherence": check_coherence(video.frames)})
