"""EasyCache and TeaCache: an accumulated distance says when to call, a residual is what is used instead."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from videoada.benchmarks.baselines.step_level import Accumulating, latents_at, relative_change
from videoada.skipping.rules.decision import SkipState
from videoada.skipping.rules.level import Level
from videoada.skipping.rules.prediction import Prediction, PredictionType


class EasyCache(Accumulating):
    """EasyCache (Zhou et al., arXiv 2507.02860; code H-EmbodVis/EasyCache), which is step-level as published.

    Transformation rate k = mean|v_c − v_b| ÷ mean|x_c − x_b| of the last two calls b, c; step i adds
    k·mean|x_i − x_{i−1}| ÷ mean|v_c| and is skipped while the sum since the call is below `threshold`. A skipped output
    is x_i + (v_c − x_c). The first 7 of 50 steps and the last one compute. Here v is the guided output (there the rate
    is that of the conditional half, and each half has its own v_c − x_c, which comes to the same approximation).
    """

    num_predictions = 2
    warmup_steps = 7

    def distance(self, state: SkipState) -> Tensor:
        before, now = state.latents[-2:]
        rates = []
        for past in state.past:
            b, c = past[-2:]
            rate = (c.output - b.output).float().abs().mean() / (latents_at(c) - latents_at(b)).abs().mean()
            rates.append(rate / c.output.float().abs().mean())
        return torch.stack(rates) * (now.float() - before.float()).abs().mean(1)

    def approximate(self, past: Sequence[Prediction], sample: Tensor, level: Level, kind: PredictionType) -> Tensor:
        return sample + (past[-1].output - latents_at(past[-1]))


class TeaCache(Accumulating):
    """TeaCache (Liu et al., CVPR 2025, arXiv 2411.19108; code ali-vilab/TeaCache), on the network's input.

    Step i adds f(mean|x_i − x_{i−1}| ÷ mean|x_{i−1}|) and is skipped while the sum since the call is below `threshold`;
    the first and the last step compute (their code can compute the first five, an option not taken here). The original
    takes the first block's input, modulated by the timestep embedding, for x, and reuses the residual of the blocks.
    Here x are the latents that enter the network, and the guided output is reused. f is a polynomial fitted for each of
    their models to its own features: left out here, so f(d) = d.
    """

    def distance(self, state: SkipState) -> Tensor:
        before, now = state.latents[-2:]
        return relative_change(now.float(), before.float())

    def approximate(self, past: Sequence[Prediction], sample: Tensor, level: Level, kind: PredictionType) -> Tensor:
        return past[-1].output
