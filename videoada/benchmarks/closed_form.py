"""Pipelines whose network is the posterior mean of known data: what a rule costs, without training and in seconds.

pipe = ClosedForm("unipc-flow-3", Mixture(0))
full = pipe(50, seed=1, batch=4)
with videoada.skip_steps(pipe, tolerance=0.1) as trace:
    skipped = pipe(50, seed=1, batch=4)
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, Protocol

import diffusers
import torch
from torch import Tensor

from videoada.skipping.rules.level import Level
from videoada.skipping.rules.prediction import noise_in, output_of
from videoada.skipping.schedule import read_schedule

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
FLOW = {"prediction_type": "flow_prediction", "use_flow_sigmas": True}
SHIFTS = (1.0, 3.0, 7.0)
N = 256  # numbers of one sample


def _scheduler(name: str, **fields: Any) -> Any:
    return getattr(diffusers, name)(**fields)


SCHEDULERS: dict[str, Callable[[], Any]] = {
    "ddim": functools.partial(
        _scheduler, "DDIMScheduler", **BETAS, clip_sample=False, set_alpha_to_one=False, steps_offset=1
    ),
    "dpm++": functools.partial(_scheduler, "DPMSolverMultistepScheduler", **BETAS),
    "unipc": functools.partial(_scheduler, "UniPCMultistepScheduler", **BETAS),
    "euler": functools.partial(_scheduler, "EulerDiscreteScheduler", **BETAS),
    "edm": functools.partial(_scheduler, "EDMEulerScheduler"),
    **{f"flow-{s:g}": functools.partial(_scheduler, "FlowMatchEulerDiscreteScheduler", shift=s) for s in SHIFTS},
    "flow-inverted": functools.partial(_scheduler, "FlowMatchEulerDiscreteScheduler", invert_sigmas=True),
    **{f"unipc-flow-{s:g}": functools.partial(_scheduler, "UniPCMultistepScheduler", **FLOW, flow_shift=s)
       for s in SHIFTS},
    **{f"dpm++-flow-{s:g}": functools.partial(_scheduler, "DPMSolverMultistepScheduler", **FLOW, flow_shift=s)
       for s in SHIFTS},
}  # fmt: skip


class Data(Protocol):
    """A distribution whose posterior mean is known."""

    def clean(self, x: Tensor, level: Level) -> Tensor:
        """E[x₀ | x] of latents (B, 256) at a noise level, in the same shape."""


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Gaussian:
    """Independent numbers, each with its own mean and a variance between 0.001 and 1."""

    def __init__(self, seed: int) -> None:
        self.mean = torch.randn(N, generator=seeded(seed)) / 2
        self.variance = torch.logspace(-3, 0, N)

    def clean(self, x: Tensor, level: Level) -> Tensor:
        gain = level.alpha * self.variance / (level.alpha**2 * self.variance + level.sigma**2 + 1e-12)
        return self.mean + gain * (x - level.alpha * self.mean)


class Mixture:
    """Five centres with a variance of 0.05 round each."""

    def __init__(self, seed: int) -> None:
        self.centres = torch.randn(5, N, generator=seeded(seed))

    def clean(self, x: Tensor, level: Level) -> Tensor:
        total = level.alpha**2 * 0.05 + level.sigma**2 + 1e-12
        off = x[:, None] - level.alpha * self.centres
        weights = torch.softmax(-(off**2).sum(-1) / (2 * total), 1)
        return (weights[:, :, None] * (self.centres + level.alpha * 0.05 / total * off)).sum(1)


class LowRank:
    """A subspace of 4, 8 or 16 dimensions that holds nearly all of the variance, in a random basis."""

    def __init__(self, seed: int) -> None:
        self.basis = torch.linalg.qr(torch.randn(N, N, generator=seeded(seed)))[0]
        self.mean = torch.randn(N, generator=seeded(seed)) / 2
        rank = (4, 8, 16)[seed % 3]
        self.variance = torch.full((N,), 1e-3)
        self.variance[:rank] = N / rank * 0.75

    def clean(self, x: Tensor, level: Level) -> Tensor:
        gain = level.alpha * self.variance / (level.alpha**2 * self.variance + level.sigma**2 + 1e-12)
        along: Tensor = (x - level.alpha * self.mean) @ self.basis
        return self.mean + (along * gain) @ self.basis.T


class Network(torch.nn.Module):
    """What the pipeline calls: the data's posterior mean, written as the schedule's kind of prediction."""

    def __init__(self, pipe: ClosedForm) -> None:
        super().__init__()
        self.of = [pipe]  # in a list: it is no part of this module

    def forward(self, sample: Tensor) -> Tensor:
        """Output (B, 256) for latents (B, 256)."""
        pipe = self.of[0]
        level = pipe.schedule.levels[pipe.step]
        x = pipe.schedule.rescaled(sample, pipe.step)
        x0 = pipe.change(pipe.data.clean(x, level))
        return pipe.schedule.written(output_of(x0, noise_in(x, x0, level), level, pipe.schedule.kind))


class ClosedForm:
    """A pipeline over one of SCHEDULERS and `data`; `change` may spoil what the network says, as tests do."""

    def __init__(self, scheduler: str, data: Data, change: Callable[[Tensor], Tensor] = lambda x0: x0) -> None:
        self.scheduler, self.data, self.change = SCHEDULERS[scheduler](), data, change
        self.transformer, self.step = Network(self), 0
        self.schedule: Any = None

    def __call__(self, steps: int = 30, seed: int = 0, batch: int = 1) -> Tensor:
        """Latents (batch, 256) after so many steps from the noise of a seed."""
        self.scheduler.set_timesteps(steps)
        self.schedule = read_schedule(self.scheduler)
        x = torch.randn(batch, N, generator=seeded(seed)) * self.schedule.scales[0]
        for step, t in enumerate(self.scheduler.timesteps):
            self.step = step
            if hasattr(self.scheduler, "scale_model_input"):
                self.scheduler.scale_model_input(x, t)
            x = self.take(self.transformer(x), t, x)
        return x

    def take(self, output: Tensor, t: Tensor, x: Tensor) -> Tensor:
        """The latents after a step of the scheduler."""
        taken: Tensor = self.scheduler.step(output, t, x, return_dict=False)[0]
        return taken


def size(difference: Tensor) -> float:
    """The root mean square of a difference of latents."""
    return float(difference.norm()) / math.sqrt(difference.numel())
