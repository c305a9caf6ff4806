"""Frames of ten runs, held to those that were drawn before the package moved into its rooms. Those that the
corrector takes part in are of a later day, since when it begins gaps further on.

`python tests/generation/test_frames_stay.py` draws them again; do so only where frames are meant to change, and say
why. The hashes are of one kind of processor: where torch takes other kernels, frames are compared instead, and may
differ by two levels.
"""

from __future__ import annotations

import hashlib
import json
import platform
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import videoada
from videoada import GenerationConfig, SkipConfig

ROOT = Path(__file__).resolve().parent.parent.parent
FRAMES = ROOT / "tests" / "frames"
PROMPTS = (
    "a red circle moving right on a black background",
    "a green circle bouncing and a white square moving down on a brown background",
    "a blue square growing quickly on a navy background",
)
IMAGE = str(ROOT / "samples" / "images" / "00.png")
RUNS = {
    "full": ("tiny-t2v", {}, {"policy": "none"}, 1),
    "default": ("tiny-t2v", {"num_inference_steps": 20}, {}, 1),
    "batch": ("tiny-t2v", {"num_inference_steps": 20}, {"tolerance": 0.12}, 3),
    "release-dpm": ("tiny-t2v", {"scheduler": "dpm++"}, {"policy": "third-order-release", "threshold": 0.08}, 1),
    "paper-euler": ("tiny-t2v", {"scheduler": "euler"}, {"threshold": 0.4, "predictor": "linear"}, 1),
    "mask-unipc": ("tiny-t2v", {"scheduler": "unipc"}, {"mask": (1, 1, 1, 0, 1, 0, 0, 1, 0, 1, 0, 1)}, 1),
    "every-ancestral": ("tiny-t2v", {"scheduler": "euler-a"}, {"every": 2, "corrector": True}, 1),
    "guidance": ("tiny-t2v", {"num_inference_steps": 20}, {"tolerance": 0.05, "guidance_tolerance": 0.05}, 1),
    "learned": ("tiny-t2v", {"step_policy": "shipped"}, {"policy": "none", "early_exit": True}, 1),
    "image": ("tiny-i2v", {"image": IMAGE, "num_inference_steps": 20, "scheduler": "dpm++-sde"}, {"tolerance": 0.3}, 1),
}


def generated(name):
    """(B·F, H, W, 3) uint8 of one of the runs, in one thread."""
    model, request, skip, count = RUNS[name]
    fields = {"num_inference_steps": 12, "num_frames": 4, **request}
    requests = [GenerationConfig(prompt=PROMPTS[i], seed=11 + i, **fields) for i in range(count)]
    pipe = videoada.load_pipeline(model, device="cpu")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        results = videoada.generate(pipe, requests, skip=SkipConfig(**skip), batch_size=count)
    finally:
        torch.set_num_threads(before)
    return np.concatenate([video.frames for video, _ in results])


def kernels():
    """What decides which kernels torch takes: results are the same to the last bit where it is the same."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    told = {line.partition("\t")[0].strip(): line.partition(":")[2].strip() for line in lines}
    flags = hashlib.sha256(told.get("flags", "").encode()).hexdigest()[:12]
    return f"{platform.machine()} {told.get('model name', '')} {flags} torch {torch.__version__}"


def sha256(frames):
    return hashlib.sha256(str(frames.shape).encode() + frames.tobytes()).hexdigest()


@pytest.mark.parametrize("name", RUNS)
def test_frames_are_those_before_the_move(name):
    frames = generated(name)
    kept = json.loads((FRAMES / "frames.json").read_text())
    if kernels() in kept["kernels"]:
        assert sha256(frames) == kept["sha256"][name]
    before = np.asarray(Image.open(FRAMES / f"{name}.png")).reshape(frames.shape)
    assert np.abs(frames.astype(int) - before).max() <= 2


if __name__ == "__main__":
    hashes = {}
    for each in RUNS:
        found = generated(each)
        hashes[each] = sha256(found)
        Image.fromarray(found.reshape(-1, *found.shape[2:])).save(FRAMES / f"{each}.png", optimize=True)
    text = json.dumps({"kernels": [kernels()], "sha256": hashes}, indent=1)
    (FRAMES / "frames.json").write_text(text + "\n", encoding="utf-8")
