"""FVD and KVD against closed forms, plain numpy and torchmetrics; streaming, batches, processes."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchmetrics.image.fid import _compute_fid

from videoada.metrics import (
    FrechetVideoDistance,
    KernelVideoDistance,
    frechet_distance,
    frechet_infinity,
    gaussian_distance,
    jackknife_error,
    kernel_distance,
    paired_feature_distance,
)


class Flat(nn.Module):
    """Videos to a few fixed projections of their pixels: an extractor that costs nothing."""

    def __init__(self, num_features=6, size=2 * 3 * 4 * 4, origin=False, says=True):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(size, num_features, generator=generator), requires_grad=False)
        if says:
            self.num_features = num_features
        if origin:
            self.origin = torch.full((num_features,), 3.0)

    def forward(self, videos):
        videos = videos.double() / 255 if videos.dtype == torch.uint8 else videos.double()
        return videos.flatten(1) @ self.weight.double()


class Given(nn.Module):
    """Videos whose pixels are the number of a row of features."""

    def __init__(self, rows, origin=None):
        super().__init__()
        self.rows, self.origin, self.num_features = rows, origin, rows.shape[1]

    def forward(self, videos):
        return self.rows[videos[:, 0, 0, 0, 0].long()]


def videos(count, seed, shift=0.0):
    generator = torch.Generator().manual_seed(seed)
    return (0.4 * torch.rand(count, 2, 3, 4, 4, generator=generator) + 0.3 + shift).clamp(0, 1)


def features(count, dimensions, seed, mean=0.0, rank=None):
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(rank or dimensions, dimensions, generator=torch.Generator().manual_seed(99), dtype=torch.float64)
    return torch.randn(count, rank or dimensions, generator=generator, dtype=torch.float64) @ mix + mean


def numpy_distance(a, b):
    """The definition, by eigenvalues of S_r S_g."""
    a, b = a.numpy(), b.numpy()
    s, t = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    roots = np.sqrt(np.clip(np.linalg.eigvals(s @ t).real, 0, None)).sum()
    return np.square(a.mean(0) - b.mean(0)).sum() + np.trace(s) + np.trace(t) - 2 * roots


def test_two_gaussians_give_the_closed_form():
    """Diagonal covariances: Σ (μ − ν)² + Σ (√s − √t)², by hand."""
    mean_r, mean_g = torch.tensor([1.0, 2, 3]), torch.tensor([0.0, 2, 5])
    s, t = torch.tensor([4.0, 1, 9]), torch.tensor([1.0, 1, 0.25])
    found = gaussian_distance(mean_r, torch.diag(s), mean_g, torch.diag(t))
    assert found.dtype == torch.float64
    assert float(found) == pytest.approx((1 + 0 + 4) + (1 + 0 + 6.25), abs=1e-6)


def test_features_with_exactly_known_moments_give_the_closed_form():
    """±√s·eᵢ rows have mean μ and a diagonal covariance exactly, so the estimate itself is known."""

    def rows(mean, variance):
        scale = (variance * (2 * len(variance) - 1) / 2).sqrt()
        return torch.cat([torch.diag(scale), -torch.diag(scale)]) + mean

    mean = torch.tensor([5.0, -1, 0, 2], dtype=torch.float64)
    s, t = torch.tensor([4.0, 1, 9, 0.5]).double(), torch.tensor([1.0, 1, 0.25, 2]).double()
    expected = float((s.sqrt() - t.sqrt()).square().sum() + 1)
    shifted = mean + torch.tensor([0, 0, 1.0, 0])
    assert float(frechet_distance(rows(mean, s), rows(shifted, t))) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("n", "m", "dimensions"), [(40, 60, 8), (200, 100, 32), (33, 34, 32)])
def test_agrees_with_numpy_and_torchmetrics(n, m, dimensions):
    a, b = features(n, dimensions, 1), features(m, dimensions, 2, mean=0.3)
    found = float(frechet_distance(a, b))
    assert found == pytest.approx(numpy_distance(a, b), rel=1e-8)
    theirs = float(_compute_fid(a.mean(0), torch.cov(a.T), b.mean(0), torch.cov(b.T)))
    assert found == pytest.approx(theirs, rel=1e-6)
    assert found == pytest.approx(float(gaussian_distance(a.mean(0), torch.cov(a.T), b.mean(0), torch.cov(b.T))))


@pytest.mark.parametrize(("n", "m"), [(5, 9), (12, 40), (2, 2)])
def test_fewer_videos_than_dimensions(n, m):
    """Singular covariances: the eigenvalue definition still holds, to the accuracy that it has."""
    a, b = features(n, 24, 3), features(m, 24, 4)
    assert float(frechet_distance(a, b)) == pytest.approx(numpy_distance(a, b), rel=1e-5)
    by_moments = gaussian_distance(a.mean(0), torch.cov(a.T), b.mean(0), torch.cov(b.T))
    assert float(frechet_distance(a, b)) == pytest.approx(float(by_moments), rel=1e-9)


@settings(max_examples=60, deadline=None)
@given(n=st.integers(2, 60), dimensions=st.integers(1, 40), rank=st.integers(1, 40), seed=st.integers(0, 999),
       mean=st.sampled_from([0.0, 1e3]))  # fmt: skip
def test_a_set_is_at_no_distance_from_itself(n, dimensions, rank, seed, mean):
    """|fvd(A, A)| ≤ 1e-9 (tr S + tr S), also shuffled, of low rank, or far from 0."""
    a = features(n, dimensions, seed, mean, rank)
    trace = float(torch.cov(a.T).diagonal().sum() if dimensions > 1 else a.var())
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    for other in (a, a[order]):
        assert 0 <= float(frechet_distance(a, other)) <= 1e-9 * 2 * trace + 1e-300
    numbered = torch.arange(n, dtype=torch.uint8).view(n, 1, 1, 1, 1).expand(-1, -1, 3, -1, -1)
    streamed = FrechetVideoDistance(feature=Given(a, origin=a[0] if mean else None))
    streamed.update(numbered, real=True)
    for part in numbered[order].split(7):
        streamed.update(part, real=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert 0 <= float(streamed.compute()) <= 1e-9 * 2 * trace + 1e-300


def stream(metric, real, fake, sizes):
    for kind, data in ((True, real), (False, fake)):
        for part in data.split(sizes):
            metric.update(part, real=kind)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return metric.compute()


@pytest.mark.parametrize("origin", [False, True])
@pytest.mark.parametrize("says", [False, True])
def test_streaming_changes_nothing(origin, says):
    extractor = Flat(origin=origin, says=says)
    real, fake = videos(50, 1), videos(31, 2, 0.1)
    expected = float(frechet_distance(extractor(real), extractor(fake)))
    for sizes in (1, 7, 50):
        for order in (torch.arange(50), torch.randperm(50, generator=torch.Generator().manual_seed(3))):
            metric = FrechetVideoDistance(feature=extractor)
            assert float(stream(metric, real[order], fake, sizes)) == pytest.approx(expected, rel=1e-10)
    kernel = [stream(KernelVideoDistance(feature=extractor), real, fake, sizes)[0] for sizes in (1, 7, 50)]
    assert torch.allclose(torch.stack(kernel), kernel[0].expand(3), rtol=1e-10)


def test_bytes_and_floats_are_the_same_videos():
    clips = (255 * videos(9, 5)).round().byte()
    a, b = (stream(FrechetVideoDistance(feature=Flat()), v, v[:5], 4) for v in (clips, clips.float() / 255))
    assert float(a) == pytest.approx(float(b), rel=1e-6)


def test_precision_and_moves_leave_the_sums_alone():
    metric = FrechetVideoDistance(feature=Flat())
    expected = float(stream(metric, videos(20, 1), videos(20, 2), 5))
    metric.half().float().set_dtype(torch.float16)
    assert metric.real_features_cov_sum.dtype == torch.float64
    metric.reset()
    assert float(stream(metric, videos(20, 1), videos(20, 2), 5)) == expected


@pytest.mark.parametrize("kind", [FrechetVideoDistance, KernelVideoDistance])
def test_real_features_can_be_kept(kind):
    metric = kind(feature=Flat(), reset_real_features=False)
    first = stream(metric, videos(20, 1), videos(10, 2), 5)
    metric.reset()
    metric.update(videos(10, 2), real=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again = metric.compute()
    first, again = (v[0] if isinstance(v, tuple) else v for v in (first, again))
    assert float(first) == pytest.approx(float(again), rel=1e-10)
    metric = kind(feature=Flat())
    stream(metric, videos(20, 1), videos(10, 2), 5)
    metric.reset()
    metric.update(videos(10, 2), real=False)
    with pytest.raises(ValueError, match="two real and two generated"):
        metric.compute()


def test_few_videos_are_warned_about():
    metric = FrechetVideoDistance(feature=Flat(num_features=30))
    for kind in (True, False):
        metric.update(videos(20, 1), real=kind)
    with pytest.warns(UserWarning, match=r"20 videos.*bias.*30 dimensions: use KernelVideoDistance"):
        metric.compute()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (torch.zeros(2, 3, 4, 4), "must be"),
        (torch.zeros(2, 2, 1, 4, 4), "must be"),
        (torch.zeros(2, 2, 3, 4, 4, dtype=torch.int32), "uint8 or float"),
        (torch.full((2, 2, 3, 4, 4), 255.0), r"\[0, 1\]"),
        (torch.full((2, 2, 3, 4, 4), float("nan")), r"\[0, 1\]"),
    ],
)
def test_what_is_no_video_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        FrechetVideoDistance(feature=Flat()).update(given, real=True)


def test_values_that_are_not_finite_are_refused():
    bad = features(5, 3, 0)
    bad[0, 0] = float("inf")
    for distance in (frechet_distance, kernel_distance):
        with pytest.raises(ValueError, match="not finite"):
            distance(bad, features(5, 3, 1))
        with pytest.raises(ValueError, match="differ in length"):
            distance(features(5, 3, 1), features(5, 4, 1))


# ---- KVD -----------------------------------------------------------------------------------------------------------


def by_hand(x, y):
    """MMD² as the definition has it, pair by pair."""

    def k(a, b):
        return (float(a @ b) / len(a) + 1) ** 3

    n, m = len(x), len(y)
    xx = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    yy = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return xx + yy - 2 * sum(k(a, b) for a in x for b in y) / (n * m)


def test_kernel_distance_is_the_definition(monkeypatch):
    import videoada.metrics.kernel as kernel

    monkeypatch.setattr(kernel, "ROWS", 5)  # several parts
    x, y = features(13, 4, 1), features(9, 4, 2, mean=0.5)
    assert float(kernel_distance(x, y)[0]) == pytest.approx(by_hand(x, y), rel=1e-10)


def test_kernel_distance_of_equal_sets_is_near_zero_from_64_samples():
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        x, y = torch.randn(64, 400, generator=generator), torch.randn(64, 400, generator=generator)
        value, error = kernel_distance(x, y)
        assert abs(float(value)) < 4 * float(error)
        shifted, shifted_error = kernel_distance(x, y + 0.5)
        assert float(shifted) > 10 * float(shifted_error)


def test_the_bootstrap_error_is_that_of_fresh_samples():
    """The spread of the estimate over new samples, against what one sample's bootstrap says of it."""
    values, errors = [], []
    for seed in range(60):
        generator = torch.Generator().manual_seed(seed)
        x, y = torch.randn(80, 8, generator=generator), torch.randn(80, 8, generator=generator) + 0.7
        value, error = kernel_distance(x, y, seed=seed)
        values.append(float(value))
        errors.append(float(error))
    assert np.mean(errors) == pytest.approx(np.std(values, ddof=1), rel=0.35)


