"""Which metric sees which damage: every damage × every metric, and every extractor, on clips. Prints a table.

    python scripts/experiments/metrics.py                                # 256 clips of the shapes world; an hour
    python scripts/experiments/metrics.py --emoji runs/emoji/clips       # clips of emoji, as train_emoji.py prepares
    python scripts/experiments/metrics.py --clips 64 --only sets         # distances between sets alone; minutes

A set of clips is damaged in one way after another and measured against another set of clean clips (FVD, KVD, FVD∞), or
against itself undamaged (PSNR and the other pairs, paired feature distance), or alone (prompt agreement, coherence).
Beside each value stands its standard error: over clips for means, by a jackknife of 16 groups for the distances between
sets. A metric is blind to a damage (in brackets) when its value is within two standard errors of the difference of the
undamaged one. `transnetv2-random` is TransNetV2's network with random weights, a control. Features and measures are
kept in --folder: killed or stopped, it goes on where it was.

Writes samples/results/metrics.json, of all metrics on the shapes world, and the part of sensitivity.json, of the
distances in each extractor, that belongs to this set of clips and was measured.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from damages import DAMAGES, NONE, SLOW, Clip, Sets, baseline_of, damaged, emoji, shapes, undamaged
from torch import Tensor, nn

from videoada.errors import VideoAdaError
from videoada.evaluation.tables import PAIRS
from videoada.files import write_text
from videoada.metrics import (
    VideoStatistics,
    check_coherence,
    frechet_distance,
    frechet_infinity,
    jackknife_error,
    kernel_distance,
    load_extractor,
    paired_feature_distance,
)
from videoada.metrics.features import Extractor, describe
from videoada.metrics.weights import hash_state
from videoada.records.record import package_versions
from videoada.shapes import agreement, measure, parse

RANDOM = "transnetv2-random"
EXTRACTORS = ("tiny-shapes-v1", "transnetv2", RANDOM)
ALONE = ("temporal_flickering", "second_difference_ratio", "freeze_share", "return_share", "luma_flicker",
         "warping_error", "flow_magnitude")  # fmt: skip
PAIRED = ("psnr", "ssim", "tof", "sharpness-ratio", "temporal-psnr", "motion-ratio", "colour-shift", "vmaf")
TITLES = {"PSNR (pooled)": "PSNR"}  # that the table has shorter than a result
Value = tuple[float | None, float]  # with its standard error


# ---- features ------------------------------------------------------------------------------------------------------


def extractor_of(name: str, clips: list[Clip]) -> Extractor:
    """By name; a control's batch norms take their statistics from some clean clips, or its features would fade."""
    extractor = load_extractor(name.removesuffix("-random"))
    if name != RANDOM:
        return extractor
    torch.manual_seed(0)
    for module in extractor.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
        if isinstance(module, nn.BatchNorm3d):
            module.momentum = None
            module.train()
    with torch.inference_mode():
        extractor(as_videos(clips[:16]))
    extractor.eval()
    extractor.name, extractor.weights_sha256 = name, hash_state(extractor.network)
    return extractor


def as_videos(clips: list[Clip]) -> Tensor:
    return torch.from_numpy(np.stack(clips)).permute(0, 1, 4, 2, 3)


@torch.inference_mode()
def features_of(file: Path, name: str, clips: list[Clip], clean: list[Clip]) -> VideoStatistics:
    """Features of a set, kept in the file."""
    if not file.is_file():
        extractor = extractor_of(name, clean)
        found = torch.cat([extractor(as_videos(clips[i : i + 16])) for i in range(0, len(clips), 16)])
        VideoStatistics(found, {"extractor": describe(extractor), "videos": len(clips)}).save(file)
    return VideoStatistics.load(file)


