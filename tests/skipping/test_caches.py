"""Together with diffusers' own caches, whose state is of the whole batch."""

from __future__ import annotations

import diffusers
import pytest
import tiny_pipelines as tiny
import torch
from tiny_pipelines import call

from videoada import Decision, skip_steps
from videoada.errors import ConfigError

CACHES = {
    "FirstBlockCache": lambda: diffusers.FirstBlockCacheConfig(threshold=0.2),
    "TaylorSeerCache": lambda: diffusers.TaylorSeerCacheConfig(cache_interval=2, disable_cache_before_step=1),
    "MagCache": lambda: diffusers.MagCacheConfig(num_inference_steps=10, mag_ratios=torch.ones(10)),
}


class Apart:
    num_latents = 0

    def decide(self, state):
        return Decision(tuple((state.step + i) % 2 == 0 for i in range(state.num_prompts)), (None,) * state.num_prompts)


@pytest.fixture(params=CACHES)
def pipe(request):
    pipe = tiny.wan()
    pipe.transformer.enable_cache(CACHES[request.param]())
    pipe.cache = request.param
    return pipe


def skipped_without_cache():
    """The steps that a tolerance as large computes: those that bound the gaps."""
    with skip_steps(plain := tiny.wan(), tolerance=1e6) as trace:
        call(plain, steps=10)
    assert 4 <= sum(trace.computed[0]) <= 6
    return trace.computed[0]


def test_with_one_prompt_both_work_and_leave_nothing_behind(pipe):
    plain = call(pipe, steps=10)
    assert torch.equal(call(pipe, steps=10), plain)
    with skip_steps(pipe, "none"):
        assert torch.equal(call(pipe, steps=10), plain)
    with skip_steps(pipe, tolerance=1e6) as trace:
        first = call(pipe, steps=10)
        assert first.isfinite().all()
        assert trace.computed[0] == skipped_without_cache()
        assert torch.equal(call(pipe, steps=10), first)
    assert torch.equal(call(pipe, steps=10), plain)


@pytest.mark.parametrize("batch_decision", ["any", "mean"])
def test_with_one_decision_for_all_prompts_both_work(pipe, batch_decision):
    with skip_steps(pipe, tolerance=1e6, batch_decision=batch_decision) as trace:
        assert call(pipe, prompts=2, steps=10).isfinite().all()
    assert trace.computed == [skipped_without_cache()] * 2
    with skip_steps(pipe, "every-n", every=2) as trace:
        assert call(pipe, prompts=2, steps=10).isfinite().all()
    assert trace.unet_rows == 20


def test_where_prompts_would_skip_apart_they_are_refused_in_one_line(pipe):
    for policy in ({}, {"threshold": 0.1}):
        with pytest.raises(ConfigError, match=f"{pipe.cache} keeps one state") as refused, skip_steps(pipe, **policy):
            call(pipe, prompts=2, steps=10)
        assert "\n" not in str(refused.value)
    with pytest.raises(ConfigError, match="prompts skip apart"), skip_steps(pipe, Apart()):
        call(pipe, prompts=2, steps=10)
    with pytest.raises(ConfigError, match="guidance_tolerance"), skip_steps(pipe, guidance_tolerance=0.1):
        call(pipe, steps=10)
    pipe.transformer.disable_cache()
    with skip_steps(pipe, Apart()):
        call(pipe, prompts=2, steps=10)


def test_a_cache_put_on_from_outside_is_seen():
    pipe = tiny.wan()
    diffusers.hooks.apply_first_block_cache(pipe.transformer, diffusers.FirstBlockCacheConfig(threshold=0.2))
    with pytest.raises(ConfigError, match="keeps one state"), skip_steps(pipe):
        call(pipe, prompts=2, steps=10)


def test_guidance_tolerance_that_has_no_effect_is_reported():
    pipe = tiny.wan()
    with skip_steps(pipe, guidance_tolerance=0.1) as trace:
        call(pipe, steps=6)
    assert "guidance_tolerance" in trace.not_used[0]
    assert "guidance_tolerance" in trace.summary()
    pipe = tiny.ltx()
    with skip_steps(pipe, guidance_tolerance=0.1) as trace:
        call(pipe, steps=6)
    assert trace.not_used == []


def test_compiling_in_place_makes_no_new_graph_for_each_block():
    graphs = []

    def backend(module, inputs):
        graphs.append(module)
        return module.forward

    pipe = tiny.ltx()
    torch._dynamo.reset()
    pipe.transformer.compile(backend=backend)
    call(pipe, steps=4)
    outside = len(graphs)
    for _ in range(3):
        with skip_steps(pipe, "every-n", every=2):
            call(pipe, steps=4)
    assert outside >= 1
    inside = len(graphs)
    assert inside <= 2 * outside
    for _ in range(3):
        with skip_steps(pipe, "every-n", every=2):
            call(pipe, steps=4)
    assert len(graphs) == inside


def test_the_network_is_looked_through_once_however_many_steps_are_cut():
    """The walk takes milliseconds: at each cut call it was 2 % of the time of a batch."""
    walked = []
    for steps in (10, 20):
        pipe, walks = tiny.wan(), []
        walk = pipe.transformer.modules
        pipe.transformer.modules = lambda walk=walk, walks=walks: walks.append(1) or walk()
        with skip_steps(pipe, Apart()) as trace:
            call(pipe, prompts=2, steps=steps)
        assert sum(a != b for a, b in zip(*trace.computed, strict=True)) > steps // 2
        walked.append(len(walks))
    assert walked[0] == walked[1] > 0
