"""Adaptive DPM-Solver (Lu et al., NeurIPS 2022, arXiv 2206.00927, algorithm 1 and appendix C): a baseline.

Each step is taken by DPM-Solver-2 and by DPM-Solver-3, which shares its evaluations; their difference is the error that
the next step size follows. It decides for itself how often it calls the network, and it knows nothing of the full
run's steps. Shape: x is (N,) or any shape of one prompt; λ = log(α/σ) grows towards the clean end.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from videoada.errors import ConfigError
from videoada.models.denoisers import denoiser_of
from videoada.models.schedulers import names_for
from videoada.patching import replaced, unpatched
from videoada.skipping.outputs import first_tensor
from videoada.skipping.owners import alone
from videoada.skipping.rules.guidance import find_guidance_scale
from videoada.skipping.rules.level import Level
from videoada.skipping.rules.prediction import read_prediction
from videoada.skipping.schedule import noise_levels, prediction_type

Noise = Callable[[Tensor, float], Tensor]  # ε̂ of x at λ
MOST_CALLS = 1000


def level_at(log_snr: float) -> Level:
    """The variance-preserving level of λ."""
    sigma = 1 / math.sqrt(1 + math.exp(2 * log_snr))
    return Level(math.sqrt(1 - sigma * sigma), sigma)


def solve(
    noise: Noise, x: Tensor, start: float, end: float, rtol: float = 0.05, atol: float = 0.0078, first: float = 0.05,
    safety: float = 0.9,
) -> Tensor:  # fmt: skip
    """x at λ = `end` from x at λ = `start` < `end`; `atol` and `rtol` bound each step's error (paper: 0.0078, 0.05)."""
    z, step, before = start, first, x
    while z < end - 1e-5:
        step = min(step, end - z)
        at_z = noise(x, z)
        while True:
            lower, higher = _both_orders(noise, x, z, step, at_z)
            allowed = torch.maximum(torch.full_like(x, atol), rtol * torch.maximum(lower.abs(), before.abs()))
            error = float(((higher - lower) / allowed).square().mean().sqrt())
            if error <= 1 or step < 1e-4:
                break
            step *= safety * max(error, 1e-6) ** (-1 / 3)
        x, before, z = higher, lower, z + step
        step = min(safety * step * max(error, 1e-6) ** (-1 / 3), end - z) if z < end - 1e-5 else step
    return x


def _both_orders(noise: Noise, x: Tensor, z: float, h: float, at_z: Tensor) -> tuple[Tensor, Tensor]:
    """DPM-Solver-2 with r₁ = 1/3 and DPM-Solver-3 with r₁ = 1/3, r₂ = 2/3, from λ to λ + h (algorithms 1 and 2)."""
    r1, r2 = 1 / 3, 2 / 3
    now, one, two, then = (level_at(z + part * h) for part in (0, r1, r2, 1))
    grow = [math.expm1(part * h) for part in (r1, r2, 1)]
    x1 = one.alpha / now.alpha * x - one.sigma * grow[0] * at_z
    change1 = noise(x1, z + r1 * h) - at_z
    base = then.alpha / now.alpha * x - then.sigma * grow[2] * at_z
    lower = base - then.sigma / (2 * r1) * grow[2] * change1
    x2 = two.alpha / now.alpha * x - two.sigma * grow[1] * at_z
    x2 = x2 - two.sigma * r2 / r1 * (grow[1] / (r2 * h) - 1) * change1
    change2 = noise(x2, z + r2 * h) - at_z
    return lower, base - then.sigma / r2 * (grow[2] / h - 1) * change2


@dataclass
class Calls:
    """How often the network was called, and with how many rows in all."""

    calls: int = 0
    rows: int = 0


