"""The guard: a run whose error estimates stop meaning anything is computed, and says so."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from conftest import PROMPTS

import videoada
from videoada import Decision, skip_steps
from videoada.benchmarks.closed_form import ClosedForm, Gaussian, Mixture
from videoada.skipping.guard import Guard
from videoada.skipping.rules.contradiction import contradiction
from videoada.skipping.rules.error_controlled import ErrorControlled
from videoada.skipping.rules.level import Level
from videoada.skipping.rules.prediction import Prediction


def jumping(at, by, prompts=slice(None)):
    """A network that is smooth until a step and says something else from there on."""

    def change(x0):
        if pipe.step >= at:
            x0 = x0.clone()
            x0[prompts] += by * (-1) ** pipe.step
        return x0

    pipe = ClosedForm("ddim", Gaussian(0), change)
    return pipe


def test_a_contradicted_prompt_is_computed_from_there_on_and_others_are_not():
    pipe = jumping(8, 5.0, prompts=slice(-1, None))  # the last row that the network sees is always of the last prompt
    with skip_steps(pipe, tolerance=0.05) as trace:
        pipe(batch=3)
    [fallback] = trace.fallbacks
    assert fallback.prompt == 2
    assert "contradicts its error estimate" in fallback.reason
    assert all(trace.computed[2][fallback.step :])
    assert not all(trace.computed[0][fallback.step :])
    assert not all(trace.computed[1][fallback.step :])
    text = f"prompt 2: from step {fallback.step} on every prediction was computed: a real call contradicts"
    assert text in trace.summary()
    assert trace.warnings_of(0) == []
    assert "every prediction was computed" in trace.warnings_of(2)[0]
    assert trace.signal[2][fallback.step] is not None


@pytest.mark.parametrize("batch_decision", ["any", "mean"])
def test_where_one_decision_is_for_all_prompts_they_fall_back_together(batch_decision):
    pipe = jumping(8, 5.0, prompts=slice(1, 2))
    with skip_steps(pipe, tolerance=0.05, batch_decision=batch_decision) as trace:
        pipe(batch=3)
    [fallback] = trace.fallbacks
    assert trace.computed[0] == trace.computed[1] == trace.computed[2]
    assert not all(trace.computed[0][: fallback.step])
    assert all(trace.computed[0][fallback.step :])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_a_number_is_computed_from_there_on(value):
    pipe = jumping(8, value, prompts=slice(0, 1))
    with skip_steps(pipe, tolerance=0.05) as trace:
        found = pipe(batch=2)
    assert [fallback.prompt for fallback in trace.fallbacks] == [0]
    assert "not a number" in trace.fallbacks[0].reason
    assert all(trace.computed[0][trace.fallbacks[0].step :])
    assert not all(trace.computed[1][trace.fallbacks[0].step :])
    assert found[1].isfinite().all()


def test_a_policy_of_ones_own_with_a_tolerance_in_units_of_its_own_is_obeyed():
    @dataclass(frozen=True)
    class Own:
        tolerance: float = 1e-9
        num_latents = 0

        def decide(self, state):
            compute = (state.step % 2 == 0,) * state.num_prompts
            return Decision(compute, (None,) * state.num_prompts)

    pipe = ClosedForm("ddim", Gaussian(0))
    with skip_steps(pipe, Own(), predictor="linear") as trace:
        pipe()
    assert trace.computed == [[True, False] * 15]
    assert trace.fallbacks == []


def test_an_approximation_that_is_not_finite_is_replaced_by_what_was_computed_last():
    class Broken:
        num_predictions = 1

        def predict(self, past, sample, level, kind):
            return past[-1].output * float("nan")

    pipe = ClosedForm("ddim", Gaussian(0))
    with skip_steps(pipe, "every-n", predictor="hold-output", every=2):
        held = pipe()
    with skip_steps(pipe, "every-n", predictor=Broken(), every=2):
        assert torch.equal(pipe(), held)


def test_skips_that_the_cap_alone_ends_fall_back_where_real_calls_contradict_them_twice():
    levels = [Level(math.cos(a), math.sin(a)) for a in torch.linspace(1.5, 0.05, 40).tolist()]

    def prediction(step, value):
        x0 = torch.full((4,), value)
        return Prediction(step, levels[step], x0, x0, x0)

    guard = Guard(ErrorControlled(0.5))
    past = [prediction(i, 0.0) for i in range(3)]
    for step in (11, 20, 29):
        error = contradiction(past, prediction(step, 1.0), torch.zeros(4), levels)
        scaled = prediction(step, 2.0 / float(error))  # four times the tolerance
        guard.met(0, past, scaled, torch.zeros(4), levels)
        found = guard.look(step + 1)
        assert bool(found) == (step == 20), step
        assert not found or "`max_skip_steps` alone" in found[0].reason
        past = [*past[-2:], prediction(step, 0.0)]


@pytest.mark.parametrize("data", [Gaussian, Mixture])
@pytest.mark.parametrize("tolerance", [0.02, 0.2, 1.0])
def test_it_does_not_fall_back_where_the_estimates_are_good(data, tolerance):
    for scheduler in ("ddim", "unipc", "flow-3"):
        pipe = ClosedForm(scheduler, data(0))
        with skip_steps(pipe, tolerance=tolerance) as trace:
            pipe(50, batch=2)
        assert trace.fallbacks == []


def test_the_record_says_so(pipe, monkeypatch):
    forward = pipe.unet.forward

    def spoilt(sample, *args, **kwargs):
        result = forward(sample, *args, **kwargs)
        factor = 1 if args[0] > 500 else -20
        return type(result)(sample=result.sample * factor) if hasattr(result, "sample") else (result[0] * factor,)

    monkeypatch.setattr(pipe.unet, "forward", spoilt)
    [(_, record)] = videoada.generate(
        pipe, prompt=PROMPTS[0], seed=1, num_inference_steps=30, num_frames=2, tolerance=0.5
    )
    assert any("every prediction was computed" in warning for warning in record.warnings)
    assert all(record.computed[-3:])
