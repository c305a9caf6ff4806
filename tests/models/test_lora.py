"""LoRA files: made by peft on the spot, added with their scales, kept in records and hashes, refused where they do not
fit."""

from __future__ import annotations

import importlib.util
import json
import shutil

import numpy as np
import pytest
import torch
from commandline import command
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model
from safetensors.torch import load_file, save_file

import videoada
from videoada.models.pipelines import model_info

PROMPT = "a red circle moving right on a black background"
ASKED = ("generate", "--prompt", PROMPT, "--steps", 6, "--num-frames", 2, "--json")


def make_lora(model, denoiser, path, seed=0):
    """A LoRA file with random weights for the attention of a model's denoiser, as diffusers saves one."""
    pipe = videoada.load_pipeline(str(model), device="cpu")
    torch.manual_seed(seed)
    config = LoraConfig(r=4, lora_alpha=4, init_lora_weights=False, target_modules=["to_q", "to_k", "to_v"])
    inject_adapter_in_model(config, getattr(pipe, denoiser))
    weights = get_peft_model_state_dict(getattr(pipe, denoiser))
    save_file({f"{denoiser}.{name}": tensor.contiguous() for name, tensor in weights.items()}, path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    where = tmp_path_factory.mktemp("lora")
    make_lora("tiny-t2v", "unet", where / "style.safetensors")
    make_lora("tiny-t2v", "unet", where / "other.safetensors", seed=1)
    shutil.copy(where / "style.safetensors", where / "12:30.safetensors")
    weights = load_file(where / "style.safetensors")
    save_file(weights | {"unet.nowhere.lora_A.weight": torch.zeros(4, 8)}, where / "more.safetensors")
    save_file({"a": torch.zeros(2)}, where / "none.safetensors")
    (where / "broken.safetensors").write_bytes((where / "style.safetensors").read_bytes()[:2000])
    (where / "pointer.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    for name in ("style.bin", "style.pt"):
        (where / name).write_bytes(b"x")
    return where


def video_of(*loras):
    pipe = videoada.load_pipeline("tiny-t2v", device="cpu", lora=loras)
    [(video, _)] = videoada.generate(pipe, prompt=PROMPT, num_inference_steps=6, num_frames=2)
    return video


def frames_of(*loras):
    return video_of(*loras).sha256()


def test_weights_are_added_with_their_scale(folder):
    style, other = folder / "style.safetensors", folder / "other.safetensors"
    plain, full, half, both = (
        frames_of(),
        frames_of(str(style)),
        frames_of(f"{style}:.5"),
        frames_of(f"{style}", f"{other}"),
    )
    assert len({plain, full, half, both}) == 4
    nothing = folder / "nothing.safetensors"
    save_file({name: torch.zeros_like(value) for name, value in load_file(style).items()}, nothing)
    assert frames_of(f"{style}:0") == frames_of(str(nothing))
    # wrapped layers round elsewhere than plain ones on some processors
    assert np.abs(video_of(f"{style}:0").frames.astype(int) - video_of().frames).max() <= 1
    assert frames_of(f"{folder / '12:30.safetensors'}:0.5") == half
    assert frames_of(str(folder / "12:30.safetensors")) == full


def test_the_sum_of_two_scales_of_one_file_is_its_scale(folder):
    style = folder / "style.safetensors"
    pipes = [
        videoada.load_pipeline("tiny-t2v", device="cpu", lora=names)
        for names in ([f"{style}:0.25", f"{style}:0.5"], [f"{style}:0.75"])
    ]
    latents = torch.randn(1, 4, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    text = torch.randn(1, 4, pipes[0].unet.config.cross_attention_dim, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        first, second = (pipe.unet(latents, 10, text).sample for pipe in pipes)
    assert torch.allclose(first, second, atol=1e-4)


def test_it_is_in_the_record_which_repeats_and_checks_it(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(folder / "style.safetensors", "a:b.safetensors")
    record = json.loads(command(*ASKED, "--lora", "a:b.safetensors:0.5", "--output", "a.mkv").stdout)
    [weights] = record["model"]["lora"]
    assert (weights["file"], weights["scale"], len(weights["sha256"])) == ("a:b.safetensors", 0.5, 64)
    assert record["load"]["lora"] == ["a:b.safetensors:0.5"]
    again = command("generate", "--from-record", "a.mkv", "--output", "b.mkv", "--json")
    assert json.loads(again.stdout)["frames_sha256"] == record["frames_sha256"]
    assert "warning: the record was made with other" not in again.stderr
    shutil.copy(folder / "other.safetensors", "a:b.safetensors")
    other = command("generate", "--from-record", "a.mkv", "--output", "c.mkv", "--json")
    assert "warning: the record was made with other weights, LoRA files" in other.stderr
    assert json.loads(other.stdout)["frames_sha256"] != record["frames_sha256"]
    (tmp_path / "a:b.safetensors").unlink()
    gone = command("generate", "--from-record", "a.mkv", "--output", "d.mkv", code=2)
    assert "there is no file 'a:b.safetensors'" in gone.stderr


def test_a_render_is_of_its_lora_file(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.txt").write_text(f"{PROMPT}\n")
    shutil.copy(folder / "style.safetensors", "l.safetensors")
    asked = ("render", "p.txt", "--steps", 2, "--num-frames", 2, "--out")
    hashes = []
    for out, more in (("a", ()), ("b", ("--lora", "l.safetensors")), ("c", ("--lora", "l.safetensors:0.5"))):
        command(*asked, out, *more)
        hashes.append(json.loads((tmp_path / out / "0000.json").read_text())["job_sha256"])
    assert len(set(hashes)) == 3
    (tmp_path / "below").mkdir()
    shutil.copy("l.safetensors", "below/l.safetensors")
    assert "1 of them there" in command(*asked, "b", "--lora", "below/l.safetensors").stderr
    shutil.copy(folder / "other.safetensors", "l.safetensors")
    assert "holds videos of other settings" in command(*asked, "b", "--lora", "l.safetensors", code=2).stderr


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("style.bin", "style.bin is a pickle"), ("style.pt:0.5", "style.pt is a pickle"), ("style", "give FILE"),
        ("style.safetensors:half", "give FILE.safetensors"), ("no.safetensors", "there is no file"),
        ("none.safetensors", "holds no LoRA weights"), ("broken.safetensors", "can't read broken.safetensors"),
        ("pointer.safetensors", "Git LFS pointer"), (".", "give FILE.safetensors"),
    ],
)  # fmt: skip
def test_what_is_no_lora_is_a_line(name, problem, folder, tmp_path):
    done = command(*ASKED, "--lora", f"{folder}/{name}", "--output", tmp_path / "a.mkv", code=2)
    assert problem in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_one_of_another_model_is_a_line_and_one_that_fits_in_part_is_said(folder, build_folder, tmp_path):
    make_lora(build_folder("wan-2.1-t2v"), "transformer", folder / "wan.safetensors")
    done = command(*ASKED, "--lora", folder / "wan.safetensors", "--output", tmp_path / "a.mkv", code=2)
    assert "--lora: wan.safetensors does not fit this TextToVideoSDPipeline" in done.stderr
    assert done.stderr.count("\n") == 1
    done = command(*ASKED, "--lora", folder / "more.safetensors", "--output", tmp_path / "a.mkv")
    assert json.loads(done.stdout)["not_used"] == [
        "`lora`: 1 tensor of more.safetensors with no layer in this TextToVideoSDPipeline"
    ]


def test_wan_takes_one(build_folder, tmp_path):
    model = build_folder("wan-2.1-t2v")
    lora = make_lora(model, "transformer", tmp_path / "wan.safetensors")
    size = {"height": 16, "width": 16, "num_frames": 5, "num_inference_steps": 3}
    seen = set()
    for loras in ((), (str(lora),), (f"{lora}:-0.5",)):
        pipe = videoada.load_pipeline(str(model), device="cpu", lora=loras)
        assert [weights.unused for weights in model_info(pipe).lora] == [0] * len(loras)
        [(video, _)] = videoada.generate(pipe, prompt="a red circle", **size)
        seen.add(video.sha256())
    assert len(seen) == 3


def test_a_pipeline_without_a_loader_is_a_line(folder, inputs, tmp_path):
    done = command(*ASKED, "--model", "tiny-i2v", "--image", inputs["IMAGE"], "--lora", folder / "style.safetensors",
                   "--output", tmp_path / "a.mkv", code=2)  # fmt: skip
    assert "I2VGenXLPipeline takes no --lora" in done.stderr


def test_without_peft_a_line_says_what_to_install(folder, tmp_path, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "peft" else found(name, *a))
    done = command(*ASKED, "--lora", folder / "style.safetensors", "--output", tmp_path / "a.mkv", code=2)
    assert done.stderr == "error: --lora needs peft: pip install 'videoada[lora]'\n"


def test_wan_2_2_has_two_transformers(build_folder, tmp_path):
    """A file with weights for both is added to both; where only one gets any, that is said."""
    model = build_folder("wan-2.2-a14b")
    first = make_lora(model, "transformer", tmp_path / "first.safetensors")
    second = make_lora(model, "transformer_2", tmp_path / "second.safetensors", seed=1)
    save_file(load_file(first) | load_file(second), tmp_path / "both.safetensors")
    size = {"height": 16, "width": 16, "num_frames": 5, "num_inference_steps": 3}
    said, seen = {}, set()
    for name in ("first", "second", "both"):
        pipe = videoada.load_pipeline(str(model), device="cpu", lora=[str(tmp_path / f"{name}.safetensors")])
        assert model_info(pipe).lora[0].unused == 0
        [(video, record)] = videoada.generate(pipe, prompt="a red circle", **size)
        said[name] = [text.split(" of this")[0] for text in record.not_used if text.startswith("`lora`")]
        seen.add(video.sha256())
    assert said == {"first": ["`lora`: the transformer_2"], "second": ["`lora`: the transformer"], "both": []}
    assert len(seen) == 3


def test_a_url_is_not_fetched(tmp_path):
    done = command(*ASKED, "--lora", "https://host/a.safetensors", "--output", tmp_path / "a.mkv", code=2)
    assert "https://host/a.safetensors is a URL, and URLs are not fetched" in done.stderr
