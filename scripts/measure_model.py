"""How well the embedded text-to-video model follows its prompts, by `measure`. Prints the model card's table.

    python scripts/measure_model.py

64 prompts with one object (seeds 0–63) and 32 with two (seeds 64–95): 50 DDIM steps, guidance 9, nothing skipped.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

import videoada
from videoada.records import package_versions
from videoada.shapes import Scene, agreement, measure, random_scene


def load(model: str) -> None:
    global pipe
    torch.set_num_threads(1)
    pipe = videoada.load_pipeline(model, device="cpu")


def draw(scene: Scene, seed: int) -> tuple[dict[str, bool], Scene]:
    """What is right of the scene in the full run with this seed, and what was read back."""
    [(video, _)] = videoada.generate(pipe, prompt=str(scene), seed=seed, skip=videoada.SkipConfig(policy="none"))
    found = measure(video.frames)
    return agreement(scene, found), found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny-t2v")
    parser.add_argument("--output", type=Path, default=Path("samples/results/tiny-t2v.json"))
    parser.add_argument("--one", type=int, default=64, help="prompts with one object")
    parser.add_argument("--two", type=int, default=32, help="prompts with two objects")
    parser.add_argument("--processes", type=int, default=2, help="each draws its own prompts, on one thread")
    args = parser.parse_args()
    rng = np.random.default_rng(640)
    rows: dict[str, list[dict[str, bool]]] = {"one object": [], "two objects": []}
    scenes = [random_scene(rng, 1 if seed < args.one else 2) for seed in range(args.one + args.two)]
    with ProcessPoolExecutor(args.processes, get_context("spawn"), load, (args.model,)) as pool:
        for scene, (right, found) in zip(scenes, pool.map(draw, scenes, range(len(scenes))), strict=True):
            rows["one object" if len(scene.objects) == 1 else "two objects"].append(
                right | {"all": all(right.values())}
            )
            if not all(right.values()):
                print(f"asked for {scene}; got {found}", flush=True)
    result = {
        kind: {"prompts": len(r)} | {k: round(float(np.mean([row[k] for row in r])), 4) for k in r[0]}
        for kind, r in rows.items()
        if r
    }
    print("| prompts | background | colour | shape | motion | all |\n|---|---|---|---|---|---|")
    for kind, r in result.items():
        figures = " | ".join(f"{100 * r[k]:.0f} %" for k in ("background", "colour", "shape", "motion", "all"))
        print(f"| {r['prompts']} with {kind} | {figures} |")
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(
        json.dumps({"model": args.model, "agreement": result, "versions": package_versions()}, indent=2) + "\n"
    )


if __name__ == "__main__":
    main()
