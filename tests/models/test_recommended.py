"""Recommended settings belong to a model: what a run takes where nothing is said, and what the record says of it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml
from commandline import command
from conftest import PROMPTS

import videoada
from videoada.config.prompts import read_entries
from videoada.config.settings import RunSettings
from videoada.models.catalogue import ASSETS, KNOWN, known_model
from videoada.models.recommended import filled, filled_in, left_out, recommended_for, recommended_of, with_recommended
from videoada.rendering.jobs import plan_jobs

ROCKET = "rocket on a navy background"


@pytest.fixture(scope="module")
def emoji():
    return videoada.load_pipeline("emoji-t2v", device="cpu")


def test_a_known_models_settings_are_the_catalogues(emoji):
    assert recommended_of(emoji) == recommended_for("emoji-t2v")
    assert recommended_for("emoji-t2v")["guidance_scale"] == 6.0
    assert {recommended_for(name)["guidance_scale"] for name in ("tiny-t2v", "tiny-i2v", "modelscope-t2v")} == {9.0}
    assert recommended_for("somebody/else") == {}
    for name, model in KNOWN.items():
        assert recommended_for(name)["num_inference_steps"] == model.num_inference_steps


def test_what_is_said_wins_and_the_record_lists_the_rest(emoji):
    request = videoada.GenerationConfig(prompt=ROCKET, num_inference_steps=2, num_frames=2, seed=3)
    assert left_out(request) == ["guidance_scale", "fps", "scheduler"]
    [(video, record)] = videoada.generate(emoji, [request])
    assert video.frames.shape == (2, 128, 128, 3)
    assert (record.request.guidance_scale, record.request.fps, record.request.scheduler) == (6.0, 8, "ddim")
    assert record.model_defaults == ["guidance_scale", "fps", "scheduler"]
    said = request.model_copy(update={"guidance_scale": 6.0, "fps": 8, "scheduler": "ddim"})
    [(same, told)] = videoada.generate(emoji, [said])
    assert told.model_defaults == []
    assert np.array_equal(same.frames, video.frames)
    [(other, _)] = videoada.generate(emoji, [said.model_copy(update={"guidance_scale": 9.0})])
    assert not np.array_equal(other.frames, video.frames)


def test_plain_diffusers_loads_the_folder_and_generates_the_same(emoji):
    import torch
    from diffusers import TextToVideoSDPipeline

    plain = TextToVideoSDPipeline.from_pretrained(ASSETS / "emoji-t2v").to("cpu", torch.float32)
    plain.set_progress_bar_config(disable=True)
    asked = {"num_inference_steps": 2, "num_frames": 2, "guidance_scale": 6.0}
    frames = plain(ROCKET, **asked, generator=torch.Generator().manual_seed(3), output_type="np").frames[0]
    [(video, _)] = videoada.generate(emoji, prompt=ROCKET, seed=3, policy="none", **asked)
    assert np.array_equal(videoada.Video.from_float(frames).frames, video.frames)


def test_a_pipeline_from_elsewhere_has_its_own_calls_defaults(pipe):
    class Wrapped(type(pipe)):
        def __call__(self, prompt=None, num_inference_steps=30, guidance_scale=4.5, video_length=9, frame_rate=24):
            raise AssertionError("only its signature is read")

    other = Wrapped(**pipe.components)
    assert recommended_of(other) == {
        "num_inference_steps": 30, "guidance_scale": 4.5, "num_frames": 9, "fps": 24, "scheduler": None,
    }  # fmt: skip
    [request] = with_recommended(other, [videoada.GenerationConfig(prompt="x", guidance_scale=2.0)])
    assert (request.num_steps, request.guidance_scale, request.guided) == (30, 2.0, True)


def test_settings_of_a_known_model_are_filled_without_loading_it():
    settings = filled(RunSettings(model="emoji-t2v", steps=20))
    assert (settings.steps, settings.guidance_scale, settings.num_frames, settings.fps) == (20, 6.0, 16, 8)
    elsewhere = RunSettings(model="somebody/else")
    assert filled(elsewhere) == elsewhere
    shown = yaml.safe_load(command("generate", "--model", "emoji-t2v", "--prompt", ROCKET, "--print-config").stdout)
    assert (shown["guidance_scale"], shown["scheduler"]) == (6.0, "ddim")


def test_said_or_not_said_is_one_job_of_a_render(tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text("\n".join(PROMPTS))
    silent, said = (
        plan_jobs(read_entries(file), settings)
        for settings in (RunSettings(), RunSettings(**filled_in("tiny-t2v")))
    )  # fmt: skip
    assert [job.sha256 for job in silent] == [job.sha256 for job in said]
    other = plan_jobs(read_entries(file), RunSettings(guidance_scale=6.0))
    assert {job.sha256 for job in other}.isdisjoint(job.sha256 for job in said)


def test_the_command_line_takes_and_records_them(tmp_path):
    ran = command("generate", "--model", "emoji-t2v", "--prompt", ROCKET, "--steps", "2", "--num-frames", "2", "--json",
                  "--output", tmp_path / "rocket.mkv")  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    record = json.loads(ran.stdout)
    assert record["request"]["guidance_scale"] == 6.0
    assert record["model_defaults"] == ["guidance_scale", "fps", "scheduler"]
    assert record["model"]["licence"] == known_model("emoji-t2v").licence == "MIT"
    assert record["model"]["embedded"]
