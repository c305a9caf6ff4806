"""compare(): the skipped run beside the full run of the same prompt and seed, and a video that shows both."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from videoada.config.run import GenerationConfig, SkipConfig
from videoada.generation.events import Event
from videoada.generation.generate import generate, skip_of, timed_again
from videoada.learned.step_policy import with_max_steps
from videoada.media.video import Video
from videoada.metrics import paired_fidelity
from videoada.models.recommended import with_recommended
from videoada.records.record import RunRecord
from videoada.skipping.step_call import LatentsCallback, StepCallback


@dataclass(frozen=True)
class Comparison:
    """A skipped run, whose record holds its `fidelity`, and the full run it was measured against."""

    video: Video
    record: RunRecord
    full: Video
    full_record: RunRecord


def compare(
    pipe: Any,
    requests: Sequence[GenerationConfig],
    *,
    skip: SkipConfig | None = None,
    batch_size: int = 1,
    on_step: StepCallback | None = None,
    on_event: Callable[[Event], None] | None = None,
    **fields: Any,
) -> list[Comparison]:
    """Each request generated twice in one process, skipping and in full, and the one measured against the other.

    `skip` is a SkipConfig, or its fields (and `quality`) are keywords: `compare(pipe, requests, tolerance=0.1)`.
    `on_step` and `on_event` are called in every run, as `generate` calls them: skipping, then in full.

    `record.fidelity["speedup"]` is the full run's time ÷ the skipped run's, from the prompt to the decoded frames, and
    `"speedup_denoising"` that of the denoising alone, both after a warm-up of two steps at the same size; where first
    calls are slow (on a GPU, or compiled), a run that met sizes new to the process is timed a second time. Raises
    ConfigError for a request that can't be met.
    """
    skip = skip_of(pipe, with_max_steps(pipe, with_recommended(pipe, requests)), skip, fields)
    warm_up = [
        request.model_copy(
            # of them the share `strength` runs
            update={"num_inference_steps": math.ceil(2 / (request.strength or 1)), "step_policy": None}
        )
        for request in requests[:batch_size]
    ]
    generate(pipe, warm_up, skip=SkipConfig(policy="none"), batch_size=batch_size)
    comparisons = []
    for first in range(0, len(requests), batch_size):
        batch = requests[first : first + batch_size]
        hand = functools.partial(_hand, on_event, first) if on_event else None
        heard: dict[str, Any] = {"batch_size": batch_size, "on_step": on_step, "on_event": hand}
        at_most = with_max_steps(pipe, with_recommended(pipe, batch))
        in_full = [request.model_copy(update={"step_policy": None}) for request in at_most]
        paths: tuple[list[list[Tensor]], list[list[Tensor]]] = ([], [])
        skipped, full = (
            timed_again(
                pipe,
                generate(pipe, each, skip=how, on_latents=_keeper(path), **heard),
                functools.partial(generate, pipe, each, skip=how, **heard),
            )
            for each, how, path in ((batch, skip, paths[0]), (in_full, SkipConfig(policy="none"), paths[1]))
        )
        other_steps = any(request.step_policy for request in batch)  # then latents of equal steps are not alike
        errors = [] if other_steps else latent_errors(*paths)
        for i, ((video, record), (full_video, full_record)) in enumerate(zip(skipped, full, strict=True)):
            fidelity = paired_fidelity(video.frames, full_video.frames).as_dict()
            if len(errors) == len(batch):  # none of steps that were not seen
                fidelity["latent_error"] = errors[i]
            for name, stage in (("speedup", "total"), ("speedup_denoising", "denoise")):
                fidelity[name] = round(full_record.seconds[stage] / max(record.seconds[stage], 1e-4), 4)
            warnings = record.warnings + lost_coherence(record, full_record)
            record = record.model_copy(update={"fidelity": fidelity, "warnings": warnings})
            comparisons.append(Comparison(video, record, full_video, full_record))
    return comparisons


def _hand(on_event: Callable[[Event], None], first: int, event: Event) -> None:
    """An event of a batch with the index among all requests."""
    on_event(replace(event, index=first + event.index))


def _keeper(runs: list[list[Tensor]]) -> LatentsCallback:
    def keep(step: int, latents: Tensor) -> None:
        if step == 0:
            runs.append([])
        runs[-1].append(latents.cpu().double())  # squares of large ones overflow float32

    return keep


def latent_errors(skipped: list[list[Tensor]], full: list[list[Tensor]]) -> list[list[float]]:
    """For each prompt, step by step, ‖skipped − full‖ ÷ ‖full‖ of the latents after that step.

    Each argument holds, for one batch after the other, its latents (B, N) step by step.
    """
    errors: list[list[float]] = []
    for of_skipped, of_full in zip(skipped, full, strict=True):
        steps = zip(of_skipped, of_full, strict=True)
        shares = torch.stack([(s - f).norm(dim=1) / f.norm(dim=1).clamp_min(1e-12) for s, f in steps], 1)  # (B, S)
        errors += [[round(value, 6) for value in row] for row in shares.tolist()]
    return errors


def lost_coherence(record: RunRecord, full_record: RunRecord) -> list[str]:
    """A warning when the skipped run fails a check that the full run passes."""
    before = (full_record.coherence or {}).get("failed", [])
    lost = [name for name in (record.coherence or {}).get("failed", []) if name not in before]
    text = ", ".join(f"{name.replace('_', ' ')} {record.coherence[name]:.3g}" for name in lost if record.coherence)
    return [f"skipping cost coherence: {text}; the full run passes; skip less"] if lost else []
