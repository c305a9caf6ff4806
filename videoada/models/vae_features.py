"""Features of a model's own VAE, an extractor for distances between sets of videos: `vae:MODEL`.

What a video model's latents say of a clip: what is where (their mean over time) and how much moves where (the root
mean square of their change from frame to frame), each averaged over a grid of 4 × 4 cells. Cells forgive small shifts,
and both parts forgive where in a loop a clip begins; frozen, repeated and shuffled frames change the second part. What
the VAE itself loses, these features can hardly see: its reconstructions are close to what they reconstruct.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from videoada.errors import ModelError
from videoada.metrics.features import Extractor, on_device
from videoada.metrics.weights import first_line, hash_files
from videoada.models.catalogue import known_model
from videoada.models.sources import find_folder, quiet

PREFIX = "vae:"  # of an extractor's name
GRID = 4  # cells along height and width
CHUNK = 32  # frames in the encoder at once


def load_vae_extractor(model: str, device: str | torch.device = "cpu") -> Extractor:
    """The extractor `vae:MODEL`: an embedded or known model's name, a hub id, or a diffusers folder.

    Features are 2·C·16 numbers for latents of C channels, of frames at their own size, at least two of them. Raises
    ModelError of one line for a model that can't be found or has no VAE that is known here.
    """
    folder = find_folder(model)
    known = known_model(model)
    files = sorted((folder / "vae").glob("*.safetensors"))
    network = VaeFeatures(_load_vae(folder))
    try:
        extractor = Extractor(
            PREFIX + (model if known or not Path(model).is_dir() else Path(model).name),
            network, hash_files(files), size=None, min_frames=2, mean=(0.5,) * 3, std=(0.5,) * 3,
            embedded=bool(known and known.embedded),
        )  # fmt: skip
    except Exception as error:  # an encoder of another kind can fail in any way
        raise ModelError(f"the VAE of '{model}' does not encode videos as known here: {first_line(error)}") from None
    return on_device(extractor, device)


class VaeFeatures(nn.Module):
    """Frames (B, T, 3, H, W) in [−1, 1] to features (B, 2·C·16), float32."""

    shift: Tensor
    scale: Tensor

    def __init__(self, vae: Any):
        super().__init__()
        self.vae = vae.float().eval().requires_grad_(False)
        self.is_video = any(isinstance(module, nn.Conv3d) for module in vae.encoder.modules())
        if not self.is_video:
            self.vae.to(memory_format=torch.channels_last)  # a third faster on a CPU
        shift, scale = statistics_of(vae.config)
        self.register_buffer("shift", shift.view(-1, 1, 1), persistent=False)
        self.register_buffer("scale", scale.view(-1, 1, 1), persistent=False)

    def latents(self, x_BTCHW: Tensor) -> Tensor:
        """Mean latents (B, T, C, h, w), scaled as the denoiser sees them: of each frame, or of a video VAE's times."""
        if self.is_video:
            mean = self.vae.encode(x_BTCHW.transpose(1, 2)).latent_dist.mean.transpose(1, 2)
        else:
            parts = x_BTCHW.flatten(0, 1).split(CHUNK)
            mean = torch.cat([self.vae.encode(part).latent_dist.mean for part in parts])
            mean = mean.unflatten(0, x_BTCHW.shape[:2])
        return (mean - self.shift) * self.scale

    def forward(self, x_BTCHW: Tensor) -> Tensor:
        return pool_latents(self.latents(x_BTCHW))


def pool_latents(z_BTCHW: Tensor) -> Tensor:
    """Latents to features (B, 2·C·16): cells' means over time, then the root mean squares of cells' changes."""
    pooled = nn.functional.adaptive_avg_pool2d
    mean = pooled(z_BTCHW.mean(1), GRID)
    change = z_BTCHW.diff(dim=1).square().sum(1) / max(z_BTCHW.shape[1] - 1, 1)
    return torch.cat([mean.flatten(1), pooled(change, GRID).sqrt().flatten(1)], 1)


def statistics_of(config: Any) -> tuple[Tensor, Tensor]:
    """What is taken from mean latents and what they are multiplied by, each (C,) or (1,): the VAE's own numbers."""
    mean, std = config.get("latents_mean"), config.get("latents_std")
    if mean is not None and std is not None:
        return torch.tensor(mean, dtype=torch.float32), 1 / torch.tensor(std, dtype=torch.float32)
    shift, scale = config.get("shift_factor") or 0.0, config.get("scaling_factor") or 1.0
    return torch.tensor([float(shift)]), torch.tensor([float(scale)])


def _load_vae(folder: Path) -> Any:
    import diffusers

    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))  # find_folder has checked it
    _, name = index.get("vae") or (None, None)
    kind: Any = getattr(diffusers, str(name), None)
    if not (hasattr(kind, "from_pretrained") and hasattr(kind, "encode")):
        raise ModelError(f"{folder} has no VAE that encodes frames; its features can't be used")
    try:
        with quiet():
            return kind.from_pretrained(folder / "vae", use_safetensors=True)
    except Exception as error:  # a broken folder can break the loader anywhere
        raise ModelError(f"can't load the VAE in {folder}: {first_line(error)}") from None
