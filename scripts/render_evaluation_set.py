"""Draw the same prompts in full and skipped, for `videoada evaluate` to compare.

    python scripts/render_evaluation_set.py runs/evaluation          # 256 prompts at 20 steps, two processes
    videoada evaluate --generated runs/evaluation/skipped --reference runs/evaluation/full --report report.html

Both folders hold lossless videos with their run records; what is there already is not drawn again.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

import videoada
from videoada.outputs import record_path, write_text
from videoada.shapes import random_scene


def load(model: str) -> None:
    global pipe
    torch.set_num_threads(1)
    pipe = videoada.load_pipeline(model, device="cpu")


def draw(folder: Path, seed: int, prompt: str, steps: int) -> None:
    """One prompt, in full and with the rule of the paper."""
    for name, skip in (
        ("full", videoada.SkipConfig(policy="none")),
        ("skipped", videoada.SkipConfig(policy="third-order")),
    ):
        path = folder / name / f"{seed:04d}.mkv"
        if record_path(path).exists():
            continue
        [(video, record)] = videoada.generate(pipe, prompt=prompt, seed=seed, num_inference_steps=steps, skip=skip)
        video.write(path, record.to_json())
        write_text(record_path(path), record.to_json(indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="tiny-t2v")
    parser.add_argument("--prompts", type=int, default=256)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    for name in ("full", "skipped"):
        (args.folder / name).mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(256)
    prompts = [str(random_scene(rng, 1 + (i % 4 == 3))) for i in range(args.prompts)]
    with ProcessPoolExecutor(args.processes, get_context("spawn"), load, (args.model,)) as pool:
        waiting = [pool.submit(draw, args.folder, seed, prompt, args.steps) for seed, prompt in enumerate(prompts)]
        for done, future in enumerate(waiting):
            future.result()
            if done % 32 == 31:
                print(f"{done + 1} of {len(prompts)} prompts", flush=True)


if __name__ == "__main__":
    main()
