"""Distances of generated sets of videos to data: FVD and KVD in several features, with errors, as JSON and a table.

The three kinds of numbers that scripts/experiments/fvd.py reports of a reference set: of each generated set; of a set
that is made of the data itself, which is what a perfect model of these prompts would get; and of the difference between
skipped and full videos, whose error is far smaller than those of both, for they share prompts, seeds and the data.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from videoada import EvaluationConfig, evaluate
from videoada.config.prompts import read_entries
from videoada.files import model_folder, write_text
from videoada.media.finding import find_videos
from videoada.metrics import VideoStatistics, frechet_distance, jackknife_error, kernel_distance
from videoada.records.record import package_versions

Row = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "scripts" / "embedded"))  # for emoji_t2v


def emoji_sets(clips: Path, prompts: Path | None, count: int, folder: Path) -> tuple[Path, Path, dict[str, Path]]:
    """A prompt file, the folder of data, and the sets that are made of the data, by name.

    The data are all clips, each on one background. Without a prompt file, `count` prompts are written: the samples',
    then other subjects on backgrounds, always the same. The set "data, other starts" holds the clips that the prompts
    ask for; it is left out where they ask for none.
    """
    from emoji_t2v.clips import Clips, make_prompts, parse_prompt, write_matching, write_reference

    loaded = Clips.load(clips)
    if prompts is None:
        lines = (ROOT / "samples" / "prompts_emoji.txt").read_text(encoding="utf-8").splitlines()
        first = [line for line in lines if (parsed := parse_prompt(line)) and parsed[0] in loaded.subjects]
        prompts = folder / "prompts.txt"
        write_text(prompts, "".join(f"{prompt}\n" for prompt in make_prompts(loaded.subjects, count, first)))
    write_reference(loaded, folder / "data")
    asked = [str(entry.fields.get("prompt")) for entry in read_entries(prompts)]
    matching = write_matching(loaded, asked, folder / "data-again")
    return prompts, folder / "data", {"data, other starts": folder / "data-again"} if matching > 1 else {}


# ---- features ------------------------------------------------------------------------------------------------------


def features_of(videos: Path, extractor: str, folder: Path) -> VideoStatistics:
    """Features of a folder's videos, kept in the run's folder and made again when the videos are others in number."""
    kept = folder / "features" / f"{videos.name}-{model_folder(extractor)}.safetensors"
    count = len(find_videos(videos))
    if kept.is_file() and (statistics := VideoStatistics.load(kept)).about["videos"] == count:
        return statistics
    kept.parent.mkdir(exist_ok=True)
    evaluate(None, videos, EvaluationConfig(extractor=extractor), save_statistics=kept)
    return VideoStatistics.load(kept)


def distances(sets: dict[str, Path], data: Path, extractors: Sequence[str], folder: Path) -> list[Row]:
    """A row for each set and extractor, and one for the difference of `skipped` and `full` where both are there."""
    rows = []
    for extractor in extractors:
        real = features_of(data, extractor, folder)
        found = {name: features_of(videos, extractor, folder) for name, videos in sets.items()}
        about = {"extractor": real.about["extractor"]["name"], "n_data": len(real.features),
                 "weights_sha256": real.about["extractor"]["weights_sha256"]}  # fmt: skip
        for name, fake in found.items():
            kernel = kernel_distance(real.features, fake.features)
            rows.append({"set": name, **about, "n": len(fake.features),
                         "fvd": with_error(frechet_distance, real.features, fake.features),
                         "kvd": {"value": float(kernel[0]), "standard_error": float(kernel[1])}})  # fmt: skip
        if len({len(found[name].features) for name in ("skipped", "full") if name in found}) == 1 and "full" in found:
            both = torch.cat([found["skipped"].features, found["full"].features], 1)
            rows.append({"set": "skipped − full", **about, "n": len(both),
                         "fvd": with_error(difference_of(frechet_distance), real.features, both),
                         "kvd": with_error(difference_of(kernel_alone), real.features, both)})  # fmt: skip
    return rows


def kernel_alone(real: Tensor, fake: Tensor) -> Tensor:
    return kernel_distance(real, fake, num_bootstraps=0)[0]


def difference_of(distance: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """Of two sets side by side (N, 2·D): how much farther the left one is from the data."""

    def difference(real: Tensor, both: Tensor) -> Tensor:
        left, right = both.chunk(2, 1)
        return distance(real, left) - distance(real, right)

    return difference


def with_error(distance: Callable[[Tensor, Tensor], Tensor], real: Tensor, fake: Tensor) -> Row:
    """A distance and its jackknife error, None for sets of fewer than three."""
    enough = min(len(real), len(fake)) > 2
    error = float(jackknife_error(distance, real, fake)) if enough else None
    return {"value": float(distance(real, fake)), "standard_error": error}


# ---- what is reported ----------------------------------------------------------------------------------------------


def report(rows: list[Row], data: str, folder: Path) -> str:
    """Write to-data.json and to-data.md; give the table."""
    lines = [f"Distances to {data}, ± standard error: KVD's by a bootstrap, FVD's and differences' by a jackknife.", "",
             "| videos | n | n of the data | features | FVD | KVD |", "|---|---|---|---|---|---|"]  # fmt: skip
    for row in rows:
        fvd, kvd = (shown(row[name]) for name in ("fvd", "kvd"))
        lines.append(f"| {row['set']} | {row['n']} | {row['n_data']} | {row['extractor']} | {fvd} | {kvd} |")
    text = "\n".join(lines) + "\n"
    write_text(folder / "to-data.md", text)
    found = {"data": data, "rows": rows, "versions": package_versions()}
    write_text(folder / "to-data.json", json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    return text


def shown(value: Row) -> str:
    error = value["standard_error"]
    return f"{value['value']:.4g}" + ("" if error is None else f" ± {error:.2g}")
