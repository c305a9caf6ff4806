"""videoada check."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from videoada.cli.app import app
from videoada.errors import OutputError

SHOWN = ("freeze_share", "return_share", "luma_flicker", "cut_share", "warping_error", "flow_magnitude")


@app.command(epilog="Examples:\n\n  videoada check clip.mp4\n\n  videoada check out/ --config coherence --json")
def check(
    videos: Annotated[list[Path], typer.Argument(help="Video files, folders of PNG frames, or folders of videos.")],
    config: Annotated[
        Path | None,
        typer.Option(help="A YAML file with limits; coherence: the one shipped, the defaults.", show_default=False),
    ] = None,
    frame_model: Annotated[
        str | None,
        typer.Option(
            help="Also consistency in the features of an image model: CLIP, DINO, DINOv2, by hub id or folder.",
            show_default=False,
        ),
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="One JSON object a video on stdout.")] = False,
) -> None:
    """Check that the frames of a video hang together: frozen, repeated, shuffled, flickering; exit code 1 if not."""
    from videoada.config.settings import read_settings
    from videoada.config.shipped import LIMITS
    from videoada.media.clips import read_clips
    from videoada.media.finding import find_videos
    from videoada.media.kinds import is_frame_folder
    from videoada.metrics.coherence import CoherenceLimits, check_coherence
    from videoada.metrics.consistency import load_frame_features

    limits = CoherenceLimits(**read_settings(config, LIMITS)) if config else CoherenceLimits()
    features = load_frame_features(frame_model) if frame_model else None
    paths = [p for v in videos for p in (find_videos(v) if v.is_dir() and not is_frame_folder(v) else [v])]
    rows, unreadable = [], 0
    for path in paths:
        try:
            clip = read_clips(path).clips[0]
        except OutputError as error:
            if len(paths) == 1:
                raise
            print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
            unreadable += 1
            continue
        rows.append((path, check_coherence(clip, limits, features)))
        if json_output:
            print(json.dumps({"video": str(path)} | rows[-1][1], allow_nan=False), flush=True)
    if unreadable == len(paths):
        raise typer.Exit(2)
    if not json_output:
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        shown = (*SHOWN, *(("consistency", "adjacent_cosine", "all_pairs_cosine") if features else ()))
        table = Table("video", "verdict", *(name.replace("_", " ") for name in shown))
        for path, found in rows:
            verdict = "[green]passed[/]" if found["passed"] else f"[red]failed: {', '.join(found['failed'])}[/]"
            values = ("–" if found[name] is None else f"{found[name]:.3g}" for name in shown)
            table.add_row(escape(path.name), verdict.replace("_", " "), *values)
        Console(highlight=False).print(table)
    if unreadable or not all(found["passed"] for _, found in rows):
        raise typer.Exit(1)
