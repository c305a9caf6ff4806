"""The tables of metrics: one entry makes a metric, what metrics share is measured once, the help names them all."""

from __future__ import annotations

import inspect
import re

import numpy as np
import pytest
from made_videos import write_sets
from torch import nn

import videoada
from videoada.cli.evaluate import evaluate as evaluate_command
from videoada.evaluation import set_metrics, tables
from videoada.evaluation.means import summarize
from videoada.evaluation.result import VideoResult


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("sets")
    write_sets(root)
    return root


class Colour(nn.Module):
    def forward(self, videos):
        return videos.float().mean((1, 3, 4)) / 255


def test_a_metric_is_one_entry_of_a_table(folders, monkeypatch):
    def spread(sets):
        return set_metrics.Distance(
            "spread", {"value": float(sets.made.std() / sets.real.std()), **sets.counts}, ("wide",)
        )

    class Error:
        def __init__(self, memo):
            self.errors = []

        def add(self, preds, target):
            self.errors.append(np.abs(preds.astype(float) - target).mean())

        def row(self):
            return {"error": float(np.mean(self.errors))}

    monkeypatch.setitem(set_metrics.SETS, "spread", set_metrics.SetMetric(spread))
    monkeypatch.setitem(tables.PAIRS, "error", tables.PairMetric((Error,), {"mean error": "error"}, worst=max))
    sides = folders / "skipped", folders / "full"
    result = videoada.evaluate(*sides, metrics=("error", "spread"), extractor=Colour())
    assert list(result.metrics) == ["spread", "mean error"]
    assert "wide" in result.warnings
    errors = [row.fidelity["error"] for row in result.videos]
    assert result.metrics["mean error"]["value"] == pytest.approx(np.mean(errors))
    assert result.metrics["mean error"]["worst"] == max(errors) > min(errors) == 0


def test_parts_that_metrics_share_are_measured_once(folders, monkeypatch):
    calls = []

    class Part:
        def __init__(self, memo):
            pass

        def add(self, preds, target):
            calls.append(preds.shape)

        def row(self):
            return {"a": 1.0, "b": 2.0}

    for name in ("a", "b"):
        monkeypatch.setitem(tables.PAIRS, name, tables.PairMetric((Part,), {name: name}))
    result = videoada.evaluate(folders / "skipped", folders / "full", metrics=("a", "b"))
    assert [result.metrics[name]["value"] for name in ("a", "b")] == [1, 2]
    assert len(calls) == 4 * 16


def test_the_worst_lpips_is_the_largest():
    rows = [VideoResult(video=name, fidelity={"lpips": value}) for name, value in (("a", 0.1), ("b", 0.3))]
    assert summarize(rows, {"lpips"}) == {
        "LPIPS (alex)": {"value": pytest.approx(0.2), "n": 2, "standard_error": pytest.approx(0.1), "worst": 0.3}
    }


def test_help_names_every_metric():
    named = inspect.signature(evaluate_command).parameters["metrics"].annotation
    for name in (*set_metrics.SETS, *tables.PAIRS, *tables.VIDEOS):
        assert re.search(rf"\b{name}[,.]", str(named)), name
