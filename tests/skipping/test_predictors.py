"""Predictors, the corrector's interpolation, the error estimate and the guidance rule: against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from videoada.config.run import SkipConfig
from videoada.skipping.rules.build import PREDICTORS, build_policy
from videoada.skipping.rules.contradiction import contradiction
from videoada.skipping.rules.decision import SkipState
from videoada.skipping.rules.error_controlled import (
    LEAST_LEFT,
    ErrorControlled,
    least_turning,
    lowest_angle,
    turning,
    weight,
)
from videoada.skipping.rules.guidance import Difference, GuidanceRule, clean_share, find_guidance_scale, next_term
from videoada.skipping.rules.level import Level
from videoada.skipping.rules.prediction import Prediction, noise_in, output_of, read_prediction
from videoada.skipping.rules.predictors import extrapolate, gap_start, interpolate, measured_damping

KINDS = ("epsilon", "v_prediction", "sample", "flow_prediction")
angles = st.floats(0.05, math.pi / 2 - 0.05)


def level(angle):
    return Level(math.cos(angle), math.sin(angle))


def straight(sigma):
    """The path of flow matching."""
    return Level(1 - sigma, sigma)


def pair(seed, n=7):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, n, generator=generator)


def node(step, at, x0, eps, kind):
    sample = at.alpha * x0 + at.sigma * eps
    return read_prediction(step, output_of(x0, eps, at, kind), sample, at, kind)


@given(st.sampled_from(KINDS), angles, st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_an_output_is_read_back_as_the_pair_it_says(kind, angle, seed):
    x0, eps = pair(seed)
    for at in (level(angle), straight(math.sin(angle))):
        found = node(3, at, x0, eps, kind)
        torch.testing.assert_close(found.x0, x0, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(found.eps, eps, rtol=1e-3, atol=1e-3)
        sample = at.alpha * x0 + at.sigma * eps
        torch.testing.assert_close(noise_in(sample, x0, at), eps, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", PREDICTORS)
def test_every_predictor_is_exact_where_nothing_moves(kind, name):
    x0, eps = pair(1)
    past = [node(i, level(1.4 - 0.1 * i), x0, eps, kind) for i in range(3)]
    now = level(0.95)
    sample = now.alpha * x0 + now.sigma * eps
    predicted = PREDICTORS[name](0.7).predict(past, sample, now, kind)
    expected = output_of(x0, eps, now, kind)
    if name == "hold-output" and kind == "v_prediction":
        assert not torch.allclose(predicted, expected, atol=1e-3)  # a held v turns with the step
    else:
        torch.testing.assert_close(predicted, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("name", "degree"), [("linear", 1), ("linear-eps", 1), ("taylor2", 2)])
def test_undamped_extrapolation_is_exact_for_polynomials_of_its_degree(kind, name, degree):
    """x̂₀ (or ε̂) a polynomial in the angle, uneven nodes: the prediction is on it."""
    coefficients = torch.randn(degree + 1, 7, generator=torch.Generator().manual_seed(2))
    still = torch.randn(7, generator=torch.Generator().manual_seed(3))

    def at(angle):
        moving = sum(c * angle**k for k, c in enumerate(coefficients))
        return (still, moving) if name == "linear-eps" else (moving, still)

    past = [node(i, level(a), *at(a), kind) for i, a in enumerate((1.45, 1.3, 1.22))]
    now = level(1.0)
    x0, eps = at(1.0)
    predicted = PREDICTORS[name](1.0).predict(past, now.alpha * x0 + now.sigma * eps, now, kind)
    torch.testing.assert_close(predicted, output_of(x0, eps, now, kind), rtol=1e-3, atol=2e-3)


def test_damping_takes_its_share_of_each_order():
    values = [torch.tensor([v]) for v in (0.0, 1.0, 3.0)]
    nodes = (0.0, 1.0, 2.0)
    # slope 2, second divided difference 1/2: 3 + 2·d·1 + 0.5·d²·1·2
    for d in (0.0, 0.5, 1.0):
        assert extrapolate(values, nodes, 3.0, d).item() == pytest.approx(3 + 2 * d + d * d)
    assert extrapolate(values[-1:], nodes[-1:], 3.0, 1.0).item() == 3.0


def test_the_damping_is_measured_by_hand():
    start, step = pair(8)
    for share, expected in ((0.4, 0.4), (1.0, 1.0), (2.5, 1.0), (-0.7, 0.0)):
        values = [start, start + step, start + step + share * 3 * step]  # the second gap is three times the first
        assert float(measured_damping(values, (0.0, 1.0, 4.0))) == pytest.approx(expected, abs=1e-4)
    assert measured_damping([start, start], (0.0, 1.0)) == 0.5
    still = [start] * 3
    assert float(measured_damping(still, (0.0, 1.0, 2.0))) == 0.0


@pytest.mark.parametrize("name", ["linear", "linear-eps"])
def test_measured_damping_is_that_of_the_trajectory(name):
    """x̂₀ and ε̂ whose increments halve at each node: the line goes half as far."""
    x0, eps = pair(9)
    travelled = (0.0, 1.0, 1.5)
    past = [node(i, level(1.4 - 0.1 * i), x0 * t, eps * t, "epsilon") for i, t in enumerate(travelled)]
    now = level(1.1)
    value = {"linear": x0, "linear-eps": eps}[name] * 1.75
    sample = now.alpha * x0 + now.sigma * eps
    expected = noise_in(sample, value, now) if name == "linear" else value
    predicted = PREDICTORS[name](None).predict(past, sample, now, "epsilon")
    torch.testing.assert_close(predicted, expected, rtol=1e-3, atol=5e-3)


@pytest.mark.parametrize("name", PREDICTORS)
def test_pure_noise_at_infinite_snr_is_a_node_like_any_other(name):
    """Trailing timesteps of a zero-SNR schedule begin at α = 0, where λ = −∞."""
    x0, eps = pair(4)
    past = [node(0, Level(0.0, 1.0), x0, eps, "v_prediction"), node(1, level(1.4), 1.1 * x0, eps, "v_prediction")]
    now = level(1.3)
    predicted = PREDICTORS[name](0.7).predict(past, now.alpha * x0 + now.sigma * eps, now, "v_prediction")
    assert predicted.isfinite().all()
    assert abs(predicted).max() < 20
    assert Level(0.0, 1.0).log_snr == -10.0
    assert Level(1.0, 0.0).log_snr == 10.0


def test_a_gap_begins_further_on_where_the_next_call_lies_beyond_the_extrapolation_to_it():
    x0, eps = pair(5)
    other = pair(6)[0]
    other -= other.dot(x0) / x0.dot(x0) * x0  # at a right angle
    levels = [level(at) for at in (1.2, 1.1, 1.0, 0.8)]
    past = [node(i, levels[i], x, eps, "epsilon") for i, x in enumerate((x0, 2 * x0, 3 * x0))]

    def start(after, at=levels[3], known=past):
        return gap_start(known, node(6, at, after, eps, "epsilon"))

    def close(value, expected):
        torch.testing.assert_close(value, expected, rtol=1e-3, atol=1e-3)

    close(start(5 * x0), 3 * x0)  # as extrapolated
    close(start(6 * x0), 3 * x0 + 0.4 * x0)  # one x₀ beyond it
    close(start(4.5 * x0), 3 * x0)  # it moved on, but less: no answer lies behind
    other *= 2 * x0.norm() / other.norm()
    close(start(5 * x0 + other), 3 * x0 + 0.4 * 0.5**0.5 * other)  # as far to the side as it moved
    close(start(4 * x0, known=past[-1:]), 3.4 * x0)  # with one call, held
    assert torch.equal(start(6 * x0, level(1.53)), past[-1].x0)  # near pure noise


def test_interpolation_meets_both_ends_and_lies_on_the_line():
    x0, eps = pair(5)
    a, b = node(2, level(1.2), x0, eps, "epsilon"), node(6, level(0.8), 3 * x0, eps, "epsilon")
    for at, share in ((1.2, 0.0), (1.0, 0.5), (0.8, 1.0)):
        torch.testing.assert_close(interpolate(a, b, level(at)), (1 + 2 * share) * x0, rtol=1e-3, atol=1e-3)


# ---- the error estimate ----


def nodes_of(function, log_snrs):
    zeros = torch.zeros(1)
    levels = [Level(1 / math.sqrt(1 + math.exp(-2 * z)), 1 / math.sqrt(1 + math.exp(2 * z))) for z in log_snrs]
    return tuple(
        Prediction(i, at, zeros, torch.tensor([float(function(at.log_snr))] * 4), zeros) for i, at in enumerate(levels)
    ), levels


def test_the_turning_of_a_parabola_is_its_leading_coefficient():
    past, _ = nodes_of(lambda z: 2 * z * z + z - 1, (-2.0, -1.5, -1.2))
    assert turning(past).item() == pytest.approx(2, rel=1e-3)
    past, _ = nodes_of(lambda z: 3 * z, (-2.0, -1.5, -1.2))
    assert turning(past).item() == pytest.approx(0, abs=1e-4)


def test_the_weight_by_hand():
    log_snrs = (-2.0, -1.5, -1.0, -0.5, 0.0, 0.5)
    past, levels = nodes_of(lambda z: z, log_snrs)
    past = past[:3]
    growth = 1 - math.exp(-0.5)
    by_hand = growth * (1.0 * 0.5)  # step 3, at −0.5: |−0.5 + 1.5|·|−0.5 + 1|
    assert weight(past, 3, levels) == pytest.approx(by_hand)
    assert weight(past, 4, levels) == pytest.approx(by_hand + growth * (1.5 * 1.0))
    assert weight(past, 5, levels) == pytest.approx(by_hand + growth * 1.5 + 2.0 * 1.5)  # after the last: all of it


def test_the_weight_is_what_a_ddim_step_does_with_x0():
    """x' = (σ'/σ)·x + α'·(1 − e^(−Δλ))·x̂₀."""
    a, b = level(1.1), level(0.9)
    x, x0 = pair(6)
    ddim = b.alpha * x0 + b.sigma * noise_in(x, x0, a)
    growth = 1 - math.exp(a.log_snr - b.log_snr)
    torch.testing.assert_close(ddim, b.sigma / a.sigma * x + b.alpha * growth * x0, rtol=1e-4, atol=1e-4)


