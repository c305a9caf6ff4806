"""apply_skipping on modules without a pipeline: an embedded UNet, a small Wan, and modules whose output is known."""

from __future__ import annotations

import gc
import weakref
from dataclasses import dataclass

import diffusers
import numpy as np
import pytest
import tiny_pipelines as tiny
import torch
from conftest import draw
from counting import uint8
from diffusers.hooks import HookRegistry, ModelHook

import videoada
from videoada.errors import ConfigError, ModelError
from videoada.metrics import paired_fidelity

STEPS = [900.0, 800.0, 700.0, 600.0, 500.0, 400.0, 300.0, 200.0, 100.0, 0.0]


@dataclass
class Output:
    sample: torch.Tensor


class Polynomial(torch.nn.Module, diffusers.models.cache_utils.CacheMixin):
    """Row i of the output is (i + 1)·Σ_k c_k·(t/1000)^k; counts its calls."""

    def __init__(self, *coefficients):
        super().__init__()
        self.coefficients, self.calls, self.fail = coefficients, 0, None

    def forward(self, sample, timestep, return_dict=True):
        self.calls += 1
        if self.fail:
            raise self.fail
        t = float(torch.as_tensor(timestep).max()) / 1000
        value = sum(c * t**k for k, c in enumerate(self.coefficients))
        rows = torch.arange(1.0, len(sample) + 1).reshape(-1, *[1] * (sample.ndim - 1))
        out = rows * value * torch.ones_like(sample)
        return Output(out) if return_dict else (out,)


class Adding(ModelHook):
    """A hook of somebody else's: counts what goes in and adds 1 to what comes out."""

    def __init__(self):
        super().__init__()
        self.seen = 0

    def pre_forward(self, module, *args, **kwargs):
        self.seen += 1
        return args, kwargs

    def post_forward(self, module, output):
        return (output[0] + 1,)


def run(module, timesteps=STEPS, rows=2, **values):
    sample = torch.ones(rows, 3, 4)
    return [module(sample, torch.tensor(t), return_dict=False, **values)[0] for t in timesteps]


def true_outputs(*coefficients, rows=2):
    return run(Polynomial(*coefficients), rows=rows)


def unet(pipe):
    return pipe.unet, lambda: torch.from_numpy(draw(pipe, steps=10, num_frames=2))


def wan(pipe):
    made = tiny.wan()
    return made.transformer, lambda: tiny.call(made, steps=10)


@pytest.fixture(params=[unet, wan])
def case(request, pipe):
    network, call = request.param(pipe)
    yield network, call
    videoada.remove_skipping(network)


# ---- in pipelines ----


def test_applied_it_skips_each_time_alike_and_removed_it_is_plain(case):
    network, call = case
    plain, kind, attributes = call(), type(network), set(vars(network))
    trace = videoada.apply_skipping(network, policy="every-n")
    for _ in range(3):
        frames = call()
        assert all(steps == [True, False] * 5 for steps in trace.computed.values())
        assert trace.rows * 2 == trace.rows_full == 20
        assert not torch.equal(frames, plain)
        assert frames.isfinite().all()
    assert torch.equal(call(), frames)
    assert "5 of 10 steps computed (50 % skipped)" in videoada.summary(network)
    videoada.remove_skipping(network)
    assert torch.equal(call(), plain)
    assert type(network) is kind
    assert set(vars(network)) - attributes <= {"_diffusers_hook"}
    videoada.remove_skipping(network)
    with pytest.raises(ConfigError, match="apply_skipping"):
        videoada.summary(network)


@pytest.mark.parametrize("fields", [{"policy": "none"}, {"tolerance": 0}, {"every": 1}, {"mask": (True,) * 10}])
def test_skipping_nothing_is_plain_bit_for_bit(case, fields):
    network, call = case
    plain = call()
    trace = videoada.apply_skipping(network, **fields)
    assert torch.equal(call(), plain)
    assert trace.rows == trace.rows_full == 20
    assert all(steps == [True] * 10 for steps in trace.computed.values())


