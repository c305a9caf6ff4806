"""What a scheduler's noise schedule says of each step, read once when its timesteps are set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from videoada.skipping.rules.level import Level
from videoada.skipping.rules.prediction import PredictionType


@dataclass(frozen=True)
class RunSchedule:
    """Of one run of S steps: the level of each, S + 1 scales of the latents, and what the network predicts."""

    levels: list[Level]
    scales: list[float]
    kind: PredictionType

    def rescaled(self, latents: Tensor, step: int) -> Tensor:
        """Latents before a step, of any shape, at the scale that all steps share."""
        scale = self.scales[step]
        return latents if scale == 1 else latents / scale


def read_schedule(scheduler: Any) -> RunSchedule:
    """The schedule of the run for which the scheduler's timesteps are set."""
    timesteps = scheduler.timesteps.tolist()
    return RunSchedule(
        noise_levels(scheduler, timesteps), latent_scales(scheduler, len(timesteps)), prediction_type(scheduler)
    )


def noise_levels(scheduler: Any, timesteps: list[float]) -> list[Level]:
    """α and σ of what the network is given at each timestep: √ᾱ_t and √(1 − ᾱ_t), interpolated between timesteps.

    Schedulers that carry x₀ + σ·ε (Euler) say σ themselves, also between timesteps: the network is given that over
    √(1 + σ²). Schedulers without ᾱ (flow matching) get x = (1 − σ)·x₀ + σ·ε with σ = t / num_train_timesteps.
    """
    t = np.asarray(timesteps, dtype=np.float64)
    if getattr(scheduler.config, "use_flow_sigmas", False):  # UniPC and DPM++ as Wan has them
        return [Level(1 - float(s), float(s)) for s in scheduler.sigmas.tolist()[: len(t)]]
    if _carries_plain_sum(scheduler):
        return [
            Level(float(1 / np.hypot(1, s)), float(s / np.hypot(1, s))) for s in scheduler.sigmas.tolist()[: len(t)]
        ]
    if getattr(scheduler, "alphas_cumprod", None) is not None:
        alpha_bar = scheduler.alphas_cumprod.double().cpu().numpy()
        at_step = np.interp(t, np.arange(len(alpha_bar)), alpha_bar)
        return [Level(float(np.sqrt(a)), float(np.sqrt(1 - a))) for a in at_step]
    sigma = t / scheduler.config.num_train_timesteps
    return [Level(float(1 - s), float(s)) for s in sigma]


def prediction_type(scheduler: Any) -> PredictionType:
    """What the network predicts; schedulers without ᾱ and without a word on it are flow-matching ones."""
    said = getattr(scheduler.config, "prediction_type", None)
    if said is None:
        said = "epsilon" if getattr(scheduler, "alphas_cumprod", None) is not None else "flow_prediction"
    kinds: dict[str, PredictionType] = {
        "v_prediction": "v_prediction", "sample": "sample", "flow_prediction": "flow_prediction"
    }  # fmt: skip
    return kinds.get(said, "epsilon")


def latent_scales(scheduler: Any, num_steps: int) -> list[float]:
    """What to divide the latents before step 0, 1, …, and after the last by, so that they compare at equal scale.

    √(1 + σ²) for schedulers that carry x₀ + σ·ε (Euler), 1 for those that carry α·x₀ + σ·ε.
    """
    if not _carries_plain_sum(scheduler):
        return [1.0] * (num_steps + 1)
    return [float(np.sqrt(1 + float(s) ** 2)) for s in scheduler.sigmas]


def _carries_plain_sum(scheduler: Any) -> bool:
    """Euler and its kin start at σ_max times the noise; flow-matching and variance-preserving ones at 1."""
    return hasattr(scheduler, "sigmas") and float(getattr(scheduler, "init_noise_sigma", 1.0)) != 1.0


def calls_twice(scheduler: Any) -> bool:
    """PNDM, Heun, KDPM2, DPM-SDE: more than one network call for a step, or a step that comes twice."""
    return getattr(scheduler, "order", 1) > 1 or type(scheduler).__name__.startswith("PNDM")


def one_for_each_row(generators: list[Any], num_rows: int) -> list[Any]:
    """Generators of B videos for a scheduler that is given B·F rows, F frames of each video in turn.

    Sampled row by row from its video's generator, the noise is that of the video alone (exactly, where a row holds a
    multiple of 16 numbers: frames whose sides are multiples of 16 pixels).
    """
    frames = num_rows // len(generators)
    if len(generators) == 1 or frames <= 1:
        return generators
    return [generator for generator in generators for _ in range(frames)]
