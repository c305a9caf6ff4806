"""tiny-wan's transformer and how it is trained: flow matching, with the text encoder."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import UniPCMultistepScheduler, WanTransformer3DModel
from diffusers.models.transformers.transformer_wan import WanAttnProcessor
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from training import averaged, random_scenes, say

from videoada.shapes import render
from videoada.training.run import Training
from wan.at_once import encode_at_once
from wan.autoencoder import CHANNELS, NUM_FRAMES, load_vae, to_clips
from wan.text import TEXT_WIDTH, build_text_encoder, build_tokenizer, tokenize

STAGES = ("frames", "transformer")
SHIFT = 3.0
LONGEST_TEXT = 512  # tokens that WanPipeline pads a prompt to, unless its call says otherwise


def build_transformer() -> WanTransformer3DModel:
    return WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=4,
        attention_head_dim=32,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        text_dim=TEXT_WIDTH,
        freq_dim=256,
        ffn_dim=512,
        num_layers=6,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        rope_max_seq_len=64,
    )


def build_scheduler() -> UniPCMultistepScheduler:
    """As Wan 2.1 ships it."""
    return UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=SHIFT)


class TextToFlow(nn.Module):
    """(latents, timestep, token ids, mask) → predicted noise minus data.

    WanPipeline pads a text with zeros to 32, 226 or 512 tokens, all of which the transformer attends to. Here one
    token of zeros has the weight of them all, in a number that changes from step to step.
    """

    def __init__(self, vocabulary_size: int):
        super().__init__()
        self.text_encoder, self.transformer = build_text_encoder(vocabulary_size), build_transformer()
        self.bias: Tensor | None = None
        for block in self.transformer.blocks:
            block.attn2.set_processor(_WeightedText(self))
            for residual in (block.attn1.to_out[0], block.attn2.to_out[0], block.ffn.net[-1]):
                residual.weight.data *= 0.3
        nn.init.zeros_(self.transformer.proj_out.weight)
        nn.init.zeros_(self.transformer.proj_out.bias)

    def forward(self, latents: Tensor, timestep: Tensor, ids: Tensor, mask: Tensor, padded_to: int) -> Tensor:
        length = int(mask.sum(1).max())
        ids, mask = ids[:, :length], mask[:, :length]
        text = self.text_encoder(ids, mask).last_hidden_state * mask[..., None]
        zeros = (padded_to - mask.sum(1, keepdim=True)).float().log()
        bias = torch.where(mask > 0, 0.0, -torch.inf)
        self.bias = torch.cat((bias, zeros), 1)[:, None, None]  # (B, 1, 1, L + 1)
        text = nn.functional.pad(text, (0, 0, 0, 1))
        predicted = self.transformer(latents, timestep, text, return_dict=False)[0]
        self.bias = None
        return predicted


class _WeightedText(WanAttnProcessor):
    """Cross-attention with the model's weights of the text's tokens; without any, as diffusers has it."""

    def __init__(self, model: TextToFlow):
        super().__init__()
        self.model = [model]  # in a list, so that no module registers the model that it is a part of

    def __call__(self, attn: nn.Module, hidden_states: Tensor, text: Tensor, *_: object) -> Tensor:
        return super().__call__(attn, hidden_states, text, self.model[0].bias)


# ---- latents -------------------------------------------------------------------------------------------------------


@torch.no_grad()
def encode(run: Path, count: int) -> None:
    """Encode `count` clips once (three in ten of two objects), and note their latents' mean and deviation."""
    if (run / "latents.safetensors").exists():
        return
    vae = load_vae(run)
    scenes = random_scenes(21, count, 0.3)
    parts = []
    for i in range(0, count, 4):
        clips = [render(s, seed=100_000 + i + j, num_frames=NUM_FRAMES) for j, s in enumerate(scenes[i : i + 4])]
        parts.append(encode_at_once(vae, to_clips(np.stack(clips))).chunk(2, 1)[0])
        if i % 400 == 0:
            say(f"encoded {i} of {count}")
    latents = torch.cat(parts)
    mean, std = latents.mean((0, 2, 3, 4)), latents.std((0, 2, 3, 4))
    latents = (latents - mean[:, None, None, None]) / std[:, None, None, None]
    (run / "scenes.json").write_text(json.dumps([str(s) for s in scenes]))
    save_file({"latents": latents.contiguous(), "mean": mean, "std": std}, run / "latents.safetensors")


# ---- training ------------------------------------------------------------------------------------------------------


def train_transformer(
    run: Path, stage: str, steps: int, batch: int, lr: float, save_seconds: float, minutes: float, samples: int
) -> None:
    """Train on first frames (`frames`) or on clips (`transformer`); goes on from its checkpoint.

    Plain mean squared error of the flow; noise levels uniform, every other one shifted as the sampler's are, for
    shifted levels alone are long in teaching what a corner looks like; one in ten without text.
    """
    from wan.sampling import follows

    torch.manual_seed(2)
    tokenizer = build_tokenizer()
    model = TextToFlow(len(tokenizer))
    if stage == "transformer" and not (run / f"{stage}.safetensors").exists():
        model.load_state_dict(averaged(run, "frames"))
    training = Training(run, stage, model, lr=lr, ema_decay=0.998, seed=3, on_progress=say)
    if training.step >= steps:
        return
    latents = load_file(run / "latents.safetensors")["latents"]  # (N, C, F, 8, 8)
    ids, mask = tokenize(tokenizer, [*json.loads((run / "scenes.json").read_text()), ""])
    num_frames = 1 if stage == "frames" else NUM_FRAMES
    losses, started, measured = [], time.monotonic(), time.monotonic()
    while training.step < steps:
        rng = training.rng
        pick = torch.randint(len(latents), (batch,), generator=rng)
        x0 = latents[pick] if stage == "transformer" else latents[pick, :, :1]
        pick[torch.rand(batch, generator=rng) < 0.1] = -1  # the empty prompt is the last row
        u = (torch.arange(batch) + torch.rand(batch, generator=rng)) / batch  # one in each part of the levels
        shift = torch.where(torch.arange(batch) % 2 == 0, SHIFT, 1.0)
        sigma = shift * u / (1 + (shift - 1) * u)
        noise = torch.randn(x0.shape, generator=rng)
        s = sigma.view(-1, 1, 1, 1, 1)
        padded_to = round(32 * (LONGEST_TEXT / 32) ** float(torch.rand((), generator=rng)))
        predicted = model((1 - s) * x0 + s * noise, 1000 * sigma, ids[pick], mask[pick], padded_to)
        loss = (predicted - (noise - x0)).square().mean()
        training.update(loss, training.step / steps)
        losses.append(loss.item())
        training.save(every_seconds=save_seconds)
        if training.step % 50 == 0:
            seconds = round(time.monotonic() - started)
            training.log(
                loss=round(math.fsum(losses) / len(losses), 4), seconds=seconds, cpu=round(time.process_time())
            )
            losses.clear()
        if samples and time.monotonic() - measured > 60 * minutes:
            training.log(**follows(run, training, num_frames, samples))
            measured = time.monotonic()
    training.save()
    if samples:
        training.log(**follows(run, training, num_frames, samples))
