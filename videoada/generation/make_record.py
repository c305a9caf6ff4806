"""The record of a run, from its trace: what was skipped, what it cost, what was saved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL import Image

from videoada.config.run import GenerationConfig, SkipConfig, is_hash
from videoada.devices import peak_memory
from videoada.errors import counted
from videoada.generation.not_used import not_used
from videoada.learned.early_exit import exit_record
from videoada.learned.exit_network import ExitTrace
from videoada.learned.parts import EXIT_HEADS
from videoada.media.video import Video
from videoada.metrics.coherence import check_coherence
from videoada.models.denoisers import device_of, dtype_of
from videoada.models.images import fingerprint
from videoada.models.pipelines import load_config, model_info
from videoada.models.source_videos import video_fingerprint
from videoada.models.tokens import Tokenized
from videoada.models.understanding import understand
from videoada.records.record import RunRecord
from videoada.skipping.trace import StepTrace

FEW_STEPS = 15  # below it, skipping saves little and costs much
DISTILLED_STEPS = 8  # at most as many take models that were distilled to few
DISTILLED = ("LCM", "TCD", "FlowMatchLCM")  # beginnings of names of schedulers for distilled models


def _heads_of(pipe: Any, skip: SkipConfig) -> dict[str, Any]:
    """The exit heads of the run: the file's name where it did not ship, and its hash."""
    own = {"heads": str(skip.exit_heads)} if skip.exit_heads else {}
    return own | {"heads_sha256": EXIT_HEADS.sha256(pipe, skip.exit_heads)}


def make_record(
    pipe: Any, asked: GenerationConfig, request: GenerationConfig, skip: SkipConfig, trace: StepTrace,
    exits: ExitTrace | None, index: int, video: Video, seconds: dict[str, float], tokens: Sequence[Tokenized] = (),
) -> RunRecord:  # fmt: skip
    """The record of the batch's video `index`, without what is measured on its frames.

    `asked` is its request as it was given, `tokens` what the tokenizers were given.
    """
    left = exit_record(exits, trace.computed, index) | _heads_of(pipe, skip) if exits else None
    image_sha256 = fingerprint(request.image)
    steps, seen = trace.num_steps, trace.seen(index)  # unseen steps were computed
    computed = trace.computed[index] if seen else [True] * steps
    signal: list[float | None] = trace.signal[index] if seen else [None] * steps
    if request.image is not None and not isinstance(request.image, str):  # a picture given as an object
        request = request.model_copy(update={"image": f"sha256:{image_sha256}"})
    video_sha256 = video_fingerprint(request.video)
    if request.video is not None and not isinstance(request.video, str):
        request = request.model_copy(update={"video": f"sha256:{video_sha256}"})
    return RunRecord(
        request=request,
        skip=skip,
        load=load_config(pipe),
        model=model_info(pipe),
        num_inference_steps=steps,
        num_frames=len(video.frames),
        height=video.frames.shape[1],
        width=video.frames.shape[2],
        image_sha256=image_sha256,
        video_sha256=video_sha256,
        early_exit=left,
        computed=computed,
        signal=signal,
        signal_percentiles=trace.signal_percentiles(index) if seen else None,
        num_predictions=sum(computed),
        taken_again=trace.taken_again[index] if skip.corrector and seen else None,
        guidance_skipped=trace.guidance_skipped(index) if skip.guidance_tolerance else None,
        unet_rows=trace.rows_of(index),
        unet_rows_full=trace.rows_per_prediction * steps if seen else trace.unet_rows,
        seconds={name: round(value, 4) for name, value in seconds.items()},
        first_call_seconds=round(trace.first_call_seconds / max(len(trace.computed), 1), 4),
        peak_memory_bytes=peak_memory(device_of(pipe)),
        warnings=_warnings(pipe, request, skip, trace, index, left),
        not_used=not_used(pipe, asked, request, skip, trace, index, video, tokens, left),
        device=str(device_of(pipe)),
        dtype=str(dtype_of(pipe)).removeprefix("torch."),
    )


