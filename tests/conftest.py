"""Fixtures: the embedded model, loaded once, and prompts to try it on."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from videoada.media.video import Video

# What is exact to the last bit is so on a CPU: the suite runs there also on a machine with a GPU, in its subprocesses
# too. Tests marked `gpu` name that device, and hold what is exact here to a tolerance: other kernels, TF32, halves.
os.environ.setdefault("VIDEOADA_DEVICE", "cpu")

ROOT = Path(__file__).resolve().parent.parent
PROMPTS = (
    "a red circle moving right on a black background",
    "a blue square moving left slowly on a gray background",
    "a yellow triangle growing quickly on a navy background and nothing else",
    "a green circle bouncing and a white square moving down on a brown background",
)


def pytest_collection_modifyitems(items):
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs a CUDA GPU"))


@pytest.fixture(scope="session")
def pipe():
    import videoada

    return videoada.load_pipeline("tiny-t2v", device="cpu")


@pytest.fixture(scope="session")
def build_folder(tmp_path_factory):
    """The folder of a build of tests/pipelines/builders, saved once."""
    made = {}

    def folder_of(name):
        from builders import save

        if name not in made:
            made[name] = save(name, tmp_path_factory.mktemp("builds") / name)
        return made[name]

    return folder_of


@pytest.fixture(scope="session")
def inputs(tmp_path_factory):
    """Paths of an IMAGE, a VIDEO of five frames, twelve a second, and a TEXT, which is no video."""
    where, rng = tmp_path_factory.mktemp("inputs"), np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (40, 56, 3), dtype=np.uint8)).save(where / "in.png")
    Video(rng.integers(0, 256, (5, 32, 32, 3), dtype=np.uint8), 12).write(where / "in.mkv")
    (where / "text.txt").write_text("no video\n")
    return {"IMAGE": where / "in.png", "VIDEO": where / "in.mkv", "TEXT": where / "text.txt"}


@pytest.fixture(scope="session")
def animations(tmp_path_factory):
    """A folder of animations for the recipe of emoji-t2v."""
    from emoji_animations import make_animations

    return make_animations(tmp_path_factory.mktemp("webp"))


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def prompt_file(tmp_path_factory):
    """Six of the sample prompts."""
    path = tmp_path_factory.mktemp("prompts") / "p.txt"
    path.write_text("\n".join((ROOT / "samples/prompts.txt").read_text().splitlines()[:6]))
    return path


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
