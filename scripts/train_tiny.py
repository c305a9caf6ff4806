"""Train the embedded text-to-video model on the shapes world, from nothing to a diffusers folder.

    python scripts/train_tiny.py all --run runs/tiny-t2v --out videoada/assets/tiny-t2v

The stages (`vae`, `encode`, `frames`, `clips`, `export`) can be run one by one. Each is seeded, saves a
checkpoint every few minutes and goes on from it when started again; logs and sample sheets appear in the run folder.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import time
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import torch
import torch.distributed as dist
from diffusers import AutoencoderKL, DDIMScheduler, TextToVideoSDPipeline, UNet3DConditionModel
from diffusers.models.resnet import TemporalConvLayer
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.transformers.transformer_temporal import TransformerTemporalModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from videoada.shapes import BACKGROUNDS, MOTIONS, WORDS, Scene, agreement, measure, parse, random_scene, render

SIZE, FRAMES, MAX_TOKENS = 64, 16, 40


# ---- checkpoints ---------------------------------------------------------------------------------------------------


class Training:
    """A module, its AdamW, its moving average and a log, saved together as safetensors and found again by name."""

    def __init__(self, run: Path, stage: str, model: nn.Module, lr: float, ema_decay: float, seed: int):
        self.file, self.log_file = run / f"{stage}.safetensors", run / f"{stage}.jsonl"
        self.model, self.ema_decay, self.step, self.peak_lr = model, ema_decay, 0, lr
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.01, betas=(0.9, 0.98), fused=True)
        self.ema = {k: v.detach().clone() for k, v in model.state_dict().items()}
        self.seed, self.rank, self.world = seed, 0, 1
        if dist.is_initialized():
            self.rank, self.world = dist.get_rank(), dist.get_world_size()
        self.saved_at = time.monotonic()
        if self.file.exists():
            self._load(load_file(self.file))

    @property
    def rng(self) -> torch.Generator:
        """The randomness of this step in this process: a resumed run draws what an uninterrupted one would have."""
        return torch.Generator().manual_seed(self.seed * 10**9 + self.step * 64 + self.rank)

    def update(self, loss: Tensor, progress: float, warmup: int = 50) -> None:
        """One optimiser step at the learning rate of this progress (cosine to 2 %), then the moving average."""
        lr = self.peak_lr * min(1, (self.step + 1) / warmup) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.world > 1:
            gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
            flat = torch.cat([g.flatten() for g in gradients])
            dist.all_reduce(flat)
            torch._foreach_copy_(
                gradients,
                [
                    part.view_as(g) / self.world
                    for g, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True)
                ],
            )
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        decay = min(self.ema_decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            names = list(self.ema)
            state = self.model.state_dict()
            torch._foreach_lerp_([self.ema[n] for n in names], [state[n] for n in names], 1 - decay)

    def log(self, **values: object) -> None:
        if self.rank:
            return
        line = json.dumps({"step": self.step, **values})
        print(self.file.stem, line, flush=True)
        with self.log_file.open("a") as file:
            file.write(line + "\n")

    def save(self, every_seconds: float = 0) -> None:
        if self.rank or time.monotonic() - self.saved_at < every_seconds:
            return
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"ema.{k}": v for k, v in self.ema.items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": torch.as_tensor(v) for k, v in state.items()}
        tensors["step"] = torch.tensor(self.step)
        aside = self.file.with_suffix(".part")
        save_file({k: v.detach().contiguous().clone() for k, v in tensors.items()}, aside)
        aside.replace(self.file)
        self.saved_at = time.monotonic()

    def _load(self, tensors: dict[str, Tensor]) -> None:
        def under(prefix: str) -> dict[str, Tensor]:
            return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}

        self.model.load_state_dict(under("model."))
        self.ema = under("ema.")
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in under("optimizer.").items():
            index, key = name.split(".", 1)
            state.setdefault(int(index), {})[key] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
        self.step = int(tensors["step"])


# ---- the VAE -------------------------------------------------------------------------------------------------------


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


def random_scenes(seed: int, count: int, two_object_share: float) -> list[Scene]:
    rng = np.random.default_rng(seed)
    return [random_scene(rng, 2 if rng.random() < two_object_share else 1) for _ in range(count)]


def to_tensor(frames: np.ndarray) -> Tensor:
    """(N, H, W, 3) uint8 → (N, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float() / 127.5 - 1


def train_vae(run: Path, steps: int, batch: int) -> None:
    torch.manual_seed(1)
    vae = build_vae().to(memory_format=torch.channels_last)
    training = Training(run, "vae", vae, lr=2e-3, ema_decay=0.995, seed=1)
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


def to_uint8(frames: Tensor) -> np.ndarray:
    """(N, 3, H, W) in [-1, 1] → (N, H, W, 3) uint8."""
    return (frames.permute(0, 2, 3, 1) * 127.5 + 127.5).round().clamp(0, 255).byte().cpu().numpy()


# ---- the text encoder and the UNet ---------------------------------------------------------------------------------


def build_tokenizer(folder: Path) -> CLIPTokenizer:
    """A CLIP tokenizer whose byte pairs merge each word of the grammar to one token, and no other word."""

    vocabulary, merges = {"<|startoftext|>": 0, "<|endoftext|>": 1}, []
    for word in WORDS:
        pieces = [*word[:-1], word[-1] + "</w>"]
        for piece in pieces:
            vocabulary.setdefault(piece, len(vocabulary))
        while len(pieces) > 1:  # merge as the tokenizer will, earliest rule first; a new rule where none is left
            known = [pair for pair in merges if pair in zip(pieces, pieces[1:], strict=False)]
            if not known:
                merges.append((pieces[0], pieces[1]))
                continue
            at = next(i for i, pair in enumerate(zip(pieces, pieces[1:], strict=False)) if pair == known[0])
            pieces[at : at + 2] = ["".join(known[0])]
            vocabulary.setdefault(pieces[at], len(vocabulary))
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=MAX_TOKENS)
    for word in WORDS:
        assert tokenizer.tokenize(word) == [word + "</w>"], (word, tokenizer.tokenize(word))
    tokenizer.save_pretrained(folder)
    return tokenizer


