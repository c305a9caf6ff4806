"""skip_steps round small builds of diffusers' pipelines whose loops, networks or schedulers have ways of their own."""

from __future__ import annotations

import copy

import diffusers
import pytest
import tiny_pipelines as tiny
import torch
from pipelines.builders import unets
from pipelines.builders.build import quiet
from tiny_pipelines import call

from videoada import Decision, skip_steps
from videoada.errors import ConfigError
from videoada.skipping.owners import run_of


class Apart:
    """Prompt i of the first of the batch on computes where step + i is even: prompts decide apart."""

    num_latents = num_predictions = 0

    def __init__(self, first=0):
        self.first, self.states = first, []

    def decide(self, state):
        self.states.append(state)
        steps = [(state.step + self.first + i) % 2 == 0 for i in range(state.num_prompts)]
        return Decision(tuple(steps), (None,) * state.num_prompts)


def noise(frames=3):
    return torch.randn(1, 16, frames, 4, 4, generator=torch.Generator().manual_seed(5))


def wan_v2v():
    return tiny.wan("WanVideoToVideoPipeline"), {"latents": noise(), "strength": 0.5}


def sdxl_first_part():
    return tiny.sdxl(), {"denoising_end": 0.5, "height": 16, "width": 16}


def skyreels():
    return tiny.wan("SkyReelsV2DiffusionForcingPipeline", "SkyReelsV2Transformer3DModel"), {"overlap_history": None}


PIPELINES = {
    "wan": lambda: (tiny.wan(), {}),
    "wan-experts": lambda: (tiny.wan(second=True), {}),
    "wan-v2v": wan_v2v,
    "cogvideox-dpm": lambda: (tiny.cogvideo_dpm(), {}),
    "ltx": lambda: (tiny.ltx(), {}),
    "ltx-i2v": lambda: (tiny.ltx("LTXImageToVideoPipeline"), {}),
    "ltx-condition": lambda: (tiny.ltx("LTXConditionPipeline"), {}),
    "mochi-inverted": lambda: (tiny.mochi(invert_sigmas=True), {}),
    "z-image": lambda: (tiny.z_image(), {}),
    "sdxl-first-part": sdxl_first_part,
}


@pytest.fixture(params=PIPELINES)
def build(request):
    return PIPELINES[request.param]()


def test_none_and_every_step_computed_are_the_plain_pipeline(build):
    pipe, values = build
    plain = call(pipe, **values)
    for fields in ({"policy": "none"}, {"tolerance": 0}, {"policy": "every-n", "every": 1}, {"tolerance": 1e-12}):
        with skip_steps(pipe, **fields) as trace:
            torch.testing.assert_close(call(pipe, **values), plain, rtol=0, atol=0)
        assert all(trace.computed[0])
        assert trace.num_steps == len(trace.computed[0])


def test_the_default_skips_and_stays_finite(build):
    pipe, values = build
    with skip_steps(pipe, tolerance=1e3) as trace:
        latents = call(pipe, steps=16, **values)
    assert latents.isfinite().all()
    assert sum(trace.computed[0]) < trace.num_steps
    first = trace.computed[0][:5]  # three calls; near pure noise those after the first wait a step each
    assert first[0]
    assert first[2]
    assert first.count(True) >= 3
    assert trace.computed[0][-1]
    with skip_steps(pipe, tolerance=1e3, warmup_steps=3) as trace:
        call(pipe, steps=16, **values)
    assert trace.computed[0][:3] == [True] * 3


def test_prompts_that_decide_apart_come_out_as_they_do_alone(build):
    pipe, values = build
    if "latents" in values:
        values = values | {"latents": values["latents"].repeat(2, 1, 1, 1, 1)}
    with skip_steps(pipe, Apart()) as trace:
        both = call(pipe, prompts=2, **values)
    assert trace.computed[0] != trace.computed[1]
    assert trace.unet_rows < trace.unet_rows_full
    for i in range(2):
        alone_values = values | ({"latents": values["latents"][:1]} if "latents" in values else {})
        with skip_steps(pipe, Apart(i)):
            alone = call(pipe, first=i, **alone_values)
        torch.testing.assert_close(both[i : i + 1], alone, rtol=1e-3, atol=1e-3)


