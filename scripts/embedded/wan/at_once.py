"""tiny-wan's AutoencoderKLWan in one pass over all frames: the same numbers as its chunks of four frames, in less time.

Its causal convolutions look at no frame before: their weights for earlier frames are 0 and stay 0, for nothing here
uses them. A latent is made of its own four frames, so that a step learns from many short clips, and what short clips
teach holds in long ones. The convolutions run as flat two-dimensional ones, for which CPUs have a fast kernel. Frames
lie one after another: (B·T, C, H, W), with T beside.
"""

from __future__ import annotations

import torch
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import (
    WanCausalConv3d,
    WanResample,
    WanResidualBlock,
    patchify,
    unpatchify,
)
from torch import Tensor, nn


def encode_at_once(vae: AutoencoderKLWan, video: Tensor) -> Tensor:
    """(B, 3, 4k + 1, H, W) in [-1, 1] → mean and log-variance of the latents, (B, 2·C, k + 1, H/8, W/8)."""
    frames, x = video.shape[2], _in_rows(patchify(video, vae.config.patch_size or 1))
    encoder = vae.encoder
    x = _conv(encoder.conv_in, x)
    for layer in encoder.down_blocks:
        if isinstance(layer, WanResample):
            x = layer.resample(x)
            if layer.mode == "downsample3d":
                x, frames = _halve_time(layer.time_conv, x, frames)
        else:
            x = _residual(layer, x)
    return _in_clips(_conv(vae.quant_conv, _ends(encoder, _middle(encoder, x))), frames)


def decode_at_once(vae: AutoencoderKLWan, latents: Tensor) -> Tensor:
    """(B, C, k + 1, h, w) → video (B, 3, 4k + 1, 8·h, 8·w), not clamped."""
    frames, decoder = latents.shape[2], vae.decoder
    x = _middle(decoder, _conv(decoder.conv_in, _conv(vae.post_quant_conv, _in_rows(latents))))
    for block in decoder.up_blocks:
        for resnet in block.resnets:
            x = _residual(resnet, x)
        for layer in block.upsamplers or ():
            if layer.mode == "upsample3d":
                x, frames = _double_time(layer.time_conv, x, frames)
            x = layer.resample(x)
    return unpatchify(_in_clips(_ends(decoder, x), frames), vae.config.patch_size or 1)


def _in_rows(clips: Tensor) -> Tensor:
    return clips.transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)


def _in_clips(rows: Tensor, frames: int) -> Tensor:
    return rows.unflatten(0, (-1, frames)).transpose(1, 2)


def _conv(conv: WanCausalConv3d, x: Tensor) -> Tensor:
    return nn.functional.conv2d(x, conv.weight[:, :, -1], conv.bias, padding=conv._padding[0])


def _halve_time(conv: WanCausalConv3d, x: Tensor, frames: int) -> tuple[Tensor, int]:
    """The first frame as it is, then one for each two, of those two."""
    if frames == 1:
        return x, 1
    clips = x.unflatten(0, (-1, frames))
    pairs = torch.cat((clips[:, 1::2], clips[:, 2::2]), 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)
    later = nn.functional.conv2d(pairs, conv.weight[:, :, 1:].transpose(1, 2).flatten(1, 2), conv.bias)
    halved = (frames + 1) // 2
    return torch.cat((clips[:, :1], later.unflatten(0, (-1, halved - 1))), 1).flatten(0, 1), halved


def _double_time(conv: WanCausalConv3d, x: Tensor, frames: int) -> tuple[Tensor, int]:
    """The first frame as it is, then two for each."""
    if frames == 1:
        return x, 1
    clips = x.unflatten(0, (-1, frames))
    pairs = _conv(conv, clips[:, 1:].flatten(0, 1)).unflatten(0, (-1, frames - 1)).unflatten(2, (2, -1))
    return torch.cat((clips[:, :1], pairs.flatten(1, 2)), 1).flatten(0, 1), 2 * frames - 1


def _residual(block: WanResidualBlock, x: Tensor) -> Tensor:
    beside = x if isinstance(block.conv_shortcut, nn.Identity) else _conv(block.conv_shortcut, x)
    x = _conv(block.conv1, nn.functional.silu(_norm(block.norm1, x)))
    return beside + _conv(block.conv2, nn.functional.silu(_norm(block.norm2, x)))


def _norm(norm: nn.Module, x: Tensor) -> Tensor:
    return nn.functional.normalize(x, dim=1) * norm.scale * norm.gamma.flatten()[:, None, None]


def _middle(half: nn.Module, x: Tensor) -> Tensor:
    first, second = half.mid_block.resnets
    x = half.mid_block.attentions[0](_residual(first, x)[:, :, None])[:, :, 0]
    return _residual(second, x)


def _ends(half: nn.Module, x: Tensor) -> Tensor:
    return _conv(half.conv_out, nn.functional.silu(_norm(half.norm_out, x)))
