"""enable, disable, summary: skip_steps without a block, on an embedded UNet and a small build of Wan."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref

import diffusers
import pytest
import tiny_pipelines as tiny
import torch
from conftest import draw
from counting import Counting
from pipelines.builders import BUILDS

import videoada
from videoada.errors import ConfigError, ModelError
from videoada.models.schedulers import scheduler_of
from videoada.skipping.owners import run_of

WAN = BUILDS["wan-2.1-t2v"]


class UNet:
    """The session's pipeline: what a test leaves enabled would be found by the next."""

    def __init__(self, pipe):
        self.pipe, self.denoiser = pipe, pipe.unet

    def call(self, **options):
        return torch.from_numpy(draw(self.pipe, steps=10, num_frames=2, **options))


class Wan:
    def __init__(self):
        self.pipe = WAN.make()
        self.denoiser = self.pipe.transformer

    def call(self, **options):
        values = WAN.arguments((0,), True) | {"num_inference_steps": 10} | options
        return self.pipe(**values).frames


@pytest.fixture(params=["unet", "wan"])
def case(request):
    made = UNet(request.getfixturevalue("pipe")) if request.param == "unet" else Wan()
    yield made
    videoada.disable(made.pipe)


def classes(pipe):
    """By their ids: a patched class is equal to its plain one."""
    return [id(type(part)) for part in (pipe, pipe.scheduler, *pipe.components.values())]


def failing_at(step, error):
    def fail(pipe, index, timestep, values):
        if index == step:
            raise error
        return values

    return fail


@pytest.mark.parametrize("fields", [{}, {"quality": "fast"}, {"every": 2}, {"policy": "none"}, {"threshold": 0.3}])
def test_enabled_is_the_block_bit_for_bit_and_disabled_is_plain(case, fields):
    before, plain = classes(case.pipe), case.call()
    with videoada.skip_steps(case.pipe, **fields) as block:
        inside = case.call()
    trace = videoada.enable(case.pipe, **fields)
    for _ in range(2):
        assert torch.equal(case.call(), inside)
        assert trace.computed == block.computed
        assert trace.unet_rows == block.unet_rows
    assert videoada.summary(case.pipe).splitlines()[0] == block.summary().splitlines()[0]
    videoada.disable(case.pipe)
    assert classes(case.pipe) == before
    assert torch.equal(case.call(), plain)
    assert "_videoada_enabled" not in vars(case.pipe)
    assert run_of(case.denoiser) is None


def test_enable_takes_every_listener_of_a_block(case):
    heard = {"block": [], "enabled": []}
    with videoada.skip_steps(case.pipe, quality="fast", on_report=heard["block"].append):
        case.call()
    videoada.enable(case.pipe, quality="fast", on_report=heard["enabled"].append)
    case.call()
    block, enabled = ([(r.step, r.computed, r.again) for r in reports] for reports in heard.values())
    assert enabled == block != []


def test_the_summary_is_of_the_last_call(case):
    videoada.enable(case.pipe, quality="fast")
    assert videoada.summary(case.pipe) == "No generation has run yet."
    case.call()
    ten = videoada.summary(case.pipe)
    assert "of 10 predictions" in ten
    if isinstance(case, Wan):
        case.call(num_inference_steps=6)
        assert "of 6 predictions" in videoada.summary(case.pipe)
        with pytest.raises(ValueError, match="divisible"):
            case.call(height=17)
    else:
        with pytest.raises(ValueError, match="divisible"):
            case.call(height=17)
    assert videoada.summary(case.pipe) == "No generation has run yet."


def test_between_calls_no_tensor_is_kept(case):
    videoada.enable(case.pipe, quality="fast")
    case.call()
    run = run_of(case.denoiser)
    assert run.loop is None
    assert run.calls.held == {}
    assert run.correction.past == []


@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt()])
def test_after_an_exception_it_is_enabled_and_usable(case, error, monkeypatch):
    trace = videoada.enable(case.pipe, quality="fast")
    frames, computed = case.call(), trace.computed
    step = case.pipe.scheduler.__class__.step
    calls = iter(range(100))

    def broken(*args, **kwargs):
        if next(calls) == 6:
            raise error
        return step(*args, **kwargs)

    plain = type(case.pipe.scheduler).__mro__[1]
    with monkeypatch.context() as patch:
        patch.setattr(plain, "step", broken)
        with pytest.raises(type(error)):
            case.call()
    assert torch.equal(case.call(), frames)
    assert trace.computed == computed


