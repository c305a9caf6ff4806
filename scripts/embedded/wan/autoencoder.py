"""tiny-wan's autoencoder: 4k + 1 frames of 64×64 to k + 1 latent frames of 8×8×16."""

from __future__ import annotations

import math
import time
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import torch
from diffusers import AutoencoderKLWan
from numpy.typing import NDArray
from torch import Tensor
from training import SIZE, averaged, random_scenes, say

from videoada.shapes import BACKGROUNDS, agreement, measure, render
from videoada.training.run import Training
from wan.at_once import decode_at_once, encode_at_once
from wan.routes import begin_with_colours

NUM_FRAMES, CHANNELS = 17, 16
STAGES = ("vae", "decoder")


def build_vae(mean: list[float] | None = None, std: list[float] | None = None) -> AutoencoderKLWan:
    """An autoencoder that begins as a blur of each frame by itself; of patches of 2×2 pixels, as Wan 2.2's."""
    vae = AutoencoderKLWan(
        base_dim=24,
        z_dim=CHANNELS,
        dim_mult=[1, 2, 3],
        num_res_blocks=1,
        temperal_downsample=[True, True],
        in_channels=12,
        out_channels=12,
        patch_size=2,
        scale_factor_spatial=8,
        latents_mean=mean or [0.0] * CHANNELS,
        latents_std=std or [1.0] * CHANNELS,
    )
    begin_with_colours(vae, CHANNELS)
    return vae


def load_vae(run: Path) -> AutoencoderKLWan:
    """The averaged weights of the last checkpoint, of `decoder` if there is one."""
    stage = next(stage for stage in reversed(STAGES) if stage == STAGES[0] or (run / f"{stage}.safetensors").exists())
    vae = build_vae().eval()
    vae.load_state_dict(averaged(run, stage))
    return vae


def to_clips(videos: NDArray[np.uint8]) -> Tensor:
    """(B, F, H, W, 3) uint8 → (B, 3, F, H, W) in [-1, 1]."""
    return torch.from_numpy(videos).permute(0, 4, 1, 2, 3).float() / 127.5 - 1


def train_vae(run: Path, stage: str, steps: int, lr: float, num_clips: int, save_seconds: float, gate: int) -> None:
    """Train on clips of five frames: all of it (`vae`), or its `decoder` alone, which leaves the latents as they are.

    Goes on from its checkpoint.
    """
    torch.manual_seed(1)
    vae = build_vae()
    if stage == "decoder":
        vae.load_state_dict(averaged(run, "vae"))
        vae.encoder.requires_grad_(False)
        vae.quant_conv.requires_grad_(False)
    training = Training(run, stage, vae, lr=lr, ema_decay=0.998, seed=1, weight_decay=0.0, on_progress=say)
    if training.step >= steps:
        return
    scenes = random_scenes(11, num_clips, 0.5)
    videos = np.stack([render(scene, seed=i, num_frames=NUM_FRAMES) for i, scene in enumerate(scenes)])
    background = np.asarray([BACKGROUNDS[scene.background] for scene in scenes])
    started, errors = time.monotonic(), []
    while training.step < steps:
        picked, pixels = _pick(training, videos, training.step / steps if stage == "vae" else 1.0)
        x = to_clips(pixels)
        far = np.abs(pixels.astype(int) - background[picked][:, None, None, None]).sum(-1) > 12
        weight = 1 + 4 * torch.from_numpy(far).float()[:, None]
        mean, log_variance = encode_at_once(vae, x).clamp(-30, 20).chunk(2, 1)
        noise = torch.randn(mean.shape, generator=training.rng)
        error = decode_at_once(vae, mean + (0.5 * log_variance).exp() * noise) - x
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)
        loss = (weight * (error.abs() + error.square())).mean() + 1e-6 * divergence.sum() / len(x) / mean.shape[2]
        training.update(loss, training.step / steps)
        errors.append(error.detach().square().mean().item())
        if training.step % 50 == 0:
            psnr, seconds = 10 * math.log10(4 / np.mean(errors[-50:])), round(time.monotonic() - started)
            training.log(
                loss=round(loss.item(), 4), psnr=round(psnr, 2), seconds=seconds, cpu=round(time.process_time())
            )
        training.save(every_seconds=save_seconds)
    training.save()
    training.log(**vae_gate(load_vae(run), run, gate))


def _pick(
    training: Training, videos: NDArray[np.uint8], progress: float
) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """The step's clips, (B,), and of each five frames, (B, 5, h, w, 3): two latents, of a first frame and of four.

    They are first parts of frames, which cost less and which an object fills; in the last fifth all of them. Many clips
    at once, for a step of few pulls all backgrounds towards those it sees.
    """
    rng = np.random.default_rng((training.seed, training.step))
    side, batch = (40, 12) if progress < 0.8 else (SIZE, 6)
    picked = rng.integers(len(videos), size=batch)
    first = rng.integers(NUM_FRAMES - 4, size=batch)
    top, left = rng.integers(SIZE - side + 1, size=(2, batch))
    clips = zip(picked, first, top, left, strict=True)
    return picked, np.stack([videos[i, f : f + 5, y : y + side, x : x + side] for i, f, y, x in clips])


@torch.no_grad()
def vae_gate(vae: AutoencoderKLWan, run: Path, count: int) -> dict[str, float]:
    """PSNR of held-out clips, and how often `measure` reads the same in the reconstruction (half with two objects)."""
    right = {"background": 0, "colour": 0, "motion": 0, "shape": 0}
    squared, sheet = 0.0, []
    for i, scene in enumerate(random_scenes(77, count, 0.5)):
        clip = render(scene, seed=10_000 + i, num_frames=NUM_FRAMES)
        decoded = vae.decode(vae.encode(to_clips(clip[None])).latent_dist.mode()).sample[0]
        pixels = (decoded.permute(1, 2, 3, 0) * 127.5 + 127.5).round().clamp(0, 255).byte().numpy()
        squared += float(np.mean((pixels.astype(float) - clip) ** 2))
        for name, agrees in agreement(scene, measure(pixels)).items():
            right[name] += agrees
        if i < 6:
            sheet.append(np.concatenate([np.concatenate(list(part[::4]), 1) for part in (clip, pixels)], 1))
    iio.imwrite(run / "vae.png", np.concatenate(sheet))
    return {"psnr": round(10 * math.log10(255**2 / (squared / count)), 2)} | {k: v / count for k, v in right.items()}
