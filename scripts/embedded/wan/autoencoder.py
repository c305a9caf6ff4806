"""tiny-wan's autoencoder: 4k + 1 frames of 64×64 to k + 1 latent frames of 8×8×16."""

from __future__ import annotations

import math
import time
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import torch
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d
from numpy.typing import NDArray
from torch import Tensor, nn
from training import SIZE, random_scenes, say

from videoada.shapes import BACKGROUNDS, agreement, measure, render
from videoada.training.run import Training, read_tensors
from wan.at_once import decode_at_once, encode_at_once

NUM_FRAMES, CHANNELS = 17, 16
STAGES = ("vae-frames", "vae")  # single frames are cheap and teach shapes and colours; clips then teach motion


def build_vae(mean: list[float] | None = None, std: list[float] | None = None) -> AutoencoderKLWan:
    """An autoencoder that begins as a blur of each frame by itself, without a look at the frames before it."""
    vae = AutoencoderKLWan(
        base_dim=8,
        z_dim=CHANNELS,
        dim_mult=[1, 3, 6, 6],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        latents_mean=mean or [0.0] * CHANNELS,
        latents_std=std or [1.0] * CHANNELS,
    )
    with torch.no_grad():
        for name, module in vae.named_modules():
            if isinstance(module, nn.Conv2d | nn.Conv3d):
                _begin(name, module)
        vae.quant_conv.weight[CHANNELS:] = 0
        vae.quant_conv.bias[CHANNELS:] = -7  # a posterior that is nearly exact
    return vae


def _begin(name: str, conv: nn.Conv2d | nn.Conv3d) -> None:
    """Random convolutions lose the objects' colours and are long in finding them again: begin near the identity."""
    nn.init.zeros_(conv.bias)
    if name.endswith(("conv2", "proj")):
        nn.init.zeros_(conv.weight)
    elif not name.endswith(("conv1", "to_qkv")):
        own = conv.weight[:, :, -1] if isinstance(conv, WanCausalConv3d) else conv.weight  # (out, in, height, width)
        identity = torch.zeros_like(own)
        height, width = own.shape[2:]
        for i in range(own.shape[0]):
            if conv.stride[-1] == 2:
                identity[i, i % own.shape[1], :2, :2] = 0.25
            elif i < own.shape[1] or "time_conv" in name:  # which doubles the frames: both are copies of the one
                identity[i, i % own.shape[1], height // 2, width // 2] = 1
        own.mul_(0.1).add_(identity)
    if isinstance(conv, WanCausalConv3d):
        conv.weight[:, :, :-1] = 0


def load_vae(run: Path) -> AutoencoderKLWan:
    """The averaged weights of the last checkpoint."""
    vae = build_vae().eval()
    vae.load_state_dict({k[4:]: v for k, v in read_tensors(run / "vae.safetensors").items() if k.startswith("ema.")})
    return vae


def to_clips(videos: NDArray[np.uint8]) -> Tensor:
    """(B, F, H, W, 3) uint8 → (B, 3, F, H, W) in [-1, 1]."""
    return torch.from_numpy(videos).permute(0, 4, 1, 2, 3).float() / 127.5 - 1


def train_vae(
    run: Path, stage: str, steps: int, lr: float, begin_from: str, num_clips: int, save_seconds: float, gate: int
) -> None:
    """Train on single frames (`vae-frames`) or on clips of 9 and 17 frames (`vae`); goes on from its checkpoint."""
    torch.manual_seed(1)
    vae = build_vae()
    if stage == "vae" and not (run / "vae.safetensors").exists():
        before = read_tensors(run / f"{begin_from}.safetensors")
        vae.load_state_dict({k[4:]: v for k, v in before.items() if k.startswith("ema.")})
    training = Training(run, stage, vae, lr=lr, ema_decay=0.995, seed=1, weight_decay=0.0, on_progress=say)
    if training.step >= steps:
        return
    scenes = random_scenes(11, num_clips, 0.5)
    videos = np.stack([render(scene, seed=i, num_frames=NUM_FRAMES) for i, scene in enumerate(scenes)])
    background = np.asarray([BACKGROUNDS[scene.background] for scene in scenes])
    started, errors = time.monotonic(), []
    while training.step < steps:
        picked, pixels = _pick(stage, training, videos, training.step / steps)
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
    if stage == "vae":
        training.log(**vae_gate(load_vae(run), run, gate))


def _pick(
    stage: str, training: Training, videos: NDArray[np.uint8], progress: float
) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """The step's clips, (B,), and of each some frames, (B, F, h, w, 3).

    Clips are first trained on parts of frames, which cost less and which an object fills; in the last fifth on all.
    """
    rng = np.random.default_rng((training.seed, training.step))
    side = 40 if stage == "vae" and progress < 0.8 else SIZE
    if stage == "vae-frames":
        frames, batch = 1, 8
    else:
        frames, batch = (NUM_FRAMES, 2) if training.step % 5 == 0 else (9, 2 if side == SIZE else 4)
    picked = rng.integers(len(videos), size=batch)
    first = rng.integers(NUM_FRAMES - frames + 1, size=batch)
    top, left = rng.integers(SIZE - side + 1, size=(2, batch))
    clips = zip(picked, first, top, left, strict=True)
    return picked, np.stack([videos[i, f : f + frames, y : y + side, x : x + side] for i, f, y, x in clips])


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
