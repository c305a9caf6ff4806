"""Fine-tune a copy of the network together with its exit heads, with the paper's three losses.

What it answers is whether L_UAL helps the full model: the network's loss on videos held out is logged before and after.
For text-to-video models of square latents, on the CPU, in float32.
"""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from videoada.config.run import GenerationConfig
from videoada.errors import ConfigError, ModelError
from videoada.learned.exit_heads import ExitHeads
from videoada.learned.parts import trained_for
from videoada.training.config import ExitTraining
from videoada.training.exit_losses import Features, exit_losses, watched
from videoada.training.run import Progress, Training, read_tensors


def train_jointly(
    pipe: Any, heads: ExitHeads, requests: list[GenerationConfig], config: ExitTraining, say: Progress
) -> Path:
    """The folder written: a UNet as diffusers loads it, and its heads. `pipe` keeps its own network as it is.

    Learns from the videos that were collected of `requests`. Raises ModelError for a model of another kind,
    ConfigError where fewer than two videos were collected.
    """
    if not hasattr(pipe.unet, "transformer_in") or hasattr(pipe, "image_encoder"):
        raise ModelError("joint fine-tuning knows text-to-video models with a UNet3DConditionModel only")
    collected = sorted(config.run.glob("calls-*.safetensors"))
    if not collected:
        raise ConfigError(f"{config.run} holds no calls; run the stage collect first")
    unet = copy.deepcopy(pipe.unet).cpu().float()
    finals = torch.cat([read_tensors(path)["final"] for path in collected]).float()
    shape = (requests[0].num_frames, unet.config.in_channels)  # as the scheduler sees them
    side = math.isqrt(finals.shape[1] // math.prod(shape))
    finals = finals.view(-1, *shape, side, side).transpose(1, 2)
    held = max(1, len(finals) // 8)
    if held == len(finals):
        raise ConfigError(f"{config.run} holds one video: joint fine-tuning wants others to hold out")
    device = pipe.unet.device
    texts = [pipe.encode_prompt(r.prompt, device, 1, False)[0] for r in requests[: len(finals)]]
    text = torch.cat(texts).detach().to("cpu", torch.float32)
    heads, name = heads.to("cpu", torch.float32).requires_grad_(True), f"joint-ual-{config.weight_ual:g}"
    model = nn.ModuleDict({"unet": unet.train().requires_grad_(True), "heads": heads.train()})
    training = Training(config.run, name, model, lr=config.joint_lr, ema_decay=0.99, seed=2, on_progress=say)
    alphas = pipe.scheduler.alphas_cumprod

    def losses(indices: Tensor, rng: torch.Generator) -> tuple[Tensor, Features, Tensor]:
        x0, noise = finals[indices], torch.randn(finals[indices].shape, generator=rng)
        t = torch.randint(1000, (len(indices),), generator=rng)
        a = alphas[t].view(-1, 1, 1, 1, 1)
        target = noise if pipe.scheduler.config.prediction_type == "epsilon" else a.sqrt() * noise - (1 - a).sqrt() * x0
        with watched(unet) as calls:
            unet(a.sqrt() * x0 + (1 - a).sqrt() * noise, t, encoder_hidden_states=text[indices], return_dict=False)
        return (calls[0].output - target).square().mean(), calls[0], target

    @torch.no_grad()
    def on_held_out() -> float:
        model.eval()  # the temporal layers have dropout
        rng = torch.Generator().manual_seed(7)
        indices = torch.arange(len(finals) - held, len(finals))
        found = float(np.mean([float(losses(indices, rng)[0]) for _ in range(config.evaluations)]))
        model.train()
        return found

    if training.step == 0:
        training.log(held_out=round(on_held_out(), 5))
    while training.step < config.joint_steps:
        rng = training.rng
        simple, features, target = losses(torch.randint(len(finals) - held, (config.joint_rows,), generator=rng), rng)
        of_u, of_layers, _ = exit_losses(heads, features, target)
        loss = simple + config.weight_u * of_u + config.weight_ual * of_layers
        training.update(loss, training.step / config.joint_steps)
        training.save(every_seconds=120)
        if training.step % 20 == 0:
            training.log(simple=round(float(simple.detach()), 5), ual=round(float(of_layers.detach()), 5))
    training.save()
    model.load_state_dict(training.ema)
    training.log(held_out=round(on_held_out(), 5))
    unet.save_pretrained(config.run / name)
    heads.model = trained_for(pipe, unet) | {"name": name, "weights_sha256": None}  # of weights that changed
    heads.save(config.run / name / "exit-heads.safetensors")
    return config.run / name
