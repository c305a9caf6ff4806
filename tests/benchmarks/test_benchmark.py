"""The benchmark: two runs in turns, timed apart."""

from __future__ import annotations

import time

import pytest
import torch
from conftest import PROMPTS

import videoada
from videoada import GenerationConfig, SkipConfig
from videoada.benchmarks.benchmark import benchmark, digest
from videoada.benchmarks.methods import Method
from videoada.benchmarks.timing import in_turn, time_pairs
from videoada.skipping import correction
from videoada.skipping.rules import error_controlled


def test_runs_take_turns_and_only_their_own_time_counts():
    order = []

    def run(name, seconds, steps):
        def steps_of(hand_over):
            for i in range(steps):
                time.sleep(seconds)
                order.append(f"{name}{i}")
                hand_over()
            return name

        return steps_of

    (a, a_seconds), (b, b_seconds) = in_turn(run("a", 0.02, 4), run("b", 0.001, 2))
    assert (a, b) == ("a", "b")
    assert order == ["a0", "b0", "a1", "b1", "a2", "a3"]
    assert a_seconds >= 0.08 > b_seconds >= 0.002


def test_gradients_stay_off_for_the_last_when_the_first_has_ended():
    def run(steps):
        @torch.no_grad()  # as diffusers' pipelines are
        def steps_of(hand_over):
            off = []
            for _ in range(steps):
                hand_over()
                off.append(not torch.is_grad_enabled())
            return all(off)

        return steps_of

    assert torch.is_grad_enabled()
    assert [result for result, _ in in_turn(run(1), run(4))] == [True, True]
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("which", [0, 1])
def test_an_error_in_one_ends_both_and_is_raised(which):
    ended = []

    def fine(hand_over):
        try:
            for _ in range(100):
                hand_over()
        finally:
            ended.append(True)

    def broken(hand_over):
        hand_over()
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        in_turn(*((broken, fine) if which == 0 else (fine, broken)))
    assert ended == [True]


def test_a_pair_counts_as_a_run_alone_does_and_leaves_the_pipeline_as_it_was(pipe):
    request = GenerationConfig(prompt=PROMPTS[0], seed=3, num_inference_steps=16, num_frames=2)
    skip = SkipConfig(threshold=1.0)
    kinds = type(pipe.unet), type(pipe.scheduler)
    result = time_pairs(pipe, [request], skip=skip, pairs=2)
    [(_, record)] = videoada.generate(pipe, [request], skip=skip)
    assert result.predictions == record.num_predictions < 16
    assert 0 < result.policy_share < 1
    assert kinds == (type(pipe.unet), type(pipe.scheduler))


def test_a_cells_hash_is_also_of_how_the_model_was_loaded(pipe):
    before = digest(Method(family="full", knob=""), pipe)
    other = videoada.load_pipeline("tiny-t2v", device="cpu", vae_tiling=True)
    assert digest(Method(family="full", knob=""), other) != before


def test_cells_of_another_corrector_are_generated_again(pipe, monkeypatch):
    methods = [
        Method(family=str(corrector), knob="", skip=SkipConfig(policy="every-n", every=2, corrector=corrector))
        for corrector in (False, True)
    ]
    before = [digest(method, pipe) for method in methods]
    monkeypatch.setattr(correction, "REVISION", correction.REVISION + 1)
    plain, corrected = (digest(method, pipe) for method in methods)
    assert plain == before[0]
    assert corrected != before[1]


def test_cells_of_another_rule_are_generated_again(pipe, monkeypatch):
    methods = [
        Method(family=policy, knob="", skip=SkipConfig(policy=policy, **knob))
        for policy, knob in (("every-n", {"every": 2}), ("error-controlled", {}), ("budget", {"num_predictions": 9}))
    ]
    before = [digest(method, pipe) for method in methods]
    monkeypatch.setattr(error_controlled, "REVISION", error_controlled.REVISION + 1)
    other, *own = (digest(method, pipe) for method in methods)
    assert other == before[0]
    assert not {*own} & {*before}


def test_what_was_measured_in_another_order_comes_in_the_methods_order(pipe, tmp_path):
    """The first family of a plot is its thick line: it was another one wherever rows had been measured again."""
    methods = [Method(family=f"every {n}", knob="", skip=SkipConfig(policy="every-n", every=n)) for n in (4, 2, 3)]
    requests = [GenerationConfig(prompt=prompt, num_inference_steps=6, num_frames=2) for prompt in PROMPTS[:2]]
    cells = benchmark(pipe, requests, methods, tmp_path, reference_steps=None)
    assert [(cell.family, cell.prompt) for cell in cells] == [(f"every {n}", i) for n in (4, 2, 3) for i in (0, 1)]
    rows = (tmp_path / "cells.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "cells.jsonl").write_text("".join(reversed(rows)))
    assert benchmark(pipe, requests, methods, tmp_path, reference_steps=None) == cells