def test_partners_are_left_out_of_paired_sets():
    """The same samples with a little noise: unpaired, partners make the distance far too negative."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(100, 16, generator=generator, dtype=torch.float64)
    y = x + 0.05 * torch.randn(100, 16, generator=generator, dtype=torch.float64)
    naive, naive_error = kernel_distance(x, y)
    value, error = kernel_distance(x, y, paired=True)
    assert float(naive) < -2 * float(naive_error) < 0
    assert abs(float(value)) < 3 * float(error) < float(naive_error)
    k = (x @ y.T / 16 + 1) ** 3
    kx, ky = (x @ x.T / 16 + 1) ** 3, (y @ y.T / 16 + 1) ** 3
    off = 1 - torch.eye(100, dtype=torch.float64)
    assert float(value) == pytest.approx(float(((kx + ky - 2 * k) * off).sum() / (100 * 99)), rel=1e-9)
    shifted, shifted_error = kernel_distance(x, y + 0.3, paired=True)
    assert float(shifted) > 5 * float(shifted_error)
    infinite, _ = frechet_infinity(x, y, paired=True)
    assert abs(float(infinite)) < 0.2
    with pytest.raises(ValueError, match="equally large"):
        kernel_distance(x, y[:50], paired=True)


# ---- the rest ------------------------------------------------------------------------------------------------------


def test_infinity_takes_the_bias_out():
    """Two samples of one normal: FVD is all bias, FVD∞ is near 0."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(600, 40, generator=generator, dtype=torch.float64) for _ in range(2))
    value, error = frechet_infinity(a, b)
    assert abs(float(value)) < 0.2 * float(frechet_distance(a, b))
    assert float(error) >= 0
    for few in (30, 42, 50):  # too few for a line: its points would lie on each other
        with pytest.raises(ValueError, match="use KVD"):
            frechet_infinity(a[:few], b)


