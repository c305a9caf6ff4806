"""Steps taken again: exact where the network's x̂₀ lies on a line, and nothing else changed."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from conftest import PROMPTS, draw
from counting import Counting, uint8

import videoada
from videoada import SkipConfig, skip_steps
from videoada.errors import ConfigError
from videoada.metrics import paired_fidelity
from videoada.models.schedulers import make_scheduler, scheduler_of
from videoada.skipping.owners import run_of
from videoada.skipping.rewind import Rewind

SCHEDULERS = ("ddim", "dpm++", "dpm++-sde", "unipc", "euler", "euler-a")


class OnALine(torch.nn.Module):
    """Says x̂₀ = a + b·φ whatever it sees: what a network would that has learned one video by heart, moving."""

    def __init__(self, scheduler):
        super().__init__()
        self.ends = torch.randn(2, 1, 4, 4, 2, 2, generator=torch.Generator().manual_seed(1))
        self.scheduler, self.seen = scheduler, 0

    def forward(self, sample, timestep):
        self.seen += 1
        alpha_bar = self.scheduler.alphas_cumprod.double().numpy()
        a2 = float(np.interp(float(timestep), np.arange(len(alpha_bar)), alpha_bar))
        alpha, sigma = math.sqrt(a2), math.sqrt(1 - a2)
        if hasattr(self.scheduler, "sigmas") and self.scheduler.init_noise_sigma != 1:
            s = float(self.scheduler.sigmas[self.scheduler.step_index])
            alpha, sigma = 1 / math.hypot(1, s), s / math.hypot(1, s)
        x0 = self.ends[0] + math.atan2(sigma, alpha) * self.ends[1]
        return ((sample - alpha * x0) / sigma,)


class Plain:
    """A pipeline with a network, a scheduler and nothing else."""

    def __init__(self, scheduler):
        self.scheduler = scheduler
        self.unet = OnALine(scheduler)

    def __call__(self, steps, seed=0, eta=None):
        self.scheduler.set_timesteps(steps)
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(1, 4, 4, 2, 2, generator=generator) * self.scheduler.init_noise_sigma
        takes = (
            "generator" in self.scheduler.step.__wrapped__.__code__.co_varnames
            if hasattr(self.scheduler.step, "__wrapped__")
            else "generator" in type(self.scheduler).step.__code__.co_varnames
        )
        extra = {"generator": generator} if takes else {}
        for i, t in enumerate(self.scheduler.timesteps):
            noise = self.unet(self.scheduler.scale_model_input(x, t), t)[0]
            flat = [v.permute(0, 2, 1, 3, 4).reshape(4, 4, 2, 2) for v in (noise, x)]
            x = self.scheduler.step(flat[0], t, flat[1], **extra).prev_sample
            x = x.reshape(1, 4, 4, 2, 2).permute(0, 2, 1, 3, 4)
            x = self.between(x, i)
        return x

    def between(self, x, i):
        return x


@pytest.mark.parametrize("name", SCHEDULERS)
def test_the_corrector_is_exact_where_x0_lies_on_a_line(pipe, name):
    mask = (1, 1, 1, 0, 0, 1, 0, 0, 0, 1, 0, 1, 1, 0, 0, 1)
    toy = Plain(make_scheduler(name, pipe.scheduler))

    def latents_after_calls(**fields):
        found = []
        with skip_steps(toy, on_latents=lambda step, x: found.append(x.clone()), **fields) as trace:
            toy(16)
        return torch.stack([x for x, computed in zip(found, mask, strict=True) if computed]), trace

    full, _ = latents_after_calls(policy="none")
    toy.unet.seen = 0
    corrected, trace = latents_after_calls(policy="mask", mask=mask, predictor="hold", corrector=True)
    assert trace.num_predictions == [sum(mask)] == [toy.unet.seen]
    torch.testing.assert_close(corrected, full, rtol=1e-3, atol=2e-3)
    held, _ = latents_after_calls(policy="mask", mask=mask, predictor="hold")
    assert (held - full).abs().max() > 10 * (corrected - full).abs().max()


@pytest.mark.parametrize("name", SCHEDULERS)
def test_steps_taken_again_with_the_same_outputs_are_the_same_steps(pipe, name):
    scheduler = make_scheduler(name, pipe.scheduler)
    scheduler.set_timesteps(8)
    generator = torch.Generator().manual_seed(5)
    outputs = torch.randn(8, 1, 64, generator=generator)
    x = torch.randn(4, 4, 2, 2, generator=generator) * scheduler.init_noise_sigma
    extra = {"generator": generator} if "generator" in type(scheduler).step.__code__.co_varnames else {}
    rewind = Rewind()
    for i, t in enumerate(scheduler.timesteps):

        def take(given, sample, carried=None, t=t):
            return scheduler.step(given, t, sample, **extra).prev_sample, None

        if i == 5:
            before = x.clone(), generator.get_state()
            again = rewind.again(scheduler, 2, x, lambda taken, sample: taken.outputs)
            assert torch.equal(again, before[0])
            assert torch.equal(generator.get_state(), before[1])
            other = rewind.again(scheduler, 2, x, lambda taken, sample: taken.outputs * (1 + 0.1 * (taken.step == 3)))
            assert not torch.equal(other, before[0])
            assert torch.equal(rewind.again(scheduler, 2, other, lambda taken, s: outputs[taken.step]), before[0])
        scheduler.scale_model_input(x, t)
        rewind.keep(scheduler, i, outputs[i], x, take, extra.get("generator"))
        x, _ = take(outputs[i].reshape(x.shape), x)
        rewind.took(x)
    rewind.forget_before(6)
    assert [taken.step for taken in rewind.taken] == [6, 7]


def test_the_default_is_error_controlled_with_the_corrector(pipe):
    [(_, record)] = videoada.generate(pipe, prompt=PROMPTS[0], seed=3, num_inference_steps=20, num_frames=2)
    assert record.skip == SkipConfig()
    assert (record.skip.policy, record.skip.predictor, record.skip.corrector) == ("error-controlled", "linear", True)
    assert 4 < record.num_predictions < 20
    assert record.signal[3] is not None


@pytest.mark.parametrize("predictor", ["hold", "hold-output", "linear", "linear-eps", "taylor2"])
@pytest.mark.parametrize("corrector", [False, True])
def test_every_predictor_with_and_without_the_corrector(pipe, predictor, corrector):
    plain = draw(pipe, steps=14, num_frames=2)
    with skip_steps(pipe, tolerance=0.05, predictor=predictor, corrector=corrector) as trace:
        frames = draw(pipe, steps=14, num_frames=2)
    assert np.isfinite(frames).all()
    assert trace.num_predictions[0] < 14
    assert paired_fidelity(uint8(frames[0]), uint8(plain[0])).psnr > 20
    mask = trace.computed[0]
    with skip_steps(pipe, "mask", mask=mask, predictor=predictor, corrector=corrector):
        assert (draw(pipe, steps=14, num_frames=2) == frames).all()


@pytest.mark.parametrize("name", ["ddim", "dpm++", "dpm++-sde", "euler"])
def test_a_prompt_in_a_batch_is_corrected_as_alone(pipe, name, monkeypatch):
    """Prompts of a batch skip different steps; taking one's again leaves the others alone, and their noise."""
    fields = {"num_inference_steps": 14, "num_frames": 2, "scheduler": name}
    requests = [videoada.GenerationConfig(prompt=p, seed=3 + i, **fields) for i, p in enumerate(PROMPTS)]
    skip = SkipConfig(tolerance=0.3 if name == "dpm++-sde" else 0.04)  # fresh noise at each step turns x̂₀ about
    counting = Counting(pipe.unet, monkeypatch)
    batch = videoada.generate(pipe, requests, skip=skip, batch_size=4)
    assert sum(counting.rows) == sum(record.unet_rows for _, record in batch)
    assert len({tuple(record.computed) for _, record in batch}) > 1
    for request, (video, record) in zip(requests, batch, strict=True):
        [(alone, alone_record)] = videoada.generate(pipe, [request], skip=skip)
        assert alone_record.computed == record.computed
        psnr = paired_fidelity(video.frames, alone.frames).psnr
        assert psnr is None or psnr > 45


