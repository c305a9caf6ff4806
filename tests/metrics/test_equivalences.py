"""FVD against other people's ways to the same number: the formula at 50 digits, torchmetrics' FID, scipy's root."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import mpmath
import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import nn
from torchmetrics.image.fid import FrechetInceptionDistance

from videoada.metrics import FrechetVideoDistance, frechet_distance

ROOT = Path(__file__).resolve().parents[2]
SETS = [(40, 60, 8, 0.3), (9, 12, 8, 0.0), (120, 90, 5, 40.0), (30, 30, 2, 1e-3), (6, 5, 8, 1.0)]  # n, m, D, mean


def features(count, dimensions, seed, mean=0.0):
    """Correlated, of very different spreads."""
    rng = np.random.default_rng(seed)
    mix = np.random.default_rng(99).normal(size=(dimensions, dimensions)) * np.logspace(-1, 1, dimensions)
    return torch.from_numpy(rng.normal(size=(count, dimensions)) @ mix + mean)


def at_50_digits(a, b):
    """‖μ − ν‖² + Tr(S) + Tr(T) − 2 Tr((S^½ T S^½)^½), from the features on, with the roots by eigenvalues."""

    def moments(rows):
        x = mpmath.matrix(rows.tolist())
        mean = [mpmath.fsum(x[i, j] for i in range(x.rows)) / x.rows for j in range(x.cols)]
        centred = mpmath.matrix(x.rows, x.cols)
        for i in range(x.rows):
            for j in range(x.cols):
                centred[i, j] = x[i, j] - mean[j]
        return mean, centred.T * centred / (x.rows - 1)

    def root_of(symmetric):
        values, vectors = mpmath.eigsy(symmetric)
        roots = [mpmath.sqrt(max(value, 0)) for value in values]
        return vectors * mpmath.diag(roots) * vectors.T, mpmath.fsum(roots)

    with mpmath.workdps(50):
        (mean_a, s), (mean_b, t) = moments(a), moments(b)
        root, _ = root_of(s)
        product = root * t * root
        _, shared = root_of((product + product.T) / 2)
        trace = mpmath.fsum(s[i, i] + t[i, i] for i in range(s.rows))
        return float(mpmath.fsum((x - y) ** 2 for x, y in zip(mean_a, mean_b, strict=True)) + trace - 2 * shared)


@pytest.mark.parametrize(("n", "m", "dimensions", "mean"), SETS)
def test_the_formula_at_50_digits(n, m, dimensions, mean):
    """Also of fewer videos than dimensions, of equal means, and far from 0."""
    a, b = features(n, dimensions, 1), features(m, dimensions, 2, mean)
    assert float(frechet_distance(a, b)) == pytest.approx(at_50_digits(a, b), rel=1e-9)


@pytest.mark.parametrize(("n", "m", "dimensions", "mean"), [(40, 60, 8, 0.3), (200, 300, 64, 0.1)])
def test_scipys_root(n, m, dimensions, mean):
    """Where it is to be trusted: more videos than dimensions."""
    a, b = (features(*each).numpy() for each in ((n, dimensions, 1), (m, dimensions, 2, mean)))
    s, t = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    theirs = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(s + t - 2 * sqrtm(s @ t).real)
    assert float(frechet_distance(torch.from_numpy(a), torch.from_numpy(b))) == pytest.approx(theirs, rel=1e-6)


class Rows(nn.Module):
    """The row of features whose number a picture or video shows in all its pixels."""

    def __init__(self, rows):
        super().__init__()
        self.rows, self.num_features = rows, rows.shape[1]

    def forward(self, pixels):
        return self.rows[pixels.flatten(1)[:, 0].long()]


@pytest.mark.parametrize("dimensions", [8, 64])
def test_torchmetrics_fid_of_the_same_features(dimensions):
    """Both public metrics, batch by batch."""
    rows = torch.cat([features(120, dimensions, 1), features(100, dimensions, 2, 0.3)])
    numbers = torch.arange(220, dtype=torch.uint8).view(-1, 1, 1, 1)
    theirs = FrechetInceptionDistance(feature=Rows(rows), normalize=False, input_img_size=(3, 4, 4))
    theirs.set_dtype(torch.float64)
    ours = FrechetVideoDistance(feature=Rows(rows))
    for kind, part in ((True, numbers[:120]), (False, numbers[120:])):
        for some in part.split(50):
            theirs.update(some.expand(-1, 3, 4, 4), real=kind)
            ours.update(some[:, None].expand(-1, 2, 3, 4, 4), real=kind)
    with pytest.warns(UserWarning, match="most of it is bias"):
        assert float(ours.compute()) == pytest.approx(float(theirs.compute()), rel=1e-6)


def test_cd_fvds_way_gives_the_same_number(monkeypatch):
    """scripts/experiments/cd_fvd.py on what cd-fvd's evaluator holds: covariances over N, and its root of a product."""
    spec = importlib.util.spec_from_file_location("cd_fvd", ROOT / "scripts" / "experiments" / "cd_fvd.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)

    class Stats:
        def __init__(self, rows):
            self.rows = rows.numpy()

        def get_mean_cov(self):
            mean = self.rows.mean(0)
            return mean, self.rows.T @ self.rows / len(self.rows) - np.outer(mean, mean)

    class Evaluator:
        real_stats, fake_stats = Stats(features(60, 8, 1)), Stats(features(40, 8, 2, 0.3))

        def compute_fvd_from_stats(self):
            (mean_r, s), (mean_g, t) = (stats.get_mean_cov() for stats in (self.real_stats, self.fake_stats))
            return np.real(np.square(mean_r - mean_g).sum() + np.trace(s + t - 2 * sqrtm(s @ t)))

    monkeypatch.setattr(script, "evaluator_of", lambda model, examples, device: Evaluator())
    theirs, ours = script.both(Evaluator())
    assert ours == pytest.approx(theirs, rel=1e-6)
    for tolerance, code in (("1e-6", 0), ("0", 1)):
        monkeypatch.setattr("sys.argv", ["cd_fvd.py", "examples", "--tolerance", tolerance, "--model", "i3d"])
        assert script.main() == (code if ours != theirs else 0)
