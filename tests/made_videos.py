"""Folders of videos with run records, made without a model: renders of the shapes world, some with noise."""

from __future__ import annotations

import numpy as np

from videoada.media.video import Video
from videoada.records.record import ModelInfo, RunRecord
from videoada.shapes import render

PROMPTS = [
    "a red circle moving right on a black background",
    "a blue square growing on a gray background",
    "a yellow triangle moving up on a navy background",
    "a white circle bouncing on a brown background",
]


def record(prompt, seed, policy="third-order", **fields):
    values = {
        "prompt": prompt, "negative_prompt": None, "scheduler": "ddim", "num_inference_steps": 4, "guidance_scale": 9.0,
        "seed": seed, "num_frames": 16, "height": 64, "width": 64, "fps": 8, "predictor": {"name": "hold"},
        "model": ModelInfo(name="tiny-t2v", source="embedded", embedded=True, licence="apache-2.0"),
        "policy": {"name": policy, **({"threshold": 0.15} if policy == "third-order" else {})},
        "computed": [True, True, policy == "none", True], "signal": [None, None, 0.1, 0.4], "signal_percentiles": None,
        "num_predictions": 4 if policy == "none" else 3, "unet_rows": 6, "unet_rows_full": 8, "seconds": {"total": 1.0},
        "device": "cpu", "dtype": "float32",
    }  # fmt: skip
    return RunRecord(**(values | fields))


def write(folder, name, frames, kept=None):
    folder.mkdir(exist_ok=True, parents=True)
    Video(frames).write(folder / name, kept.to_json() if kept else None)


def noisy(frames, seed=0, level=3.0):
    rng = np.random.default_rng(seed)
    return np.clip(frames + rng.normal(0, level, frames.shape), 0, 255).round().astype(np.uint8)


def write_sets(root):
    """`full` and `skipped`: skipped runs under other names than their full runs, one of them identical; formats
    mixed."""
    for seed, prompt in enumerate(PROMPTS):
        full = render(prompt, seed=seed)
        write(root / "full", f"z{9 - seed}.mkv", full, record(prompt, seed, "none"))
        name = f"clip-{seed}" + (".mkv", ".webp", "", ".mkv")[seed]
        write(root / "skipped", name, full if seed == 2 else noisy(full, seed), record(prompt, seed))