def test_enabled_again_the_new_settings_take_the_place_of_the_old(case):
    videoada.enable(case.pipe, every=2)
    trace = videoada.enable(case.pipe, every=5)
    case.call()
    assert trace.num_predictions == [2]
    with pytest.raises(ConfigError, match="tolerence"):
        videoada.enable(case.pipe, tolerence=1)
    case.call()
    assert trace.num_predictions == [2]
    case.pipe.scheduler, known = diffusers.HeunDiscreteScheduler(), case.pipe.scheduler
    try:
        with pytest.raises(ConfigError):
            videoada.enable(case.pipe, every=3)
    finally:
        case.pipe.scheduler = known
    case.call()
    assert trace.num_predictions == [2]
    videoada.disable(case.pipe)
    assert run_of(case.denoiser) is None


def test_not_enabled_disable_does_nothing_and_summary_says_so(case):
    before = classes(case.pipe)
    for item in (case.pipe, None, object()):
        videoada.disable(item)
    assert classes(case.pipe) == before
    with pytest.raises(ConfigError, match=r"call `videoada.enable\(pipe\)`"):
        videoada.summary(case.pipe)


def test_a_block_inside_wins_and_what_was_enabled_goes_on_after_it(case):
    plain = case.call()
    trace = videoada.enable(case.pipe, every=2)
    half = case.call()
    with videoada.skip_steps(case.pipe, every=5) as block:
        case.call()
        assert block.num_predictions == [2]
        assert trace.num_predictions == [5]
        with pytest.raises(ConfigError, match="leave the block first"):
            videoada.enable(case.pipe, every=3)
    with videoada.skip_steps(case.pipe, "none"):
        assert torch.equal(case.call(), plain)
    assert torch.equal(case.call(), half)
    with videoada.skip_steps(case.pipe, every=5):
        videoada.disable(case.pipe)
        case.call()
    assert torch.equal(case.call(), plain)


def test_generate_of_an_enabled_pipeline_goes_by_its_own_settings(pipe):
    settings = {"prompt": "a red circle moving right on a black background", "num_inference_steps": 10, "num_frames": 2}
    [(_, record)] = videoada.generate(pipe, **settings, policy="none")
    videoada.enable(pipe, every=2)
    try:
        [(_, again)] = videoada.generate(pipe, **settings, policy="none")
    finally:
        videoada.disable(pipe)
    assert again.frames_sha256 == record.frames_sha256
    assert sum(again.computed) == 10


def test_a_scheduler_put_in_between_calls_is_followed_and_the_old_one_let_go(pipe):
    trace = videoada.enable(pipe, every=2)
    old = pipe.scheduler
    kind = type(old).__mro__[1]
    try:
        with scheduler_of(pipe, "dpm++"):
            draw(pipe, steps=10, num_frames=2)
            assert trace.num_predictions == [5]
            assert type(old) is kind
        draw(pipe, steps=10, num_frames=2)
        assert trace.num_predictions == [5]
    finally:
        videoada.disable(pipe)


def test_a_denoiser_put_in_between_calls_is_followed_and_the_old_one_let_go():
    case = Wan()
    trace = videoada.enable(case.pipe, every=2)
    case.call()
    old = weakref.ref(case.pipe.transformer)
    case.denoiser = None
    case.pipe.transformer = WAN.make().transformer
    case.call()
    assert trace.num_predictions == [5]
    gc.collect()
    assert old() is None


def test_a_pipeline_that_ends_leaves_its_parts_plain_and_nothing_behind():
    case = Wan()
    network, scheduler = case.denoiser, case.pipe.scheduler
    plain = id(type(network)), id(type(scheduler))
    alive = weakref.ref(case.pipe)
    trace = videoada.enable(case.pipe, quality="fast", on_step=lambda *step, pipe=case.pipe: None)  # a cycle
    case.call()
    assert trace.num_steps == 10
    case.pipe = None
    gc.collect()
    assert alive() is None
    assert (id(type(network)), id(type(scheduler))) == plain
    assert run_of(network) is None
    assert run_of(scheduler) is None


def test_copies_are_not_enabled_and_the_original_still_is():
    case = Wan()
    plain = case.call()
    kinds = classes(case.pipe)
    trace = videoada.enable(case.pipe, every=2)
    half = case.call()
    for copied in (copy.deepcopy(case.pipe), pickle.loads(pickle.dumps(case.pipe))):
        assert classes(copied) == kinds
        with pytest.raises(ConfigError, match="not enabled"):
            videoada.summary(copied)
        values = WAN.arguments((0,), True) | {"num_inference_steps": 10}
        assert torch.equal(copied(**values).frames, plain)
        videoada.enable(copied, every=5)
        copied(**values)
        videoada.disable(copied)
        assert classes(copied) == kinds
    assert torch.equal(case.call(), half)
    assert trace.num_predictions == [5]