def _flat_conv(conv: nn.Conv3d, x: Tensor) -> Tensor:
    return nn.functional.conv2d(x.flatten(3), conv.weight.flatten(3), conv.bias, padding=(1, 0)).view(
        *x.shape[:1], -1, *x.shape[2:]
    )


class TextToNoise(nn.Module):
    """Text encoder and UNet, trained together: (latents, timestep, token ids) → predicted noise."""

    def __init__(self, vocabulary_size: int):
        super().__init__()

        width = 96
        self.text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=vocabulary_size,
                hidden_size=width,
                intermediate_size=2 * width,
                projection_dim=width,
                num_hidden_layers=2,
                num_attention_heads=4,
                max_position_embeddings=MAX_TOKENS,
                bos_token_id=0,
                eos_token_id=1,
                pad_token_id=1,
            )
        )
        for name, parameter in self.text_encoder.named_parameters():
            if "embedding" in name:  # CLIP's deviation of 0.02 takes a thousand steps to tell words apart
                nn.init.normal_(parameter, std=0.5 if "token" in name else 0.1)
        self.unet = UNet3DConditionModel(
            sample_size=SIZE // 8,
            block_out_channels=(64, 96, 96),
            layers_per_block=1,
            down_block_types=("DownBlock3D", "CrossAttnDownBlock3D", "CrossAttnDownBlock3D"),
            up_block_types=("CrossAttnUpBlock3D", "CrossAttnUpBlock3D", "UpBlock3D"),
            norm_num_groups=16,
            cross_attention_dim=width,
            attention_head_dim=8,
        )
        for module in self.temporal_modules():  # identity at first, so that what single frames taught is kept
            if isinstance(module, TransformerTemporalModel):
                nn.init.zeros_(module.proj_out.weight)
                nn.init.zeros_(module.proj_out.bias)
            else:
                for layer in module.modules():
                    if isinstance(layer, nn.Dropout):
                        layer.p = 0.0
        # diffusers' temporal layers have no positions: which frame is the first shows only in the padding of their
        # convolutions. And what says "right" apart from "left" is a product of the frame's place and the word, which
        # is never found while both are faint. In training, directions of unit length read the place and the motion
        # word from the normalised hidden states, so that these carry both as loudly as all else.
        self.clocks = nn.ModuleList(nn.Linear(m.conv4[-1].out_channels, 3, bias=False) for m in self.convolutions())
        self.echoes = nn.ModuleList(nn.Linear(m.in_channels, len(MOTIONS), bias=False) for m in self.attentions())
        self.clock_errors: list[Tensor] = []
        self.echo_errors: list[Tensor] = []
        self.motion = torch.zeros(0, dtype=torch.long)  # of the clips at hand; -1 where there is no single one

    def convolutions(self) -> list[TemporalConvLayer]:
        return [m for m in self.unet.modules() if isinstance(m, TemporalConvLayer)]

    def attentions(self) -> list[Transformer2DModel]:
        return [m for m in self.unet.modules() if isinstance(m, Transformer2DModel)]

    def read_hidden_states(self) -> None:
        """Have each forward leave in `clock_errors` and `echo_errors` how badly place and motion word can be read."""

        def read(reader: nn.Linear, hidden: Tensor) -> Tensor:  # (B·F, C, H, W) → (B·F, H·W, readings)
            hidden = nn.functional.layer_norm(hidden.flatten(2).transpose(1, 2), hidden.shape[1:2])
            return nn.functional.linear(hidden, nn.functional.normalize(reader.weight, dim=1))

        def on_convolution(module: nn.Module, args: tuple, kwargs: dict, output: Tensor, clock: nn.Linear) -> None:
            u = torch.linspace(-1, 1, kwargs["num_frames"])
            place = torch.stack((u, torch.cos(math.pi * u), torch.sin(math.pi * u)), 1)  # (F, 3)
            readings = read(clock, output).unflatten(0, (-1, len(u)))  # (B, F, H·W, 3)
            self.clock_errors.append((readings - place[:, None]).square().mean())

        def on_attention(module: nn.Module, args: tuple, output: tuple[Tensor], echo: nn.Linear) -> None:
            if not len(self.motion):  # sampling
                return
            readings = 3 * read(echo, output[0]).unflatten(0, (len(self.motion), -1)).flatten(1, 2)  # (B, F·H·W, 8)
            target = self.motion[:, None].expand(readings.shape[:2])
            one = target >= 0
            error = nn.functional.cross_entropy(readings.mT, target.clamp(min=0), reduction="none")
            self.echo_errors.append((error * one).sum() / one.sum().clamp(min=1))

        for convolution, clock in zip(self.convolutions(), self.clocks, strict=True):
            convolution.register_forward_hook(functools.partial(on_convolution, clock=clock), with_kwargs=True)
        for attention, echo in zip(self.attentions(), self.echoes, strict=True):
            attention.register_forward_hook(functools.partial(on_attention, echo=echo))

    def temporal_modules(self) -> list[nn.Module]:
        return [m for m in self.unet.modules() if isinstance(m, (TransformerTemporalModel, TemporalConvLayer))]

    def fast_time(self) -> None:
        """Run the (3, 1, 1) convolutions as flat two-dimensional ones, for which CPUs have a fast kernel."""
        for module in self.unet.modules():
            if isinstance(module, nn.Conv3d):
                module.forward = functools.partial(_flat_conv, module)

    def skip_time(self) -> None:
        """Leave the temporal layers, identities still, out of the single-frame stage: it takes half the time."""
        for module in self.temporal_modules():
            if isinstance(module, TransformerTemporalModel):
                module.forward = lambda hidden_states, *args, **kwargs: (hidden_states,)
            else:
                module.forward = lambda hidden_states, **kwargs: hidden_states

    def forward(self, latents: Tensor, timestep: Tensor, ids: Tensor) -> Tensor:
        return self.unet(latents, timestep, self.text_encoder(ids).last_hidden_state, return_dict=False)[0]


