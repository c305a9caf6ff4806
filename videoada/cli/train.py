"""videoada train exits, videoada train steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from videoada.cli.app import app
from videoada.cli.options import option
from videoada.errors import ConfigError

train = typer.Typer(
    help="Train the two learned parts, exit heads and step policy, for a model of your own.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)
app.add_typer(train, name="train")

EXIT_EXAMPLES = """
Examples:

  videoada train exits all --model modelscope-t2v --prompts prompts.txt --out heads.safetensors

  videoada train exits all --model modelscope-t2v --prompts videos/ --out heads.safetensors

  videoada train exits joint --run runs/exits --weight-ual 1
"""
STEP_EXAMPLES = """
Examples:

  videoada train steps all --model modelscope-t2v --prompts prompts.txt --out policy.safetensors

  videoada train steps evaluate --run runs/steps
"""

Model = Annotated[str, typer.Option(help="As for `videoada generate`.")]
Prompts = Annotated[Path | None, option("A prompt file or a folder of videos.", "scenes of the shapes world")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Say nothing on the way.")]
BatchSize = Annotated[int | None, option("Prompts at once.", "8")]


@train.command(epilog=EXIT_EXAMPLES)
def exits(
    stage: Annotated[
        str,
        typer.Argument(
            help="collect: what the exits see along full runs; heads: train on it; tune: choose the threshold, write "
            "the file; all: these three; joint: fine-tune a copy of the network along with its heads."
        ),
    ],
    run: Annotated[Path | None, option("The folder of the run; what it holds is continued.", "runs/exits")] = None,
    out: Annotated[Path | None, option("The file to write.", "for tiny-t2v the one that ships")] = None,
    model: Model = "tiny-t2v",
    prompts: Prompts = None,
    videos: Annotated[int | None, option("Prompts to collect.", "96")] = None,
    tune_videos: Annotated[int | None, option("Other prompts, to choose the threshold on.", "8")] = None,
    steps: Annotated[int | None, option("Scheduler steps of the full run.", "50")] = None,
    batch_size: BatchSize = None,
    keep: Annotated[float | None, option("Share of the calls that is kept.", "0.28")] = None,
    window: Annotated[int | None, option("Steps in a row; a prediction is carried on over one less.", "7")] = None,
    alone: Annotated[bool, typer.Option("--alone", help="Heads that carry nothing on, as in the paper.")] = False,
    train_steps: Annotated[int | None, option("Optimiser steps of the heads.", "1500")] = None,
    rows: Annotated[int | None, option("Rows of a batch of features.", "16")] = None,
    lr: Annotated[float | None, option("Learning rate.", "0.002")] = None,
    weight_u: Annotated[float | None, option("Weight of the uncertainties' loss, λ of the paper.", "1")] = None,
    weight_ual: Annotated[float | None, option("Weight of the uncertainty-aware loss, β of the paper.", "1")] = None,
    target_psnr: Annotated[float | None, option("Mean PSNR in dB that the threshold keeps.", "40")] = None,
    joint_steps: Annotated[int | None, option("For joint: optimiser steps.", "300")] = None,
    joint_rows: Annotated[int | None, option("For joint: videos of a batch.", "8")] = None,
    joint_lr: Annotated[float | None, option("For joint: learning rate.", "2e-05")] = None,
    evaluations: Annotated[int | None, option("For joint: passes over the videos held out.", "8")] = None,
    quiet: Quiet = False,
) -> None:
    """Train exit heads, for --early-exit: collect, heads and tune; each continues where it was stopped."""
    from videoada.models.pipelines import load_pipeline
    from videoada.training.config import ExitTraining
    from videoada.training.exits import train_exits

    config = ExitTraining(**_given(
        run=run, out=out, prompts=prompts, videos=videos, tune_videos=tune_videos, steps=steps, batch_size=batch_size,
        keep=keep, window=window, alone=alone, train_steps=train_steps, rows=rows, lr=lr, weight_u=weight_u,
        weight_ual=weight_ual, target_psnr=target_psnr, joint_steps=joint_steps, joint_rows=joint_rows,
        joint_lr=joint_lr, evaluations=evaluations,
    ))  # fmt: skip
    config.file(model)  # a missing --out is known before the model is read
    made = train_exits(load_pipeline(model), stage, config, on_progress=_progress(quiet))
    if made:
        print(f"wrote {made.path}" + (f": threshold {made.threshold:g}" if made.threshold is not None else ""))


@train.command(epilog=STEP_EXAMPLES)
def steps(
    stage: Annotated[
        str,
        typer.Argument(
            help="render: every prompt with every number of steps; train: a policy for each of --costs; evaluate: on "
            "prompts held out, and write one of them; all: these three."
        ),
    ],
    run: Annotated[Path | None, option("The folder of the run; what it holds is continued.", "runs/steps")] = None,
    out: Annotated[Path | None, option("The file to write.", "for tiny-t2v the one that ships")] = None,
    results: Annotated[Path | None, option("A folder for the table and its figures.", "the run's folder")] = None,
    model: Model = "tiny-t2v",
    prompts: Prompts = None,
    videos: Annotated[int | None, option("Prompts to learn from.", "96")] = None,
    held_out: Annotated[int | None, option("Other prompts, to judge on.", "64")] = None,
    counts: Annotated[
        str | None, option("Comma-separated: numbers of steps to choose from.", "10,15,20,25,30,40,50")
    ] = None,
    batch_size: BatchSize = None,
    quality: Annotated[
        str | None, option("What is learned from: psnr, ssim, agreement or score, of --scorer.", "ssim")
    ] = None,
    scorer: Annotated[
        str | None, option("module:function of yours: frames (F, H, W, 3) uint8 and prompt to a number.")
    ] = None,
    costs: Annotated[
        str | None,
        option("Comma-separated: λ, what all steps cost in units of the quality.", "0.05,0.06,0.08,0.1,0.13"),
    ] = None,
    weight_decay: Annotated[float | None, option("Of the optimiser.", "1")] = None,
    noise: Annotated[float | None, option("On the prompts' embeddings, in units of their own spread.", "0.3")] = None,
    ship_steps: Annotated[float | None, option("Mean steps of the policy to write, about.", "40")] = None,
    entropy: Annotated[float | None, option("Weight of the entropy bonus.", "0.002")] = None,
    train_steps: Annotated[int | None, option("Optimiser steps of each policy.", "2000")] = None,
    rows: Annotated[int | None, option("Prompts of a batch.", "64")] = None,
    lr: Annotated[float | None, option("Learning rate.", "0.003")] = None,
    quiet: Quiet = False,
) -> None:
    """Train a step policy, for --steps auto: render, train and evaluate; each continues where it was stopped."""
    from videoada.models.pipelines import load_pipeline
    from videoada.training.config import StepTraining
    from videoada.training.steps import train_steps as learn

    config = StepTraining(**_given(
        run=run, out=out, results=results, prompts=prompts, videos=videos, held_out=held_out,
        counts=_numbers("counts", counts, int), batch_size=batch_size, quality=quality, scorer=scorer,
        costs=_numbers("costs", costs, float), weight_decay=weight_decay, noise=noise, ship_steps=ship_steps,
        entropy=entropy, train_steps=train_steps, rows=rows, lr=lr,
    ))  # fmt: skip
    config.file(model)  # a missing --out is known before the model is read
    made = learn(load_pipeline(model), stage, config, on_progress=_progress(quiet))
    if made:
        print(made.table)
        print(f"wrote {made.path}: λ {made.cost:g}")


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _numbers(name: str, text: str | None, kind: type[int] | type[float]) -> tuple[float, ...] | None:
    try:
        return None if text is None else tuple(kind(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--{name} are numbers separated by commas, got '{text}'") from None


def _progress(quiet: bool) -> Callable[[str], None]:
    from rich.console import Console

    console = Console(stderr=True, highlight=False, quiet=quiet, soft_wrap=True)
    return lambda line: console.print(line, style="dim", markup=False)
