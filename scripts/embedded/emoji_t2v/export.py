"""What a stage has made, to look at and to load: a sheet of videos, and the diffusers folder."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import torch

from emoji_t2v.clips import NUM_FRAMES, make_prompts
from emoji_t2v.network import Sizes, build_pipeline
from videoada.files import results_folder, write_text, written_aside
from videoada.models.sources import quiet


def sheet(run: Path, stage: str, subjects: Sequence[str], sizes: Sizes, count: int, device: torch.device) -> None:
    """Save STAGE.png and STAGE.txt, its prompts: a row for each video, every third frame; of single frames, one row."""
    pipe = build_pipeline(run, stage, subjects, sizes).to(device)
    prompts = make_prompts(subjects, count, seed=5)
    rows = []
    for i, prompt in enumerate(prompts):
        video = pipe(
            prompt, num_inference_steps=30, guidance_scale=6.0, num_frames=1 if stage == "frames" else NUM_FRAMES,
            generator=torch.Generator().manual_seed(i), output_type="np",
            height=pipe.vae.config.sample_size, width=pipe.vae.config.sample_size,
        ).frames[0]  # fmt: skip
        rows.append(np.concatenate(list(np.rint(video[::3] * 255).astype(np.uint8)), 1))
    iio.imwrite(run / f"{stage}.png", np.concatenate(rows, 1 if stage == "frames" else 0))
    write_text(run / f"{stage}.txt", "".join(f"{prompt}\n" for prompt in prompts))


@torch.no_grad()
def export(run: Path, out: Path, subjects: Sequence[str], sizes: Sizes) -> None:
    """Write a diffusers folder and subjects.txt: UNet and VAE in half precision, the text encoder in single.

    The folder is replaced as one; a model card (README.md) that was there stays.
    """
    pipe = build_pipeline(run, "clips", subjects, sizes)
    pipe.unet.half()
    pipe.vae.half()
    results_folder(out.parent)
    with written_aside(out) as aside:
        with quiet():
            pipe.save_pretrained(aside)
        write_text(aside / "subjects.txt", "".join(f"{subject}\n" for subject in sorted(set(subjects))))
        if (out / "README.md").is_file():
            shutil.copy(out / "README.md", aside)
        for file in aside.rglob("*.safetensors"):
            file.chmod(0o644)