def test_a_smaller_tolerance_computes_more_and_comes_closer(pipe):
    full = draw(pipe, steps=25, num_frames=2)
    rows, psnr = [], []
    try:
        for tolerance in (0.2, 0.05, 0.01):
            trace = videoada.apply_skipping(pipe.unet, tolerance=tolerance, num_inference_steps=25)
            frames = draw(pipe, steps=25, num_frames=2)
            rows.append(trace.rows)
            psnr.append(paired_fidelity(uint8(full[0]), uint8(frames[0])).psnr)
    finally:
        videoada.remove_skipping(pipe.unet)
    assert rows == sorted(rows)
    assert rows[0] < 25 < rows[-1] < 50
    assert psnr == sorted(psnr)
    assert psnr[1] > 35


def test_after_an_exception_in_a_call_it_is_on_and_usable(case):
    network, call = case
    trace = videoada.apply_skipping(network, every=2)
    frames = call()
    seen = iter(range(100))

    def broken(*_):
        if next(seen) == 5:
            raise KeyboardInterrupt

    handle = network.register_forward_pre_hook(broken)
    with pytest.raises(KeyboardInterrupt):
        call()
    handle.remove()
    assert torch.equal(call(), frames)
    assert trace.rows == 10


def test_a_pipelines_two_contexts_are_told_apart():
    pipe = tiny.wan()
    trace = videoada.apply_skipping(pipe.transformer, tolerance=1e6)
    tiny.call(pipe, steps=10)
    assert set(trace.computed) == {"cond", "uncond"}
    expected = [True] * 3 + [False] * 6 + [True]  # the context says how many steps there are
    assert trace.computed["cond"] == trace.computed["uncond"] == expected
    assert not any("final_steps" in text for text in trace.not_used)
    tiny.call(pipe, steps=10, guidance_scale=1.0)
    assert set(trace.computed) == {"cond"}


# ---- with others on the same module ----


def test_with_a_hook_of_ones_own_before_and_after_it(case):
    network, call = case
    registry = HookRegistry.check_if_exists_or_initialize(network)
    try:
        inner, outer = Adding(), Adding()
        registry.register_hook(inner, "inner")
        trace = videoada.apply_skipping(network, every=2)
        registry.register_hook(outer, "outer")
        call()
        assert (inner.seen, outer.seen) == (sum(trace.num_predictions.values()), 2 * inner.seen)
        videoada.remove_skipping(network)
        inner.seen = outer.seen = 0
        call()
        assert inner.seen == outer.seen
        assert inner.seen > 0
    finally:
        for name in ("outer", "inner"):
            registry.remove_hook(name, recurse=False)
        vars(network).pop("forward", None)


def test_it_can_be_removed_by_its_name(case):
    network, call = case
    plain = call()
    videoada.apply_skipping(network, every=2)
    HookRegistry.check_if_exists_or_initialize(network).remove_hook("videoada_skipping")
    assert torch.equal(call(), plain)


def test_with_first_block_cache_both_work_and_leave_nothing_behind():
    pipe = tiny.wan()
    plain = tiny.call(pipe, steps=10)
    trace = videoada.apply_skipping(pipe.transformer, every=2)
    half = tiny.call(pipe, steps=10)
    pipe.transformer.enable_cache(diffusers.FirstBlockCacheConfig(threshold=1e-9))
    assert torch.equal(tiny.call(pipe, steps=10), half)
    assert trace.num_predictions == {"cond": 5, "uncond": 5}
    pipe.transformer.disable_cache()
    videoada.remove_skipping(pipe.transformer)
    assert torch.equal(tiny.call(pipe, steps=10), plain)


@pytest.mark.parametrize("first", [True, False])
def test_with_layerwise_casting_and_group_offloading(first):
    def made(skipping):
        pipe = tiny.wan()
        network = pipe.transformer
        if skipping and first:
            videoada.apply_skipping(network, every=2)
        network.enable_layerwise_casting(storage_dtype=torch.bfloat16, compute_dtype=torch.float32)
        network.enable_group_offload(torch.device("cpu"), torch.device("cpu"), offload_type="leaf_level")
        if skipping and not first:
            videoada.apply_skipping(network, every=2)
        return pipe

    pipe = made(True)
    frames = tiny.call(pipe, steps=10)
    assert "5 of 10" in videoada.summary(pipe.transformer)
    assert torch.equal(tiny.call(pipe, steps=10), frames)
    videoada.remove_skipping(pipe.transformer)
    assert torch.equal(tiny.call(pipe, steps=10), tiny.call(made(False), steps=10))