def test_near_pure_noise_x0_turns_at_least_by_its_slope():
    """There λ stretches, so that a turning in λ is too small; what a call then says of the estimate is not raised."""
    noise, diffusion = Level(0.0, 1.0), Level(0.068, 0.998)
    assert least_turning(Level(0.1, 0.995), noise) == least_turning(noise, noise) == 4
    assert least_turning(Level(0.12, 0.993), noise) == least_turning(diffusion, diffusion) == 0
    past, levels = nodes_of(lambda z: z * z, np.linspace(-6.0, 2.5, 20))
    slope = (past[2].x0 - past[1].x0).abs().mean() / (levels[2].log_snr - levels[1].log_snr)
    assert turning(past[:3]) == pytest.approx(1, rel=1e-3)
    assert turning(past[:3], 4) == pytest.approx(4 * float(slope), rel=1e-3)
    assert turning(past[:3], 1e-3) == turning(past[:3])
    decision = decide(ErrorControlled(tolerance=0.01), [past[:3]], levels, 3, (0,))
    assert decision.signal[0] == pytest.approx(4 * float(slope) * weight(past[:3], 3, levels), rel=1e-2)
    assert contradiction(past[:3], past[3], past[3].x0 - 1, levels) == pytest.approx(
        weight(past[:3], 2, levels)
        / ((levels[3].log_snr - levels[1].log_snr) * (levels[3].log_snr - levels[2].log_snr))
    )


