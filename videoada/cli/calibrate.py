"""videoada calibrate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from videoada.cli.app import app
from videoada.cli.options import Quiet, takes_settings
from videoada.config.run import TARGETS
from videoada.config.settings import SKIPPING, RunSettings, said_of
from videoada.errors import counted

EXAMPLES = """
Examples:

  videoada calibrate --model tiny-t2v --prompts prompts.txt --limit 9 --target-psnr 40 --output mine.yaml

  videoada generate --config mine.yaml --prompt "a red circle moving right on a black background"

  videoada calibrate --model i2vgen-xl --prompts prompts.jsonl --target-speedup 2.5
"""
NOT_CALIBRATED = {name for name in RunSettings.model_fields if said_of(name).get("panel") == SKIPPING} - {*TARGETS}


@app.command(epilog=EXAMPLES)
@takes_settings(
    leave_out=NOT_CALIBRATED | {"prompt", "image", "num_videos", "step_policy", "fps", "codec", "crf"},
    texts={
        "target_psnr": "The PSNR to the full run that 95 % of the videos shall have or exceed, in dB.",
        "target_speedup": "Instead: the full run's UNet rows ÷ the rows that may be taken.",
        "steps": "Scheduler steps of the full run.",
        "seed": "Seed of the first prompt; prompt i uses seed + i.", "batch_size": "Prompts at once.",
    },
)  # fmt: skip
def calibrate(
    given: dict[str, Any],
    prompts: Annotated[Path, typer.Option(help="Three prompts or more, one a line, or JSON Lines with images.")],
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first prompts of the file.")] = None,
    output: Annotated[Path, typer.Option(help="The configuration to write.")] = Path("calibrated.yaml"),
    quiet: Quiet = False,
) -> None:
    """Find the tolerance for a fidelity or a speed-up on a model of yours; writes a configuration for --config."""
    from rich.console import Console

    from videoada.benchmarks.calibrate import ENOUGH_IN_ALL, check_configuration, write_configuration
    from videoada.benchmarks.calibrate import calibrate as find
    from videoada.benchmarks.every_prompt import ENOUGH, FEW
    from videoada.cli.show import say_with
    from videoada.config.prompts import read_requests
    from videoada.config.quality import CONFIDENCE
    from videoada.errors import ConfigError
    from videoada.models.pipelines import load_pipeline, model_info
    from videoada.models.recommended import filled

    check_configuration(output)
    target_psnr, target_speedup = (given.pop(name, None) for name in TARGETS)
    settings = RunSettings(prompt="-", **given).with_seed()
    if settings.steps == "auto":
        raise ConfigError("`steps=auto` has no one curve to calibrate: give the number of steps")
    common = settings.requests()[0].model_dump(exclude={"prompt", "image", "seed", "step_policy"})
    console = Console(stderr=True, highlight=False, quiet=quiet, soft_wrap=True)
    requests = read_requests(
        prompts, first_seed=settings.first_seed, on_message=say_with(console), leave_out=("fps",), **common
    )[:limit]
    pipe = load_pipeline(settings.model, settings.loading())
    settings = filled(settings, pipe)
    tolerance, found = find(
        pipe, requests, target_psnr=target_psnr, target_speedup=target_speedup, batch_size=settings.batch_size,
        on_run=lambda text: console.print(text, style="dim"),
    )  # fmt: skip
    goal = (
        f"{target_speedup:g} times fewer UNet rows" if target_psnr is None else f"95 % of videos at {target_psnr:g} dB"
    )
    write_configuration(output, settings, tolerance, found, goal)
    held = found.held_out
    assert held is not None
    small = " (small embedded model)" if model_info(pipe).embedded else ""
    print(f"{found.model}{small}: tolerance {tolerance:.4g} for {goal}")
    if target_psnr is not None:
        unsure = "" if found.prompts >= ENOUGH else f"; with {ENOUGH_IN_ALL} prompts it would be {CONFIDENCE:.0%}"
        print(f"the {found.prompts} prompts that measured make that {found.sure or 0:.0%} sure{unsure}")
    of_95 = f"95 % have {held.psnr_of_95:.1f}, the" if found.held_out_prompts >= FEW else "the"
    print(
        f"on {counted(found.held_out_prompts, 'prompt')} held out: mean {held.psnr:.1f} dB, {of_95} worst has "
        f"{held.psnr_worst:.1f}; {held.rows:.1%} of the UNet rows"
    )
    print(f"wrote {output}")
