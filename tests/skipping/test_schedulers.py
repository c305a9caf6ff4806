"""Every scheduler of the contract, at batch 1 and 4: bit-identity, counting, randomness scoped to each video."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import PROMPTS, draw
from counting import Counting, uint8

import videoada
from videoada import SkipConfig, skip_steps
from videoada.config.run import SCHEDULERS
from videoada.errors import ConfigError
from videoada.metrics import paired_fidelity
from videoada.models.schedulers import scheduler_of
from videoada.skipping.schedule import one_for_each_row, read_schedule

STOCHASTIC = ("dpm++-sde", "euler-a")
SMALL = {"num_inference_steps": 10, "num_frames": 2}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_none_is_plain_diffusers(pipe, name):
    with scheduler_of(pipe, name):
        plain = draw(pipe, steps=5, num_frames=2)
    [(video, record)] = videoada.generate(
        pipe,
        prompt=PROMPTS[0],
        seed=3,
        num_inference_steps=5,
        num_frames=2,
        scheduler=name,
        skip=SkipConfig(policy="none"),
    )
    assert (video.frames == uint8(plain[0])).all()
    assert record.request.scheduler == name


@pytest.mark.parametrize("name", SCHEDULERS)
def test_skipping_counts_what_the_network_is_called_with(pipe, name, monkeypatch):
    requests = [videoada.GenerationConfig(prompt=p, seed=3 + i, scheduler=name, **SMALL) for i, p in enumerate(PROMPTS)]
    asked = videoada.generate(pipe, requests, skip=SkipConfig(threshold=1e-9), batch_size=4)  # computes every step
    skip = SkipConfig(threshold=float(np.median([s for _, record in asked for s in record.signal if s is not None])))
    counting = Counting(pipe.unet, monkeypatch)
    batch = videoada.generate(pipe, requests, skip=skip, batch_size=4)
    assert sum(counting.rows) == sum(record.unet_rows for _, record in batch)
    assert sum(record.num_predictions for _, record in batch) < 4 * 10
    for request, (video, record) in zip(requests, batch, strict=True):
        counting.rows.clear()
        [(alone, alone_record)] = videoada.generate(pipe, [request], skip=skip)
        assert sum(counting.rows) == alone_record.unet_rows == 2 * alone_record.num_predictions
        assert alone_record.computed == record.computed
        assert paired_fidelity(video.frames, alone.frames).psnr is None or (
            paired_fidelity(video.frames, alone.frames).psnr > 45  # uint8 frames: a rounding here and there
        )


@pytest.mark.parametrize("name", STOCHASTIC)
def test_the_noise_of_a_video_is_its_own(pipe, name):
    """In a batch with others, and after other runs, a video's noise comes from its own seed alone."""
    request = {"scheduler": name, "num_inference_steps": 6, "num_frames": 2}
    a, b, c = (videoada.GenerationConfig(prompt=PROMPTS[0], seed=s, **request) for s in (3, 4, 3))
    full = SkipConfig(policy="none")
    results = [video.frames.astype(int) for video, _ in videoada.generate(pipe, [a, b, c], skip=full, batch_size=3)]
    assert np.abs(results[0] - results[2]).max() <= 1
    assert np.abs(results[0] - results[1]).max() > 8
    [(alone, _)] = videoada.generate(pipe, [a], skip=full)
    assert np.abs(results[0] - alone.frames).max() <= 1


def test_rows_drawn_one_by_one_are_the_video_drawn_at_once():
    generators = one_for_each_row([torch.Generator().manual_seed(s) for s in (1, 2)], num_rows=6)
    rows = torch.cat([torch.randn(1, 4, 8, 8, generator=g) for g in generators])
    whole = [torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(s)) for s in (1, 2)]
    assert torch.equal(rows, torch.cat(whole))


@pytest.mark.parametrize("name", ["PNDMScheduler", "HeunDiscreteScheduler", "KDPM2DiscreteScheduler"])
def test_schedulers_that_call_more_than_once_are_refused_by_name(pipe, name):
    import diffusers

    before = pipe.scheduler
    pipe.scheduler = getattr(diffusers, name).from_config(before.config)
    try:
        with pytest.raises(ConfigError, match=name), skip_steps(pipe):
            pass
        with pytest.raises(ConfigError, match="more than once"):
            videoada.GenerationConfig(prompt="x", scheduler={"P": "pndm", "H": "heun", "K": "kdpm2"}[name[0]])
    finally:
        pipe.scheduler = before


