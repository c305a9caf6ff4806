"""Which damages `videoada verdict` finds with the limits that ship, on each embedded model. Prints a table.

    python scripts/experiments/verdict.py                        # renders all pairs, on one core twenty minutes
    python scripts/experiments/verdict.py --models tiny-t2v      # one model; the others' rows of the file stay

Sample prompts of each model are rendered with the default skipping and in full (kept in --folder: killed or stopped, it
goes on where it was). The skipped videos are then held to the full ones as they are, and damaged in one way after
another. Without damage the verdict should be a pass, with any of them a fail.

Writes samples/results/verdict.json: for each model and damage the verdict, the limits that failed, and every figure.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from videoada import Video, judge, render_prompts
from videoada.evaluation.judging.limits import shipped_limits
from videoada.files import write_text
from videoada.media.clips import read_clips
from videoada.media.finding import find_videos
from videoada.records.record import package_versions

ROOT = Path(__file__).resolve().parents[2]
Clip = np.ndarray  # (F, H, W, 3) uint8
PROMPTS = {  # of each model: its sample prompts, and how many of them
    "tiny-t2v": ("prompts.txt", 16), "tiny-i2v": ("prompts_i2v.jsonl", 8), "tiny-wan": ("prompts.txt", 32),
    "emoji-t2v": ("prompts_emoji.txt", 3),
}  # fmt: skip
NONE, REPLACED = "none", "one clip of another prompt"


def brighter(clip: Clip, levels: list[int]) -> Clip:
    return np.clip(clip.astype(int) + levels, 0, 255).astype(np.uint8)


def faster(clip: Clip, factor: float = 1.2) -> Clip:
    """Every frame `factor` times as far on, and back again from the last frame."""
    last = len(clip) - 1
    at = np.round(np.arange(len(clip)) * factor).astype(int)
    return clip[np.where(at > last, 2 * last - at, at)]


DAMAGES: dict[str, Callable[[Clip, np.random.Generator], Clip]] = {
    NONE: lambda clip, rng: clip,
    "frames shuffled": lambda clip, rng: clip[rng.permutation(len(clip))],
    "frozen": lambda clip, rng: clip[np.zeros(len(clip), int)],
    REPLACED: lambda clip, rng: clip,  # of all clips: `damaged` exchanges it
    "blur, σ 1": lambda clip, rng: np.stack([cv2.GaussianBlur(frame, (0, 0), 1.0) for frame in clip]),
    "speed × 1.2": lambda clip, rng: faster(clip),
    "red + 8": lambda clip, rng: brighter(clip, [8, 0, 0]),
    "all channels + 8": lambda clip, rng: brighter(clip, [8, 8, 8]),
}


def damaged(name: str, clips: list[Clip]) -> list[Clip]:
    """Each clip with its own random numbers; REPLACED has the second clip in the first one's position, too."""
    found = [DAMAGES[name](clip, np.random.default_rng(i)) for i, clip in enumerate(clips)]
    return [found[1], *found[1:]] if name == REPLACED else found


def write_damaged(source: Path, out: Path, name: str) -> None:
    """The videos of a folder, damaged, under their names and without records: their frames are others."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    paths = find_videos(source)
    clips = [read_clips(path).clips[0] for path in paths]
    for path, clip in zip(paths, damaged(name, clips), strict=True):
        Video(clip).write(out / path.name)


def measure(model: str, folder: Path, count: int | None) -> list[dict[str, Any]]:
    """A row for each damage."""
    prompts, most = PROMPTS[model]
    for side, fields in (("skipped", {}), ("full", {"policy": "none"})):
        render_prompts(
            ROOT / "samples" / prompts, folder / model / side, model=model, limit=count or most, format="mkv", **fields
        )  # fmt: skip
    rows = []
    for name in DAMAGES:
        write_damaged(folder / model / "skipped", folder / model / "damaged", name)
        found = judge(folder / model / "damaged", folder / model / "full", pair_by="name")
        failed = [check for check in found.checks if check.passed is False]
        rows.append({
            "model": model, "damage": name, "pairs": found.pairs, "passed": found.passed,
            "failed": [check.name for check in failed],
            "measured": {check.name: None if check.value is None else round(check.value, 4) for check in found.checks},
        })  # fmt: skip
        shown = ", ".join(f"{check.title} {check.measured}" for check in failed[:3])
        print(f"| {model} | {name} | {'pass' if found.passed else 'fail'} | {shown} |", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=PROMPTS, default=list(PROMPTS))
    parser.add_argument("--folder", type=Path, default=Path("runs/verdict"), help="videos are kept here")
    parser.add_argument("--pairs", type=int, help="of each model; default: as in the table of docs/measure.md")
    parser.add_argument("--output", type=Path, default=ROOT / "samples" / "results" / "verdict.json")
    args = parser.parse_args()
    print("| model | damage | verdict | limits that fail |\n|---|---|---|---|")
    rows = [row for model in args.models for row in measure(model, args.folder, args.pairs)]
    if args.output.is_file():
        before = json.loads(args.output.read_text(encoding="utf-8"))["rows"]
        rows = [row for row in before if row["model"] not in args.models] + rows
    about = {"limits": shipped_limits().model_dump(), "rows": rows, "versions": package_versions()}
    write_text(args.output, json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
