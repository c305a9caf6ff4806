"""Noise levels, and where latents go by the noise schedule alone while the network's last prediction is held."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

MOST_LOG_SNR = 10.0  # stands for ±∞: α or σ below 5e-5


@dataclass(frozen=True)
class Level:
    """The noise level of one latent: x = α·x₀ + σ·ε."""

    alpha: float
    sigma: float

    @cached_property
    def log_snr(self) -> float:
        """λ = log(α/σ), kept within ±10 where one of them is 0."""
        if min(self.alpha, self.sigma) <= 0:
            return MOST_LOG_SNR if self.sigma <= 0 else -MOST_LOG_SNR
        return min(max(math.log(self.alpha / self.sigma), -MOST_LOG_SNR), MOST_LOG_SNR)

    @cached_property
    def angle(self) -> float:
        """φ = atan(σ/α), in [0, π/2]: λ on a scale without infinities, on which latents move at even speed."""
        return math.atan2(self.sigma, self.alpha)


CLEAN = Level(1.0, 0.0)


def path_of_schedule(levels: Sequence[Level]) -> list[tuple[float, float]] | None:
    """Coefficients (p, q) of each step Δ_j = p·(x_n − x_{n−1}) + q·x_n that the path through the last two latents has.

    With x̂₀ and ε̂ held, a first-order solver moves on x_j = α_j·x̂₀ + σ_j·ε̂ (method: derived from DDIM). x_{n−1} and x_n
    fix x̂₀ and ε̂, and with them every earlier step of that path. `levels` are those of the latents, oldest first; the
    answer has one pair for each difference of neighbours, or is None where the last two levels do not differ.
    """
    a1, s1 = levels[-2].alpha, levels[-2].sigma
    a2, s2 = levels[-1].alpha, levels[-1].sigma
    determinant = a1 * s2 - a2 * s1
    if abs(determinant) < 1e-12:
        return None
    pairs = []
    for before, after in zip(levels, levels[1:], strict=False):
        da, ds = after.alpha - before.alpha, after.sigma - before.sigma
        # x̂₀ = (s2·x_{n−1} − s1·x_n)/det and ε̂ = (a1·x_n − a2·x_{n−1})/det, with x_{n−1} = x_n − Δ_n
        p = (ds * a2 - da * s2) / determinant
        q = (da * (s2 - s1) + ds * (a1 - a2)) / determinant
        pairs.append((p, q))
    return pairs
