"""What the embedded models are made of: tokenizer, small text encoder, temporal layers, a UNet that is read along."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import DDIMScheduler
from diffusers.models.resnet import TemporalConvLayer
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.transformers.transformer_temporal import TransformerTemporalModel
from torch import Tensor, nn
from training import MAX_TOKENS
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from videoada.shapes import MOTIONS, WORDS

WIDTH = 96  # of the text encoder and of cross-attention
UNET = {
    "block_out_channels": (64, 96, 96),
    "layers_per_block": 1,
    "norm_num_groups": 16,
    "attention_head_dim": 8,
    "down_block_types": ("DownBlock3D", "CrossAttnDownBlock3D", "CrossAttnDownBlock3D"),
    "up_block_types": ("CrossAttnUpBlock3D", "CrossAttnUpBlock3D", "UpBlock3D"),
}


def build_tokenizer(folder: Path, words: Sequence[str] = WORDS, max_tokens: int = MAX_TOKENS) -> CLIPTokenizer:
    """A CLIP tokenizer whose byte pairs merge each of the words to one token, and no other word."""

    vocabulary, merges = {"<|startoftext|>": 0, "<|endoftext|>": 1}, []
    for word in words:
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
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=max_tokens)
    for word in words:
        assert tokenizer.tokenize(word) == [word + "</w>"], (word, tokenizer.tokenize(word))
    tokenizer.save_pretrained(folder)
    return tokenizer


def build_text_encoder(
    vocabulary_size: int, num_layers: int, width: int = WIDTH, expansion: int = 2, max_tokens: int = MAX_TOKENS
) -> CLIPTextModel:
    """A CLIP text encoder; its feed-forward layers are `expansion` times as wide as it."""
    encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=vocabulary_size,
            hidden_size=width,
            intermediate_size=expansion * width,
            projection_dim=width,
            num_hidden_layers=num_layers,
            num_attention_heads=4,
            max_position_embeddings=max_tokens,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1,
        )
    )
    for name, parameter in encoder.named_parameters():
        if "embedding" in name:  # CLIP's deviation of 0.02 takes a thousand steps to tell words apart
            nn.init.normal_(parameter, std=0.5 if "token" in name else 0.1)
    return encoder


def forget_pieces(encoder: CLIPTextModel, tokenizer: CLIPTokenizer, words: Sequence[str] = WORDS) -> None:
    """Pieces of words were never trained: let an unknown word say nothing."""
    known = {tokenizer.convert_tokens_to_ids(w + "</w>") for w in words} | {0, 1}
    with torch.no_grad():
        for index in set(range(len(tokenizer))) - known:
            encoder.get_input_embeddings().weight[index] = 0


def build_scheduler() -> DDIMScheduler:
    """ModelScope's noise levels, with the network's output as noise."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


# ---- the temporal layers of a video UNet ---------------------------------------------------------------------------


def temporal_modules(unet: nn.Module) -> list[nn.Module]:
    return [m for m in unet.modules() if isinstance(m, (TransformerTemporalModel, TemporalConvLayer))]


def begin_as_identity(unet: nn.Module) -> None:
    """Make the temporal layers identities, so that what single frames taught is kept when clips follow."""
    for module in temporal_modules(unet):
        if isinstance(module, TransformerTemporalModel):
            nn.init.zeros_(module.proj_out.weight)
            nn.init.zeros_(module.proj_out.bias)
        else:  # a TemporalConvLayer's last convolution is 0 as diffusers makes it
            for layer in module.modules():
                if isinstance(layer, nn.Dropout):
                    layer.p = 0.0


def skip_time(unet: nn.Module) -> None:
    """Leave the temporal layers, identities still, out of the single-frame stage: it takes half the time."""
    for module in temporal_modules(unet):
        if isinstance(module, TransformerTemporalModel):
            module.forward = lambda hidden_states, *args, **kwargs: (hidden_states,)
        else:
            module.forward = lambda hidden_states, **kwargs: hidden_states


def fast_time(unet: nn.Module) -> None:
    """Run the (3, 1, 1) convolutions as flat two-dimensional ones, for which CPUs have a fast kernel."""
    for module in unet.modules():
        if isinstance(module, nn.Conv3d):
            module.forward = functools.partial(_flat_conv, module)


def _flat_conv(conv: nn.Conv3d, x: Tensor) -> Tensor:
    return nn.functional.conv2d(x.flatten(3), conv.weight.flatten(3), conv.bias, padding=(1, 0)).view(
        *x.shape[:1], -1, *x.shape[2:]
    )


class NoiseModel(nn.Module):
    """A text encoder and a video UNet, trained together, and readers of the UNet's hidden states.

    diffusers' temporal layers have no positions: which frame is the first shows only in the padding of their
    convolutions. And what says "right" apart from "left" is a product of the frame's position and the word, which is
    never found while both are faint. In training, directions of unit length read the position ("clock") and the motion
    word ("echo") from the normalised hidden states, so that these carry both as strongly as anything else.
    """

    def __init__(self, text_encoder: CLIPTextModel, unet: nn.Module):
        super().__init__()
        self.text_encoder, self.unet = text_encoder, unet
        begin_as_identity(unet)
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
        """Have each forward leave in `clock_errors` and `echo_errors` how badly position and word can be read."""

        def read(reader: nn.Linear, hidden: Tensor) -> Tensor:  # (B·F, C, H, W) → (B·F, H·W, readings)
            hidden = nn.functional.layer_norm(hidden.flatten(2).transpose(1, 2), hidden.shape[1:2])
            return nn.functional.linear(hidden, nn.functional.normalize(reader.weight, dim=1))

        def on_convolution(module: nn.Module, args: tuple, kwargs: dict, output: Tensor, clock: nn.Linear) -> None:
            u = torch.linspace(-1, 1, kwargs["num_frames"])
            position = torch.stack((u, torch.cos(math.pi * u), torch.sin(math.pi * u)), 1)  # (F, 3)
            readings = read(clock, output).unflatten(0, (-1, len(u)))  # (B, F, H·W, 3)
            self.clock_errors.append((readings - position[:, None]).square().mean())

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

    def readers_loss(self) -> tuple[Tensor, Tensor]:
        """How badly the last forward's clock and echo could be read."""
        clock, echo = torch.stack(self.clock_errors).mean(), torch.stack(self.echo_errors).mean()
        self.forget_readings()
        return clock, echo

    def forget_readings(self) -> None:
        self.clock_errors.clear()
        self.echo_errors.clear()