def distances(real: Tensor, fake: Tensor, own: Tensor, name: str) -> dict[str, Value]:
    """Every distance in one extractor's features of a damaged set: to other clips, and to itself undamaged."""
    value, error = kernel_distance(real, fake)
    found: dict[str, Value] = {
        f"FVD[{name}]": with_error(frechet_distance, real, fake),
        f"KVD[{name}]": (float(value), float(error)),
        f"paired feature distance[{name}]": (
            float(paired_feature_distance(fake, own)),
            float((fake - own).square().sum(1).std() / len(own) ** 0.5),
        ),
    }
    with contextlib.suppress(ValueError):  # too few clips for so many dimensions
        found[f"FVD∞[{name}]"] = with_error(lambda r, f: frechet_infinity(r, f)[0], real, fake)
    return found


def with_error(distance: Callable[[Tensor, Tensor], Tensor], real: Tensor, fake: Tensor) -> Value:
    return float(distance(real, fake)), float(jackknife_error(distance, real, fake))


# ---- pairs and single clips ----------------------------------------------------------------------------------------


def measure_clip(prompt: str, clean: Clip, made: Clip) -> dict[str, float | None]:
    """Every measure of one damaged clip, by the title that a result gives it."""
    meters = [kind() for kind in dict.fromkeys(m for name in PAIRED for m in PAIRS[name].meters)]
    for frames in zip(made, clean, strict=True):
        for meter in meters:
            meter.add(*frames)
    parts = {part: value for meter in meters for part, value in meter.row().items()}
    titles = {title: part for name in PAIRED for title, part in PAIRS[name].titles.items()}
    found = {TITLES.get(title, title): parts[part] for title, part in titles.items()}
    coherence = check_coherence(made)
    agrees = agreement(parse(prompt), measure(made))
    found |= {"prompt agreement": float(all(agrees.values())), "coherence passed": float(coherence["passed"])}
    return found | {name.replace("_", " "): coherence[name] for name in ALONE}


def pairs_of(file: Path, sets: Sets, made: list[Clip]) -> dict[str, Value]:
    """Means over the clips, kept in the file."""
    if not file.is_file():
        rows = [measure_clip(*each) for each in zip(sets.prompts, undamaged(sets.clips), made, strict=True)]
        found = {}
        for metric in rows[0]:
            values = np.array([np.nan if row[metric] is None else row[metric] for row in rows], float)
            values = values[np.isfinite(values)]
            spread = float(values.std(ddof=1) / len(values) ** 0.5) if len(values) > 1 else 0.0
            found[metric] = (float(values.mean()) if len(values) else None, spread)
        write_text(file, json.dumps(found))
    return json.loads(file.read_text(encoding="utf-8"))


# ---- all of it -----------------------------------------------------------------------------------------------------


def sets_of(args: argparse.Namespace, name: str) -> Sets:
    return emoji(args.emoji, args.clips) if args.emoji else shapes(args.clips, DAMAGES[name].slow)


def one_damage(args: argparse.Namespace, name: str) -> dict[str, Value]:
    """Every metric of one damage."""
    torch.set_num_threads(1)
    sets, folder = sets_of(args, name), args.folder
    made, own = damaged(name, sets.clips), baseline_of(name, names_of(args))
    found: dict[str, Value] = {}
    for extractor in args.extractor:
        files = [folder / f"{extractor}-{slug(part)}.safetensors" for part in (name, own, f"others of {own}")]
        parts = (made, undamaged(sets.clips), sets.others)
        fake, clean, real = (
            features_of(file, extractor, clips, undamaged(sets.clips)).features
            for file, clips in zip(files, parts, strict=True)
        )
        found |= distances(real, fake, clean, extractor)
    if args.only != "sets":
        found |= pairs_of(folder / f"pairs-{slug(name)}.json", sets, made)
    return found


def names_of(args: argparse.Namespace) -> list[str]:
    """The damages; loops go on for ever, so that twice the speed has no baseline of its own."""
    return [name for name in DAMAGES if not (args.emoji and name == SLOW)]


def slug(name: str) -> str:
    return re.sub(r"\W+", "-", name).strip("-")


