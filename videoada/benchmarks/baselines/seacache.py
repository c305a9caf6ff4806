"""SeaCache: TeaCache's accumulated distance between latents that a Wiener filter has cleaned of noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from videoada.benchmarks.baselines.step_level import Accumulating, latents_at, relative_change
from videoada.patching import replaced
from videoada.skipping.rules.decision import SkipState
from videoada.skipping.rules.level import Level
from videoada.skipping.rules.prediction import Prediction, PredictionType

TINY = 1e-16
POWER = 3.0  # of the frequency, in the power spectrum that clean videos are taken to have


class SeaCache(Accumulating):
    """SeaCache (CVPR 2026, arXiv 2602.18993; code jiwoogit/SeaCache), in the form that diffusers ships it for video.

    y_i is the optimal linear estimate of the clean latents, their power taken to fall with the third power of the
    frequency on each axis, scaled to a mean gain of 1 (`wiener_filter`). Step i adds
    mean|y_i − y_{i−1}| ÷ mean|y_{i−1}| and is skipped while the sum since the call is below `threshold`, at most twice
    in a row; the first and the last step compute. A skipped residual lies on the line through the last two, over the
    step's number. diffusers filters the latents, as here; the paper filters the first block's input. Their residual is
    that of the blocks, here it is output − latents.
    """

    max_skip_steps = 2
    history = 2
    shape: torch.Size  # as the scheduler has the latents of all prompts

    def distance(self, state: SkipState) -> Tensor:
        before, now = (
            self.filtered(latents.float(), level)
            for latents, level in zip(state.latents[-2:], state.levels[-2:], strict=True)
        )
        return relative_change(now, before)

    def filtered(self, latents: Tensor, level: Level) -> Tensor:
        """The clean part of the latents (B, N), in the scheduler's shape with the prompts apart."""
        if len(self.shape) == 4:  # (B·F, C, h, w)
            shaped = latents.reshape(len(latents), -1, *self.shape[1:])
            axes = [1, 3, 4]
        else:  # (B, C, F, h, w), or (B, N)
            shaped = latents.reshape(len(latents), *self.shape[1:])
            axes = list(range(2 if shaped.ndim > 2 else 1, shaped.ndim))
        return wiener_filter(shaped, level, axes)

    def approximate(self, past: Sequence[Prediction], sample: Tensor, level: Level, kind: PredictionType) -> Tensor:
        residuals = [p.output - latents_at(p) for p in past[-2:]]
        if len(residuals) == 1:
            return sample + residuals[-1]
        b, c = past[-2:]
        return sample + residuals[1] + (residuals[1] - residuals[0]) * ((self.state.step - c.step) / (c.step - b.step))

    def around(self, scheduler: Any) -> AbstractContextManager[None]:
        """Note the latents' shape, which a filter over frames and pixels needs."""

        def step(inherited: Callable[..., Any], scheduler: Any, *args: Any, **kwargs: Any) -> Any:
            self.shape = (kwargs["sample"] if "sample" in kwargs else args[2]).shape
            return inherited(*args, **kwargs)

        return replaced(scheduler, "step", step)


def wiener_filter(latents: Tensor, level: Level, axes: Sequence[int]) -> Tensor:
    """Latents times α·P ÷ (α²·P + σ²) at each frequency f of each of the `axes`, P = |f|^−3, at a mean gain of 1."""
    a, s = (min(max(part, 1e-6), 1 - 1e-6) for part in (level.alpha, level.sigma))
    gain = torch.ones((), device=latents.device)
    for axis in axes:
        power = 1 / (torch.fft.fftfreq(latents.shape[axis], device=latents.device).abs() ** POWER + TINY)
        own = a * power / (a * a * power + s * s + TINY)
        gain = gain * own.reshape([-1 if i == axis else 1 for i in range(latents.ndim)])
    filtered: Tensor = torch.fft.ifftn(torch.fft.fftn(latents, dim=axes) * (gain / gain.mean()), dim=axes).real
    return filtered
