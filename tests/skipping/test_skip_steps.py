"""skip_steps round real diffusers pipelines: the equivalences that are always true."""

from __future__ import annotations

import gc
import inspect
import weakref

import numpy as np
import pytest
import torch
from conftest import PROMPTS, draw
from counting import Counting, uint8
from folders import small_pipeline

from videoada import Decision, skip_steps
from videoada.config.run import SkipConfig
from videoada.errors import ConfigError, ModelError
from videoada.metrics import paired_fidelity
from videoada.models.schedulers import scheduler_of
from videoada.skipping.owners import run_of


@pytest.mark.parametrize("guidance_scale", [9.0, 1.0])
@pytest.mark.parametrize("fields", [{"policy": "none"}, {"threshold": 0.0}, {"policy": "every-n", "every": 1}])
def test_skipping_nothing_is_plain_diffusers_bit_for_bit(pipe, fields, guidance_scale):
    plain = draw(pipe, steps=6, guidance_scale=guidance_scale)
    with skip_steps(pipe, **fields) as trace:
        assert (draw(pipe, steps=6, guidance_scale=guidance_scale) == plain).all()
    assert trace.computed == [[True] * 6]
    assert trace.unet_rows == trace.unet_rows_full == (12 if guidance_scale > 1 else 6)


def test_the_networks_dtype_is_its_own_also_where_it_changes(pipe):
    """diffusers walks all modules for it; inside it is known from the first parameter's."""
    with skip_steps(pipe):
        assert pipe.unet.dtype == torch.float32
        pipe.unet.half()
        assert pipe.unet.dtype == torch.float16
        pipe.unet.float()
        assert pipe.unet.dtype == torch.float32


def straight_line_release(latents, threshold, cap):
    """The released rule, from its description alone: latents x_0 … after each step → computed steps."""
    computed, decisions, d = [True] * 4, [], []
    for k in range(len(latents) - 1):
        if k >= 1:
            d.append((latents[k] - latents[k - 1]).abs().mean())
        if k < 3:
            continue
        skip = bool(abs((d[-1] + d[-3]) / 2 - d[-2]) <= threshold * d[-2])
        if len(decisions) > 4 and all(decisions[-cap:]):
            skip = False
        decisions.append(skip)
        computed.append(not skip)
    return computed


@pytest.mark.parametrize("scheduler", ["ddim", "dpm++"])
@pytest.mark.parametrize("threshold", [0.004, 0.01, 0.03, 0.08])
def test_release_rule_step_by_step(pipe, scheduler, threshold):
    latents = []
    with scheduler_of(pipe, scheduler), skip_steps(pipe, "third-order-release", threshold=threshold) as trace:
        draw(pipe, steps=30, num_frames=2, callback=lambda step, t, x: latents.append(x.clone()))
    assert trace.computed[0] == straight_line_release(latents, threshold, cap=4)
    assert 4 <= trace.num_predictions[0] <= 30


def test_release_rule_skips_on_this_model(pipe):
    with skip_steps(pipe, "third-order-release", threshold=0.03) as trace:
        draw(pipe, steps=30, num_frames=2)
    assert trace.num_predictions[0] < 30
    assert all(s is not None for s in trace.signal[0][4:])


