"""Fixtures: the embedded model, loaded once, and prompts to try it on."""

from __future__ import annotations

import pytest
import torch

PROMPTS = (
    "a red circle moving right on a black background",
    "a blue square moving left slowly on a gray background",
    "a yellow triangle growing quickly on a navy background and nothing else",
    "a green circle bouncing and a white square moving down on a brown background",
)


@pytest.fixture(scope="session")
def pipe():
    import videoada

    return videoada.load_pipeline("tiny-t2v", device="cpu")


def draw(pipe, prompt=PROMPTS[0], seed=3, steps=12, num_frames=4, **options):
    """Plain diffusers: float frames (B, F, H, W, 3) in [0, 1]; a list of prompts takes seeds seed, seed + 1, …"""
    if isinstance(prompt, str):
        generator = torch.Generator().manual_seed(seed)
    else:
        generator = [torch.Generator().manual_seed(seed + i) for i in range(len(prompt))]
    return pipe(
        prompt,
        num_inference_steps=steps,
        num_frames=num_frames,
        generator=generator,
        **{"guidance_scale": 9.0, "output_type": "np", **options},
    ).frames