# ---- a step is known by its timestep ----


def test_a_loop_that_begins_in_the_middle_has_its_own_steps():
    pipe, values = wan_v2v()
    policy = Apart()
    with skip_steps(pipe, policy) as trace:
        call(pipe, **values)
        timesteps = pipe.scheduler.timesteps
    assert (trace.num_steps, len(trace.computed[0])) == (4, 4)
    schedule = policy.states[-1].schedule
    assert [level.sigma for level in schedule] == pytest.approx((timesteps[4:] / 1000).tolist(), abs=2e-3)
    assert policy.states[-1].num_steps == 4


def test_the_last_step_that_runs_is_protected_and_masks_are_of_the_steps_that_run():
    wan = [False] * 6 + [True, False]  # its noise would fall to less than a quarter in one gap
    for (pipe, values), between in zip((wan_v2v(), sdxl_first_part()), (wan, [False] * 7), strict=True):
        with skip_steps(pipe, tolerance=1e6) as trace:
            call(pipe, steps=24, **values)
        assert 9 < trace.num_steps < 13
        assert trace.computed[0] == [True] * 3 + between + [True]
        with skip_steps(pipe, mask=(1, 1, 0, 1)) as trace:
            call(pipe, **values)
        assert trace.computed[0] == [True, True, False, True]
        for mask in ((1,) * 8, (1,) * 3, (1,) * 30):
            with pytest.raises(ConfigError, match=f"mask has {len(mask)} entries"), skip_steps(pipe, mask=mask):
                call(pipe, **values)


class TwoLoops:
    """As FreeInit: the timesteps are set again within one call."""

    def __init__(self):
        self.scheduler = diffusers.DDIMScheduler(clip_sample=False)
        self.unet = torch.nn.Linear(4, 4, bias=False)

    def __call__(self, loops=(6, 6), rows=(1, 1)):
        x = torch.ones(1, 4)
        for steps, count in zip(loops, rows, strict=True):
            self.scheduler.set_timesteps(steps)
            x = x[:1].expand(count, 4)
            for t in self.scheduler.timesteps:
                x = self.scheduler.step(self.unet(x), t, x).prev_sample
        return x.detach()


def test_loops_of_one_call_add_up():
    pipe = TwoLoops()
    plain = pipe()
    for _ in range(2):
        with skip_steps(pipe, "none") as trace:
            assert torch.equal(pipe(), plain)
        assert (trace.num_steps, trace.unet_rows) == (12, 12)
        with skip_steps(pipe, "every-n", every=2) as trace:
            pipe()
        assert trace.computed == [[True, False] * 6]
        assert (trace.num_steps, trace.unet_rows, trace.unet_rows_full) == (12, 6, 12)
    with skip_steps(pipe, "every-n", every=2) as trace:
        pipe(rows=(1, 2))
        assert trace.computed == [[True, False] * 6, [True, False] * 3]
        pipe(loops=(4,), rows=(1,))
        assert trace.computed == [[True, False] * 2]


def test_steps_taken_by_copies_of_the_scheduler_pass_through_and_are_reported():
    pipe, values = skyreels()
    plain = call(pipe, **values)
    for fields in ({"policy": "none"}, {}, {"policy": "every-n", "every": 2}):
        with skip_steps(pipe, **fields) as trace:
            assert torch.equal(call(pipe, **values), plain)
            assert type(copy.deepcopy(pipe.scheduler)) is diffusers.UniPCMultistepScheduler
        assert bool(trace.warnings) == (fields.get("policy") != "none")
        assert trace.decisions == []
    assert "not take its steps with its own scheduler" in trace.summary()
    assert type(pipe.scheduler) is diffusers.UniPCMultistepScheduler


def test_steps_that_are_not_seen_are_reported_for_a_policy_of_ones_own():
    pipe, values = skyreels()
    with skip_steps(pipe, Apart()) as trace:
        call(pipe, **values)
    assert "not take its steps with its own scheduler" in trace.warnings[0]
    pipe = Swapping()
    with skip_steps(pipe, Apart()) as trace:
        pipe()
    assert "replaced within a call" in trace.warnings[0]