def blind(value: Value, clean: Value, metric: str) -> bool:
    if metric in ("PSNR", "temporal PSNR"):  # infinite for undamaged clips
        return value[0] is None
    if value[0] is None or clean[0] is None:
        return value[0] is clean[0]
    return abs(value[0] - clean[0]) <= 2 * float(np.hypot(value[1], clean[1])) + 1e-12


def sensitivity(args: argparse.Namespace, table: dict[str, dict[str, Value]]) -> None:
    """Put the distances of this set of clips into sensitivity.json, beside those of the other."""
    file = args.output / "sensitivity.json"
    known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {"data": {}}
    rows = [
        {
            "damage": name, "baseline": baseline_of(name, list(table)), "extractor": extractor,
            "fvd": row[f"FVD[{extractor}]"], "kvd": row[f"KVD[{extractor}]"],
        }
        for extractor in args.extractor for name, row in table.items()
    ]  # fmt: skip
    known["data"]["emoji" if args.emoji else "shapes"] = {"clips": args.clips, "rows": rows}
    known["versions"] = package_versions()
    write_text(file, json.dumps(known, indent=1, ensure_ascii=False) + "\n")


def show(args: argparse.Namespace, table: dict[str, dict[str, Value]]) -> dict[str, list[str]]:
    """Print the table, and who sees what; give the latter."""
    metrics = list(table[NONE])
    print(f"| metric ({args.clips} clips) | {' | '.join(table)} |")
    print("|---|" + "---|" * len(table))
    seen: dict[str, list[str]] = {name: [] for name in table if name not in (NONE, SLOW)}
    for metric in metrics:
        cells = []
        for name, row in table.items():
            value, error = row[metric]
            text = "identical" if value is None else f"{value:.3g} ± {error:.1g}"
            if name in seen:
                if blind(row[metric], table[baseline_of(name, list(table))][metric], metric):
                    text = f"[{text}]"
                else:
                    seen[name].append(metric)
            cells.append(text)
        print(f"| {metric} | {' | '.join(cells)} |")
    for name, by in seen.items():
        print(f"{name}: seen by {len(by)}; blind: {', '.join(m for m in metrics if m not in by) or 'none'}")
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=256)
    parser.add_argument("--emoji", type=Path, metavar="CLIPS", help="a folder of prepared clips, instead of shapes")
    parser.add_argument("--extractor", action="append", choices=EXTRACTORS, help="all of them, if left out")
    parser.add_argument("--only", choices=("sets",), help="distances between sets, without pairs and single clips")
    parser.add_argument("--folder", type=Path, default=Path("runs/metrics"), help="of features and measures")
    parser.add_argument("--output", type=Path, default=Path("samples/results"))
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    args.extractor = args.extractor or list(EXTRACTORS)
    args.only = "sets" if args.emoji else args.only  # prompts of emoji are outside the shapes grammar
    args.folder = args.folder / f"{'emoji' if args.emoji else 'shapes'}-{args.clips}"
    args.folder.mkdir(parents=True, exist_ok=True)
    names = names_of(args)
    with ProcessPoolExecutor(args.processes, get_context("spawn")) as pool:
        first = [name for name in (NONE, SLOW) if name in names]  # whose features the others read
        table = dict(zip(first, pool.map(one_damage, [args] * len(first), first), strict=True))
        rest = [name for name in names if name not in first]
        table |= dict(zip(rest, pool.map(one_damage, [args] * len(rest), rest), strict=True))
    table = {name: table[name] for name in names}
    seen = show(args, table)
    args.output.mkdir(parents=True, exist_ok=True)
    if args.only != "sets":
        result = {"clips": args.clips, "values": table, "seen_by": seen, "versions": package_versions()}
        write_text(args.output / "metrics.json", json.dumps(result, indent=1) + "\n")
    sensitivity(args, table)


if __name__ == "__main__":
    try:
        main()
    except VideoAdaError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
