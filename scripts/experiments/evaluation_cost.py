"""What an evaluation costs beyond decoding and extracting features, and whether its memory grows with the videos.

    python scripts/experiments/evaluation_cost.py                   # 1,000 videos a side of 16 frames, 64×64

The two sides of a pair take the same videos, one after the other, in one process: (a) decode every video and put it
through the extractor, nothing else; (b) `videoada.evaluate` with FVD and KVD. Printed: the median ratio b ÷ a. Memory
is that of fresh processes with a quarter and with all of the videos.
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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

import videoada
from videoada.evaluation.config import DEFAULT_METRICS
from videoada.media.clips import read_clips
from videoada.media.finding import find_videos
from videoada.media.video import Video
from videoada.metrics import load_extractor
from videoada.records.record import package_versions
from videoada.shapes import random_scene, render

SETS = ("fvd", "kvd")


def write_videos(folder: Path, count: int) -> None:
    for seed, side in enumerate(("generated", "reference")):
        (folder / side).mkdir()
        rng = np.random.default_rng(seed)
        clips = [render(random_scene(rng, 1), seed=i) for i in range(50)]  # they differ by their noise
        for i in range(count):
            frames = clips[i % 50] + rng.integers(-2, 3, clips[0].shape)
            Video(np.clip(frames, 0, 255).astype(np.uint8)).write(folder / side / f"{i:05d}.mp4")


def decode_and_extract(folder: Path, workers: int, batch_size: int = 16) -> float:
    """Decoding goes on in threads while a batch is extracted, as in an evaluation."""
    began = time.perf_counter()
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
    return time.perf_counter() - began


def evaluate(folder: Path, workers: int, metrics: tuple[str, ...]) -> float:
    began = time.perf_counter()
    videoada.evaluate(folder / "generated", folder / "reference", metrics=metrics, workers=workers)
    return time.perf_counter() - began


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
    parser.add_argument("--pairs", type=int, default=3)
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
        folder.mkdir()
        write_videos(folder, args.videos)
        memory = {n: peak_memory(folder, n, args.workers) for n in (args.videos // 4, args.videos)}
        ratios, seconds = [], []
        for i in range(args.pairs + 1):  # the first pair warms up
            order = (0, 1) if i % 2 else (1, 0)
            took = [0.0, 0.0]
            for which in order:
                took[which] = (
                    evaluate(folder, args.workers, SETS) if which else decode_and_extract(folder, args.workers)
                )
            if i:
                ratios.append(took[1] / took[0])
                seconds.append(took)
                print(f"decode and extract {took[0]:.1f} s, evaluate {took[1]:.1f} s: {ratios[-1]:.3f}", flush=True)
        all_metrics = evaluate(folder, args.workers, DEFAULT_METRICS)
    result = {
        "videos_a_side": args.videos,
        "ratio": round(statistics.median(ratios), 3),
        "ratio_with_the_default_metrics": round(all_metrics / statistics.median(pair[0] for pair in seconds), 3),
        "seconds": [[round(s, 2) for s in pair] for pair in seconds],
        "peak_memory_bytes": {str(n): b for n, b in memory.items()},
        "versions": package_versions(),
    }
    print(json.dumps(result, indent=2))
    args.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
