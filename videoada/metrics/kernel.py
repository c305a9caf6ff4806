"""Kernel video distance: the unbiased squared MMD of two sets of videos, on all samples, with a bootstrap error.

k(x, y) = (x·y / D + 1)³, as in the kernel inception distance (Bińkowski et al., arXiv 1801.01401). Unlike a Fréchet
distance its mean does not depend on the number of samples: 0 for two samples of one distribution; so it may be
negative.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics.utilities import dim_zero_cat

from videoada.errors import MetricError
from videoada.metrics.arguments import check_features, check_same_length
from videoada.metrics.frechet import VideoSetMetric

ROWS = 1024  # of a kernel matrix at once: memory does not grow with the square of the samples


def kernel_distance(
    real: Tensor, fake: Tensor, num_bootstraps: int = 200, seed: int = 0, paired: bool = False
) -> tuple[Tensor, Tensor]:
    """MMD² of features (N, D) and (M, D) and its bootstrap standard error, float64 scalars; N and M at least 2.

    Each bootstrap resamples both sets with replacement. A sample chosen twice is never paired with itself, which would
    make the sets seem closer together than they are. With `paired`, row i of both sets is one prompt and seed generated
    twice: such pairs resemble each other whatever the sets are, so they are left out, and they are resampled together.
    Raises MetricError for other shapes or values that are not finite.
    """
    real, fake = check_features(real, "real"), check_features(fake, "fake")
    check_same_length(real, fake)
    if paired and len(real) != len(fake):
        raise MetricError(f"paired sets are equally large, got {len(real)} and {len(fake)}")
    generator = torch.Generator().manual_seed(seed)
    # Row 0: each sample once; then how often each bootstrap chose it.
    counts_r = _bootstrap_counts(len(real), num_bootstraps, generator).to(real.device)
    counts_g = counts_r if paired else _bootstrap_counts(len(fake), num_bootstraps, generator).to(fake.device)
    within_r, within_g = _within(real, counts_r), _within(fake, counts_g)
    between, pairs = (
        _sum(real, fake, counts_r, counts_g),
        torch.tensor(float(len(real) * len(fake)), dtype=torch.float64),
    )
    if paired:
        own = ((real * fake).sum(1) / real.shape[1] + 1) ** 3
        between = between - counts_r.square() @ own
        pairs = (counts_r.sum(1).square() - counts_r.square().sum(1)).clamp_min(1)
    between = between / pairs
    values = within_r + within_g - 2 * between
    return values[0], values[1:].std() if num_bootstraps > 1 else values.new_zeros(())


def _bootstrap_counts(count: int, repeats: int, generator: torch.Generator) -> Tensor:
    """(1 + repeats, count) float64: how often each sample is in the full set (row 0) and in each bootstrap."""
    picks = torch.randint(count, (repeats, count), generator=generator)
    counts = torch.zeros(repeats, count, dtype=torch.float64).scatter_add_(1, picks, torch.ones_like(picks).double())
    return torch.cat([torch.ones(1, count, dtype=torch.float64), counts])


def _within(features: Tensor, counts: Tensor) -> Tensor:
    """(R,): the mean of k over pairs of different samples, for each row of `counts`."""
    own = (features.square().sum(1) / features.shape[1] + 1) ** 3  # k(x, x)
    pairs = counts.sum(1).square() - counts.square().sum(1)
    return (_sum(features, features, counts, counts) - counts.square() @ own) / pairs.clamp_min(1)


def _sum(a: Tensor, b: Tensor, counts_a: Tensor, counts_b: Tensor) -> Tensor:
    """(R,): Σ_ij counts_a[i] k(a_i, b_j) counts_b[j]."""
    total = a.new_zeros(len(counts_a))
    for first in range(0, len(a), ROWS):
        kernel = (a[first : first + ROWS] @ b.T / a.shape[1] + 1) ** 3
        total += ((counts_a[:, first : first + ROWS] @ kernel) * counts_b).sum(1)
    return total


class KernelVideoDistance(VideoSetMetric):
    """KVD of sets of videos given batch by batch; `compute()` gives (value, bootstrap standard error), float64 scalars.

    `update(videos, real)` takes (B, T, C, H, W), uint8 or float in [0, 1]. Keeps the features, 8·D bytes a video.
    Raises MetricError for fewer than two videos of a kind.
    """

    real_features: list[Tensor]
    fake_features: list[Tensor]

    def __init__(
        self, feature: str | nn.Module = "tiny-shapes-v1", reset_real_features: bool = True,
        num_bootstraps: int = 200, seed: int = 0, **kwargs: Any,
    ):  # fmt: skip
        super().__init__(feature, reset_real_features, **kwargs)
        self.num_bootstraps, self.seed = num_bootstraps, seed
        self.add_state("real_features", [], dist_reduce_fx="cat")
        self.add_state("fake_features", [], dist_reduce_fx="cat")

    def update(self, videos: Tensor, real: bool) -> None:
        """Add videos (B, T, C, H, W) to the real or to the generated ones."""
        (self.real_features if real else self.fake_features).append(self.features(videos))

    def compute(self) -> tuple[Tensor, Tensor]:
        """The distance, near 0 for two samples of one distribution, and its standard error."""
        counts = [sum(map(len, f)) if isinstance(f, list) else len(f) for f in (self.real_features, self.fake_features)]
        if min(counts) < 2:
            raise MetricError(f"at least two real and two generated videos are needed, got {counts[0]} and {counts[1]}")
        real, fake = dim_zero_cat(self.real_features), dim_zero_cat(self.fake_features)
        return kernel_distance(real, fake, self.num_bootstraps, self.seed)

    def _sync_dist(self, *args: Any, **kwargs: Any) -> None:
        """A process that has seen videos of one kind only takes part with none of the other."""
        seen = next((part for part in (*self.real_features, *self.fake_features)), None)
        size = seen.shape[1] if seen is not None else int(getattr(self.extractor, "num_features", 0))
        for name in ("real_features", "fake_features"):
            if not len(getattr(self, name)):
                setattr(self, name, [torch.empty(0, size, dtype=torch.float64, device=self.device)])
        super()._sync_dist(*args, **kwargs)

    def reset(self) -> None:
        """Forget the generated videos, and the real ones too unless `reset_real_features` is False."""
        kept = list(self.real_features)  # reset empties the list itself
        super().reset()
        if not self.reset_real_features:
            self.real_features = kept
