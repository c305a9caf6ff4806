"""videoada report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from videoada.cli.app import app, as_flags
from videoada.errors import ConfigError
from videoada.files import check_file


@app.command(
    epilog="Examples:\n\n  videoada report out/ --output report.html\n\n"
    "  videoada report --evaluation result.json --output report.html --videos link"
)
def report(
    videos: Annotated[
        list[Path] | None, typer.Argument(help="Videos with run records, or folders of them.", show_default=False)
    ] = None,
    evaluation: Annotated[
        Path | None, typer.Option(help="A result that `videoada evaluate --output` wrote.", show_default=False)
    ] = None,
    output: Annotated[Path, typer.Option(help="The HTML file.")] = Path("report.html"),
    players: Annotated[
        str, typer.Option("--videos", help="embed them, link to them (those that browsers play), or none.")
    ] = "embed",
    cases: Annotated[int, typer.Option(min=0, help="How many of the worst videos are shown with players.")] = 24,
    title: Annotated[str, typer.Option(help="The page's heading.")] = "videoada report",
) -> None:
    """Write one HTML file that shows what was saved and what it cost: charts, step strips, players, worst cases
    first."""
    from rich.console import Console

    from videoada.evaluation.report import write_report
    from videoada.evaluation.result import EvaluationResult

    if not videos and not evaluation:
        raise ConfigError("give videos, a folder of them, or --evaluation FILE")
    if videos and evaluation:
        raise ConfigError("give videos or --evaluation, not both: an evaluation knows its videos")
    check_file(output, "output", ".html")
    result = EvaluationResult.from_file(evaluation) if evaluation else None
    left_out = write_report(output, result, videos or [], videos=players, num_cases=cases, title=title)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    for text in left_out:
        console.print(f"not used: {as_flags(text)}", markup=False)
    console.print(f"wrote {output}", markup=False)
