"""videoada status."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from videoada.cli.app import app


@app.command()
def status(
    folder: Annotated[Path, typer.Argument(help="The --out of `videoada render`.", show_default=False)],
    json_output: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """How far a `videoada render` into that folder is, here or on another machine."""
    from rich.console import Console

    found = read_status(folder)
    if json_output:
        print(json.dumps(found, ensure_ascii=False))
        return
    from videoada.cli.progress import duration

    console = Console(highlight=False, soft_wrap=True, markup=False)
    total = f" of {found['videos']}" if found["videos"] else ""
    console.print(f"{found['done']}{total} videos are there")
    if found["unet_rows_full"]:
        console.print(
            f"{found['mean_predictions']:.1f} predictions on average, {found['unet_rows']} UNet rows of "
            f"{found['unet_rows_full']} ({found['unet_rows'] / found['unet_rows_full']:.0%})"
        )
    for run in found["at_work"]:
        pace = f"{run['videos_a_minute']:.1f} a minute, " if run.get("videos_a_minute") else ""
        left = f"{duration(run['seconds_left'])} left, " if run.get("seconds_left") is not None else ""
        console.print(
            f"at work: process {run['pid']} on {run['host']}: drew {run['drawn']}, {pace}{left}"
            f"heard of {duration(time.time() - run['updated'])} ago"
        )
    if not found["at_work"]:
        console.print("no command is at work there")
    for failure in found["failures"]:
        console.print(f"failed: {failure}")


def read_status(path: Path) -> dict[str, Any]:
    """What is in the folder, who is at work, what failed. Raises PromptError for no such folder."""
    from videoada.errors import OutputError, PromptError
    from videoada.rendering.folder import SETTINGS, SUMMARY, RenderFolder, output_errors, read_json, records_in

    with output_errors(f"can't read {str(path)[:200]}"):
        if not (path / SETTINGS).is_file():
            raise PromptError(f"{path} is no folder of `videoada render`")
        kept, summary = read_json(path / SETTINGS), read_json(path / SUMMARY)
        format = str(kept.get("format", "mp4"))
        ending = "" if format == "frames" else f".{format}"
        records = [record for _, record in records_in(path, ending)]
    at_work = []
    with contextlib.suppress(OutputError), contextlib.closing(RenderFolder(path, ending)) as folder:
        at_work = folder.notes()  # a folder that can only be read does not tell
    rows, full = (sum(r.get(name) or 0 for r in records) for name in ("unet_rows", "unet_rows_full"))
    failures = {f"{f['name']}: {f['error']}" for f in summary.get("failures", []) if not at_work}
    failures |= {f"{name}: {why}" for run in at_work for name, why in run.get("failures", {}).items()}
    return {
        "done": len(records),
        "videos": max([len(records), *([run["videos"] for run in at_work] or [summary.get("videos", 0)])]),
        "mean_predictions": sum(r["num_predictions"] for r in records) / max(len(records), 1),
        "unet_rows": rows, "unet_rows_full": full, "at_work": at_work, "failures": sorted(failures),
    }  # fmt: skip
