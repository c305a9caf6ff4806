"""JEDi: how far apart two sets of videos are in features of V-JEPA (Luo et al., "Beyond FVD", arXiv 2410.05203).

100 · MMD² with the polynomial kernel k(x, y) = (x·y / D)², over all pairs, each sample with itself too, as the authors'
code computes it: so it is never negative, and above 0 for two samples of one distribution.
"""

from __future__ import annotations

from torch import Tensor

from videoada.metrics.arguments import check_features, check_same_length

SCALE = 100.0


def jedi_distance(real: Tensor, fake: Tensor) -> Tensor:
    """JEDi of features (N, D) and (M, D), a float64 scalar, 0 or more.

    The mean of (x·y)² over pairs is the inner product of both sets' second moments, so that
    MMD² = ‖XᵀX / N − YᵀY / M‖² / D², Frobenius' norm, without a matrix of all pairs. Features are taken as they are,
    neither centred nor scaled. Raises MetricError for other shapes or values that are not finite.
    """
    real, fake = check_features(real, "real"), check_features(fake, "fake")
    check_same_length(real, fake)
    difference = real.T @ real / len(real) - fake.T @ fake / len(fake)
    return SCALE * difference.square().sum() / real.shape[1] ** 2
