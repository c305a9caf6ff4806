"""The step-level baselines: each against its formula or another's code, on closed forms and on tiny-t2v."""

from __future__ import annotations

import diffusers
import numpy as np
import pytest
import torch
from conftest import PROMPTS
from torch import Tensor

import videoada
from videoada import SkipConfig
from videoada.benchmarks.baselines.baseline import BASELINES, KNOBS, TITLES, skipping_by
from videoada.benchmarks.baselines.caches import EasyCache, TeaCache
from videoada.benchmarks.baselines.meancache import SCHEDULES, MeanCache, average_velocity
from videoada.benchmarks.baselines.seacache import SeaCache, wiener_filter
from videoada.benchmarks.baselines.spectrum import both_sides, line_weights, planned, ridge_weights
from videoada.benchmarks.baselines.taylorseer import TaylorSeer, factors_of
from videoada.benchmarks.closed_form import ClosedForm, Mixture, seeded, size
from videoada.benchmarks.methods import Method, generate_with, why_not
from videoada.benchmarks.presets import preset
from videoada.config.run import POLICIES
from videoada.errors import ConfigError
from videoada.skipping.rules.decision import SkipState
from videoada.skipping.rules.level import Level
from videoada.skipping.rules.prediction import Prediction

MIDDLE = Level(0.6, 0.8)


def prediction(step: int, output: Tensor, latents: Tensor, level: Level = MIDDLE) -> Prediction:
    """An ε-prediction."""
    return Prediction(step, level, output, (latents - level.sigma * output) / level.alpha, output)


def state(step: int, latents: list[Tensor], past: list[Prediction], run: int = 0, num_steps: int = 50) -> SkipState:
    levels = (MIDDLE,) * len(latents)
    return SkipState(step, num_steps, 1, tuple(x[None] for x in latents), (run,), levels, (tuple(past),))


def test_easycache_adds_up_what_its_rate_says_and_keeps_the_difference_to_the_latents():
    b = prediction(8, torch.tensor([1.0, -1.0]), torch.tensor([2.0, 2.0]))
    c = prediction(9, torch.tensor([1.5, -1.5]), torch.tensor([2.0, 3.0]))
    rate = 0.5 / 0.5  # mean|Δv| ÷ mean|Δx|
    step = rate * 0.3 / 1.5  # · mean|x − x before| ÷ mean|v|
    x = [torch.tensor([2.0, 3.0]), torch.tensor([2.3, 3.3]), torch.tensor([2.6, 3.6]), torch.tensor([2.9, 3.9])]
    rule = EasyCache(0.45)
    found = [rule.decide(state(10 + i, x[i : i + 2], [b, c], run=i)) for i in range(3)]
    assert [d.compute for d in found] == [(False,), (False,), (True,)]
    assert [d.signal[0] for d in found] == pytest.approx([step, 2 * step, 3 * step], rel=1e-5)
    assert rule.decide(state(13, x[2:], [b, c])).signal == pytest.approx((step,), rel=1e-5)  # begins again after a call
    assert rule.decide(state(6, x[:2], [b, c])).compute == (True,)  # one of the first seven
    assert rule.decide(state(49, x[:2], [b, c])).compute == (True,)
    expected = torch.tensor([5.0, 5.0]) + torch.tensor([1.5 - 2.0, -1.5 - 3.0])
    assert torch.allclose(rule.approximate([b, c], torch.tensor([5.0, 5.0]), MIDDLE, "epsilon"), expected)


def test_teacache_adds_up_relative_changes_of_the_latents_and_holds_the_output():
    x = [torch.tensor([1.0, -3.0]), torch.tensor([1.5, -3.5]), torch.tensor([1.0, -3.0])]
    c = prediction(3, torch.tensor([0.1, 0.2]), x[0])
    rule = TeaCache(0.4)
    assert rule.decide(state(4, x[:2], [c])).signal == pytest.approx((0.25,))
    after = rule.decide(state(5, x[1:], [c], run=1))
    assert after.signal == pytest.approx((0.25 + 0.2,))
    assert after.compute == (True,)
    assert (rule.approximate([c], x[2], MIDDLE, "epsilon") == c.output).all()


