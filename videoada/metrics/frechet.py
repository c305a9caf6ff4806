"""Fréchet video distance: how far two sets of videos lie apart, as Gaussians fitted to their features.

FVD = ‖μ_r − μ_g‖² + Tr(S_r + S_g − 2 (S_r S_g)^½) (Unterthiner et al., arXiv 1812.01717, after Heusel et al., arXiv
1706.08500). All in float64; no matrix square root of a product is ever taken: with S = LᵀL for each set,
Tr (S_r S_g)^½ is the sum of the singular values of L_r L_gᵀ, which is exact where eigenvalue routes lose half the
digits.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from videoada.errors import MetricError, counted
from videoada.failures import is_out_of_memory, out_of_memory
from videoada.metrics.arguments import check_features, check_gaussian, check_same_length, check_videos

ROUNDING = 1e-12  # of the traces: what a distance of 0 may come out below 0
LARGEST_START = 0.8  # FVD∞ fits its line from at most this share of the samples on: a shorter one has no slope
GROUPS = 16  # that a jackknife leaves out in turn
FEW_SAMPLES = 2048  # below it most of a Fréchet distance is bias


def frechet_distance(real: Tensor, fake: Tensor) -> Tensor:
    """Between two sets of features (N, D) and (M, D), N and M at least 2; a float64 scalar, exactly 0 for equal sets.

    Raises MetricError for other shapes or for values that are not finite.
    """
    real, fake = check_features(real, "real"), check_features(fake, "fake")
    check_same_length(real, fake)
    (mean_r, root_r), (mean_g, root_g) = _mean_and_root(real), _mean_and_root(fake)
    return _distance(mean_r, root_r, mean_g, root_g)


def gaussian_distance(mean_r: Tensor, cov_r: Tensor, mean_g: Tensor, cov_g: Tensor) -> Tensor:
    """Between two Gaussians: means (D,), covariances (D, D); a float64 scalar. Negative eigenvalues count as 0.

    Raises MetricError for other shapes and values that are not finite.
    """
    check_gaussian(mean_r, cov_r, "r")
    check_gaussian(mean_g, cov_g, "g")
    if len(mean_r) != len(mean_g):
        raise MetricError(f"the Gaussians differ in length: {len(mean_r)} and {len(mean_g)}")
    return _distance(mean_r.double(), _root(cov_r.double()), mean_g.double(), _root(cov_g.double()))


def frechet_infinity(
    real: Tensor, fake: Tensor, num_points: int = 12, repeats: int = 4, seed: int = 0, paired: bool = False
) -> tuple[Tensor, Tensor]:
    """FVD∞ (after Chong & Forsyth, arXiv 1911.07023): the distance at infinitely many samples, and its standard error.

    The intercept of a line through distances of random subsets of both sets against 1/N, from a quarter of the samples
    (but more than D) to all. The error is the regression's; subsets of one set are not independent, so the true one is
    larger. With `paired`, row i of both sets is one prompt and seed generated twice, and subsets keep pairs together.
    Raises MetricError where a set has no more samples than features have dimensions.
    """
    real, fake = check_features(real, "real"), check_features(fake, "fake")
    count, dimensions = min(len(real), len(fake)), real.shape[1]
    least = max(0.25, (dimensions + 2) / count)
    if least > LARGEST_START:
        raise MetricError(f"FVD∞ needs well more samples than the {dimensions} dimensions, got {count}; use KVD")
    generator = torch.Generator().manual_seed(seed)
    x, y = [], []
    for share in torch.linspace(least, 1.0, num_points).tolist():
        for _ in range(1 if share == 1.0 else repeats):
            orders = [torch.randperm(len(s), generator=generator) for s in (real, fake)]
            orders = orders[:1] * 2 if paired else orders
            parts = [s[order[: round(share * len(s))]] for s, order in zip((real, fake), orders, strict=True)]
            x.append(0.5 / len(parts[0]) + 0.5 / len(parts[1]))  # the bias of each set falls with its own size
            y.append(frechet_distance(*parts))
    design = torch.stack([torch.ones(len(x), dtype=torch.float64), torch.tensor(x, dtype=torch.float64)], 1)
    values = torch.stack(y)
    line = torch.linalg.lstsq(design, values).solution
    residual = (values - design @ line).square().sum() / max(len(x) - 2, 1)
    error = (residual * torch.linalg.inv(design.T @ design)[0, 0]).sqrt()
    return line[0], error


def jackknife_error(
    distance: Callable[[Tensor, Tensor], Tensor], real: Tensor, fake: Tensor, num_groups: int = GROUPS
) -> Tensor:
    """Standard error of `distance(real, fake)` for features (N, D) and (M, D): a delete-a-group jackknife; a scalar.

    The distance is measured again without each group of both sets in turn: row i is in group i mod `num_groups`, so
    that pairs stay together. Unlike a bootstrap's, its sets hold no sample twice, which would raise a Fréchet distance.
    It says nothing of the distance's bias. Raises MetricError for sets of fewer than three.
    """
    real, fake = check_features(real, "real"), check_features(fake, "fake")
    num_groups = min(num_groups, len(real), len(fake))
    if num_groups < 3:
        raise MetricError(f"a jackknife needs sets of at least three, got {len(real)} and {len(fake)}")
    groups = [torch.arange(len(features), device=features.device) % num_groups for features in (real, fake)]
    values = torch.stack([distance(real[groups[0] != g], fake[groups[1] != g]).double() for g in range(num_groups)])
    return ((num_groups - 1) * values.var(unbiased=False)).sqrt()


def paired_feature_distance(preds: Tensor, target: Tensor) -> Tensor:
    """Mean over pairs of ‖f(preds_i) − f(target_i)‖², features (N, D); what AdaptiveDiffusion's code prints as "FVD".

    It is no Fréchet distance: a Fréchet distance of sets of one video each has no covariance, and this is their mean.
    """
    preds, target = check_features(preds, "preds", 1), check_features(target, "target", 1)
    if preds.shape != target.shape:
        raise MetricError(f"pairs of features (N, D) are needed, got {tuple(preds.shape)} and {tuple(target.shape)}")
    return (preds - target).square().sum(1).mean()


def _mean_and_root(features: Tensor) -> tuple[Tensor, Tensor]:
    """The mean (D,) and L (min(N, D), D) with LᵀL the unbiased covariance."""
    mean = features.mean(0)
    centred = (features - mean) / (len(features) - 1) ** 0.5
    return mean, centred if len(features) <= features.shape[1] else torch.linalg.qr(centred, mode="r").R


def _root(covariance: Tensor) -> Tensor:
    """L (D, D) with LᵀL the covariance. What rounding makes of an eigenvalue 0 counts as 0: its root is not small."""
    values, vectors = torch.linalg.eigh((covariance + covariance.T) / 2)
    noise = 4 * len(values) * torch.finfo(torch.float64).eps * values.abs().amax()
    return torch.where(values > noise, values, 0).sqrt()[:, None] * vectors.T


def _distance(mean_r: Tensor, root_r: Tensor, mean_g: Tensor, root_g: Tensor) -> Tensor:
    shared = torch.linalg.svdvals(root_r @ root_g.T).sum()
    traces = root_r.square().sum() + root_g.square().sum()
    value = (mean_r - mean_g).square().sum() + traces - 2 * shared
    return torch.where((value < 0) & (value > -ROUNDING * traces), 0, value)


class VideoSetMetric(Metric):
    """What FVD and KVD share: the extractor, counts, and cached real features.

    `feature` is a name for `videoada.metrics.features.load_extractor`, or an `nn.Module` that maps videos
    (B, T, C, H, W), uint8 or float in [0, 1], to features (B, D).
    """

    higher_is_better = False
    is_differentiable = False
    full_state_update = False
    feature_network = "extractor"

    def __init__(self, feature: str | nn.Module = "tiny-shapes-v1", reset_real_features: bool = True, **kwargs: Any):
        super().__init__(**kwargs)
        if isinstance(feature, str):
            from videoada.metrics.features import load_extractor

            feature = load_extractor(feature)
        elif not isinstance(feature, nn.Module):
            raise MetricError(f"feature must be an extractor's name or an nn.Module, got {type(feature).__name__}")
        self.extractor = feature.eval()
        self.reset_real_features = reset_real_features

    @torch.inference_mode()
    def features(self, videos: Tensor) -> Tensor:
        """Features (B, D) as float64 of videos (B, T, C, H, W). Raises MetricError for other shapes or types,
        ResourceError where memory runs out."""
        check_videos(videos)
        try:
            found = self.extractor(videos)
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                raise out_of_memory(f"the extractor looked at {tuple(videos.shape)}", "update with fewer") from None
            raise
        if found.ndim != 2 or len(found) != len(videos):
            raise MetricError(f"the extractor must give (B, D), got {tuple(found.shape)} for {len(videos)} videos")
        return found.double()

    def set_dtype(self, dst_type: str | torch.dtype) -> VideoSetMetric:
        """Sums and counts stay as they are: float32 gives wrong, even negative distances."""
        return self

    def warn_of_few(self, count: int, dimensions: int) -> None:
        if count < FEW_SAMPLES:
            message = f"{type(self).__name__} of {counted(count, 'video')}; below {FEW_SAMPLES} most of it is bias"
            if count <= dimensions:
                message += (
                    f", and {count} is no more than the features' {dimensions} dimensions: use KernelVideoDistance"
                )
            warnings.warn(message, UserWarning, stacklevel=3)


class FrechetVideoDistance(VideoSetMetric):
    """FVD of sets of videos given batch by batch, after `torchmetrics.image.fid.FrechetInceptionDistance`.

    `update(videos, real)` takes (B, T, C, H, W), uint8 or float in [0, 1]; `compute()` gives a float64 scalar. The sets
    may differ in size. Sums are float64 and kept about the extractor's `origin` (D,) where it has one, so that a large
    common mean cancels nothing; processes are reduced by summing. An extractor without `num_features` must see a video
    in each process. Raises MetricError for fewer than two videos of a kind.

    >>> import torch
    >>> fvd = FrechetVideoDistance(feature=torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(4)))
    >>> fvd.update(torch.zeros(2, 2, 3, 8, 8), real=True)
    >>> fvd.update(torch.zeros(2, 2, 3, 8, 8), real=False)
    >>> float(fvd.compute())
    0.0
    """

    real_features_sum: Tensor
    real_features_cov_sum: Tensor
    real_features_num_samples: Tensor
    fake_features_sum: Tensor
    fake_features_cov_sum: Tensor
    fake_features_num_samples: Tensor

    def __init__(self, feature: str | nn.Module = "tiny-shapes-v1", reset_real_features: bool = True, **kwargs: Any):
        super().__init__(feature, reset_real_features, **kwargs)
        size = int(getattr(self.extractor, "num_features", 1))  # one that does not say it grows with its first videos
        for kind in ("real", "fake"):
            total, products = torch.zeros(size, dtype=torch.float64), torch.zeros(size, size, dtype=torch.float64)
            self.add_state(f"{kind}_features_sum", total, dist_reduce_fx="sum")
            self.add_state(f"{kind}_features_cov_sum", products, dist_reduce_fx="sum")
            self.add_state(f"{kind}_features_num_samples", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, videos: Tensor, real: bool) -> None:
        """Add videos (B, T, C, H, W) to the real or to the generated ones."""
        features = self.features(videos)
        origin = getattr(self.extractor, "origin", None)
        if origin is not None:
            features = features - origin.to(features)
        total, products = features.sum(0), features.T @ features
        for kind in ("real", "fake"):
            share = 1 if (kind == "real") == real else 0  # the other kind only grows to the features' size
            for name, value in (("sum", total), ("cov_sum", products), ("num_samples", len(videos))):
                state = f"{kind}_features_{name}"
                setattr(self, state, getattr(self, state) + share * value)

    def compute(self) -> Tensor:
        """The distance, a float64 scalar ≥ 0."""
        counts = int(self.real_features_num_samples), int(self.fake_features_num_samples)
        if min(counts) < 2:
            raise MetricError(f"at least two real and two generated videos are needed, got {counts[0]} and {counts[1]}")
        self.warn_of_few(min(counts), len(self.real_features_sum))
        return gaussian_distance(*self._gaussian("real"), *self._gaussian("fake"))

    def _gaussian(self, kind: str) -> tuple[Tensor, Tensor]:
        """Mean (about the origin) and unbiased covariance."""
        count = getattr(self, f"{kind}_features_num_samples")
        mean = getattr(self, f"{kind}_features_sum") / count
        covariance = (getattr(self, f"{kind}_features_cov_sum") - count * torch.outer(mean, mean)) / (count - 1)
        return mean, covariance

    def reset(self) -> None:
        """Forget the generated videos, and the real ones too unless `reset_real_features` is False."""
        kept = {name: getattr(self, name) for name in self._defaults if name.startswith("real_features")}
        super().reset()
        if not self.reset_real_features:
            for name, value in kept.items():
                setattr(self, name, value)
