"""Draw samples/images/ and samples/prompts_i2v.jsonl: 32 prompts of the shapes world, each with its first frame.

    python scripts/draw_sample_images.py

The scenes and their places are held out: no training script uses these seeds.
"""

from __future__ import annotations

import json
from pathlib import Path

import imageio.v3 as iio
import numpy as np

from videoada.shapes import random_scene, render

SAMPLES = Path(__file__).parent.parent / "samples"


def main() -> None:
    rng = np.random.default_rng(3200)
    (SAMPLES / "images").mkdir(exist_ok=True)
    rows = []
    for i in range(32):
        scene = random_scene(rng, 2 if i % 4 == 3 else 1)
        image = f"images/{i:02d}.png"
        iio.imwrite(SAMPLES / image, render(scene, seed=3_000_000 + i)[0])
        rows.append(json.dumps({"prompt": str(scene), "image": image, "seed": i}))
    (SAMPLES / "prompts_i2v.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