@pytest.mark.parametrize("n", [2, 5])
def test_hold_over_n_ddim_steps_is_one_larger_step(pipe, n):
    before = pipe.scheduler
    pipe.scheduler = type(before).from_config(before.config, timestep_spacing="trailing")
    try:
        larger = draw(pipe, steps=20 // n, output_type="latent")
        with skip_steps(pipe, "every-n", every=n) as trace:
            held = draw(pipe, steps=20, output_type="latent")
    finally:
        pipe.scheduler = before
    assert trace.num_predictions == [20 // n]
    torch.testing.assert_close(held, larger, rtol=1e-3, atol=2e-4)


def test_replaying_a_mask_gives_the_same_frames(pipe):
    with skip_steps(pipe, threshold=0.3) as trace:
        frames = draw(pipe)
    computed = trace.computed[0]
    assert 0 < sum(computed) < len(computed)
    with skip_steps(pipe, "mask", mask=computed):
        assert (draw(pipe) == frames).all()


@pytest.mark.parametrize("policy", ["third-order", "third-order-release"])
def test_a_prompt_in_a_batch_of_four_skips_as_it_does_alone(pipe, policy, monkeypatch):
    threshold = 0.25 if policy == "third-order" else 0.02
    counting = Counting(pipe.unet, monkeypatch)
    with skip_steps(pipe, policy, threshold=threshold) as trace:
        batch = draw(pipe, list(PROMPTS), steps=16)
    computed = trace.computed
    assert sum(counting.rows) == trace.unet_rows == 2 * sum(trace.num_predictions)
    assert trace.unet_rows_full == 2 * 4 * 16
    assert len({tuple(steps) for steps in computed}) > 1, "the prompts should differ for this test to say anything"
    for i, prompt in enumerate(PROMPTS):
        with skip_steps(pipe, policy, threshold=threshold) as trace:
            alone = draw(pipe, prompt, seed=3 + i, steps=16)
        assert trace.computed[0] == computed[i]
        psnr = paired_fidelity(uint8(batch[i]), uint8(alone[0])).psnr
        assert psnr is None or psnr >= 60


def test_whole_batch_mean_decides_once(pipe):
    with skip_steps(pipe, "third-order-release", threshold=0.02, batch_decision="mean") as trace:
        draw(pipe, list(PROMPTS), num_frames=2)
    assert len({tuple(steps) for steps in trace.computed}) == 1


def test_a_b_a_gives_a_twice(pipe):
    with skip_steps(pipe, threshold=0.3) as trace:
        first = draw(pipe)
        computed = trace.computed
        draw(pipe, PROMPTS[1], steps=9, num_frames=3)
        assert trace.num_steps == 9
        again = draw(pipe)
    assert trace.computed == computed
    assert (first == again).all()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("at", ["denoiser", "scheduler"])
def test_after_an_exception_the_pipeline_is_as_before(pipe, error, at):
    plain = draw(pipe, steps=6)
    classes = [id(type(part)) for part in (pipe.unet, pipe.scheduler)]

    def fail(step, *_):
        if step == 4:
            raise error

    def raise_at_once(*_):
        raise error

    def broken():
        with skip_steps(pipe, threshold=0.3, on_step=fail if at == "scheduler" else None):
            hook = pipe.unet.register_forward_pre_hook(raise_at_once) if at == "denoiser" else None
            try:
                draw(pipe, steps=6)
            finally:
                if hook:
                    hook.remove()

    with pytest.raises(error):
        broken()
    assert [id(type(part)) for part in (pipe.unet, pipe.scheduler)] == classes
    assert (draw(pipe, steps=6) == plain).all()


def test_the_pipeline_looks_the_same_inside(pipe):
    signature = inspect.signature(pipe.scheduler.step)
    with skip_steps(pipe):
        assert isinstance(pipe.unet, torch.nn.Module)
        assert type(pipe.unet).__name__ == "UNet3DConditionModel"
        assert inspect.signature(pipe.scheduler.step) == signature
        with pytest.raises(ConfigError, match="on already"), skip_steps(pipe):
            pass


def test_survives_model_offloading():
    """accelerate takes its hooks off and puts new ones on during every call; a wrapper of forward would be lost."""
    import videoada

    pipe = videoada.load_pipeline("tiny-t2v", device="cpu")
    plain = draw(pipe)
    pipe.enable_model_cpu_offload(device="cpu")
    with skip_steps(pipe, threshold=0.3) as trace:
        for _ in range(2):
            calls = []
            counting = pipe.unet.conv_in.register_forward_hook(lambda *_, calls=calls: calls.append(1))
            draw(pipe)
            counting.remove()
            assert len(calls) == trace.num_predictions[0] < 12
    with skip_steps(pipe, "none"):
        assert (draw(pipe) == plain).all()


def test_works_round_a_compiled_unet():
    """One block down and one up: tracing takes as long as the blocks are many."""
    pipe = small_pipeline("modelscope-t2v")
    blocks = {"block_out_channels": [32], "down_block_types": ["DownBlock3D"], "up_block_types": ["UpBlock3D"]}
    pipe.unet = type(pipe.unet)(**{**pipe.unet.config, **blocks}).eval()

    def drawn():
        return draw(pipe, steps=6, num_frames=2)

    plain = drawn()
    with skip_steps(pipe, threshold=0.5) as trace:
        skipped = drawn()
    computed, unet = trace.computed, pipe.unet
    assert not all(computed[0])
    pipe.unet = torch.compile(unet, backend="eager")
    classes = type(pipe.unet), type(unet)
    with skip_steps(pipe, threshold=0.5) as trace:
        assert (type(pipe.unet).__mro__[1], type(unet)) == classes  # the wrapper is round what was compiled
        np.testing.assert_allclose(drawn(), skipped, atol=1e-4)
    assert trace.computed == computed
    assert type(pipe.unet) is classes[0]
    assert type(unet) is classes[1]
    pipe.unet = unet
    assert (drawn() == plain).all()


def test_keeps_no_latent_longer_than_needed(pipe):
    alive = []
    with skip_steps(pipe, threshold=0.3):
        draw(pipe, steps=10, callback=lambda step, t, x: alive.append(weakref.ref(x)))
        gc.collect()
    assert sum(ref() is not None for ref in alive) == 0
    kept = []
    with skip_steps(pipe, threshold=0.3):
        run = run_of(pipe.unet)
        draw(pipe, steps=10, callback=lambda *_: kept.append(len(run.latents)))
    assert max(kept) == 4
    assert not run.latents
    assert not run.calls.held
    assert not run.correction.past
    assert not run.correction.rewind.taken


def test_mask_of_the_wrong_length_is_refused(pipe):
    with (
        pytest.raises(ConfigError, match="3 entries but the run has 5 steps"),
        skip_steps(pipe, "mask", mask=(1, 1, 0)),
    ):
        draw(pipe, steps=5)


def test_what_has_no_denoiser_is_refused():
    with pytest.raises(ModelError, match="nothing to skip"), skip_steps(object()):
        pass


def test_config_or_fields_but_not_both(pipe):
    with pytest.raises(ConfigError, match="not both"), skip_steps(pipe, SkipConfig(), threshold=0.1):
        pass


def test_summary_reads_well(pipe):
    with skip_steps(pipe, threshold=0.3) as trace:
        assert "No generation" in trace.summary()
        draw(pipe)
    text = trace.summary()
    assert f"{trace.num_predictions[0]} of 12 predictions" in text
    assert "the threshold, 0.3" in text


@pytest.mark.parametrize("scheduler", ["ddim", "dpm++", "dpm++-sde", "unipc", "euler", "euler-a"])
def test_every_scheduler_of_the_contract(pipe, scheduler):
    with scheduler_of(pipe, scheduler):
        plain = draw(pipe, steps=8)
        with skip_steps(pipe, "none"):
            assert (draw(pipe, steps=8) == plain).all()
        with skip_steps(pipe, threshold=0.5) as trace:
            assert np.isfinite(draw(pipe, steps=8)).all()
    assert len(trace.computed[0]) == 8


# ---- a pipeline whose arithmetic fits in the head: guidance in two calls, a dictionary of arguments, no tuple ----


class Doubler(torch.nn.Module):
    """Predicts sample · scale; remembers the rows it was called with."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def forward(self, hidden_states, timestep, extra):
        self.calls.append(len(hidden_states))
        return hidden_states * extra["scale"][:, None]


class TwoCalls:
    """A flow-matching style pipeline that calls its transformer twice a step, conditional and unconditional."""

    def __init__(self):
        from diffusers import DDIMScheduler

        self.transformer, self.scheduler = Doubler(), DDIMScheduler()

    def __call__(self, scales, steps):
        self.scheduler.set_timesteps(steps)
        x = torch.ones(len(scales), 5)
        for t in self.scheduler.timesteps:
            cond = self.transformer(hidden_states=x, timestep=t, extra={"scale": torch.tensor(scales)})
            uncond = self.transformer(hidden_states=x, timestep=t, extra={"scale": 0 * torch.tensor(scales)})
            x = self.scheduler.step(uncond + 2 * (cond - uncond), t, x).prev_sample
        return x


class Again:
    """`hold-output`, written again by a user."""

    num_predictions = 1

    def __init__(self):
        self.steps = []

    def predict(self, past, sample, level, kind):
        self.steps.append((len(past), past[-1].step))
        return past[-1].output


def test_a_predictor_of_ones_own_is_asked_on_skipped_steps_alone(pipe):
    own = Again()
    with skip_steps(pipe, "every-n", every=3, predictor="hold-output"):
        named = draw(pipe, steps=7)
    with skip_steps(pipe, "every-n", every=3, predictor=own) as trace:
        assert (draw(pipe, steps=7) == named).all()
    assert trace.computed == [[True, False, False, True, False, False, True]]
    assert own.steps == [(1, 0), (1, 0), (1, 3), (1, 3)]
    with skip_steps(pipe, SkipConfig(policy="every-n", every=3), predictor=own):
        assert (draw(pipe, steps=7) == named).all()


def test_a_predictor_of_ones_own_is_never_asked_where_nothing_is_skipped(pipe):
    plain, own = draw(pipe, steps=4), Again()
    for fields in ({"tolerance": 0.0}, {"policy": "none"}, {"policy": "every-n", "every": 1}):
        with skip_steps(pipe, predictor=own, **fields):
            assert (draw(pipe, steps=4) == plain).all()
    assert own.steps == []


class Moving:
    """A user's rule, which says what it measured and nothing of the schedule."""

    num_latents, num_predictions = 0, 2

    def decide(self, state):
        if state.step < 3:
            return Decision.all(state)
        change = tuple(float((past[-1].x0 - past[-2].x0).norm() / past[-1].x0.norm()) for past in state.past)
        return Decision(tuple(c > 0.5 for c in change), change)


def test_a_policy_of_ones_own_tells_its_signal(pipe):
    with skip_steps(pipe, Moving(), predictor=Again()) as trace:
        draw(pipe, prompt=list(PROMPTS[:2]), steps=6)
    for i in range(2):
        assert trace.signal[i][:3] == [None] * 3
        assert all(s > 0 for s in trace.signal[i][3:])
        assert trace.computed[i] == [True] * 3 + [s > 0.5 for s in trace.signal[i][3:]]
    assert trace.schedule_signal == [[None] * 6] * 2
    assert "prompt 1: " in trace.summary()
    assert trace.table(1)[4]["schedule_signal"] is None


@pytest.mark.parametrize("answer", [None, Decision((False,), (None,)), Decision((False, True), (None,)), (True, True)])
def test_a_policy_of_ones_own_that_does_not_answer_for_each_prompt_is_one_line(pipe, answer):
    class Wrong:
        num_latents = 0

        def decide(self, state):
            return answer

    with (
        pytest.raises(ConfigError, match=r"Wrong\.decide must return a Decision .* 2 prompts"),
        skip_steps(pipe, Wrong()),
    ):
        draw(pipe, [PROMPTS[0], PROMPTS[1]], steps=4, num_frames=2)


def test_a_predictor_of_ones_own_of_another_shape_is_one_line(pipe):
    class Wrong:
        num_predictions = 1

        def predict(self, past, sample, level, kind):
            return torch.zeros(3)

    says = r"Wrong\.predict must return \(\d+,\) numbers, not \(3,\)"
    with skip_steps(pipe, "every-n", every=2, predictor=Wrong()), pytest.raises(ConfigError, match=says):
        draw(pipe, steps=4, num_frames=2)


def test_what_is_no_predictor_and_damping_it_would_not_see_are_one_line(pipe):
    for wrong in (3, object(), Again):
        with pytest.raises(ConfigError, match="a predictor is a name or an object"), skip_steps(pipe, predictor=wrong):
            pass
    with pytest.raises(ConfigError, match="`damping`"), skip_steps(pipe, predictor=Again(), damping=0.5):
        pass


def test_guidance_in_two_calls_keeps_two_memories():
    pipe = TwoCalls()
    plain = pipe([0.1, 0.2, 0.3], 6)
    with skip_steps(pipe, "none"):
        assert (pipe([0.1, 0.2, 0.3], 6) == plain).all()
    pipe.transformer.calls.clear()
    with skip_steps(pipe, "every-n", every=2) as trace:
        pipe([0.1, 0.2, 0.3], 6)
    assert pipe.transformer.calls == [3] * 6
    assert trace.computed == [[True, False] * 3] * 3
    assert (trace.unet_rows, trace.unet_rows_full) == (18, 36)


def test_rows_of_a_part_of_the_batch_are_the_right_rows():
    class Second:
        num_latents = 0

        def decide(self, state):
            if state.step == 0:
                return Decision.all(state)
            return Decision(tuple(i == 1 for i in range(state.num_prompts)), (None,) * state.num_prompts)

    pipe = TwoCalls()
    alone = pipe([0.2], 6)
    with skip_steps(pipe, "every-n", every=1):
        run_of(pipe.transformer).policy = Second()
        together = pipe([0.1, 0.2, 0.3], 6)
    torch.testing.assert_close(together[1], alone[0])
    assert not torch.allclose(together[0], pipe([0.1], 6)[0])
