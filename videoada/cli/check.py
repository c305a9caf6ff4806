"""videoada check."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from videoada.cli.app import app, as_flags
from videoada.errors import ConfigError, OutputError

SHOWN = ("freeze_share", "return_share", "luma_flicker", "cut_share", "warping_error", "flow_magnitude")


@app.command(epilog="Examples:\n\n  videoada check clip.mp4\n\n  videoada check out/ --config coherence --json")
def check(
    videos: Annotated[
        list[Path], typer.Argument(help="Video files, folders of frames (PNG, JPEG, WebP), or folders of videos.")
    ],
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
    cuts: Annotated[
        str,
        typer.Option(help="What finds cuts: content, PySceneDetect's rule, or transnetv2, a network (extra films)."),
    ] = "content",
    recursive: Annotated[
        bool, typer.Option("--recursive", help="Also videos in folders below, as those of classes.")
    ] = False,
    json_output: Annotated[
        bool, typer.Option("--json", help="One JSON object a video on stdout, bad ones too.")
    ] = False,
) -> None:
    """Check that the frames of a video hang together: frozen, repeated, shuffled, flickering; exit code 1 if not."""
    from videoada.config.merging import of_file
    from videoada.config.settings import read_settings
    from videoada.config.shipped import LIMITS
    from videoada.failures import reading
    from videoada.media.finding import search_videos
    from videoada.media.kinds import is_frame_folder
    from videoada.media.reading import open_video
    from videoada.metrics.coherence import CoherenceLimits, CoherenceMeter
    from videoada.metrics.consistency import load_frame_features
    from videoada.metrics.transnet import load_cut_detector

    limits = CoherenceLimits()
    if config:
        given = read_settings(config, LIMITS)
        try:
            limits = CoherenceLimits(**given)
        except ConfigError as error:
            raise ConfigError(of_file(config, error)) from None
    detector = load_cut_detector(cuts)
    features = load_frame_features(frame_model) if frame_model else None
    paths: list[Path] = []
    not_used: dict[Path, list[str]] = {}  # of the folder that a video was found in
    for video in videos:
        if not video.is_dir() or is_frame_folder(video):
            paths.append(video)
            continue
        found_there = search_videos(video, recursive)
        paths += found_there.videos
        not_used |= dict.fromkeys(found_there.videos, found_there.not_read)
        for text in found_there.not_read:
            print(f"not used: {as_flags(text)}", file=sys.stderr)
    rows, unreadable = [], 0
    for path in paths:
        try:
            meter, opened = CoherenceMeter(limits, features, cuts=detector), open_video(path)
            with reading(path):
                for frame in opened.frames():
                    if frame is not None:
                        meter.add(frame)
                found = meter.result()
        except OutputError as error:
            if len(paths) == 1:
                raise
            said = " ".join(str(error).split())
            print(f"error: {said}", file=sys.stderr)
            if json_output:
                print(json.dumps({"video": str(path), "error": said, "not_used": not_used.get(path, [])}), flush=True)
            unreadable += 1
            continue
        rows.append((path, found))
        for note in opened.notes:
            print(f"note: {path}: {note}", file=sys.stderr)
        if json_output:
            shown_too = {"cut_rule": cuts, "fps": opened.fps, "notes": opened.notes, "not_used": not_used.get(path, [])}
            print(json.dumps({"video": str(path)} | found | shown_too, allow_nan=False), flush=True)
    if unreadable == len(paths):
        raise typer.Exit(2)
    if not json_output:
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        shown = (*SHOWN, *(("consistency", "adjacent_cosine", "all_pairs_cosine") if features else ()))
        heads = {"cut_share": f"cut share ({cuts})"} if detector else {}
        table = Table("video", "verdict", *(heads.get(name, name.replace("_", " ")) for name in shown))
        for path, found in rows:
            verdict = "[green]passed[/]" if found["passed"] else f"[red]failed: {', '.join(found['failed'])}[/]"
            values = ("–" if found[name] is None else f"{found[name]:.3g}" for name in shown)
            table.add_row(escape(path.name), verdict.replace("_", " "), *values)
        Console(highlight=False).print(table)
    if unreadable or not all(found["passed"] for _, found in rows):
        raise typer.Exit(1)
