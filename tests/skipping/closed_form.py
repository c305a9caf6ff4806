"""Pipelines whose network is the posterior mean of known data: how near skipping comes says something of the method."""

from __future__ import annotations

import math

import diffusers
import torch

from videoada.skipping.rules.prediction import noise_in, output_of
from videoada.skipping.schedule import read_schedule

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
SCHEDULERS = {
    "ddim": lambda: diffusers.DDIMScheduler(**BETAS, clip_sample=False, set_alpha_to_one=False, steps_offset=1),
    "dpm++": lambda: diffusers.DPMSolverMultistepScheduler(**BETAS),
    "unipc": lambda: diffusers.UniPCMultistepScheduler(**BETAS),
    "euler": lambda: diffusers.EulerDiscreteScheduler(**BETAS),
    "edm": lambda: diffusers.EDMEulerScheduler(),
    "flow-1": lambda: diffusers.FlowMatchEulerDiscreteScheduler(shift=1.0),
    "flow-3": lambda: diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
    "flow-7": lambda: diffusers.FlowMatchEulerDiscreteScheduler(shift=7.0),
    "flow-inverted": lambda: diffusers.FlowMatchEulerDiscreteScheduler(invert_sigmas=True),
    "unipc-flow": lambda: diffusers.UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
    ),
}
N = 256  # numbers of one sample


class Gaussian:
    """Independent numbers, each with its own mean and a variance between 0.001 and 1."""

    def __init__(self, seed):
        self.mean = torch.randn(N, generator=torch.Generator().manual_seed(seed)) / 2
        self.variance = torch.logspace(-3, 0, N)

    def clean(self, x, level):
        gain = level.alpha * self.variance / (level.alpha**2 * self.variance + level.sigma**2 + 1e-12)
        return self.mean + gain * (x - level.alpha * self.mean)


class Mixture:
    """Five centres with a variance of 0.05 round each."""

    def __init__(self, seed):
        self.centres = torch.randn(5, N, generator=torch.Generator().manual_seed(seed))

    def clean(self, x, level):
        total = level.alpha**2 * 0.05 + level.sigma**2 + 1e-12
        off = x[:, None] - level.alpha * self.centres
        weights = torch.softmax(-(off**2).sum(-1) / (2 * total), 1)
        return (weights[:, :, None] * (self.centres + level.alpha * 0.05 / total * off)).sum(1)


class Network(torch.nn.Module):
    def __init__(self, pipe):
        super().__init__()
        self.of = [pipe]

    def forward(self, sample):
        pipe = self.of[0]
        level = pipe.schedule.levels[pipe.step]
        x = pipe.schedule.rescaled(sample, pipe.step)
        x0 = pipe.change(pipe.data.clean(x, level))
        return pipe.schedule.written(output_of(x0, noise_in(x, x0, level), level, pipe.schedule.kind))


class ClosedForm:
    """`change` may spoil what the network says."""

    def __init__(self, scheduler, data, change=lambda x0: x0):
        self.scheduler, self.data, self.change = SCHEDULERS[scheduler](), data, change
        self.unet, self.step = Network(self), 0

    def __call__(self, steps=30, seed=0, batch=1):
        self.scheduler.set_timesteps(steps)
        self.schedule = read_schedule(self.scheduler)
        x = torch.randn(batch, N, generator=torch.Generator().manual_seed(seed)) * self.schedule.scales[0]
        for step, t in enumerate(self.scheduler.timesteps):
            self.step = step
            if hasattr(self.scheduler, "scale_model_input"):
                self.scheduler.scale_model_input(x, t)
            x = self.take(self.unet(x), t, x)
        return x

    def take(self, output, t, x):
        return self.scheduler.step(output, t, x, return_dict=False)[0]


class PerToken(ClosedForm):
    """As LTX-Condition: a timestep for each token, and the output turned."""

    def take(self, output, t, x):
        tokens = t.expand(len(x), 1)
        taken = self.scheduler.step(-output[:, None], t, x[:, None], per_token_timesteps=tokens, return_dict=False)
        return taken[0][:, 0]


def size(difference):
    return float(difference.norm()) / math.sqrt(difference.numel())
