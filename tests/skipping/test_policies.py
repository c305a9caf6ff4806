"""Policies and predictors as pure functions: numbers by hand, and the formulas written out a second time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from videoada.config.run import SkipConfig
from videoada.errors import ConfigError
from videoada.skipping.rules.build import build_policy
from videoada.skipping.rules.decision import Mask, Never, SkipState
from videoada.skipping.rules.third_order import ThirdOrder, ThirdOrderRelease


def state(step, *latents, runs=None, num_steps=50):
    rows = tuple(torch.as_tensor(x, dtype=torch.float32).reshape(len(x), -1) for x in latents)
    prompts = len(rows[0]) if rows else 1
    return SkipState(step, num_steps, prompts, rows, runs or (0,) * prompts)


def test_policies_that_look_at_nothing():
    assert all(build_policy(SkipConfig(policy="none")).decide(state(s)).compute == (True,) for s in range(5))
    every = build_policy(SkipConfig(policy="every-n", every=3))
    assert [every.decide(state(s)).compute[0] for s in range(7)] == [True, False, False, True, False, False, True]
    mask = build_policy(SkipConfig(policy="mask", mask=(1, 0, 1)))
    assert [mask.decide(state(s)).compute[0] for s in range(3)] == [True, False, True]
    assert isinstance(mask, Mask)


@pytest.mark.parametrize("policy", ["third-order", "third-order-release"])
def test_threshold_zero_is_none(policy):
    assert isinstance(build_policy(SkipConfig(policy=policy, threshold=0)), Never)


def test_tolerance_zero_is_none_and_a_field_names_its_policy():
    assert isinstance(build_policy(SkipConfig(tolerance=0)), Never)
    named = {"threshold": 0.1, "tolerance": 0.1, "every": 2, "mask": (1, 0)}
    assert [SkipConfig(**{k: v}).policy for k, v in named.items()] == [
        "third-order",
        "error-controlled",
        "every-n",
        "mask",
    ]


def test_any_of_a_batch_computes_all():
    moving = [[0.0, 0.0], [1.0, 0.0], [5.0, 0.0], [6.0, 0.0]]
    latents = [[[float(k), 0.0], moving[k]] for k in range(4)]
    for rule in (ThirdOrder, ThirdOrderRelease):
        alone = rule(0.1).decide(state(5, *latents)).compute
        assert alone == (False, True)
        assert rule(0.1, batch_decision="any").decide(state(5, *latents)).compute == (True, True)
        assert len(set(rule(0.1, batch_decision="mean").decide(state(5, *latents)).compute)) == 1


def test_third_order_by_hand():
    rule = ThirdOrder(threshold=0.5)
    # Δ = (3, 4), (3, 4), (3, 4): third difference 0 → skip
    assert rule.decide(state(3, [[0, 0]], [[3, 4]], [[6, 8]], [[9, 12]])).compute == (False,)
    # Δ = (3, 4), (3, 4), (5, 4): ‖(2, 0)‖ = 2 < 0.5·5 → skip; (6, 4): 3 ≥ 2.5 → compute
    decision = rule.decide(state(3, [[0, 0], [0, 0]], [[3, 4], [3, 4]], [[6, 8], [6, 8]], [[11, 12], [12, 12]]))
    assert decision.compute == (False, True)
    assert decision.signal == pytest.approx((2 / 5, 3 / 5))
    # equal to the limit computes: ‖(2.5, 0)‖ = 0.5·5
    assert rule.decide(state(3, [[0, 0]], [[3, 4]], [[6, 8]], [[11.5, 12]])).compute == (True,)


def test_third_order_protects_its_ends_and_caps_from_the_first_decision():
    still = [[[0.0]], [[1.0]], [[2.0]], [[3.0]]]
    rule = ThirdOrder(threshold=1e9, max_skip_steps=2)
    assert [rule.decide(state(s, *still)).compute[0] for s in (0, 1, 2, 3, 48, 49)] == [
        True,
        True,
        True,
        False,
        False,
        True,
    ]
    assert rule.decide(state(4, *still, runs=(1,))).compute == (False,)
    assert rule.decide(state(5, *still, runs=(2,))).compute == (True,)


def test_release_cap_arms_late():
    still = [[[0.0]], [[1.0]], [[2.0]], [[3.0]]]
    rule = ThirdOrderRelease(threshold=1e9, max_skip_steps=4)
    computed, run = [], 0
    for step in range(20):
        compute = rule.decide(state(step, *still, runs=(run,))).compute[0]
        run = 0 if compute else run + 1
        computed.append(int(compute))
    assert computed == [1, 1, 1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]


def test_a_nan_computes():
    latents = [[[0.0]], [[1.0]], [[2.0]], [[float("nan")]]]
    assert ThirdOrder(threshold=1.0).decide(state(5, *latents)).compute == (True,)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.001, 2), st.integers(1, 5))
def test_rules_match_numpy(seed, threshold, prompts):
    x = np.random.default_rng(seed).normal(size=(4, prompts, 30)).cumsum(0).astype(np.float32)
    d3 = (x[3] - x[2]) - 2 * (x[2] - x[1]) + (x[1] - x[0])
    ratio = np.linalg.norm(d3, axis=1) / np.linalg.norm(x[2] - x[1], axis=1)
    decision = ThirdOrder(threshold).decide(state(9, *x))
    assert decision.signal == pytest.approx(ratio.tolist(), rel=1e-4)
    clear = np.abs(ratio - threshold) > 1e-5
    assert (np.array(decision.compute) == (ratio >= threshold))[clear].all()

    d = [np.abs(b - a).mean(1) for a, b in zip(x[:-1], x[1:], strict=True)]
    ratio = np.abs((d[2] + d[0]) / 2 - d[1]) / d[1]
    decision = ThirdOrderRelease(threshold).decide(state(9, *x))
    clear = np.abs(ratio - threshold) > 1e-5
    assert (np.array(decision.compute) == (ratio > threshold))[clear].all()
    d = [np.abs(b - a).mean() for a, b in zip(x[:-1], x[1:], strict=True)]
    whole = ThirdOrderRelease(threshold, batch_decision="mean").decide(state(9, *x))
    assert whole.signal == pytest.approx([abs((d[2] + d[0]) / 2 - d[1]) / d[1]] * prompts, rel=1e-3, abs=1e-5)
    assert len(set(whole.compute)) == 1


def test_release_rule_works_in_the_latents_dtype():
    x = (torch.randn(4, 2, 500, generator=torch.Generator().manual_seed(0)).cumsum(0)).half()
    d = [(b - a).abs().mean(dim=1) for a, b in zip(x[:-1], x[1:], strict=True)]
    skips = ((d[2] + d[0]) / 2 - d[1]).abs() <= d[1] * 0.03
    decision = ThirdOrderRelease(0.03).decide(SkipState(9, 50, 2, tuple(x), (0, 0)))
    assert decision.compute == tuple((~skips).tolist())


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"policy": "third-ordr"}, "did you mean 'third-order'"),
        ({"predictor": "holt"}, "did you mean 'hold'"),
        ({"policy": "every-n", "threshold": 0.1}, "has no `threshold`"),
        ({"policy": "none", "mask": (1,)}, "has no `mask`"),
        ({"policy": "mask"}, "needs a `mask`"),
        ({"policy": "mask", "mask": (0, 1)}, "must begin with 1"),
        ({"threshold": -1}, "threshold"),
        ({"threshold": float("nan")}, "threshold"),
        ({"max_skip_steps": 0}, "max_skip_steps"),
        ({"policy": "every-n", "every": 0}, "every"),
        ({"policy": "third-order-release", "predictor": "hold"}, "implies"),
        ({"policy": "every-n", "batch_decision": "mean"}, "has no rule"),
        ({"policy": "error-controlled", "threshold": 0.1}, "has no `threshold`"),
        ({"policy": "third-order", "tolerance": 0.1}, "has no `tolerance`"),
        ({"policy": "third-order", "damping": 0.5}, "'hold' has no `damping`"),
        ({"damping": 1.5}, "damping"),
        ({"tolerance": -1}, "tolerance"),
        ({"treshold": 1}, "threshold"),
    ],
)
def test_wrong_settings_are_named(fields, part):
    with pytest.raises(ConfigError, match=part):
        SkipConfig(**fields)


def test_each_policy_fills_in_its_own_defaults():
    default, paper, release = SkipConfig(), SkipConfig(policy="third-order"), SkipConfig(policy="third-order-release")
    assert (default.policy, default.predictor, default.corrector, default.max_skip_steps) == (
        "error-controlled",
        "linear",
        True,
        8,
    )
    assert (paper.warmup_steps, paper.final_steps, paper.predictor) == (3, 1, "hold")
    assert (release.threshold, release.warmup_steps, release.final_steps, release.predictor) == (
        0.01,
        4,
        0,
        "hold-output",
    )
