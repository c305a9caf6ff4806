"""How well an embedded model follows its prompts, by `measure`. Prints the model card's table.

    python scripts/embedded/measure_model.py                      # tiny-t2v
    python scripts/embedded/measure_model.py --model tiny-i2v     # also how near each video begins to its image
    python scripts/embedded/measure_model.py --model tiny-wan --guidance-scale 3

64 prompts with one object (seeds 0–63) and 32 with two (seeds 64–95): the model's own settings, nothing skipped.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import videoada
from videoada.models.arguments import takes_image
from videoada.records.record import package_versions
from videoada.shapes import Scene, agreement, measure, random_scene, render


def load(model: str, settings: dict[str, float]) -> None:
    global pipe, given
    given = settings
    torch.set_num_threads(1)
    pipe = videoada.load_pipeline(model, device="cpu")


def generate_and_measure(scene: Scene, seed: int) -> tuple[dict[str, bool], Scene, float | None]:
    """What is right of the scene in the full run with this seed, what was read back, and the first frame's PSNR."""
    first = render(scene, seed=4_000_000 + seed)[0]  # held out: no training script renders these
    image = {"image": Image.fromarray(first)} if takes_image(pipe) else {}
    skip = videoada.SkipConfig(policy="none")
    [(video, _)] = videoada.generate(pipe, prompt=str(scene), seed=seed, skip=skip, **image, **given)
    found = measure(video.frames)
    error = float(np.mean((video.frames[0].astype(float) - first) ** 2))
    return agreement(scene, found), found, 10 * float(np.log10(255**2 / error)) if image else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny-t2v")
    parser.add_argument("--output", type=Path, help="samples/results/MODEL.json if left out")
    parser.add_argument("--one", type=int, default=64, help="prompts with one object")
    parser.add_argument("--two", type=int, default=32, help="prompts with two objects")
    parser.add_argument("--guidance-scale", type=float, help="the model's own if left out")
    parser.add_argument("--processes", type=int, default=2, help="each generates its own prompts, on one thread")
    args = parser.parse_args()
    output = args.output or Path(f"samples/results/{args.model}.json")
    rng = np.random.default_rng(640)
    rows: dict[str, list[dict[str, bool]]] = {"one object": [], "two objects": []}
    first_frames: dict[str, list[float]] = {kind: [] for kind in rows}
    scenes = [random_scene(rng, 1 if seed < args.one else 2) for seed in range(args.one + args.two)]
    settings = {} if args.guidance_scale is None else {"guidance_scale": args.guidance_scale}
    with ProcessPoolExecutor(args.processes, get_context("spawn"), load, (args.model, settings)) as pool:
        for scene, (right, found, psnr) in zip(
            scenes, pool.map(generate_and_measure, scenes, range(len(scenes))), strict=True
        ):
            rows["one object" if len(scene.objects) == 1 else "two objects"].append(
                right | {"all": all(right.values())}
            )
            if psnr is not None:
                first_frames["one object" if len(scene.objects) == 1 else "two objects"].append(psnr)
            if not all(right.values()):
                print(f"asked for {scene}; got {found}", flush=True)
    result = {
        kind: {"prompts": len(r)} | {k: round(float(np.mean([row[k] for row in r])), 4) for k in r[0]}
        for kind, r in rows.items()
        if r
    }
    for kind, psnrs in first_frames.items():
        if psnrs:
            result[kind]["first_frame_psnr"] = round(float(np.mean(psnrs)), 2)
            print(
                f"first frame against the image, {kind}: {np.mean(psnrs):.1f} dB on average, {min(psnrs):.1f} at worst"
            )
    print("| prompts | background | colour | shape | motion | all |\n|---|---|---|---|---|---|")
    for kind, r in result.items():
        figures = " | ".join(f"{100 * r[k]:.0f} %" for k in ("background", "colour", "shape", "motion", "all"))
        print(f"| {r['prompts']} with {kind} | {figures} |")
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(
        json.dumps({"model": args.model, "agreement": result, "versions": package_versions()}, indent=2) + "\n"
    )


if __name__ == "__main__":
    main()
