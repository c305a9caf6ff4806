"""videoada render."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from videoada.cli.app import app, as_flags
from videoada.cli.options import Config, Quiet, option, takes_settings
from videoada.errors import counted

if TYPE_CHECKING:
    from rich.console import Console

MOST_LINES = 10  # of what was not used
EXAMPLES = """
Examples:

  videoada render prompts.txt --out out/ --limit 4

  videoada render prompts.csv --out out/ --model modelscope-t2v --batch-size 4 --quality high

  videoada render VBench_full_info.json --out vbench/ --naming vbench --samples-per-prompt 5

  videoada render prompts.jsonl --out out/ --workers 2 --continue-on-error

  accelerate launch -m videoada render prompts.txt --out /shared/out

  videoada render prompts.txt --out /shared/out --engine ray --address auto
"""


@app.command(epilog=EXAMPLES)
@takes_settings(
    leave_out=("prompt", "image", "num_videos", "batch_decision"),
    texts={
        "seed": "Base of the seeds, or random: a row adds a number that its own content fixes.",
        "batch_size": "Prompts at once in each worker, still with one decision for each.",
    },
)
def render(
    given: dict[str, Any],
    prompts: Annotated[
        Path,
        typer.Argument(
            help="A .txt (a prompt a line), .csv, .tsv, .jsonl or .json file; entries may name id, image, size and the "
            "settings of a video and of skipping below.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="The folder for videos and records.", show_default=False)],
    images: Annotated[Path | None, option("Where image names are sought.", "beside the prompts")] = None,
    samples_per_prompt: Annotated[
        int, typer.Option(min=1, max=10_000, help="Videos of each entry, with seeds one apart.")
    ] = 1,
    naming: Annotated[str, typer.Option(help="id (the row's, or its index), slug, or vbench.")] = "id",
    format: Annotated[
        str, typer.Option(help="mp4, mov, webm, mkv (lossless), gif, webp (lossless) or frames.")
    ] = "mp4",
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first entries of the file.")] = None,
    shard: Annotated[str | None, option("I/N: only part I of N, from 1.")] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Processes, or Ray actors, each with a pipeline; GPUs are dealt out.",
            show_default="1, or all of a Ray cluster",
        ),
    ] = None,
    engine: Annotated[str, typer.Option(help="local, or ray for many machines.")] = "local",
    address: Annotated[str, typer.Option(help="Of the Ray cluster; local makes one here.")] = "auto",
    continue_on_error: Annotated[
        bool, typer.Option("--continue-on-error", help="Render the rest when a video fails; exit code 1 tells.")
    ] = False,
    max_retries: Annotated[int, typer.Option(min=0, help="More tries for a video that fails.")] = 1,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Render again what the folder holds of other settings.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count, estimate from one measured video, and leave.")
    ] = False,
    config: Config = None,
    no_metadata: Annotated[
        bool, typer.Option("--no-metadata", help="Keep the run records out of the video files.")
    ] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    quiet: Quiet = False,
) -> None:
    """Render a prompt file: resumable, on one machine or many, nothing lost and nothing rendered twice."""
    from rich.console import Console

    from videoada.cli.progress import render_bar
    from videoada.cli.show import say_with
    from videoada.config.merging import blaming, merged
    from videoada.config.settings import RunSettings, read_settings
    from videoada.rendering.plan import plan_render
    from videoada.rendering.session import run_plan

    values = read_settings(config) if config else {}
    with blaming(config, values):
        settings = RunSettings(**merged(values, given))
        plan = plan_render(
            prompts, out, settings, images=images, samples_per_prompt=samples_per_prompt, naming=naming, format=format,
            limit=limit, shard_text=shard, workers=workers, engine=engine, address=address,
            continue_on_error=continue_on_error, max_retries=max_retries, overwrite=overwrite, metadata=not no_metadata,
        )  # fmt: skip
    console = Console(stderr=True, quiet=quiet or plan.rank > 0, highlight=False, soft_wrap=True)

    say = say_with(console)
    if dry_run:
        from videoada.rendering.estimate import estimate_plan

        found = estimate_plan(plan, say)
        if json_output:
            print(json.dumps(found))
        _show_estimate(console, found)
        return
    with render_bar(console) as show:
        summary = run_plan(plan, show, say)
    if plan.rank == 0:
        _show_summary(console, summary, out)
        if json_output:
            print(json.dumps(summary, ensure_ascii=False))
    if summary["failures"]:
        raise typer.Exit(1)


def _show_summary(console: Console, summary: dict[str, Any], out: Path) -> None:
    from rich.markup import escape

    if summary["drawn"]:
        rows, full = summary["unet_rows"], summary["unet_rows_full"]
        pace = summary["videos_a_minute"]
        console.print(
            f"rendered {counted(summary['drawn'], 'video')} in {summary['seconds']:.0f} s"
            + (f" ({pace:.1f} a minute)" if pace else "")
            + f": {summary['mean_predictions']:.1f} predictions on average, {rows} UNet rows of {full} "
            f"({rows / full:.0%}), about {summary['seconds_saved']:.0f} s of denoising saved"
        )
    for failure in summary["failures"]:
        console.print(
            f"[red]failed:[/] line {failure['line']}, {escape(failure['name'])}: {escape(as_flags(failure['error']))}"
        )
    for text in summary["not_used"][:MOST_LINES]:
        console.print(escape(f"not used: {as_flags(text)}"))
    if (others := len(summary["not_used"]) - MOST_LINES) > 0:
        console.print(f"not used: {counted(others, 'line')} more, in summary.json")
    console.print(escape(f"in {out}: {summary['done']} of {counted(summary['videos'], 'video')}; see summary.json"))


def _show_estimate(console: Console, found: dict[str, Any]) -> None:
    from videoada.cli.progress import duration

    console.print(f"{counted(found['videos'], 'video')}, {found['there']} of them there, {found['missing']} missing")
    if found["missing"]:
        console.print(
            f"about {duration(found['seconds'])} ({found['seconds_a_video']:.1f} s a video, measured on "
            f"{found['measured_on']}; {found['predictions_a_video']:.1f} predictions each), "
            f"{found['unet_rows']} UNet rows of {found['unet_rows_full']}"
        )