def test_guidance_halves_are_left_out_and_counted(pipe, monkeypatch):
    requests = [videoada.GenerationConfig(prompt=p, seed=3 + i, num_inference_steps=16, num_frames=2)
                for i, p in enumerate(PROMPTS[:2])]  # fmt: skip
    counting = Counting(pipe.unet, monkeypatch)
    results = videoada.generate(pipe, requests, skip=SkipConfig(tolerance=0.03, guidance_tolerance=0.5), batch_size=2)
    assert sum(counting.rows) == sum(record.unet_rows for _, record in results)
    for _, record in results:
        assert any(record.guidance_skipped)
        assert record.unet_rows == 2 * record.num_predictions - sum(record.guidance_skipped)
        assert not any(g and not c for g, c in zip(record.guidance_skipped, record.computed, strict=True))
    counting.rows.clear()
    [(alone, record)] = videoada.generate(pipe, requests[:1], skip=SkipConfig(tolerance=0.03, guidance_tolerance=0.5))
    assert record.computed == results[0][1].computed
    assert record.guidance_skipped == results[0][1].guidance_skipped
    assert paired_fidelity(alone.frames, results[0][0].frames).psnr in (None, pytest.approx(70, abs=25))


def test_without_guidance_there_is_no_half_to_leave_out(pipe):
    [(_, record)] = videoada.generate(
        pipe, prompt=PROMPTS[0], guidance_scale=1.0, num_inference_steps=12, num_frames=2,
        skip=SkipConfig(tolerance=0.05, guidance_tolerance=10.0),
    )  # fmt: skip
    assert not any(record.guidance_skipped)
    assert record.unet_rows == record.num_predictions