def decide(policy, past, levels, step, runs):
    return policy.decide(SkipState(step, len(levels), len(past), (), runs, (), tuple(past), tuple(levels)))


def test_error_control_decides_for_each_prompt():
    log_snrs = np.linspace(-2.5, 2.5, 20)
    straight_line, levels = nodes_of(lambda z: z, log_snrs)
    bent, _ = nodes_of(lambda z: z * z, log_snrs)
    policy = ErrorControlled(tolerance=0.01, max_skip_steps=3)
    decision = decide(policy, [straight_line[:3], bent[:3]], levels, 3, (0, 0))
    assert decision.compute == (False, True)
    assert decision.signal[0] == pytest.approx(0, abs=1e-4)
    assert decision.signal[1] == pytest.approx(weight(bent[:3], 3, levels), rel=1e-2)
    assert decide(policy, [straight_line[:3]], levels, 6, (3,)).compute == (True,)  # the cap
    assert decide(policy, [straight_line[:3]], levels, 19, (1,)).compute == (True,)  # the last step
    assert decide(policy, [straight_line[:2]], levels, 2, (0,)).compute == (True,)  # the warm-up
    together = ErrorControlled(tolerance=0.01, batch_decision="any")
    assert decide(together, [straight_line[:3], bent[:3]], levels, 3, (0, 0)).compute == (True, True)


