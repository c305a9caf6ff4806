"""Predictions without their unconditional half, at steps where the guidance term can be predicted.

Classifier-free guidance (CFG) computes u + s·(c − u) from the unconditional output u and the conditional output c. The
difference g = c − u changes slowly, so at some steps only c is computed and u = c − ĝ, with ĝ on the damped line
through the last two g. The error of ĝ enters (s − 1) times: its estimate, the next term of Newton's polynomial, is
compared with a tolerance for guidance alone. After Adaptive Guidance (Castillo et al., arXiv 2312.12487), which drops u
for good.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from videoada.devices import in_double
from videoada.skipping.rules.level import Level
from videoada.skipping.rules.prediction import LEAST, PredictionType
from videoada.skipping.rules.predictors import extrapolate, measured_damping


@dataclass(frozen=True)
class Difference:
    """g = c − u of one prompt at one step where both were computed: (N,) float32."""

    level: Level
    value: Tensor


@dataclass(frozen=True)
class GuidanceRule:
    """When classifier-free guidance (CFG) can do without the unconditional output u.

    `tolerance` bounds the error of one prediction without u, in units of the noise (variance 1).
    """

    tolerance: float
    num_differences = 3

    def needs_both(
        self, past: Sequence[Sequence[Difference]], level: Level, kind: PredictionType, guidance_scale: float
    ) -> tuple[bool, ...]:
        """For each prompt: must u be computed at `level`? One transfer from the device for all."""
        known = [len(differences) >= self.num_differences for differences in past]
        if not any(known):
            return (True,) * len(past)
        errors = torch.stack([next_term(differences, level) for differences in past if len(differences) >= 3])
        scale = abs(guidance_scale - 1) * clean_share(level, kind)
        sizes = iter((errors * scale).tolist())
        answers = []
        for differences, enough in zip(past, known, strict=True):
            gap = level.log_snr - differences[-1].level.log_snr if enough else 0.0
            answers.append(not enough or not next(sizes) * (1 - math.exp(-abs(gap))) <= self.tolerance)
        return tuple(answers)

    def predict(self, past: Sequence[Difference], level: Level) -> Tensor:
        """ĝ (N,) at `level`."""
        values, nodes = [d.value for d in past], [d.level.angle for d in past]
        return extrapolate(values[-2:], nodes[-2:], level.angle, measured_damping(values, nodes))


def next_term(past: Sequence[Difference], level: Level) -> Tensor:
    """The quadratic term of Newton's polynomial in λ through the last three g, at `level`: its root mean square."""
    (a, b, c), (z1, z2, z3) = (d.value for d in past[-3:]), (d.level.log_snr for d in past[-3:])
    if not z1 < z2 < z3:
        return c.norm() * math.nan
    second = ((c - b) / (z3 - z2) - (b - a) / (z2 - z1)) / (z3 - z1)
    return second.norm() * abs((level.log_snr - z2) * (level.log_snr - z3)) / math.sqrt(second.numel())


def clean_share(level: Level, kind: PredictionType) -> float:
    """How far x̂₀ moves when the network's output moves by 1."""
    if kind == "epsilon":
        return level.sigma / max(level.alpha, LEAST)
    return 1.0 if kind == "sample" else level.sigma


def find_guidance_scale(guided: Tensor, uncond: Tensor, cond: Tensor) -> float:
    """s of guided = u + s·(c − u), by least squares, as pipelines do not pass it to the network."""
    difference, moved = (in_double(x - uncond).flatten() for x in (cond, guided))
    size, along = torch.stack([difference.dot(difference), moved.dot(difference)]).tolist()  # one transfer
    return float(along / size) if size > 0 else 1.0
