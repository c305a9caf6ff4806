"""Train the embedded image-to-video model on the shapes world, from what the text-to-video model has learned.

    python scripts/embedded/train_i2v.py all --run runs/tiny-i2v --out videoada/assets/tiny-i2v

The stages (`encode`, `clips`, `export`) can be run one by one. Each is seeded, saves a checkpoint every few minutes and
goes on from it when started again; logs and sample sheets appear in the run folder.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, I2VGenXLPipeline, I2VGenXLUNet, UNet3DConditionModel
from model import UNET, WIDTH, NoiseModel, build_text_encoder, fast_time, forget_pieces
from safetensors.torch import load_file, save_file
from torch import Tensor
from training import SIZE, launch, random_scenes, say
from transformers import (
    CLIPImageProcessor,
    CLIPTextModel,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from videoada.shapes import MOTIONS, agreement, measure, parse, render
from videoada.training.run import Training
from videoada.training.videos import to_tensor

POSTERIOR_STD = 0.03  # about what the VAE's posterior adds to the image's latents


class ImageToMotion(NoiseModel):
    """(latents, timestep, token ids, the image's latents, its pixels) → predicted v."""

    def __init__(self, vocabulary_size: int):
        # The pipeline reads the text encoder before its last layer: one more layer than the text-to-video model has.
        text_encoder = build_text_encoder(vocabulary_size, num_layers=3)
        super().__init__(text_encoder, I2VGenXLUNet(sample_size=SIZE // 8, cross_attention_dim=WIDTH, **UNET))
        self.image_encoder = CLIPVisionModelWithProjection(
            CLIPVisionConfig(
                hidden_size=64, intermediate_size=128, projection_dim=WIDTH, num_hidden_layers=2, num_attention_heads=4,
                image_size=SIZE, patch_size=16,
            )
        )  # fmt: skip

    def begin_from(self, base: Path) -> None:
        """Take the text encoder and whatever of the UNet has the same name from a text-to-video folder."""
        text = CLIPTextModel.from_pretrained(base / "text_encoder")
        self.text_encoder.load_state_dict(text.state_dict(), strict=False)
        weights = UNet3DConditionModel.from_pretrained(base / "unet", torch_dtype=torch.float32).state_dict()
        own = self.unet.state_dict()
        conv_in = weights.pop("conv_in.weight")  # the image's latents come in behind the noisy ones, faintly at first
        weights["conv_in.weight"] = torch.cat([conv_in, 0.1 * own["conv_in.weight"][:, conv_in.shape[1] :]], 1)
        unknown = [k for k, v in weights.items() if k not in own or own[k].shape != v.shape]
        assert not unknown, unknown
        missing = self.unet.load_state_dict(weights, strict=False).missing_keys
        assert all("image" in k or "context" in k or "fps" in k for k in missing), missing

    def go_on_from(self, folder: Path) -> None:
        """Take every weight from an exported image-to-video folder."""
        self.text_encoder.load_state_dict(CLIPTextModel.from_pretrained(folder / "text_encoder").state_dict())
        self.unet.load_state_dict(I2VGenXLUNet.from_pretrained(folder / "unet", torch_dtype=torch.float32).state_dict())
        image_encoder = CLIPVisionModelWithProjection.from_pretrained(folder / "image_encoder")
        self.image_encoder.load_state_dict(image_encoder.state_dict())

    def forward(self, latents: Tensor, timestep: Tensor, ids: Tensor, image_latents: Tensor, pixels: Tensor) -> Tensor:
        hidden = self.text_encoder(ids, output_hidden_states=True).hidden_states[-2]
        frames = latents.shape[2]
        positions = [torch.full_like(image_latents, k / (frames - 1)) for k in range(1, frames)]
        embeddings = (
            self.image_encoder(pixels).image_embeds * (ids[:, 1] != 1)[:, None]
        )  # empty prompt: no image either
        return self.unet(
            latents,
            timestep,
            encoder_hidden_states=self.text_encoder.final_layer_norm(hidden),
            fps=torch.full((len(latents),), 16),
            image_latents=torch.stack([image_latents, *positions], 2),
            image_embeddings=embeddings[:, None],
            return_dict=False,
        )[0]


def build_scheduler() -> DDIMScheduler:
    return DDIMScheduler(
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,
        timestep_spacing="leading",
    )


def build_processor() -> CLIPImageProcessor:
    return CLIPImageProcessor(size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE})


def normalise(frames: np.ndarray) -> Tensor:
    """(N, H, W, 3) uint8 → (N, 3, H, W) as the image encoder sees them."""
    processor = build_processor()
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (processor.image_mean, processor.image_std))
    return ((to_tensor(frames) + 1) / 2 - mean) / std


@torch.no_grad()
def encode(run: Path, base: Path, count: int, seed: int) -> None:
    """Encode `count` clips of this seed once; keep the latents and each clip's first frame."""
    if (run / "latents.safetensors").exists():
        return
    vae = AutoencoderKL.from_pretrained(base / "vae", torch_dtype=torch.float32).to(memory_format=torch.channels_last)
    scenes = random_scenes(seed, count, 0.3)
    latents, firsts = [], []
    for i, scene in enumerate(scenes):
        clip = render(scene, seed=seed * 5_000 + i)
        pixels = to_tensor(clip).contiguous(memory_format=torch.channels_last)
        latents.append(vae.encode(pixels).latent_dist.mean * vae.config.scaling_factor)
        firsts.append(torch.from_numpy(clip[0].copy()))
    (run / "scenes.json").write_text(json.dumps([str(s) for s in scenes]))
    latents = torch.stack(latents).transpose(1, 2).contiguous()  # (N, 4, F, 8, 8)
    save_file({"latents": latents, "firsts": torch.stack(firsts)}, run / "latents.safetensors")
    print("encoded", tuple(latents.shape), "std", latents.std((0, 2, 3, 4)).tolist(), flush=True)


def train(run: Path, base: Path, begin: Path | None, steps: int, batch: int, lr: float) -> None:
    """v-loss on clips, 10 % without prompt and image embedding, 30 % begun as a sampler does, with pure noise.

    From the text-to-video model's weights the position in the clip and the motion word are made readable as well; a run
    that goes on from an exported folder (`begin`) has learned them.
    """
    torch.manual_seed(4)
    tokenizer = CLIPTokenizer.from_pretrained(base / "tokenizer")
    model = ImageToMotion(len(tokenizer))
    fast_time(model.unet)
    if begin:
        model.go_on_from(begin)
    else:
        model.begin_from(base)
        model.read_hidden_states()
    training = Training(run, "clips", model, lr=lr, ema_decay=0.998, seed=5, on_progress=say)
    data = load_file(run / "latents.safetensors")
    latents, firsts = data["latents"], data["firsts"]
    prompts = json.loads((run / "scenes.json").read_text())
    ids = torch.tensor(tokenizer([*prompts, ""], padding="max_length").input_ids)
    scenes = [parse(prompt) for prompt in prompts]
    motions = torch.tensor([MOTIONS.index(s.objects[0].motion) if len(s.objects) == 1 else -1 for s in scenes] + [-1])
    alpha_bar = build_scheduler().alphas_cumprod
    started = time.monotonic()
    seen: dict[str, list[float]] = {}
    while training.step < steps:
        rng = training.rng
        pick = torch.randint(len(latents), (batch,), generator=rng)
        x0 = latents[pick]
        image = x0[:, :, 0] + POSTERIOR_STD * torch.randn(x0[:, :, 0].shape, generator=rng)
        pixels = normalise(firsts[pick].numpy())
        words = torch.where(torch.rand(batch, generator=rng) < 0.1, -1, pick)  # the empty prompt is the last row
        t = (1000 * torch.rand(batch, generator=rng).sqrt()).long()
        begins = torch.rand(batch, generator=rng) < 0.3
        t = torch.where(begins, torch.randint(950, 1000, (batch,), generator=rng), t)
        noise = torch.randn(x0.shape, generator=rng)
        a, s = (v.view(-1, 1, 1, 1, 1) for v in (alpha_bar[t].sqrt(), (1 - alpha_bar[t]).sqrt()))
        x_t = torch.where(begins.view(-1, 1, 1, 1, 1), noise, a * x0 + s * noise)
        target = (a * x_t - x0) / s  # v of this x0 at this x_t, also where x_t is pure noise
        model.motion = motions[words]
        error = (model(x_t, t, ids[words], image, pixels) - target).square().mean((1, 2, 3, 4))
        clock, echo = (torch.zeros(()),) * 2 if begin else model.readers_loss()
        values = {"loss": error[~begins], "begin": error[begins], "clock": clock[None], "echo": echo[None]}
        for name, value in values.items():
            seen.setdefault(name, []).extend(value.detach().tolist())
        training.update(error.mean() + 0.05 * clock + 0.02 * echo, training.step / steps)
        training.save(every_seconds=180)
        if training.step % 100 == 0:
            averages = {k: round(float(np.mean(v)), 4) for k, v in seen.items() if v}
            training.log(**averages, seconds=round(time.monotonic() - started))
            seen.clear()
    training.save()


def export(run: Path, base: Path, out: Path) -> None:
    """Write the averaged weights as a diffusers folder: UNet and VAE in half precision, the encoders in single."""
    tokenizer = CLIPTokenizer.from_pretrained(base / "tokenizer")
    model = ImageToMotion(len(tokenizer)).eval()
    saved = load_file(run / "clips.safetensors")
    model.load_state_dict({k.removeprefix("ema."): v for k, v in saved.items() if k.startswith("ema.")})
    forget_pieces(model.text_encoder, tokenizer)
    pipe = I2VGenXLPipeline(
        vae=AutoencoderKL.from_pretrained(base / "vae", torch_dtype=torch.float16),
        text_encoder=model.text_encoder,
        tokenizer=tokenizer,
        image_encoder=model.image_encoder,
        feature_extractor=build_processor(),
        unet=model.unet.half(),
        scheduler=build_scheduler(),
    )
    pipe.save_pretrained(out)
    index = json.loads((out / "model_index.json").read_text())
    index["feature_extractor"] = ["transformers", "CLIPImageProcessor"]  # …Pil where torchvision is missing
    (out / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    for file in out.rglob("*.safetensors"):
        file.chmod(0o644)


def sheet(out: Path, picture: Path, count: int = 12) -> None:
    """Sample one-object prompts from their first frames; print what `measure` reads back; save a sheet."""
    import videoada

    pipe = videoada.load_pipeline(str(out), device="cpu")
    right, rows, psnr = dict.fromkeys(("background", "colour", "shape", "motion"), 0), [], []
    from PIL import Image

    for i, scene in enumerate(random_scenes(31, count, 0.0)):
        first = render(scene, seed=900_000 + i)[0]
        skip = videoada.SkipConfig(policy="none")
        image = Image.fromarray(first)
        [(video, _)] = videoada.generate(
            pipe, prompt=str(scene), image=image, seed=i, num_inference_steps=25, skip=skip
        )
        for name, agrees in agreement(scene, measure(video.frames)).items():
            right[name] += agrees
        psnr.append(10 * np.log10(255**2 / np.mean((video.frames[0].astype(float) - first) ** 2)))
        rows.append(np.concatenate([first, *video.frames[::3]], 1))
    iio.imwrite(picture, np.concatenate([np.concatenate(rows[i : i + 2], 1) for i in range(0, len(rows), 2)]))
    print({k: round(v / count, 3) for k, v in right.items()} | {"first_frame_psnr": round(float(np.mean(psnr)), 2)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=("all", "encode", "clips", "export", "sheet"))
    parser.add_argument("--run", type=Path, default=Path("runs/tiny-i2v"))
    parser.add_argument("--base", type=Path, default=Path("videoada/assets/tiny-t2v"))
    parser.add_argument("--out", type=Path, default=Path("videoada/assets/tiny-i2v"))
    parser.add_argument("--begin-from", type=Path, help="go on from an exported folder instead of tiny-t2v's weights")
    parser.add_argument("--num-clips", type=int, default=3200)
    parser.add_argument("--data-seed", type=int, default=41, help="of the scenes and their clips")
    parser.add_argument("--clip-steps", type=int, default=2000)
    parser.add_argument("--clip-lr", type=float, default=8e-4)
    parser.add_argument("--processes", type=int, default=2, help="share each UNet batch among this many processes")
    args = parser.parse_args()
    args.run.mkdir(parents=True, exist_ok=True)
    if args.stage in ("all", "encode"):
        encode(args.run, args.base, args.num_clips, args.data_seed)
    if args.stage in ("all", "clips"):
        launch(
            args.processes,
            args.run,
            train,
            args.base,
            args.begin_from,
            args.clip_steps,
            8 // args.processes,
            args.clip_lr,
        )
    if args.stage in ("all", "export"):
        export(args.run, args.base, args.out)
    if args.stage in ("all", "sheet"):
        sheet(args.out, args.run / "sheet.png")


if __name__ == "__main__":
    main()
