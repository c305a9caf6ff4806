"""tiny-wan: a transformer, flow matching and two network calls a step, inside the package."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from commandline import command
from following import check_that_it_follows_prompts

import videoada
from videoada.models.catalogue import ASSETS
from videoada.models.recommended import recommended_of
from videoada.shapes import agreement, measure, parse

PROMPT = "a red circle moving right on a black background"
FULL = videoada.SkipConfig(policy="none")


@pytest.fixture(scope="module")
def wan():
    return videoada.load_pipeline("tiny-wan", device="cpu")


def test_it_loads_without_a_network_and_is_wans_classes(wan, monkeypatch):
    import socket

    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("connects"))
    again = videoada.load_pipeline("tiny-wan", device="cpu")
    parts = {name: type(part).__name__ for name, part in again.components.items() if part is not None}
    assert type(again).__name__ == "WanPipeline"
    assert parts["transformer"] == "WanTransformer3DModel"
    assert parts["vae"] == "AutoencoderKLWan"
    assert parts["text_encoder"] == "UMT5EncoderModel"
    assert parts["scheduler"] == "UniPCMultistepScheduler"
    assert (again.scheduler.config.use_flow_sigmas, again.scheduler.config.flow_shift) == (True, 3.0)


def test_its_settings_are_recommended(wan):
    own = recommended_of(wan)
    assert (own["num_frames"], own["scheduler"], own["num_inference_steps"]) == (17, None, 50)


def test_plain_diffusers_generates_the_same(wan):
    from diffusers import WanPipeline

    plain = WanPipeline.from_pretrained(ASSETS / "tiny-wan", dtype=torch.float32)
    plain.set_progress_bar_config(disable=True)
    asked = {"num_inference_steps": 3, "num_frames": 5, "guidance_scale": 5.0}
    size = {"height": 64, "width": 64, "max_sequence_length": 32}
    frames = plain(PROMPT, **asked, **size, generator=torch.Generator().manual_seed(3)).frames[0]
    [(video, record)] = videoada.generate(wan, prompt=PROMPT, seed=3, skip=FULL, **asked)
    assert np.array_equal(videoada.Video.from_float(frames).frames, video.frames)
    assert (record.num_predictions, record.unet_rows) == (3, 6)


def test_a_number_of_frames_that_it_can_not_make_is_rounded_and_said(wan):
    [(video, record)] = videoada.generate(wan, prompt=PROMPT, num_inference_steps=2, num_frames=16, skip=FULL)
    assert len(video.frames) == record.num_frames == 17
    assert record.not_used == ["`num_frames`: WanPipeline generates 17 frames where 16 are asked for"]


def test_the_length_of_the_padding_hardly_matters(wan):
    """Training saw texts padded to 32 up to 512 tokens: a plain call, which pads to 512, generates about the same."""
    latents = torch.randn(1, 16, 5, 8, 8, generator=torch.Generator().manual_seed(0))
    predicted = []
    for length in (32, 512):
        text, _ = wan.encode_prompt(PROMPT, do_classifier_free_guidance=False, max_sequence_length=length)
        with torch.no_grad():
            predicted.append(wan.transformer(latents, torch.tensor([900]), text, return_dict=False)[0])
    assert (predicted[1] - predicted[0]).std() < 0.1 * predicted[0].std()


def test_the_command_line_generates_17_frames_of_64_pixels(tmp_path):
    ran = command("generate", "--model", "tiny-wan", "--prompt", PROMPT, "--steps", "4", "--json",
                  "--output", tmp_path / "wan.mkv")  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    record = json.loads(ran.stdout)
    assert record["model"]["embedded"]
    assert (record["num_frames"], record["request"]["scheduler"]) == (17, None)
    assert videoada.Video.read(tmp_path / "wan.mkv").frames.shape == (17, 64, 64, 3)


def test_it_shows_what_was_asked_for(wan):
    right = []
    for seed, prompt in enumerate((PROMPT, "a blue square moving left on a gray background",
                                   "a yellow triangle moving down on a navy background")):  # fmt: skip
        [(video, _)] = videoada.generate(wan, prompt=prompt, seed=seed, num_inference_steps=20, skip=FULL)
        right.append(agreement(parse(prompt), measure(video.frames)))
    assert all(row["background"] and row["colour"] for row in right)
    assert sum(row["motion"] for row in right) >= 2


def test_the_default_comes_near_its_full_run(wan):
    """An estimate that is too small near pure noise made it 32 dB, with most steps computed after a call said so."""
    prompt = "a yellow triangle standing still on a navy background"
    [(full, _)], [(video, record)] = (videoada.generate(wan, prompt=prompt, seed=5, skip=s) for s in (FULL, None))
    assert record.num_predictions <= 20
    assert videoada.metrics.paired_fidelity(video.frames, full.frames).psnr > 50


def test_a_small_tolerance_keeps_a_prompt_that_parts_at_its_first_steps(wan):
    """With steps 1 and 3 left out it was 38 dB, whatever the tolerance."""
    asked = {"prompt": "a white triangle moving left slowly on a navy background", "seed": 4149}
    [(full, _)], [(video, record)] = (
        videoada.generate(wan, skip=skip, **asked) for skip in (FULL, videoada.SkipConfig(tolerance=0.01))
    )
    assert record.num_predictions <= 30
    assert videoada.metrics.paired_fidelity(video.frames, full.frames).psnr > 55


@pytest.mark.slow
def test_the_model_follows_its_prompts(wan):
    check_that_it_follows_prompts(wan)
