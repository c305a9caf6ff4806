"""The greedy oracle against exhaustive search and by hand, and the analysis of a small model end to end."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from commandline import run
from hypothesis import given, settings
from hypothesis import strategies as st

import videoada
from videoada import SkipConfig
from videoada.benchmarks.oracle.analyse import MaskError, relative_differences
from videoada.benchmarks.oracle.search import agreement, greedy_masks, share_closed

PROMPT = "a red circle moving right on a black background"


def additive(weights):
    """Errors at right angles."""
    return lambda mask: sum(w * w for w, computed in zip(weights, mask, strict=True) if not computed) ** 0.5


@given(st.lists(st.floats(0.01, 10), min_size=4, max_size=9, unique=True))
@settings(deadline=None)
def test_with_additive_costs_greedy_is_optimal_and_lazy_is_the_same(weights):
    n, cost = len(weights), additive(weights)
    lazy = list(greedy_masks(n, cost, protected=(0,)))
    eager = list(greedy_masks(n, cost, protected=(0,), lazy=False))
    assert [s.mask for s in lazy] == [s.mask for s in eager]
    assert [s.num_skips for s in lazy] == list(range(1, n))
    for found in lazy:
        best = min(
            cost((True, *mask)) for mask in itertools.product((True, False), repeat=n - 1)
            if mask.count(False) == found.num_skips
        )  # fmt: skip
        assert found.cost == pytest.approx(best)


def test_lazy_search_asks_less():
    weights = np.random.default_rng(0).random(20)
    asked = {True: 0, False: 0}

    def counting(lazy):
        def cost(mask):
            asked[lazy] += 1
            return additive(weights)(mask)

        return cost

    for lazy in asked:
        list(greedy_masks(20, counting(lazy), lazy=lazy))
    assert asked[True] <= 20 + 19 < asked[False]


def test_runs_of_skips_are_capped_and_steps_protected():
    found = list(greedy_masks(10, additive([1.0] * 10), protected=(0, 1, 9), max_skip_steps=2))
    text = "".join("01"[step] for step in found[-1].mask)
    assert text[:2] == "11"
    assert text[-1] == "1"
    assert "000" not in text
    assert found[-1].num_skips == 5 or text.count("0") >= 4


def test_agreement_by_hand():
    # 20 free steps: both computed 8, policy only 2, oracle only 2, both skipped 8: χ² = 20·(64 − 4)²/10⁴ = 7.2
    policy = (True,) * 10 + (False,) * 10
    oracle = (True,) * 8 + (False,) * 2 + (True,) * 2 + (False,) * 8
    found = agreement((True, *policy), (True, *oracle), forced=(0,))
    assert (found.both_computed, found.policy_only, found.oracle_only, found.both_skipped) == (8, 2, 2, 8)
    assert found.test == "chi2"
    assert found.p_value == pytest.approx(0.00729, rel=1e-2)
    assert found.phi == pytest.approx(0.6)
    small = agreement((True,) * 3 + (False,) * 3, (True,) * 3 + (False,) * 3)
    assert small.test == "fisher"
    assert small.p_value == pytest.approx(2 / 20)  # two of the C(6, 3) tables are as extreme
    assert agreement((True,) * 6, (True, False) * 3) is None
    opposite = agreement(policy, tuple(not step for step in policy))
    assert opposite.phi == pytest.approx(-1)  # and its p-value is small: agreement asks for both


def test_the_share_of_a_distance_in_decibels():
    assert share_closed(0.1, worse=0.1, oracle=0.001) == pytest.approx(0)
    assert share_closed(0.01, worse=0.1, oracle=0.001) == pytest.approx(0.5)
    assert share_closed(0.0001, worse=0.1, oracle=0.001) == pytest.approx(1.5)
    assert share_closed(0.1, worse=0.1, oracle=0.1) is None


def test_kept_outputs_change_nothing_and_save_calls(pipe):
    request = videoada.GenerationConfig(prompt=PROMPT, seed=3, num_inference_steps=8, num_frames=2)
    predictor = SkipConfig(policy="every-n", predictor="linear", corrector=True)
    masks = [(1, 1, 1, 0, 1, 1, 1, 1), (1, 1, 1, 0, 1, 0, 1, 1), (1, 1, 1, 0, 1, 1, 0, 1)]
    masks = [tuple(bool(v) for v in mask) for mask in masks]
    kept = MaskError(pipe, request, predictor)
    with_memory = [kept(mask) for mask in masks]
    calls = kept.network_calls
    fresh = []
    for mask in masks:
        alone = MaskError(pipe, request, predictor)
        fresh.append(alone(mask))
    assert with_memory == fresh
    assert all(error > 0 for error in fresh)
    assert calls == 8 + 7 + 2 + 1  # the full run, the first mask, and of the others only what differs
    assert kept((True,) * 8) == 0.0
    assert "forward" not in vars(pipe.unet)


def test_differences_by_hand():
    import torch

    latents = [torch.tensor([v, 0.0]) for v in (1.0, 2.0, 4.0, 8.0, 9.0)]
    rows = relative_differences(latents)
    assert rows[0] == [None, None, None]
    assert rows[1] == [0.5, None, None]
    assert rows[2] == [0.5, 0.5, None]
    assert rows[3] == [0.5, 0.5, 0.25]  # Δ: 1, 2, 4; Δ²: 1, 2; Δ³: 1
    assert rows[4][2] == pytest.approx(5.0)  # Δ: 2, 4, 1 → 1 − 8 + 2 = −5


@pytest.mark.slow
def test_analyse_end_to_end_and_resumed(tmp_path, capsys, monkeypatch):
    (tmp_path / "p.txt").write_text(f"{PROMPT}\na blue square growing on a gray background\n")
    arguments = ["analyse", "--prompts", str(tmp_path / "p.txt"), "--limit", "2", "--steps", "8", "--num-frames", "1",
                 "--max-skips", "2", "--output", str(tmp_path / "a")]  # fmt: skip
    code, out, err = run(capsys, *arguments)
    assert code == 0, err
    assert "small embedded model" in out
    assert "videoada" in out
    figures = json.loads((tmp_path / "a" / "analysis.json").read_text())
    assert [len(p["oracle"]) for p in figures["prompts"]] == [2, 2]
    costs = [step["cost"] for step in figures["prompts"][0]["oracle"]]
    assert 0 < costs[0] < costs[-1] < 1
    for name in ("errors", "agreement", "differences", "latent-errors", "predictions"):
        assert (tmp_path / "a" / f"{name}.svg").stat().st_size > 1000
    kept = tmp_path / "a" / "prompts.jsonl"
    before = kept.read_bytes()
    assert before.count(b"\n") == 2
    plots = {path: path.read_bytes() for path in (tmp_path / "a").glob("*.svg")}
    code, again, _ = run(capsys, *arguments)
    assert code == 0
    assert again == out
    assert all(path.read_bytes() == plot for path, plot in plots.items())
    assert kept.read_bytes() == before
    monkeypatch.setattr("videoada.skipping.correction.REVISION", 0)  # of another corrector: not what is asked for
    assert run(capsys, *arguments, "--limit", "1")[0] == 0
    assert kept.read_bytes().count(b"\n") == 3
