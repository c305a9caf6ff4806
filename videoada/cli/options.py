"""Options that `generate` and `render` share: None where not given, so that a configuration's value shows through."""

from __future__ import annotations

from typing import Annotated, Any

import typer


def option(text: str, default: str | None = None, **extra: Any) -> Any:
    """An option that is None when not given; help tells the default."""
    return typer.Option(help=text, show_default=default or False, **extra)


SWITCHES = ("corrector", "early_exit")  # options whose False, --no-…, says something

NegativePrompt = Annotated[str | None, option("What to keep away from.")]
Model = Annotated[
    str | None, option("A name that `videoada models` lists, a diffusers folder, or a hub id.", "tiny-t2v")
]
Revision = Annotated[str | None, option("Branch, tag or commit of a hub id.", "the newest")]
Variant = Annotated[str | None, option("Weights of this variant, for example fp16.")]
Steps = Annotated[str | None, option("Scheduler steps of the full run; auto: as many as each prompt is worth.", "50")]
StepPolicy = Annotated[
    str | None, option("With --steps auto: a file of `videoada train steps`.", "the one shipped for the model")
]
GuidanceScale = Annotated[float | None, option("Classifier-free guidance; 1 turns it off.", "9.0")]
NumFrames = Annotated[int | None, option("Frames of the video.", "16")]
Height = Annotated[int | None, option("Pixels.", "the model's own")]
Width = Annotated[int | None, option("Pixels.", "the model's own")]
Fps = Annotated[int | None, option("Frames a second of the file.", "8")]
TargetFps = Annotated[int | None, option("What I2VGen-XL is told of the motion's pace; not the file's rate.", "16")]
Scheduler = Annotated[str | None, option("ddim, dpm++, dpm++-sde, unipc, euler or euler-a.", "ddim")]
Quality = Annotated[str | None, option("How close to the full run: near-lossless, high, balanced or fast.", "balanced")]
TargetPsnr = Annotated[
    float | None, option("Instead: the mean PSNR to the full run in dB, from the model's calibration.")
]
Tolerance = Annotated[
    float | None, option("Instead: error-controlled's limit; skip more with a larger one; 0 skips nothing.")
]
Threshold = Annotated[float | None, option("Instead: third-order's limit; 0 skips nothing.")]
Policy = Annotated[
    str | None,
    option(
        "When to skip: none, every-n, mask, third-order, third-order-release or error-controlled.",
        "error-controlled",
    ),
]
Predictor = Annotated[
    str | None,
    option("What stands in on a skipped step: hold, hold-output, linear, linear-eps, taylor2.", "the policy's own"),
]
Damping = Annotated[
    float | None, option("Of the slope that linear, linear-eps and taylor2 carry on: 0 to 1.", "measured")
]
Corrector = Annotated[
    bool | None,
    option("Take skipped steps again by interpolation once the next prediction is known.", "the policy's own"),
]
GuidanceTolerance = Annotated[
    float | None, option("Compute the conditional half alone where the error that brings is below this.", "never")
]
MaxSkipSteps = Annotated[int | None, option("Most skips in a row.", "the policy's own")]
WarmupSteps = Annotated[int | None, option("First steps that always compute.", "the policy's own")]
FinalSteps = Annotated[int | None, option("Last steps that always compute.", "the policy's own")]
Every = Annotated[int | None, option("For every-n: compute each n-th step.", "2")]
Mask = Annotated[str | None, option("For mask: 0/1 for each step (1 = compute), or a file with them, or a record.")]
BatchDecision = Annotated[
    str | None, option("Each prompt decides; or the batch as one: mean (as the released code), any.", "prompt")
]
EarlyExit = Annotated[bool | None, option("Leave the network at the first exit that is sure enough.")]
ExitThreshold = Annotated[
    float | None,
    option("Leave below this uncertainty, 0 to 1; 0 leaves nowhere.", "what the heads were tuned to"),
]
ExitHeads = Annotated[str | None, option("A file of `videoada train exits`.", "those shipped for the model")]
Device = Annotated[str | None, option("auto, cpu, cuda or cuda:N.", "auto")]
Dtype = Annotated[str | None, option("auto, float32, float16 or bfloat16.", "auto")]
Offload = Annotated[
    str | None, option("none, model (one part at a time on the GPU) or sequential (one layer).", "none")
]
VaeSlicing = Annotated[bool, typer.Option("--vae-slicing", help="Decode frame by frame.")]
VaeTiling = Annotated[bool, typer.Option("--vae-tiling", help="Decode large frames in tiles.")]
DecodeChunkSize = Annotated[int | None, option("Frames decoded at once.", "the pipeline's own")]
Compile = Annotated[bool, typer.Option("--compile", help="Compile the UNet first (takes minutes).")]
ChannelsLast = Annotated[bool, typer.Option("--channels-last", help="Keep the UNet's weights in channels-last order.")]
Quantize = Annotated[str | None, option("none, or int8 for the UNet's linear layers (needs torchao).", "none")]
