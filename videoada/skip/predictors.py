"""What stands in for the network's output on a skipped step.

A predictor is a pair of pure functions. `remember` turns a network output into a memory, `predict` turns the memory
into an output for a later step. Memories are tuples of tensors with the network's rows first, so that rows can be
replaced one prompt at a time. α and σ are those of the variance-preserving form x = α·x₀ + σ·ε, which is what the
network is given under every scheduler.

Held ε, x₀ or (x̂₀, ε̂) are the same thing on the path x = α·x̂₀ + σ·ε̂ that a first-order solver then follows. A held v
is not: v = α·ε − σ·x₀ turns with the step, so for v-prediction models `hold` keeps the pair.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor

from videoada.skip.level import Level

Memory = tuple[Tensor, ...]
PredictionType = Literal["epsilon", "v_prediction", "sample"]


class Predictor(Protocol):
    """The extension point for predictors."""

    def remember(self, output: Tensor, sample: Tensor, level: Level, kind: PredictionType) -> Memory:
        """What to keep of a network output (R, …) that was computed from `sample` (R, …) at `level`."""

    def predict(self, memory: Memory, level: Level, kind: PredictionType) -> Tensor:
        """A network output (R, …) for `level`; the caller casts it to the network's dtype."""


@dataclass(frozen=True)
class HoldOutput:
    """The raw network output again, as AdaptiveDiffusion's code does."""

    def remember(self, output: Tensor, sample: Tensor, level: Level, kind: PredictionType) -> Memory:
        return (output,)

    def predict(self, memory: Memory, level: Level, kind: PredictionType) -> Tensor:
        return memory[0]


@dataclass(frozen=True)
class Hold:
    """The last (x̂₀, ε̂): the output itself for ε- and x₀-models, the pair in float32 for v-models."""

    def remember(self, output: Tensor, sample: Tensor, level: Level, kind: PredictionType) -> Memory:
        if kind != "v_prediction":
            return (output,)
        v, x = output.float(), sample.float()
        return level.alpha * x - level.sigma * v, level.alpha * v + level.sigma * x

    def predict(self, memory: Memory, level: Level, kind: PredictionType) -> Tensor:
        if kind != "v_prediction":
            return memory[0]
        x0, eps = memory
        return level.alpha * eps - level.sigma * x0


PREDICTORS: dict[str, Predictor] = {"hold": Hold(), "hold-output": HoldOutput()}
