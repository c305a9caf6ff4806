"""What a scheduler's noise schedule says of each step, read once when its timesteps are set."""

from __future__ import annotations

from typing import Any

import numpy as np

from videoada.skip.predictors import Level


def noise_levels(scheduler: Any, timesteps: list[float]) -> list[Level]:
    """α and σ of what the network is given at each timestep: √ᾱ_t and √(1 − ᾱ_t), interpolated between timesteps.

    Schedulers without ᾱ (flow matching) get x = (1 − σ)·x₀ + σ·ε with σ = t / num_train_timesteps.
    """
    t = np.asarray(timesteps, dtype=np.float64)
    if getattr(scheduler, "alphas_cumprod", None) is not None:
        alpha_bar = scheduler.alphas_cumprod.double().cpu().numpy()
        at_step = np.interp(t, np.arange(len(alpha_bar)), alpha_bar)
        return [Level(float(np.sqrt(a)), float(np.sqrt(1 - a))) for a in at_step]
    sigma = t / scheduler.config.num_train_timesteps
    return [Level(float(1 - s), float(s)) for s in sigma]


def latent_scales(scheduler: Any, num_steps: int) -> list[float]:
    """What to divide the latents before step 0, 1, …, and after the last by, so that they compare at equal scale.

    √(1 + σ²) for schedulers that carry x₀ + σ·ε (Euler), 1 for those that carry α·x₀ + σ·ε.
    """
    if float(scheduler.init_noise_sigma) == 1.0 or not hasattr(scheduler, "sigmas"):
        return [1.0] * (num_steps + 1)
    return [float(np.sqrt(1 + float(s) ** 2)) for s in scheduler.sigmas]