def test_a_distance_that_is_no_number_computes():
    nothing = torch.zeros(2)
    assert TeaCache(1e9).decide(state(4, [nothing, nothing], [prediction(3, nothing, nothing)])).compute == (True,)


def test_seacaches_filter_is_that_of_diffusers():
    reference = pytest.importorskip("diffusers.hooks.sea_cache", reason="a later diffusers than the lowest")
    latents = torch.randn(4, 5, 6, 8, generator=seeded(0))  # C, F, h, w
    for sigma in (0.9, 0.5, 0.1):
        theirs = reference._apply_sea_filter(latents.movedim(0, -1), sigma, 3.0).movedim(-1, 0)
        ours = wiener_filter(latents, Level(1 - sigma, sigma), (1, 2, 3))
        assert torch.allclose(ours, theirs, atol=1e-4 * float(theirs.abs().max()))


@pytest.mark.parametrize("shape", [(2, 3, 4, 6, 6), (8, 3, 6, 6)])  # of two prompts: B C F h w, and B·F C h w
def test_seacache_filters_frames_and_pixels_of_each_prompt(shape):
    rule, videos = SeaCache(0.1), torch.randn(2, 3, 4, 6, 6, generator=seeded(1))
    rule.shape = torch.Size(shape)
    flat = (videos if len(shape) == 5 else videos.transpose(1, 2)).reshape(2, -1)
    expected = torch.stack([wiener_filter(one, MIDDLE, (1, 2, 3)) for one in videos])
    found = rule.filtered(flat, MIDDLE)
    assert torch.allclose(found if len(shape) == 5 else found.transpose(1, 2), expected, atol=1e-5)


def test_seacache_reuses_twice_at_most_and_goes_on_along_the_line():
    rule = SeaCache(1e9)
    rule.shape = torch.Size((1, 2))
    x = torch.tensor([1.0, 2.0])
    b, c = prediction(5, torch.tensor([1.0, 1.0]), x), prediction(7, torch.tensor([2.0, 0.0]), x)
    assert [rule.decide(state(8 + i, [x, x], [b, c], run=i)).compute[0] for i in range(3)] == [False, False, True]
    rule.state = state(9, [x, x], [b, c], run=1)
    assert torch.allclose(rule.approximate([b, c], x, MIDDLE, "epsilon"), torch.tensor([3.0, -1.0]))
    assert torch.allclose(rule.approximate([c], x, MIDDLE, "epsilon"), c.output)


@pytest.mark.parametrize("order", [1, 2])
def test_taylorseer_is_the_series_of_diffusers(order):
    hooks = pytest.importorskip("diffusers.hooks.taylorseer_cache", reason="a later diffusers than the lowest")
    theirs = hooks.TaylorSeerState(taylor_factors_dtype=torch.float32, max_order=order)
    past = []
    for step, output in zip((0, 1, 2, 5), torch.randn(4, 7, generator=seeded(2)), strict=True):
        theirs.current_step = step
        theirs.update((output,))
        past.append(prediction(step, output, output))
    theirs.current_step = 7
    rule = TaylorSeer(3, order)
    rule.state = state(7, [], past)
    found = rule.approximate(past, past[0].output, MIDDLE, "epsilon")
    assert torch.allclose(found, theirs.predict()[0], atol=1e-5)
    assert len(factors_of(past[-2:])) == 2
    if order == 1:
        b, c = (p.output for p in past[-2:])
        assert torch.allclose(found, c + (c - b) * 2 / 3, atol=1e-5)


def test_taylorseer_computes_the_first_three_and_every_nth():
    rule = TaylorSeer(3)
    assert [i for i in range(12) if rule.decide(state(i, [], [])).compute[0]] == [0, 1, 2, 5, 8, 11]