def test_the_jackknife_error_by_hand():
    """Of a difference of means, with groups of one: the standard error that every textbook has, of both means."""
    rng = torch.Generator().manual_seed(0)
    real, fake = (torch.randn(16, 1, generator=rng, dtype=torch.float64) for _ in range(2))

    def distance(a, b):
        return (a - b).mean()

    found = jackknife_error(distance, real, fake)
    assert float(found) == pytest.approx(float((real - fake).std() / 4))
    with pytest.raises(ValueError, match="at least three, got 2 and 16"):
        jackknife_error(frechet_distance, real[:2], fake)


def test_the_jackknife_error_is_that_of_fresh_samples():
    """Of Fréchet distances, also between sets of other sizes: within a factor of the spread over fresh sets."""
    rng = torch.Generator().manual_seed(1)

    def sets():
        return torch.randn(128, 8, generator=rng), 0.3 + torch.randn(96, 8, generator=rng)

    spread = torch.stack([frechet_distance(*sets()) for _ in range(100)]).std()
    errors = torch.stack([jackknife_error(frechet_distance, *sets()) for _ in range(20)])
    assert 0.7 * spread < errors.mean() < 1.5 * spread


def test_paired_feature_distance_is_a_mean_of_squares():
    a, b = torch.tensor([[0.0, 0], [1, 1]]), torch.tensor([[3.0, 4], [1, 2]])
    assert float(paired_feature_distance(a, b)) == (25 + 1) / 2
    with pytest.raises(ValueError, match="pairs"):
        paired_feature_distance(a, b[:1])


