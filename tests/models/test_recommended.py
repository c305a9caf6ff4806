"""Recommended settings belong to a model: what a run takes where nothing is said, and what the record says of it."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
import yaml
from commandline import command
from conftest import PROMPTS
from safetensors.torch import save_file

import videoada
from videoada.config.prompts import read_entries
from videoada.config.settings import RunSettings
from videoada.models.catalogue import ASSETS, KNOWN, known_model
from videoada.models.pipelines import resolve_dtype
from videoada.models.recommended import (
    filled,
    filled_in,
    left_out,
    left_to_model,
    recommended_for,
    recommended_of,
    with_recommended,
)
from videoada.rendering.jobs import plan_jobs

ROCKET = "rocket on a navy background"


@pytest.fixture(scope="module")
def emoji():
    return videoada.load_pipeline("emoji-t2v", device="cpu")


def test_a_known_models_settings_are_the_catalogues(emoji):
    assert recommended_of(emoji) == recommended_for("emoji-t2v")
    assert recommended_for("emoji-t2v")["guidance_scale"] == 6.0
    assert {recommended_for(name)["guidance_scale"] for name in ("tiny-t2v", "tiny-i2v", "modelscope-t2v")} == {9.0}
    assert recommended_for("tiny-wan")["num_frames"] == 17
    assert recommended_for("somebody/else") == {}
    for name, model in KNOWN.items():
        assert recommended_for(name)["num_inference_steps"] == model.num_inference_steps


def test_what_is_said_wins_and_the_record_lists_the_rest(emoji):
    request = videoada.GenerationConfig(prompt=ROCKET, num_inference_steps=2, num_frames=2, seed=3)
    assert left_out(request) == ["guidance_scale", "fps", "scheduler", "height", "width"]
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


def test_a_size_that_the_pipeline_would_not_take_by_itself_is_the_catalogues():
    """Wan 2.2's and ZeroScope's pipelines have another default size than these models were trained on."""
    settings = filled(RunSettings(model="wan-2.2-5b"))
    assert (settings.height, settings.width, settings.num_frames, settings.fps) == (704, 1280, 121, 24)
    assert filled(RunSettings(model="zeroscope", height=256)).height == 256
    assert filled(RunSettings(model="tiny-t2v")).height is None
    for model in KNOWN.values():  # what is listed is what a run generates
        height, width, frames = (int(number) for number in re.findall(r"\d+", model.size))
        assert frames == model.num_frames
        assert (model.height, model.width) in ((height, width), (None, None))


def test_the_catalogues_size_fills_a_request(pipe, monkeypatch):
    from videoada.models import pipelines

    info = pipelines.model_info(pipe).model_copy(update={"name": "zeroscope"})
    monkeypatch.setitem(pipelines._INFO, pipe, info)
    [request] = with_recommended(pipe, [videoada.GenerationConfig(prompt="x")])
    assert (request.height, request.width) == (320, 576)
    assert left_to_model(pipe, videoada.GenerationConfig(prompt="x", height=64, width=64, fps=8)) == [
        "num_inference_steps", "guidance_scale", "num_frames",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("model", "stored", "device", "dtype"),
    [
        ("somewhere", torch.bfloat16, "cuda", torch.bfloat16),
        ("somewhere", torch.float32, "cuda", torch.float16),
        ("somewhere", torch.bfloat16, "cpu", torch.float32),
        ("wan-2.1-1.3b", torch.float32, "cuda", torch.bfloat16),
        ("cogvideox-2b", torch.float16, "cuda", torch.float16),
    ],
)
def test_dtype_auto_on_a_gpu_is_the_models(model, stored, device, dtype, tmp_path):
    (tmp_path / "transformer").mkdir()
    save_file({"weight": torch.zeros(2, dtype=stored)}, tmp_path / "transformer" / "a.safetensors")
    assert resolve_dtype("auto", device, model, tmp_path) == dtype
    assert resolve_dtype("float32", device, model, tmp_path) == torch.float32
    (tmp_path / "transformer" / "a.safetensors").write_bytes(b"\xff" * 20)  # the loader says what is wrong
    assert resolve_dtype("auto", "cuda", "somewhere", tmp_path) == torch.float16