def test_a_call_broken_off_before_its_first_step_warns_of_nothing():
    pipe = tiny.wan()
    forward = pipe.transformer.forward

    def broken(*args, **kwargs):
        raise RuntimeError("out of memory")

    with skip_steps(pipe, tolerance=0.5) as trace:
        pipe.transformer.forward = broken
        with pytest.raises(RuntimeError, match="out of memory"):
            call(pipe)
        assert trace.warnings == []
        pipe.transformer.forward = forward
        call(pipe)
    assert trace.warnings == []


def test_a_scheduler_replaced_between_calls_is_followed():
    pipe = tiny.wan()
    with skip_steps(pipe, "every-n", every=2) as trace:
        call(pipe)
        pipe.scheduler = other = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
        call(pipe)
        assert trace.computed == [[True, False] * 4]
        pipe.scheduler = diffusers.HeunDiscreteScheduler()
        with pytest.raises(ConfigError, match="HeunDiscreteScheduler calls the network more than once"):
            call(pipe)
    assert type(other) is diffusers.FlowMatchEulerDiscreteScheduler
    assert run_of(other) is None


class Swapping(TwoLoops):
    """As TextToVideoZero: half of the steps, then all others with a copy of the scheduler."""

    def __call__(self):
        self.scheduler.set_timesteps(12)
        x = torch.ones(1, 4)
        for i, t in enumerate(self.scheduler.timesteps):
            if i == 6:
                self.scheduler = copy.deepcopy(self.scheduler)
            x = self.scheduler.step(self.unet(x), t, x).prev_sample
        return x.detach()


def test_a_scheduler_replaced_within_a_call_is_reported():
    pipe = Swapping()
    plain = pipe()
    with skip_steps(pipe, "none") as trace:
        assert torch.equal(pipe(), plain)
    with skip_steps(pipe, "every-n", every=2) as trace:
        pipe()
        assert trace.computed == [[True, False] * 3]
        assert trace.num_steps == 6
        assert "replaced within a call" in trace.warnings[0]


@pytest.mark.parametrize("name", ["HeunDiscreteScheduler", "PNDMScheduler", "IPNDMScheduler"])
def test_none_passes_through_whatever_the_scheduler(name):
    betas = {} if name == "IPNDMScheduler" else {"beta_schedule": "scaled_linear"}
    pipe, values = tiny.sdxl(scheduler=getattr(diffusers, name)(**betas)), {"height": 16, "width": 16}
    plain = call(pipe, **values)
    with skip_steps(pipe, "none"):
        assert torch.equal(call(pipe, **values), plain)
    with pytest.raises(ConfigError, match=name), skip_steps(pipe):
        pass


# ---- the state is of a network, of its rows, of its calls ----


def test_two_networks_warm_up_apart():
    pipe = tiny.wan(second=True)
    with skip_steps(pipe, tolerance=1e6) as trace:
        call(pipe, steps=20)
    first = sum(t >= 600 for t in pipe.scheduler.timesteps)
    assert 4 < first < 16
    steps = trace.computed[0]
    assert steps[:3] == steps[first : first + 3] == [True] * 3
    assert not all(steps[:first])
    assert not all(steps[first:])


def turn_off(pipe, step, timestep, values):
    """Guidance, after the tenth step."""
    if step == 9:
        pipe._guidance_scale = 1.0
        return {"prompt_embeds": values["prompt_embeds"][-1:]}
    return {}


@pytest.mark.parametrize("count", [5, 6, 9, 14])
def test_a_budget_holds_where_guidance_is_turned_off_midway(count):
    pipe = tiny.ltx()
    with skip_steps(pipe, num_predictions=count) as trace:
        call_cutting_masks(pipe, steps=20, callback_on_step_end=turn_off)
    assert trace.num_predictions == [count]
    assert trace.computed[0][10]


