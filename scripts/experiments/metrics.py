"""Which metric sees which damage: every corruption × every metric on clips of the shapes world. Prints a table.

    python scripts/experiments/metrics.py        # 256 clips; some minutes

A set of clips is damaged in one way after another and measured against another set of clean clips (FVD, KVD, FVD∞), or
against itself undamaged (PSNR, SSIM, tOF, paired feature distance), or alone (prompt agreement, coherence). Beside each
value stands its standard error: over clips for means, by a jackknife of 16 groups for the distances between sets. A
metric is blind to a damage (in brackets) when its value is within two standard errors of the difference of the
undamaged one.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from videoada.metrics import (
    check_coherence,
    frechet_distance,
    frechet_infinity,
    jackknife_error,
    kernel_distance,
    load_extractor,
    paired_feature_distance,
    paired_fidelity,
)
from videoada.records.record import package_versions
from videoada.shapes import agreement, measure, parse, random_scene, render

HELD_OUT = 6_000_000
Clip = np.ndarray


def as_bytes(values: np.ndarray) -> Clip:
    return np.clip(values, 0, 255).round().astype(np.uint8)


def flicker(clip: Clip, rng: np.random.Generator) -> Clip:
    return as_bytes(clip * (1 + 0.1 * rng.standard_normal((len(clip), 1, 1, 1))))


def duplicate(clip: Clip, rng: np.random.Generator) -> Clip:
    return clip[np.arange(len(clip)) // 2 * 2]


CORRUPTIONS: dict[str, Callable[[Clip, np.random.Generator], Clip]] = {
    "none": lambda clip, rng: clip,
    "noise (σ 8)": lambda clip, rng: as_bytes(clip + rng.normal(0, 8, clip.shape)),
    "blur (σ 1.5)": lambda clip, rng: np.stack([cv2.GaussianBlur(frame, (0, 0), 1.5) for frame in clip]),
    "freeze": lambda clip, rng: clip[np.zeros(len(clip), int)],
    "duplicate": duplicate,
    "shuffle": lambda clip, rng: clip[rng.permutation(len(clip))],
    "flicker": flicker,
    "colour shift": lambda clip, rng: as_bytes(clip * np.array([1.15, 1.0, 0.85])),
}
ALONE = ("temporal_flickering", "second_difference_ratio", "freeze_share", "return_share", "luma_flicker",
         "warping_error", "flow_magnitude")  # fmt: skip


def clips_of(count: int, seed: int) -> tuple[list[str], list[Clip]]:
    rng = np.random.default_rng(seed)
    scenes = [random_scene(rng, 1 + (i % 4 == 3)) for i in range(count)]
    return [str(s) for s in scenes], [render(s, seed=HELD_OUT + 1000 * seed + i) for i, s in enumerate(scenes)]


def features_of(clips: list[Clip]) -> Tensor:
    extractor = load_extractor()
    parts = [torch.from_numpy(np.stack(clips[i : i + 32])).permute(0, 1, 4, 2, 3) for i in range(0, len(clips), 32)]
    return torch.cat([extractor(part) for part in parts])


def measure_clip(prompt: str, clean: Clip, damaged: Clip) -> dict[str, float | None]:
    fidelity = paired_fidelity(damaged, clean)
    found = check_coherence(damaged)
    agrees = agreement(parse(prompt), measure(damaged))
    return {
        "PSNR": fidelity.psnr, "SSIM": fidelity.ssim, "tOF": fidelity.tof,
        "prompt agreement": float(all(agrees.values())), "coherence passed": float(found["passed"]),
        **{name.replace("_", " "): found[name] for name in ALONE},
    }  # fmt: skip


def damage(name: str, prompts: list[str], clips: list[Clip], real: Tensor) -> dict[str, tuple[float | None, float]]:
    """Every metric of one corruption: value, standard error."""
    torch.set_num_threads(1)
    damaged = [CORRUPTIONS[name](clip, np.random.default_rng(i)) for i, clip in enumerate(clips)]
    fake, own = features_of(damaged), features_of(clips)
    value, error = kernel_distance(real, fake)

    def with_error(distance: Callable[[Tensor, Tensor], Tensor]) -> tuple[float, float]:
        return float(distance(real, fake)), float(jackknife_error(distance, real, fake))

    found: dict[str, tuple[float | None, float]] = {
        "FVD[tiny-shapes-v1]": with_error(frechet_distance),
        "FVD∞[tiny-shapes-v1]": with_error(lambda r, f: frechet_infinity(r, f)[0]),
        "KVD[tiny-shapes-v1]": (float(value), float(error)),
        "paired feature distance": (
            float(paired_feature_distance(fake, own)),
            float((fake - own).square().sum(1).std() / len(own) ** 0.5),
        ),
    }
    rows = [measure_clip(*each) for each in zip(prompts, clips, damaged, strict=True)]
    for metric in rows[0]:
        values = np.array([np.nan if row[metric] is None else row[metric] for row in rows], float)
        values = values[np.isfinite(values)]
        spread = float(values.std(ddof=1) / len(values) ** 0.5) if len(values) > 1 else 0.0
        found[metric] = (float(values.mean()) if len(values) else None, spread)
    return found


def blind(value: tuple[float | None, float], clean: tuple[float | None, float], metric: str) -> bool:
    if metric == "PSNR":  # infinite for undamaged clips
        return value[0] is None
    if value[0] is None or clean[0] is None:
        return value[0] is clean[0]
    return abs(value[0] - clean[0]) <= 2 * float(np.hypot(value[1], clean[1])) + 1e-12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=256)
    parser.add_argument("--output", type=Path, default=Path("samples/results/metrics.json"))
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    prompts, clips = clips_of(args.clips, 1)
    real = features_of(clips_of(args.clips, 2)[1])
    with ProcessPoolExecutor(args.processes, get_context("spawn")) as pool:
        waiting = {name: pool.submit(damage, name, prompts, clips, real) for name in CORRUPTIONS}
        table = {name: future.result() for name, future in waiting.items()}
    metrics = list(table["none"])
    print(f"| metric ({args.clips} clips) | {' | '.join(CORRUPTIONS)} |")
    print("|---|" + "---|" * len(CORRUPTIONS))
    seen: dict[str, list[str]] = {name: [] for name in CORRUPTIONS if name != "none"}
    for metric in metrics:
        cells = []
        for name, row in table.items():
            value, error = row[metric]
            text = "identical" if value is None else f"{value:.3g} ± {error:.1g}"
            if name != "none":
                if blind(row[metric], table["none"][metric], metric):
                    text = f"[{text}]"
                else:
                    seen[name].append(metric)
            cells.append(text)
        print(f"| {metric} | {' | '.join(cells)} |")
    for name, by in seen.items():
        print(f"{name}: seen by {len(by)}; blind: {', '.join(m for m in metrics if m not in by) or 'none'}")
        assert by, f"nothing sees {name}"
    result = {"clips": args.clips, "values": table, "seen_by": seen, "versions": package_versions()}
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
