"""How far a render into a folder is, here or on another machine: read from the folder alone."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from videoada.errors import OutputError, PromptError
from videoada.failures import wrong_with
from videoada.rendering.folder import SETTINGS, SUMMARY, RenderFolder, output_errors, read_json, records_in


def read_status(path: Path) -> dict[str, Any]:
    """What is in the folder, who is at work, what failed. Raises PromptError for no such folder."""
    with output_errors(f"can't read {str(path)[:200]}"):
        if not (path / SETTINGS).is_file():
            wrong = None if path.is_dir() else wrong_with(path)
            raise PromptError(wrong or f"{path} is no folder of `videoada render`: there is no {SETTINGS} in it")
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
