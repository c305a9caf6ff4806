"""The VAE's stage: trained on frames of composed clips, then all clips encoded and their statistics folded into it."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file
from torch import Tensor
from training import Budget, autocast, say
from vae import fold_statistics

from emoji_t2v.clips import BACKGROUNDS, Clips
from emoji_t2v.network import Sizes, build_vae, read_averaged
from videoada.errors import ModelError
from videoada.files import written_aside
from videoada.training.run import Training, read_tensors

FLAT = torch.channels_last  # in which two-dimensional convolutions are fast


def train_vae(
    run: Path, clips: Clips, sizes: Sizes, budget: Budget, batch: int, lr: float, seed: int, save_every: float
) -> None:
    """Absolute and squared errors, subjects three times as heavy as backgrounds, errors of edges, a trace of KL."""
    device, size = clips.alpha.device, clips.alpha.shape[-1]
    torch.manual_seed(seed)
    vae = build_vae(sizes, size).to(device, memory_format=FLAT)
    training = Training(run, "vae", vae, lr=lr, ema_decay=0.995, seed=seed, weight_decay=0.0, on_progress=say)
    choices = len(clips), clips.loop, len(BACKGROUNDS)
    while (progress := budget.progress(training)) < 1:
        rng = training.rng
        clip, frame, background = (torch.randint(n, (batch,), generator=rng).to(device) for n in choices)
        x = clips.compose(clip, frame, background).contiguous(memory_format=FLAT)
        noise = torch.randn((batch, 4, size // 8, size // 8), generator=rng).to(device)
        with autocast(device):
            posterior = vae.encode(x).latent_dist
            decoded = vae.decode(posterior.mean + posterior.std * noise).sample
        error = decoded.float() - x
        weight = 1 + 2 * clips.alpha[clip, frame].float()[:, None] / 255
        edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
        loss = (weight * (error.abs() + error.square())).mean() + 0.5 * edges + 1e-6 * posterior.kl().float().mean()
        training.update(loss, progress, warmup=200)
        training.save(every_seconds=save_every)
        if training.step % 100 == 0:
            psnr = 10 * math.log10(4 / error.detach().square().mean().item())
            training.log(loss=round(loss.item(), 4), psnr=round(psnr, 2), seconds=round(training.seconds))
    training.save()


@torch.no_grad()
def encode(run: Path, clips: Clips, sizes: Sizes) -> None:
    """Mean latents of every frame on every background, one file each; the VAE with their statistics folded into it.

    What was encoded before a kill is kept; the folded VAE is written last.
    """
    if (run / "vae" / "config.json").is_file():
        return
    device, size = clips.alpha.device, clips.alpha.shape[-1]
    vae = build_vae(sizes, size).eval()
    vae.load_state_dict(read_averaged(run / "vae.safetensors"))
    vae.to(device, memory_format=FLAT)
    for index, name in enumerate(BACKGROUNDS):
        file = run / f"latents-{name}.safetensors"
        if not file.is_file():
            every = torch.arange(clips.loop, device=device)
            background = torch.full_like(every, index)
            films = (clips.compose(torch.full_like(every, i), every, background) for i in range(len(clips)))
            means = [vae.encode(film.contiguous(memory_format=FLAT)).latent_dist.mean for film in films]
            with written_aside(file) as aside:
                save_file({"latents": torch.stack(means).half().cpu().contiguous()}, aside)  # (N, L, 4, h, w)
            say("encoded on", name)
    latents = read_raw(run)
    fold_statistics(vae, *(value.to(device) for value in statistics(latents)))
    say("psnr", round(psnr(vae, clips), 2))
    with written_aside(run / "vae") as aside:
        vae.to("cpu", memory_format=torch.contiguous_format).save_pretrained(aside)


def psnr(vae: AutoencoderKL, clips: Clips, count: int = 24) -> float:
    """Of the reconstructions of one frame of up to `count` clips, on all backgrounds in turn; in dB."""
    clip = torch.arange(0, len(clips), max(1, len(clips) // count), device=clips.alpha.device)[:count]
    x = clips.compose(clip, torch.zeros_like(clip), clip % len(BACKGROUNDS))
    error = vae.decode(vae.encode(x).latent_dist.mean).sample - x
    return 10 * math.log10(4 / error.square().mean().item())


def read_raw(run: Path) -> Tensor:
    """Latents (N, backgrounds, L, 4, h, w), float16, before the folding. Raises ModelError where one is missing."""
    parts = []
    for name in BACKGROUNDS:
        file = run / f"latents-{name}.safetensors"
        if not file.is_file():
            raise ModelError(f"{file} is not there: run the stage `vae` first")
        parts.append(read_tensors(file)["latents"])
    return torch.stack(parts, 1)


def read_latents(run: Path) -> Tensor:
    """Latents (N, backgrounds, L, 4, h, w) of mean 0 and deviation 1, float16, as the folded VAE gives them."""
    latents = read_raw(run)
    mean, std = (value.view(-1, 1, 1) for value in statistics(latents))
    return torch.stack([((part.float() - mean) / std).half() for part in latents])


def statistics(latents: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation (4,) of each channel, float32."""
    channels = latents.movedim(3, 0).flatten(1)  # (4, …)
    return tuple(torch.stack([f(channel.double()) for channel in channels]).float() for f in (torch.mean, torch.std))