def test_another_pipeline_is_made_from_an_enabled_one_with_its_parts():
    pipe = tiny.wan()
    trace = videoada.enable(pipe, tolerance=1e6)
    made = diffusers.WanVideoToVideoPipeline.from_pipe(pipe)
    assert made.transformer is pipe.transformer
    assert made.scheduler is pipe.scheduler
    made.set_progress_bar_config(disable=True)
    tiny.call(made, latents=torch.zeros(1, 16, 3, 4, 4), strength=0.5, steps=20)
    assert not all(trace.computed[0])
    assert len(trace.computed[0]) == 10


def test_a_pipeline_that_shares_parts_is_refused_in_one_line():
    case = Wan()
    other = diffusers.WanPipeline(**case.pipe.components)
    videoada.enable(case.pipe, every=2)
    with pytest.raises(ConfigError, match="another pipeline that shares") as refused:
        videoada.enable(other)
    assert "\n" not in str(refused.value)
    with videoada.skip_steps(other, every=5) as block:
        values = WAN.arguments((0,), True) | {"num_inference_steps": 10}
        other(**values)
    assert block.num_predictions == [2]
    videoada.disable(case.pipe)
    videoada.enable(other)
    videoada.disable(other)


def test_two_pipelines_are_enabled_apart():
    one, two = Wan(), Wan()
    first, second = videoada.enable(one.pipe, every=2), videoada.enable(two.pipe, every=5)
    one.call()
    two.call()
    assert (first.num_predictions, second.num_predictions) == ([5], [2])
    videoada.disable(one.pipe)
    two.call()
    assert second.num_predictions == [2]


def test_rows_of_a_batch_are_as_counted(pipe, monkeypatch):
    counting = Counting(pipe.unet, monkeypatch)
    trace = videoada.enable(pipe, quality="fast")
    try:
        draw(pipe, ["a red circle moving right on a black background"] * 2, steps=10, num_frames=2)
    finally:
        videoada.disable(pipe)
    assert sum(counting.rows) == trace.unet_rows < trace.unet_rows_full == 40


def test_a_pipeline_without_a_denoiser_is_refused_and_left_as_it_was(pipe):
    with pytest.raises(ModelError):
        videoada.enable(object())
    with pytest.raises(ConfigError):
        videoada.enable(pipe, quality="best")
    assert run_of(pipe.unet) is None


def test_first_block_cache_on_an_enabled_pipeline():
    pipe = tiny.wan()
    plain = tiny.call(pipe, steps=10)
    trace = videoada.enable(pipe, every=2)
    half = tiny.call(pipe, steps=10)
    pipe.transformer.enable_cache(diffusers.FirstBlockCacheConfig(threshold=1e-9))
    assert torch.equal(tiny.call(pipe, steps=10), half)
    assert trace.num_predictions == [5]
    videoada.enable(pipe)
    with pytest.raises(ConfigError, match="FirstBlockCache keeps one state"):
        tiny.call(pipe, prompts=2, steps=10)
    pipe.transformer.disable_cache()
    tiny.call(pipe, prompts=2, steps=10)
    videoada.disable(pipe)
    assert torch.equal(tiny.call(pipe, steps=10), plain)


def test_a_modular_pipeline_with_a_guider():
    from diffusers.modular_pipelines import WanBlocks

    made = WAN.make()
    pipe = WanBlocks().init_pipeline()
    pipe.update_components(**{name: part for name, part in made.components.items() if name in pipe.component_names})
    pipe.set_progress_bar_config(disable=True)
    values = {"prompt": "a cat", "negative_prompt": "none", "num_inference_steps": 10, "output": "latents"}
    size = {"height": 32, "width": 32, "num_frames": 9}

    def call():
        return pipe(**values, **size, generator=torch.Generator().manual_seed(0))

    plain, kind = call(), type(pipe)
    with videoada.skip_steps(pipe, every=2):
        half = call()
    trace = videoada.enable(pipe, every=2)
    for _ in range(2):
        assert torch.equal(call(), half)
        assert trace.computed == [[True, False] * 5]
        assert (trace.unet_rows, trace.unet_rows_full) == (10, 20)
    videoada.disable(pipe)
    assert type(pipe) is kind
    assert torch.equal(call(), plain)
    trace = videoada.apply_skipping(pipe.transformer, every=2)
    for _ in range(2):
        call()
        assert trace.computed == {"": [True, False] * 5}
    videoada.remove_skipping(pipe.transformer)
    assert torch.equal(call(), plain)