def test_spectrum_widens_its_gaps_and_fits_chebyshev_polynomials_with_a_ridge():
    computed = [i for i, called in enumerate(planned(50, 0.75)) if called]
    assert computed[:9] == [0, 1, 2, 3, 4, 6, 8, 11, 15]  # windows 2, 2.75, 3.5, 4.25, …
    assert computed[-1] == 49
    steps, at = [0, 1, 2, 3, 4, 6, 8], 10
    values = np.random.default_rng(0).normal(size=(len(steps), 3))

    def basis(step):
        tau = 2 * step / 50 - 1
        return np.cos(np.arange(5) * np.arccos(tau))  # T_m(cos θ) = cos mθ

    design = np.stack([basis(step) for step in steps])
    augmented = np.concatenate([design, np.sqrt(0.1) * np.eye(5)])  # the ridge as five more rows of least squares
    coefficients = np.linalg.lstsq(augmented, np.concatenate([values, np.zeros((5, 3))]), rcond=None)[0]
    assert np.allclose(ridge_weights(steps, at, 50) @ values, basis(at) @ coefficients)


def test_lines_go_through_the_two_calls_next_to_a_step():
    assert line_weights([0, 2, 6], 3).tolist() == pytest.approx([0, 0.75, 0.25])
    assert line_weights([0, 2, 6], 8).tolist() == pytest.approx([0, -0.5, 1.5])
    assert line_weights([4], 8).tolist() == [1.0]


@pytest.mark.parametrize("scheduler", ["ddim", "flow-3", "unipc-flow-3"])
def test_a_replayed_run_is_that_of_the_scheduler_with_outputs_of_both_sides(scheduler):
    pipe, outputs = ClosedForm(scheduler, Mixture(0)), {}
    network = pipe.transformer.forward

    def forward(sample):
        outputs[pipe.step] = network(sample)
        return outputs[pipe.step]

    pipe.transformer.forward = forward
    with skipping_by(pipe, "spectrum-replay", 0.5) as trace:
        found = pipe(30, seed=3, batch=2)
        assert (pipe(30, seed=3, batch=2) == found).all()  # and so is the second run
    calls = [step for step, called in enumerate(trace.computed[0]) if called]
    assert sorted(outputs) == calls
    assert calls == [i for i, called in enumerate(planned(30, 0.5)) if called]
    again = ClosedForm(scheduler, Mixture(0))
    again.scheduler.set_timesteps(30)
    x = torch.randn(2, 256, generator=seeded(3)) * pipe.schedule.scales[0]
    for step, t in enumerate(again.scheduler.timesteps):
        output = outputs.get(step)
        if output is None:
            output = torch.stack(
                [both_sides(calls, [outputs[c][prompt] for c in calls], step, 30) for prompt in range(2)]
            )
        x = again.take(output, t, x)
    assert size(found - x) < 1e-5
    with skipping_by(pipe, "spectrum", 0.5):
        assert size(pipe(30, seed=3, batch=2) - found) > 1e-3


def test_meancaches_average_velocity():
    """Of a velocity that changes evenly with time, by hand; K = 1 holds."""
    v0, v1 = torch.tensor([1.0]), torch.tensor([2.0])
    points = [torch.tensor([0.0]), torch.tensor([0.1 * 1.0 + 0.1 * 2.0])]  # two Euler steps of 0.1
    assert average_velocity(v0, v1, points, [0.0, 0.2, 0.3]).item() == pytest.approx(2.25)
    assert average_velocity(v1, v1, [points[1] - 0.1 * v1, points[1]], [0.1, 0.2, 0.3]).item() == pytest.approx(2.0)


def test_meancaches_schedules():
    for calls, (computed, looks_back) in SCHEDULES.items():
        assert (len(computed), computed[0], computed[-1]) == (calls, 0, 49)
        gaps = [b - a for a, b in zip(computed, computed[1:], strict=False)]
        assert [back > 0 for back in looks_back] == [gap > 1 for gap in gaps]
        assert max(looks_back) < MeanCache.num_latents
        assert MeanCache(calls).stretched(50) == list(computed)
    assert MeanCache(13).stretched(25)[-1] == 24


