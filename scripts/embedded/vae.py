"""The embedded models' VAE: 64×64 frames to 8×8×4 latents of mean 0 and deviation 1."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from training import SIZE, random_scenes, say, to_uint8

from videoada.shapes import BACKGROUNDS, agreement, measure, render
from videoada.training.run import Training
from videoada.training.videos import to_tensor


def build_vae() -> nn.Module:

    vae = AutoencoderKL(
        block_out_channels=(8, 24, 48, 64),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=1,
        sample_size=SIZE,
        mid_block_add_attention=False,
        scaling_factor=1.0,
    )
    # Begin as a blur that keeps hues: random convolutions lose the objects' colours and are long in finding them again.
    with torch.no_grad():
        for name, module in vae.named_modules():
            if isinstance(module, nn.Conv2d):
                if name.endswith("conv2"):
                    nn.init.zeros_(module.weight)
                elif "downsamplers" in name:
                    module.weight.mul_(0.1)
                    for i in range(module.out_channels):
                        module.weight[i, i, :2, :2] += 0.25
                elif not name.endswith("conv1"):
                    identity = nn.init.dirac_(torch.empty_like(module.weight))
                    module.weight.mul_(0.1).add_(identity)
                nn.init.zeros_(module.bias)
        vae.quant_conv.weight[4:] = 0
        vae.quant_conv.bias[4:] = -7  # a posterior that is nearly exact: noise of deviation 1 drowns the first signal
    return vae


def train_vae(run: Path, steps: int, batch: int) -> None:
    torch.manual_seed(1)
    vae = build_vae().to(memory_format=torch.channels_last)
    training = Training(run, "vae", vae, lr=2e-3, ema_decay=0.995, seed=1, on_progress=say)
    scenes = random_scenes(11, 1500, 0.5)
    clips = np.concatenate([render(scene, seed=i)[i % 3 :: 3] for i, scene in enumerate(scenes)])
    background = np.concatenate([[BACKGROUNDS[s.background]] * len(range(i % 3, 16, 3)) for i, s in enumerate(scenes)])
    started = time.monotonic()
    while training.step < steps:
        rng = training.rng
        pick = torch.randint(len(clips), (batch,), generator=rng).numpy()
        x = to_tensor(clips[pick]).contiguous(memory_format=torch.channels_last)
        is_object = (np.abs(clips[pick].astype(int) - background[pick][:, None, None]).sum(-1) > 12)[:, None]
        weight = 1 + 4 * torch.from_numpy(is_object).float()
        posterior = vae.encode(x).latent_dist
        error = vae.decode(posterior.mean + posterior.std * torch.randn(posterior.mean.shape, generator=rng)).sample - x
        loss = (weight * (error.abs() + error.square())).mean() + 1e-6 * posterior.kl().mean()
        training.update(loss, training.step / steps)
        training.save(every_seconds=180)
        if training.step % 100 == 0:
            psnr = 10 * torch.log10(4 / error.detach().square().mean()).item()
            training.log(loss=round(loss.item(), 4), psnr=round(psnr, 2), seconds=round(time.monotonic() - started))
    training.save()
    vae.load_state_dict(training.ema)
    training.log(**vae_gate(vae, run))


@torch.no_grad()
def vae_gate(vae: nn.Module, run: Path, count: int = 150) -> dict[str, float]:
    """PSNR of held-out clips, and how often `measure` reads the same in the reconstruction (half with two objects)."""
    right = {"background": 0, "colour": 0, "motion": 0, "shape": 0}
    squared, sheet = 0.0, []
    for i, scene in enumerate(random_scenes(77, count, 0.5)):
        clip = render(scene, seed=10_000 + i)
        decoded = vae.decode(vae.encode(to_tensor(clip)).latent_dist.mean).sample
        pixels = to_uint8(decoded)
        squared += float(np.mean((pixels.astype(float) - clip) ** 2))
        for name, agrees in agreement(scene, measure(pixels)).items():
            right[name] += agrees
        if i < 6:
            sheet.append(np.concatenate([np.concatenate(list(clip[::5]), 1), np.concatenate(list(pixels[::5]), 1)], 1))
    iio.imwrite(run / "vae.png", np.concatenate(sheet))
    return {"psnr": round(10 * math.log10(255**2 / (squared / count)), 2)} | {k: v / count for k, v in right.items()}


@torch.no_grad()
def encode(run: Path, count: int) -> None:
    """Encode `count` clips once (three in ten of two objects); fold each channel's mean and deviation into the VAE."""
    if (run / "latents.safetensors").exists():
        return
    vae = build_vae().to(memory_format=torch.channels_last)
    ema = load_file(run / "vae.safetensors")
    vae.load_state_dict({k.removeprefix("ema."): v for k, v in ema.items() if k.startswith("ema.")})
    scenes = random_scenes(21, count, 0.3)
    latents = torch.stack(
        [
            vae.encode(
                to_tensor(render(s, seed=100_000 + i)).contiguous(memory_format=torch.channels_last)
            ).latent_dist.mean
            for i, s in enumerate(scenes)
        ]
    ).transpose(1, 2)  # (N, 4, F, 8, 8)
    mean, std = latents.mean((0, 2, 3, 4)), latents.std((0, 2, 3, 4))
    latents = (latents - mean[:, None, None, None]) / std[:, None, None, None]
    fold_statistics(vae, mean, std)
    vae.to(memory_format=torch.contiguous_format).save_pretrained(run / "vae")
    (run / "scenes.json").write_text(json.dumps([str(s) for s in scenes]))
    save_file({"latents": latents.contiguous()}, run / "latents.safetensors")
    print("encoded", tuple(latents.shape), "mean", mean.tolist(), "std", std.tolist(), flush=True)


@torch.no_grad()
def fold_statistics(vae: nn.Module, mean: Tensor, std: Tensor) -> None:
    """Fold the latents' mean and deviation (C,) into the VAE, whose latents then have 0 and 1; it decodes the same."""
    quant, post, channels = vae.quant_conv, vae.post_quant_conv, len(mean)
    quant.weight[:channels] /= std[:, None, None, None]
    quant.bias[:channels] = (quant.bias[:channels] - mean) / std
    quant.bias[channels:] -= 2 * std.log()  # the posterior's log-variance scales with it
    post.bias += post.weight[:, :, 0, 0] @ mean
    post.weight *= std[None, :, None, None]