@pytest.mark.parametrize("name", SCHEDULERS)
def test_levels_are_what_the_network_is_given(pipe, name):
    """scale_model_input(α₀-form latents) has α² + σ² = 1, with the scheduler's own signal-to-noise ratio."""
    with scheduler_of(pipe, name) as scheduler:
        scheduler.set_timesteps(10)
        timesteps = scheduler.timesteps.tolist()
        schedule = read_schedule(scheduler)
    levels, scales = schedule.levels, schedule.scales
    assert [a.alpha**2 + a.sigma**2 for a in levels] == pytest.approx([1.0] * 10)
    alpha_bar = scheduler.alphas_cumprod[torch.tensor(timesteps).long()].double().sqrt().tolist()
    assert [a.alpha for a in levels] == pytest.approx(alpha_bar, rel=2e-3)
    if name.startswith("euler"):
        assert scales == pytest.approx([1 / a.alpha for a in levels] + [1.0], rel=1e-5)
    else:
        assert scales == [1.0] * 11


def test_euler_without_noise_skips_as_ddim_does_at_equal_scale(pipe):
    """Euler is DDIM in other coordinates: the same rule at equal scale must decide the same."""
    from diffusers import DDIMScheduler, EulerDiscreteScheduler

    before, computed = pipe.scheduler, []
    try:
        for kind in (DDIMScheduler, EulerDiscreteScheduler):
            pipe.scheduler = kind.from_config(before.config, timestep_spacing="trailing")
            with skip_steps(pipe, threshold=0.3) as trace:
                draw(pipe, steps=16, num_frames=2, output_type="latent")
            computed.append((trace.computed[0], trace.signal[0][3:6]))
    finally:
        pipe.scheduler = before
    assert computed[0][0][:6] == computed[1][0][:6]
    assert computed[0][1][0] == pytest.approx(computed[1][1][0], rel=0.05)


@pytest.mark.parametrize("kind", ["v_prediction", "sample"])
def test_other_prediction_types_hold_the_pair(pipe, kind):
    """With a linear 'network' whose (x̂₀, ε̂) never change, holding is exact for every prediction type."""
    from diffusers import DDIMScheduler

    before = pipe.scheduler
    scheduler = DDIMScheduler.from_config(before.config, prediction_type=kind, timestep_spacing="trailing")
    x0, eps = torch.full((1, 4, 2, 8, 8), 0.3), torch.randn(1, 4, 2, 8, 8, generator=torch.Generator().manual_seed(0))

    class Denoiser(torch.nn.Module):
        dtype, config = torch.float32, pipe.unet.config

        def forward(self, sample, timestep, **kwargs):
            a = scheduler.alphas_cumprod[int(timestep)]
            alpha, sigma = a.sqrt(), (1 - a).sqrt()
            output = alpha * eps - sigma * x0 if kind == "v_prediction" else x0
            return (output.expand_as(sample),)

    class Pipe:
        unet = Denoiser()

        def __call__(self, steps):
            scheduler.set_timesteps(steps)
            a = scheduler.alphas_cumprod[scheduler.timesteps[0]]
            x = a.sqrt() * x0 + (1 - a).sqrt() * eps
            for t in scheduler.timesteps:
                x = scheduler.step(self.unet(x, t)[0], t, x).prev_sample
            return x

    tiny = Pipe()
    tiny.scheduler = scheduler
    full = tiny(20)
    with skip_steps(tiny, "every-n", every=4) as trace:
        held = tiny(20)
    assert trace.num_predictions == [5]
    torch.testing.assert_close(held, full, rtol=1e-4, atol=1e-4)
    end = scheduler.final_alpha_cumprod
    torch.testing.assert_close(full, end.sqrt() * x0 + (1 - end).sqrt() * eps, rtol=1e-3, atol=1e-3)


def test_the_schedules_share_of_the_signal(pipe):
    """Once the prediction is held, DDIM's latents move by the schedule alone: the two signals then agree."""
    with skip_steps(pipe, threshold=0.5, max_skip_steps=6) as trace:
        draw(pipe, steps=24, num_frames=2)
    rows = trace.table()
    assert [row["computed"] for row in rows] == trace.computed[0]
    held = [row for i, row in enumerate(rows[:-1]) if i > 4 and not any(r["computed"] for r in rows[i - 3 : i])]
    assert held, "no run of three skips: the test says nothing"
    for row in held:
        assert row["signal"] == pytest.approx(row["schedule_signal"], rel=0.02, abs=1e-3)
    free = [row for row in rows[:-1] if row["signal"] is not None and row not in held]
    assert any(abs(row["signal"] - row["schedule_signal"]) > 0.02 for row in free)
    assert "the noise schedule alone explains" in trace.summary()