def in_process(rank, world, path, results):
    """One of two gloo processes: its share of the videos, unequal, then the common results."""
    import torch.distributed as dist

    torch.set_num_threads(1)
    store = dist.FileStore(path, world)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world)
    found = []
    for alone in (False, True):  # with `alone`, one process has seen no generated video at all
        metrics = [FrechetVideoDistance(feature=Flat(origin=True)), KernelVideoDistance(feature=Flat())]
        for metric in metrics:
            metric.update(videos(50, 1)[:37] if rank == 0 else videos(50, 1)[37:], real=True)
            if rank == 0 or not alone:
                metric.update(videos(31, 2, 0.1) if alone else videos(31, 2, 0.1)[rank::world], real=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found.append([float(metrics[0].compute()), float(metrics[1].compute()[0])])
    results.put(found)
    dist.barrier()
    dist.destroy_process_group()


def test_two_processes_agree_with_one(tmp_path):
    context = torch.multiprocessing.get_context("spawn")
    results = context.Queue()
    workers = [context.Process(target=in_process, args=(r, 2, str(tmp_path / "store"), results)) for r in range(2)]
    for worker in workers:
        worker.start()
    found = [results.get(timeout=120) for _ in workers]
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    extractor = Flat()
    real, fake = extractor(videos(50, 1)), extractor(videos(31, 2, 0.1))
    for fvd, kvd in itertools.chain(*found):
        assert fvd == pytest.approx(float(frechet_distance(real, fake)), rel=1e-10)
        assert kvd == pytest.approx(float(kernel_distance(real, fake)[0]), rel=1e-10)
