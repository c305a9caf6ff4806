"""Approximations of the network's output on a skipped step: functions of the cached predictions computed so far.

Held ε, x₀ or (x̂₀, ε̂) are the same thing on the path x = α·x̂₀ + σ·ε̂ that a first-order solver then follows. A held v
is not: v = α·ε − σ·x₀ turns with the step, so for v-prediction models `hold` keeps the pair.

The others extrapolate through the last nodes on the angle φ = atan(σ/α) of the noise level. Extrapolation amplifies
the noise of each node, so the slope is damped. The factor is measured on the trajectory: the last computed
increment, regressed on the one that the previous slope predicted (`measured_damping`), for each prompt at each call.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor
from torch.linalg import vector_norm

from videoada.skipping.rules.level import Level
from videoada.skipping.rules.prediction import LEAST, Prediction, PredictionType, noise_in, once, output_of

Part = Literal["x0", "eps"]  # of a Prediction
UNKNOWN_DAMPING = 0.5  # before the first two increments
FURTHER = 0.4  # more brings trained networks nearer still, and UniPC and DPM++ on known mixtures further above DDIM
FAINTEST = math.atan(20)  # latents of a higher level hold less than a twentieth of x₀ for each part of noise


class Predictor(Protocol):
    """The extension point for predictors."""

    @property
    def num_predictions(self) -> int:
        """How many of the last predictions it looks at."""

    def predict(self, past: Sequence[Prediction], sample: Tensor, level: Level, kind: PredictionType) -> Tensor:
        """A network output (N,) for the latents `sample` (N,) at `level`; `past` is oldest first, never empty."""


@dataclass(frozen=True)
class HoldOutput:
    """The cached network output again, unchanged, as AdaptiveDiffusion's code does."""

    num_predictions = 1

    def predict(self, past: Sequence[Prediction], sample: Tensor, level: Level, kind: PredictionType) -> Tensor:
        return past[-1].output


@dataclass(frozen=True)
class Hold:
    """The last (x̂₀, ε̂): the output itself for ε-, x₀- and flow models, the pair in float32 for v-models."""

    num_predictions = 1

    def predict(self, past: Sequence[Prediction], sample: Tensor, level: Level, kind: PredictionType) -> Tensor:
        if kind != "v_prediction":
            return past[-1].output
        return output_of(past[-1].x0, past[-1].eps, level, kind)


@dataclass(frozen=True)
class Linear:
    """x̂₀ on the line through its last two values, the slope damped; ε̂ is what the latents then hold."""

    damping: float | None = None  # None: measured
    num_predictions = 3

    def predict(self, past: Sequence[Prediction], sample: Tensor, level: Level, kind: PredictionType) -> Tensor:
        x0 = on_the_line(past, "x0", level.angle, self.damping)
        return output_of(x0, noise_in(sample, x0, level), level, kind)


@dataclass(frozen=True)
class LinearEps:
    """ε̂ on the line through its last two values, the slope damped; x̂₀ is what the latents then hold."""

    damping: float | None = None
    num_predictions = 3

    def predict(self, past: Sequence[Prediction], sample: Tensor, level: Level, kind: PredictionType) -> Tensor:
        eps = on_the_line(past, "eps", level.angle, self.damping)
        x0 = (sample.float() - level.sigma * eps) / max(level.alpha, LEAST)
        return output_of(x0, eps, level, kind)


@dataclass(frozen=True)
class Taylor2:
    """x̂₀ on the parabola through its last three values: slope damped once, curvature twice (after TaylorSeer)."""

    damping: float | None = None
    num_predictions = 3

    def predict(self, past: Sequence[Prediction], sample: Tensor, level: Level, kind: PredictionType) -> Tensor:
        values, nodes = [p.x0 for p in past[-3:]], [p.level.angle for p in past[-3:]]
        damping = damping_of(past, "x0") if self.damping is None else self.damping
        x0 = extrapolate(values, nodes, level.angle, damping)
        return output_of(x0, noise_in(sample, x0, level), level, kind)


