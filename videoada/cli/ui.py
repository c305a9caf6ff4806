"""videoada ui."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from videoada.cli.app import app
from videoada.config.run import DEFAULT_MODEL


@app.command(
    epilog="Examples:\n\n  videoada ui\n\n  videoada ui out/ --model emoji-t2v --no-open\n\n"
    "  videoada ui out/ --host 0.0.0.0 --port 8000"
)
def ui(
    folder: Annotated[
        Path, typer.Argument(help="The folder of the queue and the videos, as `render --out` takes it.")
    ] = Path("videos"),
    host: Annotated[
        str, typer.Option(help="Where to serve: this machine alone, or an address that others can ask, unprotected.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 for a free one.")] = 7860,
    model: Annotated[str, typer.Option(help="The model that the form begins with.")] = DEFAULT_MODEL,
    open_page: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser.")] = True,
) -> None:
    """Open a page in the browser: prompts in, a queue that survives, videos beside their full runs."""
    from rich.console import Console

    from videoada.cli.show import say_with
    from videoada.ui.server import serve

    say = say_with(Console(stderr=True, highlight=False, soft_wrap=True))
    serve(folder, host=host, port=port, model=model, open_page=open_page, on_message=say)