def test_a_nan_computes():
    past, levels = nodes_of(lambda z: z, (-2.0, -1.5, -1.0, -0.5, 0.0))
    broken = (*past[:2], Prediction(2, levels[2], torch.zeros(1), torch.full((4,), float("nan")), torch.zeros(1)))
    assert decide(ErrorControlled(1e9), [broken], levels, 3, (0,)).compute == (True,)


@given(st.floats(1e-4, 1), st.integers(0, 10**6))
@settings(deadline=None, max_examples=40)
def test_a_larger_tolerance_never_skips_less_at_a_step(tolerance, seed):
    rng = np.random.default_rng(seed)
    past, levels = nodes_of(lambda z: rng.normal(), np.linspace(-2.5, 2.5, 20))
    small, large = (decide(ErrorControlled(t), [past[:3]], levels, 5, (2,)) for t in (tolerance, 2 * tolerance))
    assert not (large.compute[0] and not small.compute[0])


def test_the_configuration_builds_it():
    policy = build_policy(SkipConfig(tolerance=0.3, max_skip_steps=5, warmup_steps=4, final_steps=2))
    assert policy == ErrorControlled(0.3, 5, 4, 2)


# ---- guidance ----


def test_the_guidance_scale_is_found():
    uncond, cond = pair(7)
    assert find_guidance_scale(uncond + 7.5 * (cond - uncond), uncond, cond) == pytest.approx(7.5, rel=1e-5)
    assert find_guidance_scale(cond, cond, cond) == 1.0


def test_the_guidance_rule_by_hand():
    levels = [level(a) for a in (1.4, 1.3, 1.2, 1.1)]
    straight_line = [Difference(at, torch.full((4,), at.log_snr)) for at in levels[:3]]
    bent = [Difference(at, torch.full((4,), at.log_snr**2)) for at in levels[:3]]
    z = [at.log_snr for at in levels]
    assert next_term(straight_line, levels[3]).item() == pytest.approx(0, abs=1e-4)
    assert next_term(bent, levels[3]).item() == pytest.approx((z[3] - z[1]) * (z[3] - z[2]), rel=1e-3)
    rule = GuidanceRule(tolerance=0.01)
    assert rule.needs_both([straight_line, bent, bent[:2]], levels[3], "epsilon", 9.0) == (False, True, True)
    share = clean_share(levels[3], "epsilon")
    error = 8 * share * (z[3] - z[1]) * (z[3] - z[2]) * (1 - math.exp(z[2] - z[3]))
    for factor, needed in ((0.99, True), (1.01, False)):
        assert GuidanceRule(error * factor).needs_both([bent], levels[3], "epsilon", 9.0) == (needed,)
    in_angle = [Difference(at, torch.full((4,), 3 * at.angle)) for at in levels[:3]]
    assert GuidanceRule(0.01).predict(in_angle, levels[3])[0].item() == pytest.approx(3 * levels[3].angle, rel=1e-4)


ENDS = (1.5, 0.0094, 0.0)  # angles of the first step, the last one, the result: I2VGen-XL's schedule of 50


@pytest.mark.parametrize("angle", [0.3, 0.108, 0.045])
def test_no_call_is_asked_for_before_a_last_step_that_sees_everything(angle):
    """Between 0.108 and 0.009 tiny-i2v called once more for a bound that flow matching needs, and lost 0.9 dB."""
    first, last, end = ENDS
    asked = lowest_angle(angle, 0.18, ENDS)
    coarse = lowest_angle(angle, 0.18, (first, 0.06, end))
    assert asked <= coarse
    assert coarse >= LEAST_LEFT * angle
    assert lowest_angle(angle, 0.18, (1.57, last, end)) >= LEAST_LEFT * angle  # flow matching
    if angle < 0.12:
        assert asked < last < coarse
