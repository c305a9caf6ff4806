"""How tiny-wan's autoencoder begins: as a blur of each frame, with the four frames of a latent side by side.

The convolutions are random but for a path for the colours. Where Wan's autoencoder halves time, the path lays the two
frames' colours into channels of their own, and where it doubles time, it takes them apart. An autoencoder that begins
with four equal frames is long in learning that they differ, one with random convolutions in finding the colours.

Colours pass each norm and SiLU as pairs: silu(x) - silu(-x) = x. Channels with a constant keep the norms near 1.
"""

from __future__ import annotations

import torch
from diffusers import AutoencoderKLWan
from torch import Tensor, nn

Route = dict[int, dict[int, float]]  # an output channel: its input channels and their weights
RANDOM = 0.1  # of the usual deviation, so that the path stands out


@torch.no_grad()
def begin_with_colours(vae: AutoencoderKLWan, channels: int) -> None:
    """Set the weights of an autoencoder with `patch_size=2`, two halvings of time and `channels` latent channels."""
    for name, module in vae.named_modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.zeros_(module.bias)
            if name.endswith(("conv2", "proj")):
                nn.init.zeros_(module.weight)
            elif not name.endswith(("conv1", "to_qkv")):
                module.weight.mul_(RANDOM)
    look_at_no_frame_before(vae)
    _route_encoder(vae.encoder)
    _route_decoder(vae.decoder)
    for conv in (vae.quant_conv, vae.post_quant_conv):
        conv.weight.zero_()
        _centre(conv, _kept(conv.out_channels))
    vae.quant_conv.weight[channels:] = 0
    vae.quant_conv.bias[channels:] = -7  # a posterior that is nearly exact


@torch.no_grad()
def look_at_no_frame_before(vae: AutoencoderKLWan) -> None:
    """Set the weights for earlier frames to 0, but for those by which the encoder joins two frames."""
    for name, module in vae.named_modules():
        if isinstance(module, nn.Conv3d):
            joins = name.startswith("encoder") and name.endswith("time_conv")
            module.weight[:, :, : 1 if joins else -1] = 0


def _route_encoder(encoder: nn.Module) -> None:
    _, halve_first, second, halve_second, third = encoder.down_blocks
    assert (halve_first.mode, halve_second.mode) == ("downsample3d", "downsample3d"), "two halvings of time"
    _centre(encoder.conv_in, _kept(12))
    encoder.conv_in.bias[12:] = 1
    # 9 signals of a 4×4 block: its colour, and how that changes from left to right and from top to bottom
    block = halve_first.resample[1].weight
    for colour in range(3):
        for pixel in range(4):  # of the patch: its column, then its row
            column, row = pixel // 2, pixel % 2
            block[colour, 4 * colour + pixel, :2, :2] += 1 / 16
            block[3 + colour, 4 * colour + pixel, :2, :2] += (2 * column - 1) / 16
            block[6 + colour, 4 * colour + pixel, :2, :2] += (2 * row - 1) / 16
    halve_first.resample[1].bias[18:] = 1
    _frames_to_channels(halve_first.time_conv, 9)
    halve_first.time_conv.bias[18:] = 1
    _centre(second.conv_shortcut, _kept(18))
    second.conv_shortcut.bias[18:] = 1
    block = halve_second.resample[1].weight
    for frame in range(2):
        for colour in range(3):
            source = 9 * frame + colour
            block[3 * frame + colour, source, :2, :2] += 0.25
            block[6 + 3 * frame + colour, source, :2, :2] += torch.tensor([[-0.25, 0.25], [-0.25, 0.25]])
            block[12 + 3 * frame + colour, source, :2, :2] += torch.tensor([[-0.25, -0.25], [0.25, 0.25]])
    halve_second.resample[1].bias[36:] = 1
    _frames_to_channels(halve_second.time_conv, 18)
    halve_second.time_conv.bias[36:] = 1
    colours = [18 * pair + i for pair in range(2) for i in range(6)]
    _centre(third.conv_shortcut, _kept(36) | {36 + i: {source: -1.0} for i, source in enumerate(colours)})
    third.conv_shortcut.bias[48:] = 1.5
    encoder.conv_out.weight[12:] /= RANDOM  # the channels that the colours leave free
    _centre(encoder.conv_out, {i: {source: 1.0, 36 + i: -1.0} for i, source in enumerate(colours)})


def _route_decoder(decoder: nn.Module) -> None:
    first, second, _ = decoder.up_blocks
    # 12 channels for each pair of frames: the two frames' colours, then their negatives
    pairs = {12 * (i // 6) + i % 6: {i: 1.0} for i in range(12)}
    _centre(decoder.conv_in, pairs | {6 + channel: {i: -1.0} for channel, [i] in pairs.items()})
    decoder.conv_in.bias[24:] = 1
    _channels_to_frames(first.upsamplers[0].time_conv, 12, {i: i for i in range(12)}, {i: 12 + i for i in range(12)})
    _centre(first.upsamplers[0].resample[1], _kept(12))
    first.upsamplers[0].resample[1].bias[12:] = 1
    _centre(second.resnets[0].conv_shortcut, _kept(36))
    second.resnets[0].conv_shortcut.bias[36:] = 1
    own = [0, 1, 2, 6, 7, 8]
    _channels_to_frames(second.upsamplers[0].time_conv, 12, {i: i for i in own}, {i: i + 3 for i in own})
    _centre(second.upsamplers[0].resample[1], _kept(12))
    second.upsamplers[0].resample[1].bias[12:] = 1
    _centre(decoder.conv_out, {i: {i // 4: 1.3, 6 + i // 4: -1.3} for i in range(12)})


def _kept(count: int) -> Route:
    return {i: {i: 1.0} for i in range(count)}


def _centre(conv: nn.Conv2d | nn.Conv3d, route: Route, tap: int = -1, first: int = 0) -> None:
    """Add the route at the middle of the kernel, of its last frame or of another."""
    weight: Tensor = conv.weight if conv.weight.ndim == 4 else conv.weight[:, :, tap]
    height, width = weight.shape[2:]
    for out, sources in route.items():
        for source, value in sources.items():
            weight[first + out, source, height // 2, width // 2] += value


def _frames_to_channels(conv: nn.Conv3d, signals: int) -> None:
    """Of a pair of frames: the first one's signals, then the second's."""
    _centre(conv, _kept(signals), tap=1)
    _centre(conv, {signals + i: {i: 1.0} for i in range(signals)})


def _channels_to_frames(conv: nn.Conv3d, signals: int, first: dict[int, int], second: dict[int, int]) -> None:
    """Two frames' channels, from where each frame's signals are found; the other channels are kept."""
    width = conv.in_channels
    for frame, found in enumerate((first, second)):
        kept = {i: {i: 1.0} for i in range(signals, width)}
        _centre(conv, kept | {i: {source: 1.0} for i, source in found.items()}, first=frame * width)
