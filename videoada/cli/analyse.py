"""videoada analyse."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from videoada.cli.app import app
from videoada.cli.options import option
from videoada.config.settings import OWN
from videoada.errors import counted

EXAMPLES = """
Examples:

  videoada analyse --prompts prompts.txt --limit 8 --output runs/analysis

  videoada analyse --model tiny-i2v --prompts prompts_i2v.jsonl --limit 2 --steps 20
"""


@app.command(epilog=EXAMPLES)
def analyse(
    prompts: Annotated[Path, typer.Option(help="Prompts, one a line, or JSON Lines.")],
    model: Annotated[str, typer.Option(help="As for `videoada generate`.")] = "tiny-t2v",
    limit: Annotated[int, typer.Option(min=1, help="Only the first prompts: each takes thousands of calls.")] = 8,
    steps: Annotated[int | None, option("Scheduler steps.", OWN, min=8)] = None,
    num_frames: Annotated[int | None, option("Frames of each video.", OWN)] = None,
    scheduler: Annotated[str | None, option("ddim, dpm++, unipc or euler.", OWN)] = None,
    predictor: Annotated[str, typer.Option(help="Approximates skipped predictions, for the oracle too.")] = "linear",
    corrector: Annotated[bool, typer.Option(help="Take skipped steps again, for the oracle and all.")] = True,
    max_skips: Annotated[int | None, typer.Option(min=1, help="Most steps that the oracle skips.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    output: Annotated[
        Path | None, typer.Option(help="A folder for figures and plots; prompts it holds are not searched again.")
    ] = None,
) -> None:
    """Compare when policies skip with a greedy oracle: agreement, differences, latent error, what is left to gain."""
    from rich.console import Console

    from videoada.benchmarks.oracle.analyse import analyse as study
    from videoada.benchmarks.oracle.table import analysis_table, write_analysis
    from videoada.cli.show import say_with
    from videoada.config.prompts import read_requests
    from videoada.files import check_folder, model_folder
    from videoada.models.pipelines import load_pipeline, model_info

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    requests = read_requests(
        prompts, on_message=say_with(console), leave_out=("fps",),
        num_inference_steps=steps, num_frames=num_frames, scheduler=scheduler
    )[:limit]  # fmt: skip
    folder = output or Path("runs") / f"analysis-{model_folder(Path(model).name)}"
    check_folder(folder)
    pipe = load_pipeline(model, device=device)
    found = study(
        pipe, requests, folder, predictor=predictor, corrector=corrector, max_skips=max_skips,
        on_progress=lambda text: console.print(text, style="dim"),
    )  # fmt: skip
    write_analysis(found, folder)
    console.print(f"wrote {folder}")
    print(
        f"{found.model}{' (small embedded model)' if model_info(pipe).embedded else ''}, "
        f"{counted(len(found.prompts), 'prompt')}"
    )
    print(analysis_table(found))