def build_scheduler() -> DDIMScheduler:

    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


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
    quant, post = vae.quant_conv, vae.post_quant_conv
    quant.weight[:4] /= std[:, None, None, None]
    quant.bias[:4] = (quant.bias[:4] - mean) / std
    quant.bias[4:] -= 2 * std.log()  # the posterior's log-variance scales with it
    post.bias += post.weight[:, :, 0, 0] @ mean
    post.weight *= std[None, :, None, None]
    vae.to(memory_format=torch.contiguous_format).save_pretrained(run / "vae")
    (run / "scenes.json").write_text(json.dumps([str(s) for s in scenes]))
    save_file({"latents": latents.contiguous()}, run / "latents.safetensors")
    print("encoded", tuple(latents.shape), "mean", mean.tolist(), "std", std.tolist(), flush=True)


def in_processes(rank: int, world: int, run: Path, *args: object) -> None:
    """train_unet in one of `world` processes that average their gradients, each on its share of the cores."""
    torch.set_num_threads(max(torch.get_num_threads() // world, 1) if world > 1 else torch.get_num_threads())
    if world > 1:
        store = dist.FileStore(str(run / "rendezvous"), world)
        dist.init_process_group("gloo", store=store, rank=rank, world_size=world)
    train_unet(run, *args)


def launch(world: int, run: Path, *args: object) -> None:
    (run / "rendezvous").unlink(missing_ok=True)
    torch.multiprocessing.spawn(in_processes, (world, run, *args), nprocs=world)


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
    model.fast_time()
    if stage == "frames":
        model.skip_time()
    else:
        model.read_hidden_states()
    training = Training(run, stage, model, lr=lr, ema_decay=0.998, seed=3)
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
            clock, echo = torch.stack(model.clock_errors).mean(), torch.stack(model.echo_errors).mean()
            model.clock_errors.clear()
            model.echo_errors.clear()
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
    """Sample `count` one-object prompts with the averaged weights and count what `measure` reads back; draw a sheet."""

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
    training.model.clock_errors.clear()
    training.model.echo_errors.clear()
    return {k: round(v / count, 3) for k, v in right.items()}


def export(run: Path, out: Path, stage: str) -> None:
    """Write the averaged weights as a diffusers folder: UNet and VAE in half precision, the text encoder in single."""

    tokenizer = build_tokenizer(run / "tokenizer")
    model = TextToNoise(len(tokenizer)).eval()
    saved = load_file(run / f"{stage}.safetensors")
    averaged = {k.removeprefix("ema."): v for k, v in saved.items() if k.startswith("ema.")}
    model.load_state_dict(averaged, strict=False)
    whole = {tokenizer.convert_tokens_to_ids(w + "</w>") for w in WORDS} | {0, 1}
    with torch.no_grad():  # pieces of words were never trained: let an unknown word say nothing
        for index in set(range(len(tokenizer))) - whole:
            model.text_encoder.get_input_embeddings().weight[index] = 0
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
        launch(args.processes, args.run, "frames", args.frame_steps, 64 // args.processes, 1e-3, None, minutes)
    if args.stage in ("all", "clips"):
        clips = args.clip_steps, 8 // args.processes, args.clip_lr, args.clips_from
        launch(args.processes, args.run, "clips", *clips, minutes)
    if args.stage in ("all", "export"):
        export(args.run, args.out, "clips")


if __name__ == "__main__":
    main()