def test_not_together_with_skipping_of_the_pipeline(pipe):
    videoada.apply_skipping(pipe.unet, every=2)
    try:
        with pytest.raises(ConfigError, match="`remove_skipping` it first"), videoada.skip_steps(pipe):
            pass
        with pytest.raises(ConfigError, match="`remove_skipping` it first"):
            videoada.enable(pipe)
    finally:
        videoada.remove_skipping(pipe.unet)
    with videoada.skip_steps(pipe), pytest.raises(ConfigError, match="in a skip_steps block"):
        videoada.apply_skipping(pipe.unet, every=2)
    videoada.enable(pipe)
    with pytest.raises(ConfigError, match="`disable` it"):
        videoada.apply_skipping(pipe.unet, every=2)
    videoada.disable(pipe)


# ---- modules whose output is arithmetic ----


def test_what_is_linear_in_the_timestep_is_extrapolated_exactly():
    module = Polynomial(1.0, 3.0)
    trace = videoada.apply_skipping(module, tolerance=1e-3, num_inference_steps=10)
    for out, true in zip(run(module), true_outputs(1.0, 3.0), strict=True):
        torch.testing.assert_close(out, true, rtol=1e-4, atol=1e-5)
    assert trace.computed == {"": [True] * 3 + [False] * 6 + [True]}
    assert module.calls == 4
    assert trace.rows == 8


def test_a_held_output_is_the_last_one_and_the_estimate_is_the_change():
    """1 + 3t falls by 0.3 each step: at t = 0.6, after 0.7, that is 0.3 of 3.1."""
    module = Polynomial(1.0, 3.0)
    trace = videoada.apply_skipping(module, predictor="hold-output", tolerance=0.1, max_skip_steps=1, warmup_steps=3)
    outs = run(module, STEPS[:5])
    assert trace.computed[""] == [True, True, True, False, True]
    assert trace.signal[""][3] == pytest.approx(0.3 / 3.1)
    assert torch.equal(outs[3], outs[2])


def test_the_estimate_of_a_line_is_the_parabolas_term():
    """t²: its second divided difference is 1, so at t = 0.6 after 0.8 and 0.7 the term is 0.2·0.1, of 0.49."""
    module = Polynomial(0.0, 0.0, 1.0)
    trace = videoada.apply_skipping(module, tolerance=1e-9)
    run(module, STEPS[:4])
    assert trace.signal[""][3] == pytest.approx(0.02 / 0.49, rel=1e-4)
    assert trace.computed[""] == [True] * 4


def test_the_worst_row_decides_or_their_mean():
    class Bent(Polynomial):
        """The first row is 1, the second is t²: its term at t = 0.6 is 0.02 of 0.49."""

        def forward(self, sample, timestep, return_dict=True):
            self.calls += 1
            t = float(timestep) / 1000
            return (torch.stack([torch.ones_like(sample[0]), t * t * torch.ones_like(sample[0])]),)

    worst, mean = Bent(), Bent()
    term = 0.02 / 0.49
    traces = [
        videoada.apply_skipping(worst, tolerance=0.75 * term),
        videoada.apply_skipping(mean, tolerance=0.75 * term, batch_decision="mean"),
    ]
    for module in (worst, mean):
        run(module, STEPS[:4])
    assert [t.computed[""][3] for t in traces] == [True, False]
    assert [t.signal[""][3] for t in traces] == [pytest.approx(term, rel=1e-4), pytest.approx(term / 2, rel=1e-4)]


def test_an_output_that_is_not_a_number_is_computed_again():
    module = Polynomial(float("nan"))
    trace = videoada.apply_skipping(module, tolerance=1e6)
    run(module)
    assert trace.computed[""] == [True] * 10


@pytest.mark.parametrize("back", [lambda m: None, lambda m: m._reset_stateful_cache()])
def test_histories_begin_again_with_a_run(back):
    module = Polynomial(0.0, 0.0, 1.0)
    trace = videoada.apply_skipping(module, tolerance=1e6)
    first = run(module)
    computed = trace.computed
    back(module)
    assert trace.computed == computed  # until the next run begins
    for out, again in zip(first, run(module), strict=True):
        assert torch.equal(out, again)
    assert trace.computed == computed == {"": [True] * 3 + [False] * 7}
    back(module)
    run(module, STEPS[5:])  # it begins in the middle
    assert trace.computed == {"": [True] * 3 + [False] * 2}


def test_rising_timesteps_are_a_run_too():
    module = Polynomial(1.0, 3.0)
    trace = videoada.apply_skipping(module, every=2)
    for _ in range(2):
        run(module, STEPS[::-1])
        assert trace.computed == {"": [True, False] * 5}


