"""The baselines: DeepCache against its own package, the adaptive solver against closed forms, fewer steps."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from conftest import PROMPTS, draw

import videoada
from videoada import SkipConfig
from videoada.benchmarks.baselines.deepcache import cached_blocks
from videoada.benchmarks.baselines.dpm_adaptive import level_at, solve, solved_adaptively
from videoada.benchmarks.methods import Method, generate_with, spaced
from videoada.errors import ConfigError
from videoada.models.schedulers import scheduler_of

SMALL = {"num_inference_steps": 10, "num_frames": 2}


def test_deepcache_at_every_call_is_plain(pipe):
    plain = draw(pipe, steps=6, num_frames=2)
    with cached_blocks(pipe.unet, 1):
        assert (draw(pipe, steps=6, num_frames=2) == plain).all()
    assert "forward" not in vars(pipe.unet)
    assert (draw(pipe, steps=6, num_frames=2) == plain).all()


@pytest.mark.parametrize("interval", [2, 3, 5])
def test_deepcache_is_the_packages(pipe, interval):
    package = pytest.importorskip("DeepCache", reason="the DeepCache package is a development dependency")
    helper = package.DeepCacheSDHelper(pipe=pipe)
    helper.set_params(cache_interval=interval, cache_branch_id=0)
    helper.enable()
    try:
        theirs = draw(pipe, steps=9, num_frames=4)
    finally:
        helper.disable()
        for module in pipe.unet.modules():
            vars(module).pop("forward", None)
    with cached_blocks(pipe.unet, interval) as cache:
        ours = draw(pipe, steps=9, num_frames=4)
        again = draw(pipe, steps=9, num_frames=4)  # a second run begins with a full call
    assert np.abs(ours - theirs).max() < 1e-5
    assert (again == ours).all()
    assert 0.01 < cache.shallow_share < 0.5
    plain = draw(pipe, steps=9, num_frames=4)
    assert np.abs(ours - plain).max() > 1e-3


def test_deepcache_begins_anew_with_each_run_also_of_one_step(pipe):
    first, second = (draw(pipe, p, steps=1, num_frames=2) for p in PROMPTS[:2])
    with cached_blocks(pipe.unet, 3):
        assert (draw(pipe, PROMPTS[0], steps=1, num_frames=2) == first).all()
        assert (draw(pipe, PROMPTS[1], steps=1, num_frames=2) == second).all()


def test_deepcache_counts_multiplications(pipe):
    request = videoada.GenerationConfig(prompt=PROMPTS[0], **SMALL)
    [generated] = generate_with(pipe, Method(family="DeepCache", knob="2", cache_interval=2), [request])
    assert generated.rows == 20
    assert 10 < generated.macs_in_rows < 15  # five full calls of ten, and what the shallow ones cost


def test_deepcache_needs_blocks_and_an_interval(pipe):
    with pytest.raises(ConfigError, match="at least 1"), cached_blocks(pipe.unet, 0):
        pass
    with pytest.raises(ConfigError, match="no down and up blocks"), cached_blocks(torch.nn.Linear(1, 1), 2):
        pass


# ---- the adaptive solver ----

DATA = 0.5  # standard deviation of a Gaussian "data set", whose ε is known


def gaussian_noise(calls):
    def noise(x, log_snr):
        calls.append(log_snr)
        level = level_at(log_snr)
        return level.sigma * x / (level.alpha**2 * DATA**2 + level.sigma**2)

    return noise


def exact(x, start, end):
    def spread(z):
        level = level_at(z)
        return math.sqrt(level.alpha**2 * DATA**2 + level.sigma**2)

    return x * spread(end) / spread(start)


def test_the_solver_comes_to_the_closed_form_with_more_calls():
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)
    errors, counts = [], []
    for rtol in (0.05, 0.005, 0.0005):
        calls = []
        solved = solve(gaussian_noise(calls), x, -3.0, 3.0, rtol, atol=rtol / 6)
        errors.append((solved - exact(x, -3.0, 3.0)).abs().max().item())
        counts.append(len(calls))
        assert min(calls) == -3.0
        assert max(calls) < 3.0
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-3
    assert counts[0] < counts[1] < counts[2]


def test_its_steps_have_the_orders_they_claim():
    from videoada.benchmarks.baselines.dpm_adaptive import _both_orders

    x, at = torch.ones(1, dtype=torch.float64), gaussian_noise([])
    found = []
    for h in (0.4, 0.2):
        lower, higher = _both_orders(at, x, -0.5, h, at(x, -0.5))
        found.append([abs((v - exact(x, -0.5, -0.5 + h)).item()) for v in (lower, higher)])
    assert math.log2(found[0][0] / found[1][0]) > 2.7  # local error of order 3
    assert math.log2(found[0][1] / found[1][1]) > 3.7


@pytest.mark.slow
@pytest.mark.parametrize("model", ["tiny-t2v", "tiny-i2v"])
def test_the_solver_draws_what_the_full_run_draws(model):
    pipe = videoada.load_pipeline(model, device="cpu")
    image = "samples/images/02.png" if model == "tiny-i2v" else None
    request = videoada.GenerationConfig(
        prompt="a white square moving left on a gray background", image=image, num_frames=2
    )
    kinds = type(pipe.unet), type(pipe.scheduler)
    [full] = generate_with(pipe, Method(family="full run", knob=""), [request])
    found = [
        generate_with(pipe, Method(family="adaptive", knob="", solver_tolerance=t), [request])[0] for t in (2.5, 0.8)
    ]
    psnr = [videoada.metrics.paired_fidelity(f.video.frames, full.video.frames).psnr for f in found]
    assert found[0].rows < found[1].rows
    assert min(psnr) > 15
    assert found[0].rows == 2 * found[0].predictions
    assert kinds == (type(pipe.unet), type(pipe.scheduler))


def test_the_solver_counts_rows_without_guidance(pipe):
    with solved_adaptively(pipe, 0.8) as calls:
        draw(pipe, steps=1, num_frames=2, guidance_scale=1.0)
    assert calls.rows == calls.calls > 6


def test_spacings_change_the_timesteps(pipe):
    found = {}
    for spacing in ("leading", "trailing", "karras"):
        with spaced(pipe, "dpm++", spacing), scheduler_of(pipe, "dpm++") as scheduler:
            scheduler.set_timesteps(10)
            found[spacing] = scheduler.timesteps.tolist()
    assert found["leading"][0] == 901
    assert found["trailing"][0] == 999
    assert len({tuple(steps) for steps in found.values()}) == 3


def test_fewer_steps_are_counted_as_fewer_rows(pipe):
    request = videoada.GenerationConfig(prompt=PROMPTS[0], **SMALL)
    method = Method(family="ddim", knob="5 leading", num_inference_steps=5, timestep_spacing="leading")
    [generated] = generate_with(pipe, method, [request])
    [plain] = videoada.generate(pipe, prompt=PROMPTS[0], skip=SkipConfig(policy="none"), num_frames=2,
                                num_inference_steps=5)  # fmt: skip
    assert (generated.rows, generated.predictions) == (10, 5)
    assert (generated.video.frames == plain[0].frames).all()
