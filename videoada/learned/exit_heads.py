"""Exit heads: at each exit of a UNet, a head that predicts the network's output, and the uncertainty of that.

Tang et al., "AdaDiff: Accelerating Diffusion Models through Step-Wise Adaptive Computation", ECCV 2024, arXiv
2309.17074. Exits are after the middle block and after each up block but the last. Shapes: R rows of the batch, F
frames, T channels of the time embedding; features (R·F, C, h, w), frames of one row next to each other.

Ours is `horizon`: the error of a prediction g_i(L_i) alone is larger than what a step changes, and guidance multiplies
it. Heads with a horizon start from the last full call s, ε̂_t = ε_s + g_i(L_i(t)) − g_i(L_i(s)), and learn differences.
The horizon is the largest s − t.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from videoada.errors import ModelError
from videoada.learned.parts import check_trained_for, read_part, write_part

FORMAT = "videoada-exit-heads-1"
WIDTH = 48
OLD_NAMES = {"reach": "horizon"}  # file-format fields: old name → present name; both are read


class ExitHead(nn.Module):
    """g_i: features of an exit and the finest features of the way down → what the network would have predicted.

    The features of the way down are there at every exit, at the latents' own size, and cost nothing.
    """

    def __init__(self, channels: int, fine_channels: int, time_channels: int, out_channels: int, width: int = WIDTH):
        super().__init__()
        self.deep = nn.Conv2d(channels, width, 1)
        self.fine = nn.Conv2d(fine_channels, width, 1)
        self.time = nn.Linear(time_channels, 2 * width)
        self.inner = nn.Conv2d(width, width, 3, padding=1)
        self.frames = nn.Conv3d(width, width, (3, 1, 1), padding=(1, 0, 0), groups=width)  # neighbours in time
        self.out = nn.Conv2d(width, out_channels, 3, padding=1)
        nn.init.zeros_(self.frames.weight)
        nn.init.zeros_(self.frames.bias)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, features: Tensor, fine: Tensor, time: Tensor, num_frames: int) -> Tensor:
        """(R·F, C, h, w), (R·F, S, H, W), (R·F, T) → (R, out, F, H, W)."""
        deep = nn.functional.interpolate(_pointwise(self.deep, features), fine.shape[-2:], mode="bilinear")
        scale, shift = self.time(nn.functional.silu(time))[..., None, None].chunk(2, dim=1)
        x = (deep + _pointwise(self.fine, fine)) * (1 + scale) + shift
        x = x + self.inner(nn.functional.silu(x))
        x = x + _along_frames(self.frames, nn.functional.silu(x), num_frames)
        return in_rows(self.out(nn.functional.silu(x)), num_frames)


class Uncertainty(nn.Module):
    """u_i = σ(wᵀ[L_i, t] + b) at each position of the features (section 3.2 of the paper).

    Where predictions are carried on, also of how far they are carried: `moved` of `movement`.
    """

    def __init__(self, channels: int, time_channels: int, carried: bool = False):
        super().__init__()
        self.features = nn.Conv2d(channels, 1, 1)
        self.time = nn.Linear(time_channels, 1, bias=False)
        self.moved = nn.Conv2d(2, 1, 1, bias=False) if carried else None

    def forward(self, features: Tensor, time: Tensor, num_frames: int, moved: Tensor | None = None) -> Tensor:
        """(R·F, C, h, w), (R·F, T), (R, 2, F, H, W) → (R, F, h, w) in (0, 1)."""
        logits = _pointwise(self.features, features) + self.time(nn.functional.silu(time))[..., None, None]
        if self.moved is not None and moved is not None:
            weighed = (self.moved.weight.flatten() @ moved.flatten(2)).view(-1, *moved.shape[2:])  # (R, F, H, W)
            logits = logits + nn.functional.adaptive_avg_pool2d(weighed, features.shape[-2:]).flatten(0, 1)[:, None]
        return in_rows(torch.sigmoid(logits), num_frames)[:, 0]


def movement(change: Tensor, timesteps: Tensor) -> Tensor:
    """How far a prediction is carried on: log |g_i(t) − g_i(s)| of (R, C, F, H, W), log (s − t) of (R,) →
    (R, 2, F, H, W)."""
    size = (change.abs().mean(1) + 1e-3).log()
    age = timesteps.to(change).clamp_min(1).log()[:, None, None, None].expand_as(size)
    return torch.stack([size + 4, age - 4], dim=1)  # about zero where training begins


class ExitHeads(nn.Module):
    """A head and an uncertainty for each exit of one UNet. `channels` are those of the features at each exit;
    `horizon` is over how many of the model's timesteps a prediction is carried on, 0 for heads that predict alone."""

    def __init__(
        self, channels: list[int], fine_channels: int, time_channels: int, out_channels: int, width: int = WIDTH,
        horizon: int = 0,
    ):  # fmt: skip
        super().__init__()
        self.config: dict[str, Any] = {
            "channels": channels, "fine_channels": fine_channels, "time_channels": time_channels,
            "out_channels": out_channels, "width": width, "horizon": horizon,
        }  # fmt: skip
        self.horizon = horizon
        self.heads = nn.ModuleList(ExitHead(c, fine_channels, time_channels, out_channels, width) for c in channels)
        self.uncertainties = nn.ModuleList(Uncertainty(c, time_channels, horizon > 0) for c in channels)
        self.model: dict[str, Any] = {}  # of `trained_for`: the UNet that they were trained on
        self.threshold: float | None = None  # that training found to be a good one
        self.asked = list(range(len(channels)))  # exits: asking where hardly anyone leaves costs more than it saves

    @classmethod
    def for_unet(cls, unet: Any, width: int = WIDTH, horizon: int = 0) -> ExitHeads:
        """Untrained ones. Raises ModelError for a network without the blocks that they sit at."""
        return cls(**exit_channels(unet), width=width, horizon=horizon)

    def save(self, path: str | Path) -> None:
        """As safetensors in half precision, with what they are for."""
        about = {"format": FORMAT, "config": self.config, "model": self.model, "threshold": self.threshold,
                 "asked": self.asked}  # fmt: skip
        write_part(path, {name: value.half() for name, value in self.state_dict().items()}, about)

    @classmethod
    def load(cls, path: str | Path, unet: Any, weights_sha256: str | None = None) -> ExitHeads:
        """Heads for this UNet, in its precision and on its device. Raises ModelError for what is no such file, or was
        trained on another network or on other weights."""
        tensors, about = read_part(path, FORMAT, "exit heads")
        try:
            known = exit_channels(unet)
            if {name: about["config"][name] for name in known} != known:
                raise ModelError(f"the exit heads in {path} are of another network than {type(unet).__name__} here")
            check_trained_for(about["model"], unet, weights_sha256, f"the exit heads in {path} are")
            heads = cls(**_renamed(about["config"]))
            heads.load_state_dict(tensors)
            heads.asked = [int(exit) for exit in about.get("asked", heads.asked)]
            heads.model, heads.threshold = about["model"], about["threshold"]
            if heads.threshold is not None and not 0 <= heads.threshold <= 1:
                raise ValueError(f"its threshold is {heads.threshold}")
            if not set(heads.asked) <= set(range(len(heads.heads))) or not heads.asked:
                raise ValueError(f"it asks the exits {heads.asked}")
        except (TypeError, ValueError, KeyError, AttributeError, RuntimeError) as error:
            raise ModelError(f"can't read exit heads from {path}: {' '.join(str(error).split())[:200]}") from None
        parameter = next(unet.parameters())
        heads.to(parameter.device, parameter.dtype).eval().requires_grad_(False)
        return heads


