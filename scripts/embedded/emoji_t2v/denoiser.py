"""The UNet's and the text encoder's two stages: single frames with the temporal layers left out, then clips."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from model import build_scheduler, build_tokenizer, fast_time, skip_time
from torch import Tensor
from training import Budget, autocast, say

from emoji_t2v.autoencoder import read_latents
from emoji_t2v.clips import BACKGROUNDS, NUM_FRAMES, prompt_of
from emoji_t2v.network import MAX_TOKENS, Sizes, TextToNoise, read_averaged, words_of
from videoada.training.run import Training

TIMESTEPS = 1000
EMPTY_SHARE = 0.1  # of a batch, without its prompt: what guidance is measured from
BEGIN_SHARE = 0.08  # of a batch, begun as a sampler does
EMA = {"frames": 0.998, "clips": 0.999}


@dataclass(frozen=True)
class Noised:
    """What one step learns: noisy latents x_t (B, 4, F, h, w), timesteps t (B,), the target noise, weights (B,)."""

    x_t: Tensor
    t: Tensor
    target: Tensor
    weight: Tensor


def noise(x0: Tensor, stage: str, rng: torch.Generator, alpha_bar: Tensor) -> Noised:
    """Latents under noise at random timesteps, with min-SNR-5 weights (Hang et al., arXiv 2303.09556).

    Of clips, half the timesteps are distributed as the square root of a uniform one: motion is settled where there is
    much noise, and single frames have taught the rest; their weights are half-way from a loss in ε to one in x̂0. A
    sampler begins with pure noise where the last timestep still shows x0, dimly (Lin et al., arXiv 2305.08891), so
    some begin as a sampler does.
    """
    batch = len(x0)
    u = torch.rand(batch, generator=rng)
    if stage == "clips":
        u = torch.where(torch.rand(batch, generator=rng) < 0.5, u.sqrt(), u)
    begins = torch.rand(batch, generator=rng) < BEGIN_SHARE
    t = torch.where(begins, torch.randint(950, TIMESTEPS, (batch,), generator=rng), (TIMESTEPS * u).long())
    epsilon = torch.randn(x0.shape, generator=rng).to(x0)
    t, begins = t.clamp(max=TIMESTEPS - 1).to(x0.device), begins.to(x0.device)
    a = alpha_bar[t].view(-1, 1, 1, 1, 1)
    x_t = torch.where(begins.view(-1, 1, 1, 1, 1), epsilon, a.sqrt() * x0 + (1 - a).sqrt() * epsilon)
    snr = (a / (1 - a)).flatten()
    weight = snr.clamp(max=5) / snr
    if stage == "clips":
        weight = weight * snr.clamp(max=1).rsqrt()
    return Noised(x_t, t, (x_t - a.sqrt() * x0) / (1 - a).sqrt(), torch.where(begins, 0.15 / snr, weight))


def train_unet(
    run: Path, stage: str, subjects: list[str], sizes: Sizes, budget: Budget, batch: int, lr: float, seed: int,
    device: torch.device, save_every: float,
) -> None:  # fmt: skip
    """Train a stage, `frames` or `clips`; clips begin from the averaged weights of frames."""
    tokenizer = build_tokenizer(run / "tokenizer", words_of(subjects), MAX_TOKENS)
    prompts = [prompt_of(subject, background) for subject in subjects for background in BACKGROUNDS]
    ids = torch.tensor(tokenizer([*prompts, ""], padding="max_length", truncation=True).input_ids, device=device)
    latents = read_latents(run).to(device)  # (N, backgrounds, L, 4, h, w)
    torch.manual_seed(seed)
    model = TextToNoise(len(tokenizer), sizes, 8 * latents.shape[-1])
    if stage == "clips" and not (run / "clips.safetensors").is_file():
        model.load_state_dict(read_averaged(run / "frames.safetensors"))
    if stage == "frames":
        skip_time(model.unet)
    if device.type == "cpu":
        fast_time(model.unet)
    model.to(device)
    training = Training(run, stage, model, lr=lr, ema_decay=EMA[stage], seed=seed, on_progress=say)
    alpha_bar = build_scheduler().alphas_cumprod.to(device)
    losses = []
    while (progress := budget.progress(training)) < 1:
        rng = training.rng
        clip, background, start = (torch.randint(most, (batch,), generator=rng) for most in latents.shape[:3])
        prompt = clip * len(BACKGROUNDS) + background
        prompt[torch.rand(batch, generator=rng) < EMPTY_SHARE] = -1  # the empty prompt is the last
        frame = (start[:, None] + torch.arange(1 if stage == "frames" else NUM_FRAMES)) % latents.shape[2]
        x0 = latents[clip[:, None], background[:, None], frame].float().transpose(1, 2)  # (B, 4, F, h, w)
        noised = noise(x0, stage, rng, alpha_bar)
        with autocast(device):
            preds = model(noised.x_t, noised.t, ids[prompt])
        error = (preds.float() - noised.target).square().mean((1, 2, 3, 4))
        loss = (error * noised.weight).mean()
        training.update(loss, progress, warmup=200)
        training.save(every_seconds=save_every)
        losses.append(loss.detach())
        if training.step % 100 == 0:
            training.log(loss=round(torch.stack(losses).mean().item(), 4), seconds=round(training.seconds))
            losses.clear()
    training.save()
