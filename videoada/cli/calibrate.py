"""videoada calibrate."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from videoada.cli.app import app

EXAMPLES = """
Examples:

  videoada calibrate --model tiny-t2v --prompts prompts.txt --limit 9 --target-psnr 40 --output mine.yaml

  videoada generate --config mine.yaml --prompt "a red circle moving right on a black background"

  videoada calibrate --model i2vgen-xl --prompts prompts.jsonl --target-speedup 2.5
"""


@app.command(epilog=EXAMPLES)
def calibrate(
    prompts: Annotated[Path, typer.Option(help="Three prompts or more, one a line, or JSON Lines with images.")],
    model: Annotated[str, typer.Option(help="As for `videoada generate`.")] = "tiny-t2v",
    target_psnr: Annotated[float | None, typer.Option(help="The mean PSNR to the full run to reach, in dB.")] = None,
    target_speedup: Annotated[
        float | None, typer.Option(help="Instead: the full run's UNet rows ÷ the rows that may be taken.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first prompts of the file.")] = None,
    steps: Annotated[int, typer.Option(help="Scheduler steps of the full run.")] = 50,
    guidance_scale: Annotated[float, typer.Option(help="Classifier-free guidance.")] = 9.0,
    num_frames: Annotated[int, typer.Option(help="Frames of each video.")] = 16,
    height: Annotated[int | None, typer.Option(help="Pixels; the model's own if left out.")] = None,
    width: Annotated[int | None, typer.Option(help="Pixels; the model's own if left out.")] = None,
    scheduler: Annotated[str, typer.Option(help="ddim, dpm++, dpm++-sde, unipc, euler or euler-a.")] = "ddim",
    batch_size: Annotated[int, typer.Option(min=1, help="Prompts at once.")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32, float16 or bfloat16.")] = "auto",
    output: Annotated[Path, typer.Option(help="The configuration to write.")] = Path("calibrated.yaml"),
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing on the way.")] = False,
) -> None:
    """Find the tolerance for a fidelity or a speed-up on a model of yours; writes a configuration for --config."""
    import yaml
    from rich.console import Console

    from videoada.benchmarks.calibrate import calibrate as find
    from videoada.config.prompts import read_requests
    from videoada.errors import OutputError
    from videoada.files import written_aside
    from videoada.models.pipelines import load_pipeline, model_info

    if output.suffix not in (".yaml", ".yml"):
        raise OutputError(f"a configuration is a .yaml file, got {output}")
    if not output.parent.is_dir() or not os.access(output.parent, os.W_OK):
        raise OutputError(f"can't write to {output.parent}: it is no folder that can be written to")
    common = {
        "num_inference_steps": steps, "guidance_scale": guidance_scale, "num_frames": num_frames, "height": height,
        "width": width, "scheduler": scheduler,
    }  # fmt: skip
    requests = read_requests(prompts, **common)[:limit]
    console = Console(stderr=True, highlight=False, quiet=quiet)
    pipe = load_pipeline(model, device=device, dtype=dtype)
    tolerance, found = find(
        pipe, requests, target_psnr=target_psnr, target_speedup=target_speedup, batch_size=batch_size,
        on_run=lambda text: console.print(text, style="dim"),
    )  # fmt: skip
    goal = f"{target_psnr:g} dB" if target_psnr is not None else f"{target_speedup:g} times fewer UNet rows"
    settings = {
        "model": model, "steps": steps, "guidance_scale": guidance_scale, "num_frames": num_frames, "height": height,
        "width": width, "scheduler": scheduler, "policy": "error-controlled", "predictor": "linear",
        "tolerance": round(tolerance, 6), "calibration": found.model_dump(mode="json"),
    }  # fmt: skip
    text = yaml.safe_dump({k: v for k, v in settings.items() if v is not None}, sort_keys=False, allow_unicode=True)
    with written_aside(output) as aside:
        aside.write_text(f"# videoada calibrate: {goal}, from {found.prompts} prompts\n{text}", encoding="utf-8")
    held = found.held_out
    assert held is not None
    small = " (small embedded model)" if model_info(pipe).embedded else ""
    print(f"{found.model}{small}: tolerance {tolerance:.4g} for {goal}")
    print(
        f"on {found.held_out_prompts} prompts held out: {held.psnr:.1f} dB (worst {held.psnr_worst:.1f}), "
        f"{held.rows:.1%} of the UNet rows"
    )
    print(f"wrote {output}")
