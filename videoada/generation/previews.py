"""Previews: a middle frame of each video while it is generated, from x̂₀, decoded by the pipeline's own VAE."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import torch
from torch import Tensor

from videoada.models.denoisers import denoisers_of
from videoada.models.vae_features import statistics_of
from videoada.skipping.step_call import StepReport


class Previews:
    """At most `count` times a run, evenly over its steps.

    There are none where the VAE would have to be moved (offloading), where the latents are packed or their schedule is
    not known, and none any more where decoding one frame failed.
    """

    def __init__(self, pipe: Any, count: int) -> None:
        self.vae: Any = getattr(pipe, "vae", None)
        self.count = count
        parts = (self.vae, *denoisers_of(pipe))
        if self.vae is None or any(hasattr(part, "_hf_hook") for part in parts):
            self.count = 0

    def look(self, report: StepReport) -> list[np.ndarray]:
        """A frame (H, W, 3), uint8, for each prompt; [] at a step without previews."""
        steps = {(k + 1) * report.num_steps // (self.count + 1) for k in range(self.count)}
        if report.step not in steps - {0}:
            return []
        try:
            latents = report.clean()
            middle = None if latents is None else self._middle(latents, len(report.computed))
            return [] if middle is None else self._decoded(middle)
        except Exception:  # a VAE of any kind, or memory: the video itself needs no preview
            self.count = 0
            return []

    def _middle(self, latents: Tensor, videos: int) -> Tensor | None:
        """One latent frame of each video, (B, C, h, w); None where the latents' shape is not known."""
        config = self.vae.config
        channels = config.get("latent_channels") or config.get("z_dim")
        if latents.ndim == 4 and len(latents) % videos == 0:  # (B·F, C, h, w)
            latents = latents.unflatten(0, (videos, -1)).transpose(1, 2)
        if latents.ndim != 5 or channels not in latents.shape[1:3]:
            return None
        if latents.shape[1] != channels:  # (B, F, C, h, w)
            latents = latents.transpose(1, 2)
        return latents[:, :, latents.shape[2] // 2]

    def _decoded(self, latents: Tensor) -> list[np.ndarray]:
        shift, scale = (values.to(latents).view(1, -1, 1, 1) for values in statistics_of(self.vae.config))
        latents = (latents / scale + shift).to(self.vae.dtype)
        is_video = any(isinstance(module, torch.nn.Conv3d) for module in self.vae.decoder.modules())
        several = {"num_frames": 1} if "num_frames" in inspect.signature(self.vae.decode).parameters else {}
        if is_video and not several:
            latents = latents.unsqueeze(2)
        with torch.no_grad():
            frames = self.vae.decode(latents, return_dict=False, **several)[0]
        if frames.ndim == 5:  # (B, 3, F, H, W)
            frames = frames[:, :, -1]
        pixels = (frames.float() / 2 + 0.5).clamp(0, 1).mul(255).round().to(torch.uint8)
        return list(pixels.permute(0, 2, 3, 1).cpu().numpy())
