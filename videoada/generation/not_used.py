"""not_used(): what was asked for and had no effect on a video, or only some: one list, for its record and summary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from videoada.config.run import POLICY_DEFAULTS, GenerationConfig, SkipConfig
from videoada.errors import counted
from videoada.media.video import Video
from videoada.models.arguments import ignored
from videoada.models.call import given_prompt
from videoada.models.denoisers import denoisers_of
from videoada.models.images import image_notes
from videoada.models.lora import without_lora
from videoada.models.pipelines import load_config, model_info
from videoada.models.tokens import Tokenized, cut_lines
from videoada.skipping.trace import StepTrace

LEAST_WARMUP = {"third-order": 3, "third-order-release": 4, "error-controlled": 3}  # steps that a rule looks at first


def not_used(
    pipe: Any, asked: GenerationConfig, request: GenerationConfig, skip: SkipConfig, trace: StepTrace, index: int,
    video: Video, tokens: Sequence[Tokenized], left: dict[str, Any] | None,
) -> list[str]:  # fmt: skip
    """A line for each thing, beginning with the parameter's name in backticks.

    `asked` is the request as it was given, `request` with the model's own settings filled in, `tokens` what its
    tokenizers were given, `left` what early exit did. What a file can't hold is added where the video is saved.
    """
    return [
        *ignored(pipe, asked),
        *_of_prompts(pipe, request, tokens, index),
        *image_notes(request.image),
        *_of_frames(pipe, request, video),
        *_of_guidance(pipe, request),
        *trace.not_used,
        *_of_skipping(skip, trace, index),
        *_of_early_exit(left),
        *_of_loading(pipe),
    ]


def _of_prompts(pipe: Any, request: GenerationConfig, tokens: Sequence[Tokenized], index: int) -> list[str]:
    """Words beyond the limits of the tokenizers: two prompts that differ there alone give one video."""
    negative = request.negative_prompt and given_prompt(pipe, request.negative_prompt, negative=True)
    texts = (("prompt", given_prompt(pipe, request.prompt)), ("negative_prompt", negative))
    return cut_lines(tokens, texts, index)


def _of_frames(pipe: Any, request: GenerationConfig, video: Video) -> list[str]:
    """The number of frames that was asked for, where the pipeline rounded it to one that its VAE can decode."""
    asked, made = request.num_frames, len(video.frames)
    if asked in (None, made):
        return []
    return [f"`num_frames`: {type(pipe).__name__} generates {counted(made, 'frame')} where {asked} are asked for"]


def _of_guidance(pipe: Any, request: GenerationConfig) -> list[str]:
    if request.guided or not request.negative_prompt:
        return []
    return ["`negative_prompt`: without guidance (a `guidance_scale` of 1 or less) it has no effect"]


def _of_skipping(skip: SkipConfig, trace: StepTrace, index: int) -> list[str]:
    unused = []
    least = LEAST_WARMUP.get(skip.policy, 0)
    if not skip.skips:
        own = POLICY_DEFAULTS[skip.policy]
        for name in ("predictor", "damping", "corrector"):
            if name in skip.model_fields_set and getattr(skip, name) not in (own.get(name), None, False, "hold"):
                unused.append(f"`{name}`: no step is skipped")
    elif skip.warmup_steps is not None and skip.warmup_steps < least:
        unused.append(f"`warmup_steps={skip.warmup_steps}`: {skip.policy} computes the first {least} steps in any case")
    elif skip.skip_from is not None and least and skip.skip_from * trace.num_steps <= least - 1:
        unused.append(
            f"`skip_from={skip.skip_from:g}`: {skip.policy} computes the first {least} of {trace.num_steps} steps in "
            "any case"
        )
    if skip.batch_decision != "prompt" and len(trace.computed) == 1:
        unused.append(f"`batch_decision={skip.batch_decision}`: the video was alone in its batch")
    return unused


def _of_early_exit(left: dict[str, Any] | None) -> list[str]:
    return ["`early_exit`: an `exit_threshold` of 0 leaves nowhere"] if left and not left["threshold"] else []


def _of_loading(pipe: Any) -> list[str]:
    """Of how the model was loaded: tensors of LoRA files without a layer, an order of weights that nothing has."""
    unused = [
        f"`lora`: {counted(weights.unused, 'tensor')} of {weights.file} with no layer in this {type(pipe).__name__}"
        for weights in model_info(pipe).lora
        if weights.unused
    ]
    for name in without_lora(pipe) if model_info(pipe).lora else ():
        unused.append(f"`lora`: the {name} of this {type(pipe).__name__} runs without, for no file has weights for it")
    loaded = load_config(pipe)
    if loaded and loaded.channels_last:
        layers = (layer for denoiser in denoisers_of(pipe) for layer in denoiser.modules())
        if not any(isinstance(layer, (nn.Conv2d, nn.Conv3d)) for layer in layers):
            unused.append("`channels_last`: the network has no convolutions whose weights have such an order")
    return unused