def test_nothing_is_kept_after_the_block(pipe):
    with skip_steps(pipe, tolerance=0.05):
        run = run_of(pipe.unet)
        kept = []
        draw(pipe, steps=14, num_frames=2, callback=lambda *_: kept.append(len(run.correction.rewind.taken)))
        assert max(kept) <= 10  # the longest run of skips, and its ends
    assert not run.correction.rewind.taken
    assert not run.correction.past


def test_compiled_and_offloaded_are_no_different(pipe):
    with skip_steps(pipe, tolerance=0.05) as trace:
        draw(pipe, steps=10, num_frames=2)
    computed = trace.computed
    other = videoada.load_pipeline("tiny-t2v", device="cpu")
    other.enable_model_cpu_offload(device="cpu")
    with scheduler_of(other, "ddim"), skip_steps(other, tolerance=0.05) as trace:
        draw(other, steps=10, num_frames=2)
    assert trace.computed == computed


def test_what_a_callback_does_to_the_latents_is_kept(pipe):
    """Masks and inpainting change latents between steps; taking steps again must not undo that."""
    toy = Plain(make_scheduler("ddim", pipe.scheduler))
    mask = (1, 1, 1, 0, 0, 0, 1, 0, 0, 1)

    def run(edit, **fields):
        found = []
        toy.between = lambda x, i: x + 1.0 if edit and i == 4 else x
        with skip_steps(toy, on_latents=lambda i, x: found.append(x.clone()), **fields):
            toy(10)
        return found

    plain, changed = run(False, policy="none"), run(True, policy="none")
    corrected = run(True, policy="mask", mask=mask, predictor="hold", corrector=True)
    assert (changed[6] - plain[6]).abs().max() > 0.3
    assert (corrected[6] - changed[6]).abs().max() < 0.05 * (changed[6] - plain[6]).abs().max()


def test_a_rule_of_latents_sees_the_corrected_ones(pipe):
    """The jump that the corrector makes is no change of the trajectory."""
    signals = {}
    for corrector in (False, True):
        with skip_steps(pipe, threshold=0.15, predictor="linear", corrector=corrector) as trace:
            draw(pipe, steps=30, num_frames=2)
        signals[corrector] = max(s for s in trace.signal[0][8:24] if s is not None)
    assert signals[True] < 3 * signals[False]


class Flow:
    """A flow-matching pipeline of one video whose x̂₀ moves on a line in the angle."""

    def __init__(self, scheduler):
        self.scheduler = scheduler
        self.transformer = torch.nn.Identity()
        self.transformer.forward = self.velocity
        self.ends = torch.randn(2, 1, 16, generator=torch.Generator().manual_seed(3))

    def velocity(self, sample, timestep):
        s = float(self.scheduler.sigmas[self.scheduler.step_index or 0])
        x0 = self.ends[0] + math.atan2(s, 1 - s) * self.ends[1]
        return (sample - x0) / s

    def __call__(self, steps):
        self.scheduler.set_timesteps(steps)
        x = torch.randn(1, 16, generator=torch.Generator().manual_seed(4))
        for t in self.scheduler.timesteps:
            x = self.scheduler.step(self.transformer(x, t), t, x).prev_sample
        return x