def test_the_registry_resets_it():
    module = Polynomial(1.0, 1.0)
    trace = videoada.apply_skipping(module, every=2)
    run(module, STEPS[:1])
    HookRegistry.check_if_exists_or_initialize(module).reset_stateful_hooks()
    out = run(module, STEPS[1:3])
    assert trace.computed == {"": [True, False]}
    assert torch.equal(out[1], out[0])


def test_each_context_has_its_own_state():
    module = Polynomial(1.0, 1.0)
    trace = videoada.apply_skipping(module, every=2)
    sample = torch.ones(1, 2)
    outs = {"cond": [], "uncond": []}
    for t in STEPS[:4]:
        for name, sign in (("cond", 1.0), ("uncond", -1.0)):
            module.coefficients = (sign, sign)
            with module.cache_context(name):
                outs[name].append(module(sample, torch.tensor(t), return_dict=False)[0])
    assert trace.computed == {"cond": [True, False] * 2, "uncond": [True, False] * 2}
    for cond, uncond in zip(outs["cond"], outs["uncond"], strict=True):
        assert torch.equal(cond, -uncond)
    with module.cache_context("cond"):  # a new run, of one context alone
        module(sample, torch.tensor(900.0))
    assert trace.computed == {"cond": [True]}


def test_two_calls_of_a_step_without_a_context_are_told_apart_by_their_order():
    module = Polynomial(1.0, 1.0)
    trace = videoada.apply_skipping(module, every=2)
    outs = []
    for t in STEPS[:4]:
        for sign in (1.0, -1.0):
            module.coefficients = (sign, sign)
            outs.append(module(torch.ones(1, 2), torch.tensor(t), return_dict=False)[0])
    for cond, uncond in zip(outs[::2], outs[1::2], strict=True):
        assert torch.equal(cond, -uncond)
    assert module.calls == 4
    assert trace.computed == {"": [True, False] * 2}


def test_outputs_come_in_the_form_that_the_module_gives_them():
    module = Polynomial(1.0, 1.0)
    videoada.apply_skipping(module, every=2)
    sample = torch.ones(2, 3)
    first, second = (module(sample, torch.tensor(t)) for t in STEPS[:2])
    assert isinstance(second, Output)
    assert torch.equal(first.sample, second.sample)
    first.sample.zero_()  # pipelines may write into what they get
    second.sample.zero_()
    assert (module(sample, torch.tensor(700.0)).sample == torch.tensor([[1.7], [3.4]])).all()
    out = module(sample, torch.tensor(600.0), return_dict=False)  # another form: computed
    assert isinstance(out, tuple)
    assert module.calls == 3


def test_half_precision_stays():
    module = Polynomial(1.0, 1.0)
    videoada.apply_skipping(module, tolerance=1e6)
    outs = [module(torch.ones(1, 2).half(), torch.tensor(t), return_dict=False)[0] for t in STEPS]
    assert {out.dtype for out in outs} == {module(torch.ones(1, 2).half(), torch.tensor(0.0)).sample.dtype}


def test_another_batch_is_computed():
    module = Polynomial(1.0, 1.0)
    trace = videoada.apply_skipping(module, every=2)
    run(module, STEPS[:1], rows=2)
    [out] = run(module, STEPS[1:2], rows=3)
    assert len(out) == 3
    assert trace.computed == {"": [True, True]}


def test_an_exception_begins_the_histories_again():
    module = Polynomial(1.0, 1.0)
    trace = videoada.apply_skipping(module, every=2)
    run(module, STEPS[:2])
    module.fail = RuntimeError("no memory")
    with pytest.raises(RuntimeError, match="no memory"):
        run(module, STEPS[2:3])
    module.fail = None
    run(module, STEPS[2:4])
    assert trace.computed == {"": [True, False]}


class Learned(Polynomial):
    def __init__(self, *coefficients):
        super().__init__(*coefficients)
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, sample, timestep, return_dict=True):
        return (self.scale * super().forward(sample, timestep, return_dict=False)[0],)


def test_in_training_nothing_is_skipped_and_in_no_grad_it_is():
    module = Learned(1.0, 3.0)
    trace = videoada.apply_skipping(module, every=2)
    assert all(out.requires_grad for out in run(module))
    assert module.calls == 10
    assert "nothing is skipped in training" in trace.warnings[0]
    with torch.no_grad():
        run(module)
    assert trace.computed == {"": [True, False] * 5}
    assert trace.warnings == []
    run(module.eval())
    assert trace.computed == {"": [True, False] * 5}


