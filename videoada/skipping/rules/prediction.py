"""One prediction of one prompt, read as the clean video x̂₀ and the noise ε̂ that it says are in the latents.

What a network gives (ε, v, x₀ or a flow) is a mix of the two that turns with the noise level; they themselves are what
stays or moves smoothly along a trajectory. Shape letter: N numbers of one prompt's latent. α and σ may be those of any
path x = α·x₀ + σ·ε: variance-preserving (α² + σ² = 1) or straight (α + σ = 1, flow matching).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from torch import Tensor

from videoada.skipping.rules.level import Level

PredictionType = Literal["epsilon", "v_prediction", "sample", "flow_prediction"]
LEAST = 1e-4  # α or σ that is divided by
Found = TypeVar("Found", bound=Callable[..., Any])


@dataclass(frozen=True)
class Prediction:
    """A network output, guided, at one step. `x0` and `eps` (N,) are float32, `output` as the scheduler took it."""

    step: int
    level: Level
    output: Tensor
    x0: Tensor
    eps: Tensor


class Past(tuple[Prediction, ...]):
    """A prompt's last computed predictions, oldest first, and what was found of them: over a gap it stays the same."""

    def __init__(self, predictions: Iterable[Prediction] = ()):
        self.found: dict[Any, Any] = {}

    def __reduce__(self) -> Any:  # what was found is not of a copy
        return Past, (tuple(self),)

    def then(self, prediction: Prediction, length: int) -> Past:
        """With one more, the last `length` of them."""
        return Past((*self, prediction)[-length:])


def once(function: Found) -> Found:
    """A function of a sequence of predictions and of hashable values, which asks each `Past` but once."""

    @functools.wraps(function)
    def found(past: Any, *values: Any, **named: Any) -> Any:
        if not isinstance(past, Past):
            return function(past, *values, **named)
        key = function, values, tuple(named.items())
        if key not in past.found:
            past.found[key] = function(past, *values, **named)
        return past.found[key]

    return found  # type: ignore[return-value]


def read_prediction(step: int, output: Tensor, sample: Tensor, level: Level, kind: PredictionType) -> Prediction:
    """The prediction that `output` (N,) is for the latents `sample` (N,) at `level`."""
    o, x = output.float(), sample.float()
    a, s = level.alpha, level.sigma
    if kind == "epsilon":
        x0, eps = (x - s * o) / max(a, LEAST), o
    elif kind == "sample":
        x0, eps = o, noise_in(x, o, level)
    elif kind == "v_prediction":
        norm = a * a + s * s  # 1 on a variance-preserving path
        x0, eps = (a * x - s * o) / norm, (a * o + s * x) / norm
    else:
        x0, eps = (x - s * o) / (a + s), (x + a * o) / (a + s)
    return Prediction(step, level, output, x0, eps)


def noise_in(sample: Tensor, x0: Tensor, level: Level) -> Tensor:
    """The ε that `sample` holds if `x0` is its clean video."""
    return (sample.float() - level.alpha * x0) / max(level.sigma, LEAST)


def output_of(x0: Tensor, eps: Tensor, level: Level, kind: PredictionType) -> Tensor:
    """What a network of that kind gives to say (x̂₀, ε̂) at `level`; float32."""
    if kind == "epsilon":
        return eps
    if kind == "sample":
        return x0
    if kind == "v_prediction":
        return level.alpha * eps - level.sigma * x0
    return eps - x0