@pytest.mark.parametrize("kind", ["unipc", "euler"])
def test_flow_matching_is_corrected_exactly_where_x0_lies_on_a_line(kind):
    from diffusers import FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler

    scheduler = FlowMatchEulerDiscreteScheduler() if kind == "euler" else UniPCMultistepScheduler(
        use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=3.0
    )  # fmt: skip
    pipe, mask = Flow(scheduler), (1, 1, 1, 0, 1, 0, 0, 1, 0, 1)
    found = {}
    for name, fields in (
        ("full", {"policy": "none"}), ("held", {"policy": "mask", "mask": mask}),
        ("corrected", {"policy": "mask", "mask": mask, "predictor": "linear", "corrector": True}),
    ):  # fmt: skip
        latents = []
        with skip_steps(pipe, on_latents=lambda step, x, latents=latents: latents.append(x.clone()), **fields):
            pipe(10)
        found[name] = latents[7]
    error = (found["corrected"] - found["full"]).abs().max()
    assert error < 2e-3
    assert (found["held"] - found["full"]).abs().max() > 10 * error


def test_a_scheduler_with_another_step_is_refused_by_name(pipe):
    import diffusers

    before = pipe.scheduler
    pipe.scheduler = diffusers.RePaintScheduler()
    try:
        with pytest.raises(ConfigError, match="RePaintScheduler is not a scheduler that"), skip_steps(pipe):
            pass
    finally:
        pipe.scheduler = before


class WithVariance(torch.nn.Module):
    """Predicts twice the channels, of which the pipeline drops half (Latte)."""

    def __init__(self):
        super().__init__()
        self.config = type("Config", (), {"in_channels": 4, "out_channels": 8})()

    def forward(self, sample, timestep):
        return (torch.cat([sample * 0.1, sample], dim=1),)


def test_prompts_are_counted_where_the_network_also_predicts_a_variance():
    from diffusers import DDIMScheduler

    class Latte:
        def __init__(self):
            self.transformer, self.scheduler = WithVariance(), DDIMScheduler()

        def __call__(self, prompts):
            self.scheduler.set_timesteps(8)
            x = torch.randn(prompts, 4, 6, generator=torch.Generator().manual_seed(0))
            for t in self.scheduler.timesteps:
                uncond, cond = self.transformer(torch.cat([x, x]), t)[0].chunk(2)[0:2]
                guided = (uncond + 2 * (cond - uncond)).chunk(2, dim=1)[0]
                x = self.scheduler.step(guided, t, x).prev_sample
            return x

    for prompts in (1, 2, 3):
        pipe = Latte()
        with skip_steps(pipe, policy="every-n", every=2, predictor="linear", corrector=True) as trace:
            assert pipe(prompts).isfinite().all()
        assert len(trace.computed) == prompts
        assert trace.unet_rows == 2 * prompts * 4


@pytest.mark.parametrize("way", ["mean", "any"])
def test_a_record_of_a_batch_decision_repeats_its_steps(pipe, way):
    from videoada.config.settings import RunSettings
    from videoada.records.find import settings_of

    requests = [videoada.GenerationConfig(prompt=p, seed=3 + i, num_inference_steps=12, num_frames=2)
                for i, p in enumerate(PROMPTS[:2])]  # fmt: skip
    skip = SkipConfig(tolerance=0.05, batch_decision=way)
    results = videoada.generate(pipe, requests, skip=skip, batch_size=2)
    assert results[0][1].computed == results[1][1].computed
    for request, (video, record) in zip(requests, results, strict=True):
        again = RunSettings(**settings_of(record)).skip()
        [(repeated, repeat)] = videoada.generate(pipe, [request], skip=again)
        assert repeat.computed == record.computed
        assert paired_fidelity(repeated.frames, video.frames).psnr in (None, pytest.approx(75, abs=25))
