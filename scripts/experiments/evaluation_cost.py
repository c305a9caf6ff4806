"""What an evaluation costs beyond decoding and extracting features, and whether its memory grows with the videos.

    python scripts/experiments/evaluation_cost.py                   # 1,000 videos a side of 16 frames, 64×64
    python scripts/experiments/evaluation_cost.py --videos 24 --output cost.json

All sides of a round take the same videos, one after the other, in one process, in an order that turns: (a) decode every
video and put it through the extractor, nothing else; (b) `videoada.evaluate` with FVD and KVD; (c) with the default
metrics, of sets, where each generated video is looked at alone; (d) with the default metrics, of pairs: full runs and
skipped ones with their records, where both are looked at and compared. Printed: the median ratios to (a), of
wall-clock time and of processor time, which other programs on the machine disturb less. Memory is that of fresh
processes with a quarter and with all of the videos.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch

import videoada
from videoada.evaluation.config import DEFAULT_METRICS
from videoada.media.clips import read_clips
from videoada.media.finding import find_videos
from videoada.media.video import Video
from videoada.metrics import load_extractor
from videoada.records.record import ModelInfo, RunRecord, package_versions
from videoada.shapes import random_scene, render

SETS = ("fvd", "kvd")


def write_videos(folder: Path, count: int) -> None:
    """`sets` of other videos on each side, `pairs` of the same prompts and seeds with records."""
    for seed, side in enumerate(("generated", "reference")):
        rng, noise = np.random.default_rng(seed), np.random.default_rng(seed)
        scenes = {"sets": [random_scene(rng, 1) for _ in range(50)]}
        scenes["pairs"] = [random_scene(np.random.default_rng(100 + i), 1) for i in range(50)]
        clips = {kind: [render(scene, seed=i) for i, scene in enumerate(found)] for kind, found in scenes.items()}
        for kind in clips:
            (folder / kind / side).mkdir(parents=True)
            for i in range(count):
                clip = clips[kind][i % 50]  # they differ by their noise
                frames = np.clip(clip + noise.integers(-2, 3, clip.shape), 0, 255).astype(np.uint8)
                kept = record(str(scenes["pairs"][i % 50]), i, seed) if kind == "pairs" else None
                Video(frames).write(folder / kind / side / f"{i:05d}.mp4", kept)


def record(prompt: str, seed: int, full: bool) -> str:
    """The record of a run that left out the third of four steps, or none."""
    computed = [True, True, bool(full), True]
    values = {
        "prompt": prompt, "seed": seed, "num_inference_steps": 4, "num_frames": 16, "height": 64, "width": 64, "fps": 8,
        "negative_prompt": None, "scheduler": "ddim", "guidance_scale": 9.0, "predictor": {"name": "hold"},
        "policy": {"name": "none" if full else "third-order", **({} if full else {"threshold": 0.15})},
        "model": ModelInfo(name="tiny-t2v", source="embedded", embedded=True), "computed": computed,
        "signal": [None] * 4, "signal_percentiles": None, "num_predictions": sum(computed),
        "unet_rows": 2 * sum(computed), "unet_rows_full": 8, "seconds": {}, "device": "cpu", "dtype": "float32",
    }  # fmt: skip
    return RunRecord.model_validate(values).to_json()


def decode_and_extract(folder: Path, workers: int, batch_size: int = 16) -> None:
    """Decoding goes on in threads while a batch is extracted, as in an evaluation."""
    extractor = load_extractor()
    for side in ("generated", "reference"):
        paths = find_videos(folder / side)
        with ThreadPoolExecutor(workers) as pool, torch.inference_mode():
            batches = [paths[i : i + batch_size] for i in range(0, len(paths), batch_size)]
            ahead = [pool.submit(read_clips, path) for path in batches[0]]
            for following in (*batches[1:], []):
                ready, ahead = ahead, [pool.submit(read_clips, path) for path in following]
                clips = np.stack([future.result().clips[0] for future in ready])
                extractor(torch.from_numpy(clips).permute(0, 1, 4, 2, 3))


def evaluate(folder: Path, workers: int, metrics: tuple[str, ...]) -> None:
    videoada.evaluate(folder / "generated", folder / "reference", metrics=metrics, workers=workers)


def timed(run: Callable[[], None]) -> tuple[float, float]:
    """Wall-clock and processor seconds."""
    wall, processor = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - processor


def peak_memory(folder: Path, count: int, workers: int) -> int:
    """Bytes that a fresh process takes for the first `count` videos of each side."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as part:
        for side in ("generated", "reference"):
            (Path(part) / side).mkdir()
            for video in find_videos(folder / side)[:count]:
                (Path(part) / side / video.name).symlink_to(video)
        command = [sys.executable, __file__, "--memory-of", part, "--workers", str(workers)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--memory-of", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, default=Path("samples/results/evaluation-cost.json"))
    args = parser.parse_args()
    if args.memory_of:
        evaluate(args.memory_of, args.workers, SETS)
        unit = 1 if sys.platform == "darwin" else 1024
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)
        return
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "videos"
        write_videos(folder, args.videos)
        memory = {n: peak_memory(folder / "sets", n, args.workers) for n in (args.videos // 4, args.videos)}
        sides: dict[str, Callable[[], None]] = {
            "decode and extract": partial(decode_and_extract, folder / "sets", args.workers),
            "FVD and KVD": partial(evaluate, folder / "sets", args.workers, SETS),
            "default metrics of sets": partial(evaluate, folder / "sets", args.workers, DEFAULT_METRICS),
            "default metrics of pairs": partial(evaluate, folder / "pairs", args.workers, DEFAULT_METRICS),
        }
        names = list(sides)
        rounds = []
        for i in range(args.rounds + 1):  # the first warms up
            turned = names[i % 4 :] + names[: i % 4]
            took = {name: timed(sides[name]) for name in turned}
            if i:
                rounds.append({name: took[name] for name in names})
                shown = ", ".join(f"{name} {wall:.1f} s ({cpu:.1f})" for name, (wall, cpu) in rounds[-1].items())
                print(f"{shown}; in brackets: of the processors", flush=True)

    def ratios(name: str, kind: int) -> float:
        return round(statistics.median(took[name][kind] / took[names[0]][kind] for took in rounds), 3)

    result = {
        "videos_a_side": args.videos,
        "ratio": {name: ratios(name, 0) for name in names[1:]},
        "ratio_of_processor_time": {name: ratios(name, 1) for name in names[1:]},
        "seconds": [{name: [round(s, 2) for s in both] for name, both in took.items()} for took in rounds],
        "peak_memory_bytes": {str(n): b for n, b in memory.items()},
        "versions": package_versions(),
    }
    print(json.dumps(result, indent=2))
    args.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