def test_what_is_held_keeps_no_graph_alive():
    module = Learned(1.0, 3.0).eval()
    videoada.apply_skipping(module, every=2)
    alive = [weakref.ref(out) for out in run(module)]
    gc.collect()
    assert [ref() for ref in alive] == [None] * 10


def test_on_again_new_settings_take_the_place_of_the_old():
    module = Polynomial(1.0, 1.0)
    first = videoada.apply_skipping(module, every=2)
    trace = videoada.apply_skipping(module, every=5)
    assert trace is first
    assert videoada.summary(module) == "The module was not called yet."
    run(module)
    assert trace.num_predictions == {"": 2}
    with pytest.raises(ConfigError):
        videoada.apply_skipping(module, policy="third-order")
    run(module)
    assert trace.num_predictions == {"": 2}


def test_a_mask_is_followed_and_one_of_another_length_refused():
    module, mask = Polynomial(1.0, 1.0), tuple(bool(i % 3 == 0) for i in range(10))
    trace = videoada.apply_skipping(module, mask=mask, num_inference_steps=10)
    run(module)
    assert trace.computed == {"": list(mask)}
    videoada.apply_skipping(module, mask=mask, num_inference_steps=9)
    for _ in range(2):
        with pytest.raises(ConfigError, match="mask has 10 entries but the run has 9 steps"):
            run(module)


def test_what_has_no_effect_is_reported():
    module = Polynomial(1.0, 1.0)
    trace = videoada.apply_skipping(module)
    run(module)
    assert [text.split(":")[0] for text in trace.not_used] == ["`corrector`", "`final_steps`"]
    assert "not used: `corrector`" in videoada.summary(module)


def test_shares_of_the_steps_need_to_know_how_many_there_are():
    module = Polynomial(1.0, 1.0)
    trace = videoada.apply_skipping(module, skip_from=0.1, skip_to=0.5, corrector=False)
    run(module)
    assert [text.split(":")[0] for text in trace.not_used] == ["`skip_from`", "`skip_to`"]
    trace = videoada.apply_skipping(module, skip_to=0.5, corrector=False, tolerance=1e6, num_inference_steps=10)
    run(module)
    assert trace.not_used == []
    assert not all(trace.computed[""])
    assert all(trace.computed[""][5:])


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"policy": "third-order"}, "compares latents"),
        ({"policy": "third-order-release"}, "compares latents"),
        ({"predictor": "taylor2", "tolerance": 0.1}, "needs noise levels"),
        ({"predictor": "linear-eps", "tolerance": 0.1}, "needs noise levels"),
        ({"guidance_tolerance": 0.1}, "`guidance_tolerance`"),
        ({"early_exit": True}, "early_exit"),
        ({"quality": "high"}, "`quality`"),
        ({"target_psnr": 30}, "`target_psnr`"),
        ({"tolerence": 1}, "tolerence"),
        ({"num_inference_steps": 0}, "`num_inference_steps`"),
        ({"config": "every-n"}, "`config`"),
        ({"config": videoada.SkipConfig(), "every": 2}, "not both"),
    ],
)
def test_what_a_module_alone_cannot_do_is_refused_in_one_line(fields, says):
    module = Polynomial(1.0)
    with pytest.raises(ConfigError, match=says) as refused:
        videoada.apply_skipping(module, **fields)
    assert "\n" not in str(refused.value)
    assert not hasattr(module, "_diffusers_hook")


def test_a_module_that_takes_no_timestep_is_refused():
    with pytest.raises(ModelError, match="takes no `timestep`"):
        videoada.apply_skipping(torch.nn.Linear(2, 2))


def test_an_output_that_is_more_than_tensors_is_computed():
    class Cached(Polynomial):
        def forward(self, sample, timestep):
            self.calls += 1
            return sample * float(timestep), {"cache": object()}

    module = Cached()
    trace = videoada.apply_skipping(module, every=2)
    outs = [module(torch.ones(1, 2), torch.tensor(t))[0] for t in STEPS]
    assert np.allclose([float(out[0, 0]) for out in outs], STEPS)
    assert trace.computed == {"": [True] * 10}
    assert "more than tensors" in trace.warnings[0]
