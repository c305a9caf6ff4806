"""videoada inspect."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from videoada.cli.app import app
from videoada.errors import counted


@app.command(epilog="Examples:\n\n  videoada inspect clip.mp4\n\n  videoada inspect clip.json --steps")
def inspect(
    file: Annotated[Path, typer.Argument(help="A video, a folder of frames, or a record.")],
    steps: Annotated[
        bool, typer.Option("--steps", help="Also each step: computed or skipped, and its signal.")
    ] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print the record as JSON and nothing else.")] = False,
) -> None:
    """Show the run record found in or beside a video: what ran, what was skipped, how to repeat it."""
    from videoada.records.find import find_record

    record = find_record(file)
    if json_output:
        print(record.to_json())
        return
    from rich.console import Console
    from rich.markup import escape

    from videoada.cli.show import show_record

    console = Console(highlight=False, soft_wrap=True)
    request, skip = record.request, record.skip
    console.print(escape(request.prompt))
    embedded = " (small embedded model)" if record.model.embedded else ""
    predictor = f"{skip.predictor}{', corrected' if skip.corrector else ''}"
    shown_fields = skip.model_dump(exclude_none=True, exclude={"policy", "predictor", "corrector", "mask"})
    if skip.batch_decision == "prompt":
        shown_fields.pop("batch_decision")
    policy = ", ".join(f"{name} {value}" for name, value in shown_fields.items())
    guidance = f"guidance {request.guidance_scale:g}, " if request.guidance_scale is not None else ""
    rate = "" if request.fps is None else f" at {request.fps:.6g} a second"  # a record from elsewhere may lack it
    for name, value in (
        ("model", f"{record.model.name}{embedded}"),
        ("size", f"{counted(record.num_frames, 'frame')} of {record.width}×{record.height}{rate}"),
        ("run", f"{request.scheduler or 'its own scheduler'}, {guidance}seed {request.seed}, {record.device} "
                f"{record.dtype}"),
        ("policy", f"{skip.policy}{f' ({policy})' if policy else ''}, {predictor}"),
        ("created", record.created),
    ):  # fmt: skip
        console.print(f"{name}: {escape(str(value))}")
    show_record(console, record)
    if steps:
        exits, last = (record.early_exit or {}).get("steps", []), (record.early_exit or {}).get("num_exits", 0)
        for step, (computed, signal) in enumerate(zip(record.computed, record.signal, strict=False)):
            shown = "" if signal is None else f"  signal {signal:.4f}"
            half = "  conditional half alone" if record.guidance_skipped and record.guidance_skipped[step] else ""
            left = exits[step] if step < len(exits) else None
            early = f"  left at exit {left + 1} of {last}" if left is not None and left < last else ""
            console.print(f"{step:4d}  {'computed' if computed else 'skipped '}{shown}{half}{early}")
    console.print(escape(f"repeat it: videoada generate --from-record {file} --output again.mkv"))
