"""videoada verdict."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from videoada.cli.app import app, as_flags
from videoada.cli.evaluate import video_bar
from videoada.cli.options import AnyCodec, MatchFps, MatchSize, Quiet, option
from videoada.config.frozen import one_of
from videoada.errors import ConfigError, counted
from videoada.files import check_file

if TYPE_CHECKING:
    from rich.console import Console

    from videoada.evaluation.judging.verdict import Verdict

EXAMPLES = """
Examples:

  videoada verdict skipped/ full/

  videoada verdict cached/ uncached/ --pair-by name --config limits.yaml --output verdict.json
"""
SHOWN = 8  # videos of each list


@app.command(epilog=EXAMPLES)
def verdict(
    generated: Annotated[Path, typer.Argument(help="A folder of skipped videos.")],
    reference: Annotated[Path, typer.Argument(help="The folder of their full runs.")],
    pair_by: Annotated[
        str,
        typer.Option(help="record, or name: pair videos whose file names are equal but for their endings."),
    ] = "record",
    config: Annotated[
        Path | None,
        typer.Option(help="A YAML file with limits that win over those shipped; null leaves one out.",
                     show_default=False),
    ] = None,
    recursive: Annotated[
        bool, typer.Option("--recursive", help="Also videos in folders below, as those of classes.")
    ] = False,
    match_size: MatchSize = None,
    match_fps: MatchFps = None,
    any_codec: AnyCodec = False,
    workers: Annotated[int | None, option("Threads that decode and compare.", "up to 4")] = None,
    device: Annotated[str, typer.Option(help="Where FVD's extractor runs: cpu, cuda or cuda:N.")] = "cpu",
    output: Annotated[Path | None, option("Write the verdict, video by video, to this .json file.")] = None,
    json_output: Annotated[
        bool, typer.Option("--json", help="Print the whole verdict as JSON and nothing else.")
    ] = False,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Pass or fail: are skipped videos close enough to their full runs? Exit code 1 where a limit does not hold."""
    check_file(output, "output", ".json")
    from rich.console import Console

    from videoada.evaluation.judging.limits import read_limits, shipped_limits
    from videoada.evaluation.judging.verdict import judge

    try:
        by: Any = one_of("choice for `pair_by`", pair_by, ("record", "name"))
    except ValueError as error:
        raise ConfigError(str(error)) from None
    limits = read_limits(config) if config else shipped_limits()
    console = Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)
    with video_bar(console) as on_video:
        found = judge(
            generated, reference, limits, pair_by=by, recursive=recursive, workers=workers, device=device,
            on_video=on_video, match_size=match_size, match_fps=match_fps, any_codec=any_codec,
        )  # fmt: skip
    if output:
        found.write(output)
    if json_output:
        print(found.model_dump_json())
    else:
        show(Console(highlight=False, soft_wrap=True), found)
    if output:
        console.print(f"wrote {output}", markup=False)
    if not found.passed:
        raise typer.Exit(1)


def show(console: Console, verdict: Verdict) -> None:
    """The table of limits, then every reason of a failure, then the verdict itself."""
    from rich.markup import escape
    from rich.table import Table

    table = Table("limit", "measured", "must be", "verdict", "worst video")
    words = {True: "[green]pass[/]", False: "[red]fail[/]", None: "[yellow]not measured[/]"}
    for check in verdict.checks:
        table.add_row(escape(check.title), escape(check.measured), check.bound, words[check.passed],
                      escape(check.video or ""))  # fmt: skip
    console.print(table)
    for text in verdict.evaluation.not_used:
        console.print(f"not used: {escape(as_flags(text))}")
    for warning in verdict.evaluation.warnings:
        console.print(f"[yellow]warning:[/] {escape(as_flags(warning))}")
    failures = verdict.failures
    for line in failures[:SHOWN]:
        console.print(f"[red]fail:[/] {escape(line)}")
    if len(failures) > SHOWN:
        console.print(f"[red]fail:[/] and {len(failures) - SHOWN} more: all are in --output and --json")
    outcome = "[green]pass[/]" if verdict.passed else "[red]fail[/]"
    console.print(f"{outcome}: {counted(verdict.pairs, 'pair')}, {counted(len(verdict.checks), 'limit')}")
