"""The parts of emoji-t2v: its VAE, text encoder and UNet, and the pipeline that they make, at any size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from diffusers import AutoencoderKL, TextToVideoSDPipeline, UNet3DConditionModel
from model import begin_as_identity, build_scheduler, build_text_encoder, build_tokenizer, forget_pieces
from safetensors.torch import load_file
from torch import Tensor, nn

from emoji_t2v.clips import BACKGROUNDS
from videoada.errors import ConfigError, ModelError
from videoada.models.sources import quiet

MAX_TOKENS = 24
VAE_GROUPS, UNET_GROUPS = 8, 16  # of the normalisation: they divide the channels


@dataclass(frozen=True)
class Sizes:
    """Channels of the VAE's four levels and of the UNet's three, and the width of the text encoder."""

    vae: tuple[int, ...] = (32, 64, 96, 128)
    unet: tuple[int, ...] = (96, 144, 192)
    text: int = 192

    def __post_init__(self) -> None:
        for name, values, count, unit in (
            ("vae_channels", self.vae, 4, VAE_GROUPS), ("unet_channels", self.unet, 3, UNET_GROUPS),
            ("text_width", (self.text,), 1, 4),
        ):  # fmt: skip
            if len(values) != count or any(v < unit or v % unit for v in values):
                raise ConfigError(f"`{name}`: {count} multiples of {unit} are needed, got {','.join(map(str, values))}")


def words_of(subjects: Sequence[str]) -> list[str]:
    """All words of all prompts, in the tokenizer's order."""
    return sorted({"a", "on", "background", *BACKGROUNDS, *(word for subject in subjects for word in subject.split())})


def build_vae(sizes: Sizes, size: int) -> AutoencoderKL:
    """For frames of `size` pixels; latents are an eighth as high and wide."""
    return AutoencoderKL(
        block_out_channels=sizes.vae,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=VAE_GROUPS,
        sample_size=size,
        mid_block_add_attention=False,
        scaling_factor=1.0,
    )


class TextToNoise(nn.Module):
    """(latents (B, 4, F, h, w), timestep, token ids) → predicted noise."""

    def __init__(self, vocabulary_size: int, sizes: Sizes, size: int):
        super().__init__()
        self.text_encoder = build_text_encoder(
            vocabulary_size, num_layers=2, width=sizes.text, expansion=3, max_tokens=MAX_TOKENS
        )
        self.unet = UNet3DConditionModel(
            sample_size=size // 8,
            block_out_channels=sizes.unet,
            layers_per_block=1,
            norm_num_groups=UNET_GROUPS,
            cross_attention_dim=sizes.text,
            attention_head_dim=4,
            down_block_types=("CrossAttnDownBlock3D",) * 3,
            up_block_types=("CrossAttnUpBlock3D",) * 3,
        )
        begin_as_identity(self.unet)

    def forward(self, latents: Tensor, timestep: Tensor, ids: Tensor) -> Tensor:
        return self.unet(latents, timestep, self.text_encoder(ids).last_hidden_state, return_dict=False)[0]


def read_averaged(file: Path) -> dict[str, Tensor]:
    """The averaged weights of a stage's checkpoint. Raises ModelError where the stage has not run."""
    if not file.is_file():
        raise ModelError(f"{file} is not there: run the stage `{file.stem}` first")
    return {k.removeprefix("ema."): v for k, v in load_file(file).items() if k.startswith("ema.")}


def build_pipeline(run: Path, stage: str, subjects: Sequence[str], sizes: Sizes) -> TextToVideoSDPipeline:
    """What a stage (`frames` or `clips`) has made, as a pipeline with the averaged weights, in float32 on the CPU."""
    words = words_of(subjects)
    tokenizer = build_tokenizer(run / "tokenizer", words, MAX_TOKENS)
    if not (run / "vae" / "config.json").is_file():
        raise ModelError(f"{run / 'vae'} is not there: run the stage `vae` first")
    size = int(AutoencoderKL.load_config(run / "vae")["sample_size"])
    vae, model = build_vae(sizes, size).eval(), TextToNoise(len(tokenizer), sizes, size).eval()
    vae.load_state_dict(load_file(run / "vae" / "diffusion_pytorch_model.safetensors"))
    model.load_state_dict(read_averaged(run / f"{stage}.safetensors"))
    forget_pieces(model.text_encoder, tokenizer, words)
    with quiet():
        pipe = TextToVideoSDPipeline(vae, model.text_encoder, tokenizer, model.unet, build_scheduler())
    pipe.set_progress_bar_config(disable=True)
    return pipe