def test_guidance_turned_off_midway_begins_the_histories_again():
    pipe, plain = tiny.ltx(), None
    for fields in ({"policy": "none"}, {"tolerance": 1e-12}, {"tolerance": 1e6}):
        with skip_steps(pipe, **fields) as trace:
            latents = call_cutting_masks(pipe, steps=20, callback_on_step_end=turn_off)
        plain = latents if plain is None else plain
        if fields.get("tolerance") != 1e6:
            assert torch.equal(latents, plain)
    steps = trace.computed[0]
    assert steps[:3] == steps[10:13] == [True] * 3
    assert not all(steps[:10])
    assert not all(steps[13:])


def call_cutting_masks(pipe, **values):
    """LTX makes its mask for guidance once: with fewer rows it needs one of fewer."""
    forward = pipe.transformer.forward

    def cut(hidden_states, **given):
        mask = given["encoder_attention_mask"][-len(hidden_states) :]
        return forward(hidden_states=hidden_states, **given | {"encoder_attention_mask": mask})

    pipe.transformer.forward = cut
    try:
        return call(pipe, callback_on_step_end_tensor_inputs=["latents", "prompt_embeds"], **values)
    finally:
        del pipe.transformer.forward


def test_a_second_call_that_ends_midway_begins_the_histories_again():
    def turn_off(pipe, step, timestep, values):
        if step == 9:
            pipe._guidance_scale = 1.0
        return {}

    pipe = tiny.wan()
    with skip_steps(pipe, tolerance=1e6) as trace:
        latents = call(pipe, steps=24, callback_on_step_end=turn_off)
    assert latents.isfinite().all()
    assert trace.computed[0][11:14] == [True] * 3
    assert trace.unet_rows_full == 10 * 2 + 14
    with skip_steps(pipe, "none") as trace:
        plain = call(pipe, steps=24, callback_on_step_end=turn_off)
    with skip_steps(pipe, tolerance=1e-12):
        assert torch.equal(call(pipe, steps=24, callback_on_step_end=turn_off), plain)


class GuidedUntil:
    """Guidance in a second call of each step up to one, and in none of those after it, or the other way round."""

    def __init__(self, at, first=True):
        self.transformer, self.at, self.first = Constant(), at, first
        self.scheduler = diffusers.FlowMatchEulerDiscreteScheduler()

    def __call__(self):
        self.scheduler.set_timesteps(16)
        x = torch.ones(1, 4)
        for i, t in enumerate(self.scheduler.timesteps):
            output = self.transformer(x, torch.tensor(1.0))
            if (i < self.at) == self.first:
                output = output + 4 * (output - self.transformer(x, torch.tensor(0.5)))
            x = self.scheduler.step(output, t, x, return_dict=False)[0]
        return x


class Constant(torch.nn.Module):
    def forward(self, hidden_states, text):
        return 0 * hidden_states + text


@pytest.mark.parametrize("corrector", [False, True])
@pytest.mark.parametrize("first", [True, False])
def test_a_step_whose_calls_change_is_taken_with_what_the_pipeline_made_of_them(first, corrector):
    for at in range(6, 12):  # some of them skipped, some the first after a gap
        pipe = GuidedUntil(at, first)
        plain = pipe()
        with skip_steps(pipe, "every-n", every=3, corrector=corrector) as trace:
            found = pipe()
        assert not all(trace.computed[0])
        torch.testing.assert_close(found, plain, rtol=0, atol=1e-5)


class Both(torch.nn.Module):
    """Predicts pictures and sound at once, and hands out a cache that is no tensor."""

    def __init__(self, kind):
        super().__init__()
        self.kind, self.rows = kind, []

    def forward(self, hidden_states, sound):
        self.rows.append(len(hidden_states))
        pair = 0.3 * hidden_states, 0.5 * sound
        return {"tuple": pair, "list": list(pair), "dict": {"sample": pair[0], "sound": pair[1]},
                "cache": (*pair, object())}[self.kind]  # fmt: skip