def _warnings(
    pipe: Any, request: GenerationConfig, skip: SkipConfig, trace: StepTrace, index: int, left: dict[str, Any] | None
) -> list[str]:
    """What somebody who looks at the video, or at the time it took, would want to know."""
    warnings = []
    if (info := model_info(pipe)).embedded:
        negative = request.negative_prompt if request.guided else None  # without guidance it is not used
        read = (understand(info.name, request.prompt), understand(info.name, negative or "", negative=True))
        warnings += [understood.warning for understood in read if understood.warning]
    if skip.skips:
        warnings += _too_little_skipped(pipe, request, skip, trace, index)
    if left and left["threshold"] and left["macs"] >= 1:
        warnings.append(
            f"no step left the network early, and asking took {left['macs'] - 1:.1%} of the work of those computed: "
            "raise the exit threshold, or leave early exit out"
        )
    if trace.padded_rows:
        warnings.append(
            f"{trace.padded_rows} of the batch's {trace.unet_rows} UNet rows only filled sizes that are compiled: with "
            "`compile` a batch whose prompts skip at different steps saves less time than rows"
        )
    return warnings + trace.warnings_of(index)


def _too_little_skipped(
    pipe: Any, request: GenerationConfig, skip: SkipConfig, trace: StepTrace, index: int
) -> list[str]:
    """Warnings where skipping has saved nothing, or can't save much."""
    own = type(pipe.scheduler).__name__ if request.scheduler is None else ""
    if trace.num_steps <= DISTILLED_STEPS or own.startswith(DISTILLED):
        steps = f"with {trace.num_steps} step{'s' if trace.num_steps != 1 else ''}"
        of = f" of {own}" if own.startswith(DISTILLED) else ""
        return [f"{steps}{of}, as distilled models take, nothing is gained by skipping: each does the work of many"]
    warnings = []
    saved = trace.rows_of(index) < trace.rows_per_prediction * trace.num_steps
    if skip.limit is not None and not saved:
        warnings.append(
            f"no step was skipped: nothing was saved on this prompt; raise the {skip.limit_name} to skip more"
        )
    if trace.num_steps < FEW_STEPS:
        warnings.append(
            f"with {counted(trace.num_steps, 'step')} there is little to skip; skipping pays from about {FEW_STEPS}"
        )
    return warnings


def differs(record: RunRecord, pipe: Any, image: str | None, skip: SkipConfig) -> bool:
    """Whether weights, LoRA files, image or exit heads are known to differ from those of the record."""
    now = fingerprint(image)
    if image is not None and is_hash(record.request.image):  # which was of the picture's pixels, not of a file
        with Image.open(image) as opened:
            now = fingerprint(opened)
    pairs = [(record.model.weights_sha256, model_info(pipe).weights_sha256), (record.image_sha256, now)]
    lora = [[(weights.sha256, weights.scale) for weights in info.lora] for info in (record.model, model_info(pipe))]
    if lora[0] != lora[1]:
        return True
    if skip.early_exit:
        pairs.append(((record.early_exit or {}).get("heads_sha256"), EXIT_HEADS.sha256(pipe, skip.exit_heads)))
    return any(before and now and before != now for before, now in pairs)


def savings(record: RunRecord, max_steps: int) -> dict[str, float]:
    """Shares of the full run's multiply-adds, adding up to 1: saved by fewer steps, by skipping and by early exit, and
    computed. Each is a share of what those before it left over."""
    rows_full = max(record.unet_rows_full * max_steps / max(record.num_inference_steps, 1), 1)
    rows, macs = record.unet_rows / rows_full, record.early_exit["macs"] if record.early_exit else 1.0
    parts = {
        "step_count": 1 - record.unet_rows_full / rows_full, "skipping": (record.unet_rows_full - record.unet_rows)
        / rows_full, "early_exit": rows * (1 - macs), "computed": rows * macs,
    }  # fmt: skip
    return {name: round(share, 4) for name, share in parts.items()}


def with_measures(record: RunRecord, video: Video) -> RunRecord:
    """The record with the frames' hash and coherence."""
    return record.model_copy(update={"frames_sha256": video.sha256(), "coherence": check_coherence(video.frames)})
