"""Render samples/: the first frames of image-to-video prompts, and prompts that no published number is measured on.

    python scripts/embedded/draw_samples.py

`prompts_i2v.jsonl`: 32 prompts with their first frames. `prompts_calibration*`: 144 prompts for calibrating the
embedded models. `prompts_stress*`: three and four objects, 24 frames, sizes that are not square; the models were
trained on one and two objects, 16 frames, 64×64. All scenes and positions are held out: no training script uses
these seeds.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np

from videoada.shapes import Scene, random_scene, render

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
STRESS_SIZES = ((64, 96), (96, 64), (48, 80), (80, 48))  # height, width: multiples of 16


def first_frame(scene: Scene, seed: int, name: str, size: int | tuple[int, int] = 64) -> str:
    (SAMPLES / "images").mkdir(exist_ok=True)
    iio.imwrite(SAMPLES / "images" / f"{name}.png", render(scene, seed=seed, size=size)[0])
    return f"images/{name}.png"


def write_rows(name: str, rows: list[dict[str, Any]]) -> None:
    (SAMPLES / name).write_text("\n".join(json.dumps(row) for row in rows) + "\n", encoding="utf-8")


def main() -> None:
    rng = np.random.default_rng(3200)
    rows: list[dict[str, Any]] = []
    for i in range(32):
        scene = random_scene(rng, 2 if i % 4 == 3 else 1)
        rows.append({"prompt": str(scene), "image": first_frame(scene, 3_000_000 + i, f"{i:02d}"), "seed": i})
    write_rows("prompts_i2v.jsonl", rows)

    rng = np.random.default_rng(4100)
    rows = []
    for i in range(144):  # enough that some of the hardest twentieth are among them
        scene = random_scene(rng, 2 if i % 4 == 3 else 1)
        image = first_frame(scene, 4_100_000 + i, f"calibration-{i:02d}")
        rows.append({"prompt": str(scene), "image": image, "seed": 4100 + i})
    write_rows("prompts_calibration_i2v.jsonl", rows)
    write_rows("prompts_calibration.jsonl", [{k: v for k, v in row.items() if k != "image"} for row in rows])

    rng = np.random.default_rng(7700)
    rows = []
    for i in range(16):
        scene, size = random_scene(rng, 3 + i % 2), STRESS_SIZES[i // 4]
        image = first_frame(scene, 7_700_000 + i, f"stress-{i:02d}", size)
        rows.append(
            {"prompt": str(scene), "image": image, "seed": 7700 + i, "num_frames": 24, "height": size[0],
             "width": size[1]}
        )  # fmt: skip
    write_rows("prompts_stress_i2v.jsonl", rows)
    write_rows("prompts_stress.jsonl", [{k: v for k, v in row.items() if k != "image"} for row in rows])


if __name__ == "__main__":
    main()