class WithSound:
    def __init__(self, kind):
        self.transformer = Both(kind)
        self.scheduler = diffusers.FlowMatchEulerDiscreteScheduler()

    def __call__(self, prompts=3):
        self.scheduler.set_timesteps(8)
        other = copy.deepcopy(self.scheduler)
        x, y = torch.arange(1.0, prompts + 1)[:, None] * torch.ones(prompts, 4), torch.ones(prompts, 2)
        for t in self.scheduler.timesteps:
            found = self.transformer(hidden_states=x, sound=y)
            a, b, *_ = found.values() if isinstance(found, dict) else found
            x = self.scheduler.step(a, t, x, return_dict=False)[0]
            y = other.step(b, t, y, return_dict=False)[0]
        return torch.cat([x, y], 1)


@pytest.mark.parametrize("kind", ["tuple", "list", "dict", "cache"])
def test_all_that_a_network_returns_is_held(kind):
    pipe = WithSound(kind)
    plain = pipe()
    with skip_steps(pipe, "none"):
        assert torch.equal(pipe(), plain)
    with skip_steps(pipe, Apart(), predictor="hold-output") as trace:
        both = pipe()
    if kind == "cache":  # it is of the whole batch: all compute where one needs to
        assert trace.computed[0] == trace.computed[1]
        assert set(pipe.transformer.rows) == {3}
        return
    assert trace.computed[0] != trace.computed[1]
    assert 1 in pipe.transformer.rows or 2 in pipe.transformer.rows
    assert trace.unet_rows == sum(map(sum, trace.computed))
    with skip_steps(pipe, Apart(), predictor="hold-output"):
        alone = pipe(1)
    torch.testing.assert_close(alone, both[:1])


def test_shared_arguments_are_not_cut_where_their_length_happens_to_be_the_batchs():
    seen = []

    class Network(torch.nn.Module):
        def forward(self, hidden_states, visual_rope_pos, text_rope_pos, scale_factor, txt_ids, x_rows):
            seen.append((len(hidden_states), [len(p) for p in visual_rope_pos], len(text_rope_pos), len(txt_ids)))
            assert len(visual_rope_pos) == 3
            assert len(x_rows) == len(hidden_states)
            return 0.3 * hidden_states

    class Pipe:
        transformer, scheduler = Network(), diffusers.FlowMatchEulerDiscreteScheduler()

        def __call__(self):
            self.scheduler.set_timesteps(6)
            x = torch.ones(3, 4)
            for t in self.scheduler.timesteps:
                given = {
                    "visual_rope_pos": [torch.arange(3)] * 3, "text_rope_pos": torch.arange(3),
                    "scale_factor": torch.ones(3), "txt_ids": torch.zeros(3, 3), "x_rows": torch.zeros(3, 2, 5),
                }  # fmt: skip
                x = self.scheduler.step(self.transformer(hidden_states=x, **given), t, x, return_dict=False)[0]
            return x

    pipe = Pipe()
    with skip_steps(pipe, Apart()):
        pipe()
    assert {rows for rows, *_ in seen} == {1, 2, 3}
    assert {tuple(map(str, rest)) for _, *rest in seen} == {("[3, 3, 3]", "3", "3")}


def test_what_has_rows_in_the_settings_of_attention_is_cut():
    parts = unets.zero() | {"unet": unets.unet_2d(attention_type="gated")}
    pipe = quiet(diffusers.StableDiffusionGLIGENPipeline(**parts))

    def draw(images, first=0):
        given = {
            "prompt": "a ball", "gligen_phrases": ["a box"], "gligen_boxes": [[0.1, 0.1, 0.8, 0.8]],
            "gligen_scheduled_sampling_beta": 1.0, "num_inference_steps": 6, "height": 16, "width": 16,
            "output_type": "latent", "num_images_per_prompt": images, "generator": tiny.seeds(images, first),
        }  # fmt: skip
        with skip_steps(pipe, Apart(first)) as trace:
            found = pipe(**given).images
        assert trace.unet_rows < trace.unet_rows_full
        return found

    both = draw(2)
    for i in range(2):
        torch.testing.assert_close(both[i], draw(1, i)[0], rtol=1e-4, atol=1e-4)