@pytest.mark.parametrize("scheduler", ["ddim", "dpm++", "euler", "flow-3", "unipc-flow-3"])
@pytest.mark.parametrize("name", BASELINES)
def test_each_on_a_closed_form(name, scheduler):
    pipe = ClosedForm(scheduler, Mixture(0))
    full = pipe(50, seed=1, batch=2)
    most, least = (f(KNOBS[name][1]) for f in (max, min))
    counts = []
    for knob in (most, least):
        with skipping_by(pipe, name, knob) as trace:
            found = pipe(50, seed=1, batch=2)
        assert found.isfinite().all()
        assert 0 < size(found - full) < 0.6
        counts.append(max(trace.num_predictions))
        assert all(own[0] for own in trace.computed)
        assert trace.summary()
    assert counts[0] != counts[1]
    assert min(counts) < 30
    with skipping_by(pipe, name, most) as trace:  # a prompt decides in a batch as it does alone
        pipe(50, seed=1, batch=2)
        both = trace.computed[0]
        pipe(50, seed=1, batch=1)
        assert len(trace.computed) == 1
        if name in ("taylorseer", "spectrum", "meancache"):
            assert trace.computed[0] == both


@pytest.mark.parametrize(("name", "knob"), [("easycache", 0), ("teacache", 0), ("seacache", 0), ("taylorseer", 1),
                                            ("taylorseer-2", 1)])  # fmt: skip
def test_where_nothing_is_skipped_it_is_the_full_run(name, knob):
    pipe = ClosedForm("ddim", Mixture(0))
    full = pipe(20, seed=2, batch=2)
    with skipping_by(pipe, name, knob) as trace:
        assert (pipe(20, seed=2, batch=2) == full).all()
    assert trace.num_predictions == [20, 20]


def test_the_preset_sweeps_each_and_none_is_a_policy():
    methods = preset("baselines")
    assert {m.family for m in methods} == {"full run", "videoada", "budget", *TITLES.values()}
    assert set(BASELINES) == set(KNOBS) == set(TITLES)
    for name in BASELINES:
        assert 4 <= sum(m.baseline == name for m in methods) <= 6
    assert not set(BASELINES) & set(POLICIES)
    with pytest.raises(ConfigError, match="unknown baseline 'easy'"):
        Method(family="x", knob="", baseline="easy")


SMALL = {"num_inference_steps": 12, "num_frames": 2}


@pytest.mark.parametrize("name", ["easycache", "seacache", "spectrum-replay"])
def test_on_tiny_t2v(pipe, name):
    requests = [videoada.GenerationConfig(prompt=p, seed=i, **SMALL) for i, p in enumerate(PROMPTS[:2])]
    method = Method(family=name, knob="", baseline=name, baseline_knob=0.3)
    assert why_not(pipe, method) is None
    kinds = type(pipe.unet), type(pipe.scheduler)
    together = generate_with(pipe, method, requests, batch_size=2)
    [alone] = generate_with(pipe, method, requests[:1])
    [(plain, _)] = videoada.generate(pipe, requests[:1], skip=SkipConfig(policy="none"))
    assert alone.computed == together[0].computed
    same = videoada.metrics.paired_fidelity(alone.video.frames, together[0].video.frames).psnr
    assert same is None or same > 60
    for generated in together:
        assert generated.predictions == sum(generated.computed) < 12
        assert generated.rows == 2 * generated.predictions == generated.macs_in_rows
    assert 10 < videoada.metrics.paired_fidelity(alone.video.frames, plain.frames).psnr < 60
    assert kinds == (type(pipe.unet), type(pipe.scheduler))
    with pytest.raises(RuntimeError), skipping_by(pipe, name, 0.3):
        raise RuntimeError
    assert kinds == (type(pipe.unet), type(pipe.scheduler))


def test_a_scheduler_that_skipping_does_not_know_is_refused_before_anything_runs(pipe, monkeypatch):
    monkeypatch.setattr(pipe, "scheduler", diffusers.PNDMScheduler())
    error = why_not(pipe, Method(family="EasyCache", knob="", baseline="easycache", baseline_knob=0.1))
    assert error is not None
    assert "PNDM" in str(error)