def _renamed(config: dict[str, Any]) -> dict[str, Any]:
    """A file's configuration under the present names of its fields."""
    return {OLD_NAMES.get(name, name): value for name, value in config.items()}


def exit_channels(unet: Any) -> dict[str, Any]:
    """What the heads of a UNet need to know of it. Raises ModelError where there are no exits."""
    config = getattr(unet, "config", None)
    channels = list(getattr(config, "block_out_channels", None) or [])
    if len(channels) < 2 or not hasattr(unet, "mid_block") or not hasattr(unet, "transformer_in"):
        raise ModelError(
            f"early exit knows UNet3DConditionModel and I2VGenXLUNet with two levels or more, not {type(unet).__name__}"
        )
    return {
        "channels": [channels[-1], *channels[::-1][: len(channels) - 1]], "fine_channels": channels[0],
        "time_channels": unet.time_embedding.linear_2.out_features, "out_channels": unet.config.out_channels,
    }  # fmt: skip


def finest(residuals: Sequence[Tensor], like: Tensor) -> Tensor:
    """The last output of the first down block that has the latents' own size."""
    return [x for x in residuals if x.shape[-2:] == like.shape[-2:]][-1]


def in_rows(x: Tensor, num_frames: int) -> Tensor:
    """(R·F, C, H, W) → (R, C, F, H, W)."""
    return x.unflatten(0, (-1, num_frames)).transpose(1, 2)


def _pointwise(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """A 1×1 convolution as a matrix product, which takes half the time at these sizes."""
    assert conv.bias is not None
    return (conv.weight.flatten(1) @ x.flatten(2) + conv.bias[:, None]).unflatten(2, x.shape[2:])


def _along_frames(conv: nn.Conv3d, x: Tensor, num_frames: int) -> Tensor:
    """A depthwise convolution of three frames as three products: a third of the time, and no transposed copy."""
    before, now, after = conv.weight.flatten(1).T[..., None, None]  # each (C, 1, 1)
    x = x.unflatten(0, (-1, num_frames))
    y = x * now + conv.bias[:, None, None]
    y[:, 1:] += x[:, :-1] * before
    y[:, :-1] += x[:, 1:] * after
    return y.flatten(0, 1)
