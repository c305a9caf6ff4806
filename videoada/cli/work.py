"""videoada work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from videoada.cli.app import app
from videoada.cli.options import Quiet


@app.command()
def work(
    folder: Annotated[Path, typer.Argument(help="A folder with a queue, as the page keeps.", show_default=False)],
    until_empty: Annotated[bool, typer.Option("--until-empty", help="End when nothing waits any more.")] = False,
    idle_minutes: Annotated[
        float | None, typer.Option(min=0, help="End when nothing waited for so long.", show_default="never")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Generate what waits in a folder's queue, job by job, each by its own settings; one worker for a folder."""
    from rich.console import Console

    from videoada.cli.show import say_with
    from videoada.rendering.queue.work import work_on_queue

    console = Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)
    seconds = None if idle_minutes is None else 60 * idle_minutes
    work_on_queue(folder, until_empty=until_empty, idle_seconds=seconds, on_message=say_with(console))
