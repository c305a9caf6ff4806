"""videoada benchmark."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from videoada.cli.app import app
from videoada.errors import PromptError

DEFAULT_PROMPT = "a red circle moving right on a black background"


@app.command(epilog="Example:\n\n  videoada benchmark --prompts samples/prompts.txt --pairs 9")
def benchmark(
    prompts: Annotated[
        Path | None, typer.Option(help="A text file, one prompt a line; one prompt if left out.")
    ] = None,
    model: Annotated[str, typer.Option(help="As for `videoada generate`.")] = "tiny-t2v",
    steps: Annotated[int, typer.Option(help="Scheduler steps of the full run.")] = 50,
    num_frames: Annotated[int, typer.Option(help="Frames of each video.")] = 16,
    scheduler: Annotated[str, typer.Option(help="ddim, dpm++, dpm++-sde, unipc, euler or euler-a.")] = "ddim",
    policy: Annotated[str, typer.Option(help="When to skip.")] = "third-order",
    threshold: Annotated[float | None, typer.Option(help="Skip more with a larger one.", show_default=False)] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Prompts at once.")] = 1,
    pairs: Annotated[int, typer.Option(min=1, help="Pairs of a full and a skipped run.")] = 9,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32, float16 or bfloat16.")] = "auto",
    json_output: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Time full against skipped runs, pair by pair in one process: predictions, speed-up, efficiency, policy's cost."""
    from rich.console import Console

    from videoada.config import GenerationConfig, SkipConfig

    skip = SkipConfig(policy=policy, threshold=threshold)
    lines = [DEFAULT_PROMPT] * batch_size
    if prompts:
        try:
            lines = [line for line in prompts.read_text(encoding="utf-8").splitlines() if line.strip()]
        except (OSError, ValueError) as error:
            raise PromptError(f"can't read prompts from {prompts}: {error}") from None
    requests = [
        GenerationConfig(prompt=line, num_inference_steps=steps, num_frames=num_frames, seed=seed, scheduler=scheduler)
        for seed, line in enumerate(lines)
    ]
    from videoada.benchmark import benchmark as measure
    from videoada.pipelines import load_pipeline

    pipe = load_pipeline(model, device=device, dtype=dtype)
    console = Console(stderr=True, highlight=False)
    result = measure(
        pipe, requests, skip=skip, batch_size=batch_size, pairs=pairs,
        on_pair=lambda i, pair: console.print(
            f"pair {i + 1}/{pairs}: full {pair.full:.2f} s, skipped {pair.skipped:.2f} s", style="dim"
        ),
    )  # fmt: skip
    if json_output:
        print(json.dumps(result.as_dict()))
        return
    psnr = "identical" if result.psnr is None else f"{result.psnr:.1f} dB"
    name = f"{result.model}{' (small embedded model)' if result.embedded else ''}"
    for label, value in (
        ("model", f"{name}, {scheduler}, batch {batch_size}, {result.device} {result.dtype}"),
        ("predictions", f"{result.predictions:.1f} of {result.num_inference_steps}"),
        ("speed-up", f"{result.speedup:.2f}× measured, {result.ideal_speedup:.2f}× ideal"),
        ("efficiency", f"{result.efficiency:.3f} (ideal ÷ measured time, median of {pairs} pairs)"),
        ("policy's cost", f"{100 * result.policy_share:.2f} % of a UNet call a step"),
        ("fidelity", f"{psnr} to the full run, mean over the pairs"),
    ):
        print(f"{label:<14} {value}")
