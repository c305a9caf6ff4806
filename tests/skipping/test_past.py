"""What is found of a prompt's past is found once for the gap after it, and is the same as found at each step."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from videoada import SkipState
from videoada.skipping.rules.budget import Budget
from videoada.skipping.rules.error_controlled import ErrorControlled
from videoada.skipping.rules.level import CLEAN, Level
from videoada.skipping.rules.prediction import Past, once, read_prediction
from videoada.skipping.rules.predictors import Linear, LinearEps, Taylor2, extrapolate, measured_damping

STEPS = 20
LEVELS = tuple(Level(math.cos(a), math.sin(a)) for a in torch.linspace(1.55, 0.05, STEPS).tolist())


def pasts(seed, prompts, length=3, numbers=24):
    """Of smooth trajectories with some noise, the last calls of each prompt at other steps."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for i in range(prompts):
        past = Past()
        for step in range(0, length * (1 + i % 2), 1 + i % 2):
            output = torch.linspace(-1, 1, numbers) * step + 0.1 * torch.randn(numbers, generator=generator)
            sample = torch.randn(numbers, generator=generator)
            past = past.then(read_prediction(step, output, sample, LEVELS[step], "epsilon"), 3)
        found.append(past)
    return tuple(found)


def state_at(step, past):
    last = [own[-1].step for own in past]
    return SkipState(
        step, STEPS, len(past), (), tuple(step - 1 - each for each in last), (), past, LEVELS, CLEAN, (3,) * len(past)
    )


class Counted(TorchDispatchMode):
    """Counts what is asked of tensors."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += 1
        return function(*args, **(kwargs or {}))


RULES = [
    ErrorControlled(0.1), ErrorControlled(0.1, batch_decision="mean"), ErrorControlled(0.1, batch_decision="any"),
    Budget(9), Budget(9, batch_decision="mean"),
]  # fmt: skip


@pytest.mark.parametrize("rule", RULES, ids=str)
@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**31), prompts=st.integers(1, 4))
def test_decisions_over_a_gap_are_those_of_a_plain_tuple(rule, seed, prompts):
    past = pasts(seed, prompts)
    plain = tuple(tuple(own) for own in past)
    for step in range(7, STEPS):
        assert rule.decide(state_at(step, past)) == rule.decide(state_at(step, plain))


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_after_the_first_decision_of_a_gap_no_tensor_is_asked(rule):
    past = pasts(3, 3)
    with Counted() as first:
        rule.decide(state_at(6, past))
    assert first.count
    with Counted() as later:
        for step in range(7, STEPS):
            rule.decide(state_at(step, past))
    assert later.count == 0
    new = past[1].then(read_prediction(6, torch.ones(24), torch.zeros(24), LEVELS[6], "epsilon"), 3)
    with Counted() as again:  # one prompt was called
        rule.decide(state_at(8, (past[0], new, past[2])))
    assert 0 < again.count < first.count


@pytest.mark.parametrize("damping", [None, 0.7])
@pytest.mark.parametrize("length", [1, 2, 3])
@pytest.mark.parametrize("kind", ["epsilon", "sample", "v_prediction", "flow_prediction"])
def test_predictions_over_a_gap_are_those_of_a_plain_tuple(damping, length, kind):
    [past] = pasts(5, 1, length)
    sample = torch.linspace(-2, 1, 24)
    for predictor in (Linear(damping), LinearEps(damping), Taylor2(damping)):
        for level in LEVELS[6:]:
            found = predictor.predict(past, sample, level, kind)
            assert torch.equal(found, predictor.predict(tuple(past), sample, level, kind))


@pytest.mark.parametrize("length", [1, 2, 3])
def test_the_line_is_newtons_polynomial_of_two(length):
    [past] = pasts(7, 1, length)
    values, nodes = [p.x0 for p in past], [p.level.angle for p in past]
    for level in LEVELS[6:]:
        expected = extrapolate(values[-2:], nodes[-2:], level.angle, measured_damping(values, nodes))
        assert torch.equal(Linear().predict(past, torch.zeros(24), level, "sample"), expected)


def test_a_function_is_asked_once_of_a_past_and_each_time_of_another_sequence():
    asked = []

    @once
    def length(past, factor):
        asked.append(factor)
        return factor * len(past)

    [past] = pasts(1, 1)
    assert [length(past, 2), length(past, 2), length(past, 3), length(list(past), 2)] == [6, 6, 9, 6]
    assert asked == [2, 3, 2]
    assert [length(past, factor=2), length(past, factor=2)] == [6, 6]
    copies = pickle.loads(pickle.dumps(past)), copy.deepcopy(past)
    assert all(isinstance(each, Past) and not each.found and len(each) == len(past) for each in copies)
    longer = past.then(past[-1], 4)
    assert length(longer, 2) == 8
    assert (len(past), len(longer), len(longer.then(past[0], 2))) == (3, 4, 2)
