"""Train the embedded text-to-video model on the shapes world, from nothing to a diffusers folder.

    python scripts/embedded/train_t2v.py all --run runs/tiny-t2v --out videoada/assets/tiny-t2v

The stages (`vae`, `encode`, `frames`, `clips`, `export`) can be run one by one. Each is seeded, saves a
checkpoint every few minutes and goes on from it when started again; logs and sample sheets appear in the run folder.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import torch
from diffusers import AutoencoderKL, TextToVideoSDPipeline, UNet3DConditionModel
from model import (
    UNET,
    WIDTH,
    NoiseModel,
    build_scheduler,
    build_text_encoder,
    build_tokenizer,
    fast_time,
    forget_pieces,
    skip_time,
)
from safetensors.torch import load_file
from torch import Tensor
from training import FRAMES, SIZE, launch, random_scenes, say
from transformers import CLIPTokenizer
from vae import encode, train_vae

from videoada.shapes import MOTIONS, agreement, measure, parse
from videoada.training.run import Training


class TextToNoise(NoiseModel):
    """(latents, timestep, token ids) → predicted noise."""

    def __init__(self, vocabulary_size: int):
        text_encoder = build_text_encoder(vocabulary_size, num_layers=2)
        super().__init__(text_encoder, UNet3DConditionModel(sample_size=SIZE // 8, cross_attention_dim=WIDTH, **UNET))

    def forward(self, latents: Tensor, timestep: Tensor, ids: Tensor) -> Tensor:
        return self.unet(latents, timestep, self.text_encoder(ids).last_hidden_state, return_dict=False)[0]


def train_unet(
    run: Path, stage: str, steps: int, batch: int, lr: float, begin_from: str | None, minutes: float
) -> None:
    """Train on frames or clips: ε-loss, min-SNR-5 weights (Hang, arXiv 2303.09556), 10 % empty prompts."""
    torch.manual_seed(2)
    tokenizer = build_tokenizer(run / "tokenizer")
    model = TextToNoise(len(tokenizer))
    if begin_from and not (run / f"{stage}.safetensors").exists():
        saved = load_file(run / f"{begin_from}.safetensors")
        averaged = {k.removeprefix("ema."): v for k, v in saved.items() if k.startswith("ema.")}
        model.load_state_dict(averaged, strict=False)
    fast_time(model.unet)
    if stage == "frames":
        skip_time(model.unet)
    else:
        model.read_hidden_states()
    training = Training(run, stage, model, lr=lr, ema_decay=0.998, seed=3, on_progress=say)
    latents = load_file(run / "latents.safetensors")["latents"]  # (N, 4, F, 8, 8)
    prompts = json.loads((run / "scenes.json").read_text())
    ids = torch.tensor(tokenizer([*prompts, ""], padding="max_length").input_ids)
    scenes = [parse(prompt) for prompt in prompts]
    motions = torch.tensor([MOTIONS.index(s.objects[0].motion) if len(s.objects) == 1 else -1 for s in scenes] + [-1])
    alpha_bar = build_scheduler().alphas_cumprod
    started = evaluated = time.monotonic()
    losses: list[float] = []
    clocks: list[float] = []
    echoes: list[float] = []
    first: list[float] = []
    while training.step < steps:
        rng = training.rng
        pick = torch.randint(len(latents), (batch,), generator=rng)
        x0 = latents[pick]
        if stage == "frames":
            frame = torch.randint(FRAMES, (batch,), generator=rng)
            x0 = x0[torch.arange(batch), :, frame][:, :, None]
        pick[torch.rand(batch, generator=rng) < 0.1] = -1  # the empty prompt is the last row
        t = torch.rand(batch, generator=rng)
        if stage == "clips":  # motion is settled at the noisy steps; frames taught the others
            t = t ** (1 / 3)
        t = (1000 * t).long()
        noise = torch.randn(x0.shape, generator=rng)
        # A sampler begins with pure noise where training's last timestep still shows x0, dimly but enough to tell a
        # clip's direction without the text (Lin et al., arXiv 2305.08891). So some clips begin as a sampler does.
        begins = (torch.rand(batch, generator=rng) < 0.3) & (torch.tensor(stage == "clips"))
        t = torch.where(begins, torch.randint(950, 1000, (batch,), generator=rng), t)
        model.motion = motions[pick]
        a = alpha_bar[t].view(-1, 1, 1, 1, 1)
        x_t = torch.where(begins.view(-1, 1, 1, 1, 1), noise, a.sqrt() * x0 + (1 - a).sqrt() * noise)
        target = (x_t - a.sqrt() * x0) / (1 - a).sqrt()
        error = model(x_t, t, ids[pick]) - target
        snr = (a / (1 - a)).flatten()
        weight = snr.clamp(max=5) / snr
        if stage == "clips":  # half-way from the loss in ε to that in x̂0, whose motion is lost in ε's
            weight = torch.where(begins, 0.15 / snr, weight * snr.clamp(max=1).rsqrt())
        loss = (error.square().mean((1, 2, 3, 4)) * weight).mean()
        losses.append(loss.item())
        if begins.any():  # in units of x0, whose mean square is 1
            first.append(float((error.square().mean((1, 2, 3, 4)) / snr)[begins].mean().detach()))
        if stage == "clips":
            clock, echo = model.readers_loss()
            clocks.append(clock.item())
            echoes.append(echo.item())
            loss = loss + 0.05 * clock + 0.02 * echo
        training.update(loss, training.step / steps)
        training.save(every_seconds=180)
        if training.step % 100 == 0:
            read = (
                {"clock": round(float(np.mean(clocks)), 4), "echo": round(float(np.mean(echoes)), 4)} if clocks else {}
            )
            seconds = round(time.monotonic() - started)
            begin_error = {"begin": round(float(np.mean(first)), 4)} if first else {}
            training.log(loss=round(float(np.mean(losses)), 4), **read, **begin_error, seconds=seconds)
            first.clear()
            losses.clear()
            clocks.clear()
            echoes.clear()
        if training.rank == 0 and time.monotonic() - evaluated > minutes * 60:
            training.log(**unet_gate(run, training, tokenizer, num_frames=1 if stage == "frames" else FRAMES))
            evaluated = time.monotonic()
    training.save()
    if training.rank == 0:
        training.log(**unet_gate(run, training, tokenizer, num_frames=1 if stage == "frames" else FRAMES))


def unet_gate(
    run: Path, training: Training, tokenizer: CLIPTokenizer, num_frames: int, count: int = 24
) -> dict[str, float]:
    """Sample `count` one-object prompts with the averaged weights and count what `measure` reads back; save a sheet."""

    own = {k: v.clone() for k, v in training.model.state_dict().items()}
    training.model.load_state_dict(training.ema)
    training.model.eval()
    training.model.motion = torch.zeros(0, dtype=torch.long)
    vae = AutoencoderKL.from_pretrained(run / "vae")
    pipe = TextToVideoSDPipeline(vae, training.model.text_encoder, tokenizer, training.model.unet, build_scheduler())
    pipe.set_progress_bar_config(disable=True)
    scenes = random_scenes(31, count, 0.0)
    right, rows = dict.fromkeys(("background", "colour", "shape", "motion"), 0), []
    for i in range(0, count, 8):
        generators = [torch.Generator().manual_seed(j) for j in range(i, i + 8)]
        prompts = [str(s) for s in scenes[i : i + 8]]
        videos = pipe(
            prompts, num_inference_steps=25, num_frames=num_frames, generator=generators, output_type="np"
        ).frames
        for scene, video in zip(scenes[i:], videos, strict=False):
            for name, agrees in agreement(scene, measure(video)).items():
                right[name] += agrees
            rows.append(np.concatenate(list(np.rint(video[::3] * 255).astype(np.uint8)), 1))
    columns = 2 if num_frames > 1 else 6
    sheet = [np.concatenate(rows[i : i + columns], 1) for i in range(0, len(rows), columns)]
    iio.imwrite(run / f"{training.file.stem}-{training.step:05d}.png", np.concatenate(sheet))
    training.model.load_state_dict(own)
    training.model.train()
    training.model.forget_readings()
    return {k: round(v / count, 3) for k, v in right.items()}


def export(run: Path, out: Path, stage: str) -> None:
    """Write the averaged weights as a diffusers folder: UNet and VAE in half precision, the text encoder in single."""

    tokenizer = build_tokenizer(run / "tokenizer")
    model = TextToNoise(len(tokenizer)).eval()
    saved = load_file(run / f"{stage}.safetensors")
    averaged = {k.removeprefix("ema."): v for k, v in saved.items() if k.startswith("ema.")}
    model.load_state_dict(averaged, strict=False)
    forget_pieces(model.text_encoder, tokenizer)
    vae = AutoencoderKL.from_pretrained(run / "vae").half()
    pipe = TextToVideoSDPipeline(vae, model.text_encoder, tokenizer, model.unet.half(), build_scheduler())
    pipe.save_pretrained(out)
    for file in out.rglob("*.safetensors"):
        file.chmod(0o644)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=("all", "vae", "encode", "frames", "clips", "export"))
    parser.add_argument("--run", type=Path, default=Path("runs/tiny-t2v"))
    parser.add_argument("--out", type=Path, default=Path("videoada/assets/tiny-t2v"))
    parser.add_argument("--vae-steps", type=int, default=3600)
    parser.add_argument("--frame-steps", type=int, default=2200)
    parser.add_argument("--clip-steps", type=int, default=2000)
    parser.add_argument("--num-clips", type=int, default=3200)
    parser.add_argument("--evaluate-minutes", type=float, default=10, help="minutes between sample sheets")
    parser.add_argument("--clip-lr", type=float, default=1e-3)
    parser.add_argument("--clips-from", default="frames", help="stage of the run folder whose weights clips begin from")
    parser.add_argument("--processes", type=int, default=2, help="share each UNet batch among this many processes")
    args = parser.parse_args()
    minutes = args.evaluate_minutes
    args.run.mkdir(parents=True, exist_ok=True)
    if args.stage in ("all", "vae"):
        train_vae(args.run, args.vae_steps, batch=8)
    if args.stage in ("all", "encode"):
        encode(args.run, args.num_clips)
    if args.stage in ("all", "frames"):
        launch(
            args.processes, args.run, train_unet, "frames", args.frame_steps, 64 // args.processes, 1e-3, None, minutes
        )
    if args.stage in ("all", "clips"):
        clips = args.clip_steps, 8 // args.processes, args.clip_lr, args.clips_from
        launch(args.processes, args.run, train_unet, "clips", *clips, minutes)
    if args.stage in ("all", "export"):
        export(args.run, args.out, "clips")


if __name__ == "__main__":
    main()