@contextlib.contextmanager
def solved_adaptively(pipe: Any, rtol: float, num_steps: int = 50) -> Iterator[Calls]:
    """Inside the block, a call of the pipeline for one step of one video runs the adaptive solver from start to end.

    It starts and ends at the noise levels of a run of `num_steps` steps, and its last step is that run's. Raises
    ConfigError for a scheduler without ᾱ.
    """
    if getattr(pipe.scheduler, "alphas_cumprod", None) is None or "ddim" not in names_for(pipe.scheduler):
        raise ConfigError(f"{type(pipe.scheduler).__name__} has no ᾱ of a diffusion, which DPM-Solver goes by")
    calls = Calls()
    kept: dict[str, Any] = {}
    kind: Any = unpatched(type(pipe.scheduler))
    clock = kind.from_config(pipe.scheduler.config)  # its last step is that of the full run
    clock.set_timesteps(num_steps)

    def on_call(inherited: Callable[..., Any], denoiser: Any, sample: Tensor, timestep: Any, **kwargs: Any) -> Any:
        result = inherited(sample, timestep, **kwargs)
        kept.update(network=inherited, rows=first_tensor(result), kwargs=kwargs)
        return result  # at the last timestep, of the first latents: it gives the guidance scale and is then dropped

    def on_step(
        inherited: Callable[..., Any], scheduler: Any, guided: Tensor, timestep: Any, sample: Tensor, **kwargs: Any
    ) -> Any:
        without_guidance = len(kept["rows"]) == 1
        uncond, cond = (_as_scheduler(half, guided) for half in (kept["rows"][:1], kept["rows"][-1:]))
        scale = 1.0 if without_guidance else find_guidance_scale(guided, uncond, cond)
        timesteps = clock.timesteps.tolist()
        kind, alpha_bar = prediction_type(scheduler), scheduler.alphas_cumprod.double().numpy()
        table = 0.5 * (np.log(np.maximum(alpha_bar, 1e-12)) - np.log(np.maximum(1 - alpha_bar, 1e-12)))

        def output(x: Tensor, t: float) -> Tensor:
            rows = _as_network(x, kept["rows"][:1])
            given = rows if without_guidance else torch.cat([rows, rows])
            time = torch.tensor(t, dtype=torch.float32, device=x.device)
            found = first_tensor(kept["network"](given.to(kept["rows"].dtype), time, **kept["kwargs"])).float()
            calls.calls, calls.rows = calls.calls + 1, calls.rows + len(found)
            if calls.calls > MOST_CALLS:
                raise ConfigError(f"the adaptive solver needs more than {MOST_CALLS} calls; raise its tolerance")
            if without_guidance:
                return _as_scheduler(found, x)
            u, c = (_as_scheduler(half, x) for half in found.chunk(2))
            return u + scale * (c - u)

        def noise(x: Tensor, log_snr: float) -> Tensor:
            t = float(np.interp(log_snr, table[::-1], np.arange(len(table))[::-1]))
            return read_prediction(0, output(x, t), x, level_at(log_snr), kind).eps

        first, last = (level.log_snr for level in noise_levels(scheduler, [timesteps[0], timesteps[-1]]))
        solved = solve(noise, sample.float(), first, last, rtol)
        ended = output(solved, timesteps[-1]).to(guided.dtype)
        return clock.step(ended, clock.timesteps[-1], solved.to(sample.dtype), return_dict=kwargs.get("return_dict", 1))

    denoiser, scheduler = denoiser_of(pipe), pipe.scheduler
    with (
        alone([denoiser, scheduler], calls),
        replaced(denoiser, "__call__", on_call),
        replaced(scheduler, "step", on_step),
    ):
        yield calls


def _as_scheduler(rows: Tensor, like: Tensor) -> Tensor:
    """(1, C, F, h, w) of the network as the scheduler's (F, C, h, w), where it has that."""
    if rows.ndim == 5 and like.ndim == 4:
        rows = rows.transpose(1, 2)
    return rows.reshape(like.shape)


def _as_network(latents: Tensor, like: Tensor) -> Tensor:
    if like.ndim == 5 and latents.ndim == 4:
        return latents.reshape(1, like.shape[2], like.shape[1], *like.shape[3:]).transpose(1, 2)
    return latents.reshape(like.shape)
