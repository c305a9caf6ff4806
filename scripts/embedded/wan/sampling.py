"""A pipeline from a run's weights: samples while training, the folder at the end."""

from __future__ import annotations

from pathlib import Path

import imageio.v3 as iio
import numpy as np
import torch
from diffusers import AutoencoderKLWan, WanPipeline
from diffusers.models.transformers.transformer_wan import WanAttnProcessor
from safetensors.torch import load_file
from torch import Tensor
from training import SIZE, averaged, random_scenes

from videoada.shapes import agreement, measure
from videoada.training.run import Training
from wan.autoencoder import build_vae, load_vae
from wan.denoiser import TextToFlow, build_scheduler
from wan.text import MAX_TOKENS, build_tokenizer, forget_unknown


def pipeline(run: Path, weights: dict[str, Tensor]) -> WanPipeline:
    """The run's parts with these weights of a TextToFlow."""
    tokenizer = build_tokenizer()
    model = TextToFlow(len(tokenizer)).eval()
    model.load_state_dict(weights)
    forget_unknown(model.text_encoder)
    for block in model.transformer.blocks:
        block.attn2.set_processor(WanAttnProcessor())
    return WanPipeline(tokenizer, model.text_encoder, vae_with_statistics(run), build_scheduler(), model.transformer)


def vae_with_statistics(run: Path) -> AutoencoderKLWan:
    """The run's autoencoder, which knows its latents' mean and deviation."""
    latents = load_file(run / "latents.safetensors")
    vae = build_vae(latents["mean"].tolist(), latents["std"].tolist()).eval()
    vae.load_state_dict(load_vae(run).state_dict())
    return vae


def follows(run: Path, training: Training, num_frames: int, count: int) -> dict[str, float]:
    """Shares of `count` one-object prompts in which `measure` reads back what was asked; saves a sheet of samples."""
    pipe = pipeline(run, training.ema)
    pipe.set_progress_bar_config(disable=True)
    scenes = random_scenes(31, count, 0.0)
    right, rows = dict.fromkeys(("background", "colour", "shape", "motion"), 0), []
    for i in range(0, count, 8):
        generators = [torch.Generator().manual_seed(j) for j in range(i, min(i + 8, count))]
        videos = pipe(
            [str(s) for s in scenes[i : i + 8]],
            height=SIZE,
            width=SIZE,
            num_frames=num_frames,
            num_inference_steps=20,
            guidance_scale=5.0,
            generator=generators,
            max_sequence_length=MAX_TOKENS,
        ).frames
        for scene, video in zip(scenes[i:], videos, strict=False):
            for name, agrees in agreement(scene, measure(video)).items():
                right[name] += agrees
            rows.append(np.concatenate(list(np.rint(video[::4] * 255).astype(np.uint8)), 1))
    columns = 2 if num_frames > 1 else 6
    rows += [np.zeros_like(rows[0])] * (-len(rows) % columns)
    sheet = [np.concatenate(rows[i : i + columns], 1) for i in range(0, len(rows), columns)]
    iio.imwrite(run / f"{training.file.stem}-{training.step:05d}.png", np.concatenate(sheet))
    return {k: round(v / count, 3) for k, v in right.items()}


def export(run: Path, out: Path) -> None:
    """Write the averaged weights as a diffusers folder: transformer and VAE in half precision, the text in single."""
    pipe = pipeline(run, averaged(run, "transformer"))
    pipe.transformer.half()
    pipe.vae.half()
    pipe.save_pretrained(out)
    for file in out.rglob("*.safetensors"):
        file.chmod(0o644)
