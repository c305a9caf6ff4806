"""How well the embedded text-to-video model follows its prompts, by `measure`. Prints the model card's table.

    python scripts/measure_model.py

64 prompts with one object (seeds 0–63) and 32 with two (seeds 64–95): 50 DDIM steps, guidance 9, nothing skipped.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

import videoada
from videoada.records import package_versions
from videoada.shapes import agreement, measure, random_scene


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny-t2v")
    parser.add_argument("--output", type=Path, default=Path("samples/results/tiny-t2v.json"))
    parser.add_argument("--one", type=int, default=64, help="prompts with one object")
    parser.add_argument("--two", type=int, default=32, help="prompts with two objects")
    args = parser.parse_args()
    pipe = videoada.load_pipeline(args.model, device="cpu")
    rng = np.random.default_rng(640)
    rows: dict[str, list[dict[str, bool]]] = {"one object": [], "two objects": []}
    for seed in range(args.one + args.two):
        kind, objects = ("one object", 1) if seed < args.one else ("two objects", 2)
        scene = random_scene(rng, objects)
        skip = videoada.SkipConfig(policy="none")
        [(video, _)] = videoada.generate(pipe, prompt=str(scene), seed=seed, skip=skip)
        found = measure(video.frames)
        right = agreement(scene, found)
        rows[kind].append(right | {"all": all(right.values())})
        if not rows[kind][-1]["all"]:
            print(f"seed {seed}: asked for {scene}; got {found}", flush=True)
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