def measured_damping(values: Sequence[Tensor], nodes: Sequence[float]) -> Tensor | float:
    """Fraction of the last increment that the previous slope predicted: a regression coefficient in [0, 1].

    The regression of values[-1] − values[-2] on (values[-2] − values[-3]) scaled to the same gap; a half while there
    are fewer than three values. It stays on their device.
    """
    if len(values) < 3:
        return UNKNOWN_DAMPING
    (a, b, c), (z1, z2, z3) = values[-3:], nodes[-3:]
    if z1 == z2:  # some spacings have a timestep twice
        return UNKNOWN_DAMPING
    predicted = (b - a) * ((z3 - z2) / (z2 - z1))
    size = predicted.dot(predicted)
    return ((c - b).dot(predicted) / size.clamp_min(1e-12)).clamp(0.0, 1.0)


@once
def damping_of(past: Sequence[Prediction], part: Part) -> Tensor | float:
    """The measured damping of x̂₀ or ε̂ on the angle φ."""
    return measured_damping([getattr(p, part) for p in past[-3:]], [p.level.angle for p in past[-3:]])


@once
def slope_of(past: Sequence[Prediction], part: Part) -> Tensor:
    """The first divided difference of the last two x̂₀ or ε̂ on the angle φ, (N,); 0 where these have one angle."""
    (a, b), (z1, z2) = (getattr(p, part) for p in past[-2:]), (p.level.angle for p in past[-2:])
    return (b - a) / (z2 - z1) if z1 != z2 else 0 * a


def on_the_line(past: Sequence[Prediction], part: Part, at: float, damping: float | None = None) -> Tensor:
    """`extrapolate` of the last two x̂₀ or ε̂, (N,), to the angle `at`; `damping` is measured if None."""
    last = past[-1]
    if len(past) < 2:
        return getattr(last, part)
    factor = damping_of(past, part) if damping is None else damping
    return getattr(last, part) + factor * (at - last.level.angle) * slope_of(past, part)


def extrapolate(values: Sequence[Tensor], nodes: Sequence[float], at: float, damping: Tensor | float) -> Tensor:
    """Newton's polynomial through `values` at `nodes` (oldest first), its i-th term times damping^i, at `at`."""
    differences, ends = list(values), list(nodes)
    result, width = values[-1], 1.0
    for order in range(1, len(values)):
        differences = [
            (b - a) / (ends[i + order] - ends[i]) if ends[i + order] != ends[i] else 0 * a
            for i, (a, b) in enumerate(zip(differences, differences[1:], strict=False))
        ]
        width = width * damping * (at - nodes[-order])
        result = result + width * differences[-1]
    return result


def gap_start(past: Sequence[Prediction], after: Prediction) -> Tensor:
    """x̂₀ (N,) at the last call of `past`, oldest first, once the next call is known: where the line to it shall start.

    FURTHER·cos(d, D)·d beyond the last one, with d what the next call has beyond the extrapolation to it and D what it
    has beyond the last one: so skipped runs of trained networks come nearer to the full run at the same calls
    (scripts/experiments/variants.py). Near pure noise an extrapolation says nothing, and the last x̂₀ is kept.
    """
    last = past[-1].x0
    return last if after.level.angle > FAINTEST else last + FURTHER * beyond_extrapolation(past, after)


def beyond_extrapolation(past: Sequence[Prediction], after: Prediction) -> Tensor:
    """cos(d, D)·d of `gap_start`, (N,); zeros where the cosine is negative."""
    beyond = after.x0 - on_the_line(past, "x0", after.level.angle)
    change = after.x0 - past[-1].x0
    cosine = beyond.dot(change) / (vector_norm(beyond) * vector_norm(change)).clamp_min(1e-12)
    return cosine.clamp(0.0, 1.0) * beyond


def interpolate(before: Prediction, after: Prediction, level: Level) -> Tensor:
    """x̂₀ (N,) of a step between two computed ones, on the line through both; of the same level, the later one's."""
    gap = after.level.angle - before.level.angle
    share = (level.angle - before.level.angle) / gap if gap else 1.0  # some spacings have a timestep twice
    return before.x0 + share * (after.x0 - before.x0)
