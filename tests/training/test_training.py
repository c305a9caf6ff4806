"""The training scripts from end to end, by their command lines, on as little as goes."""

from __future__ import annotations

import importlib
import json
import sys

import numpy as np
import pytest
import torch
from conftest import PROMPTS, ROOT
from safetensors.torch import load_file

from videoada import LoadConfig, SkipConfig, load_pipeline
from videoada.config.prompts import read_requests
from videoada.errors import ModelError
from videoada.generation.generate import generate
from videoada.learned.early_exit import find_heads
from videoada.learned.step_policy import StepPolicy
from videoada.media.video import Video
from videoada.shapes import random_scene, render

SCRIPTS = ROOT / "scripts"


@pytest.fixture
def script(monkeypatch):
    """Runs a script's main in this process."""
    monkeypatch.syspath_prepend(str(SCRIPTS))

    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        importlib.import_module(name).main()

    return run


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Clips whose text lies beside them, but for the last, whose name tells."""
    folder, rng = tmp_path_factory.mktemp("videos"), np.random.default_rng(3)
    for i in range(5):
        scene = random_scene(rng, 1)
        path = folder / f"{i}.mkv" if i < 4 else folder / f"{str(scene).replace(' ', '_')}.mkv"
        Video(render(scene)).write(path)
        if i < 4:
            path.with_suffix(".txt").write_text(f"{scene}\n")
    return folder


def test_exit_heads_from_a_folder_of_videos(script, videos, tmp_path, monkeypatch, capsys):
    out, run = tmp_path / "heads.safetensors", tmp_path / "run"
    monkeypatch.setattr(importlib.import_module("train_early_exit"), "BEYOND", (1.5,))
    monkeypatch.setattr(importlib.import_module("train_early_exit"), "QUANTILES", (0.5,))
    arguments = ["--prompts", videos, "--run", run, "--out", out, "--videos", 3, "--tune-videos", 2,
                 "--steps", 3, "--train-steps", 4, "--rows", 2, "--batch-size", 2]  # fmt: skip
    script("train_early_exit", "all", *arguments)
    assert "wrote" in capsys.readouterr().out
    pipe = load_pipeline("tiny-t2v", LoadConfig(device="cpu"))
    assert find_heads(pipe, out).threshold is not None
    kept = {path: path.stat().st_mtime_ns for path in run.glob("calls-*")}
    assert len(kept) == 2
    assert find_heads(pipe, out).reach == 2 * 333
    script("train_early_exit", "heads", *arguments, "--train-steps", 6)  # goes on
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())
    with pytest.raises(SystemExit, match="holds no heads-alone"):
        script("train_early_exit", "joint", *arguments)
    script("train_early_exit", "heads", *arguments, "--alone")
    script("train_early_exit", "joint", *arguments, "--joint-steps", 2, "--joint-rows", 2, "--evaluations", 1)
    logged = [json.loads(line) for line in (run / "joint-ual-1.jsonl").read_text().splitlines()]
    assert [set(line) for line in logged] == [{"step", "held_out"}] * 2
    joint_heads = run / "joint-ual-1" / "exit-heads.safetensors"
    with pytest.raises(ModelError, match="of another model"):
        find_heads(load_pipeline("tiny-i2v", LoadConfig(device="cpu")), joint_heads)
    tuned = type(pipe.unet).from_pretrained(run / "joint-ual-1")
    assert not torch.equal(tuned.conv_out.weight, pipe.unet.conv_out.weight)
    with pytest.raises(SystemExit, match="another videos"):
        script("train_early_exit", "collect", *arguments, "--videos", 2)
    with pytest.raises(SystemExit, match="text-to-video models only"):
        script("train_early_exit", "collect", *arguments, "--model", "tiny-i2v", "--run", tmp_path / "other")


def test_a_step_policy_from_a_folder_of_videos(script, videos, tmp_path, capsys):
    out, run = tmp_path / "policy.safetensors", tmp_path / "run"
    script("train_step_count", "all", "--prompts", videos, "--run", run, "--out", out, "--videos", 3, "--held-out", 2,
           "--counts", 2, 4, "--train-steps", 20, "--costs", 0.02, 0.4, "--batch-size", 3)  # fmt: skip
    assert "2 prompts held out" in capsys.readouterr().out
    pipe = load_pipeline("tiny-t2v", LoadConfig(device="cpu"))
    assert StepPolicy.load(out, pipe.text_encoder).counts == (2, 4)
    rows = [json.loads(line) for line in (run / "rewards.jsonl").read_text().splitlines()]
    assert [r["ssim"] for r in rows if r["steps"] == 4] == [1.0] * 5
    found = json.loads((run / "points.json").read_text())
    assert [p["cost"] for p in found["points"]] == [0.02, 0.4]


def test_a_step_policy_goes_on_after_a_cut_line_with_prompts_of_any_kind(script, tmp_path, capsys):
    """Also rows that differ in their image alone."""
    images = SCRIPTS.parent / "samples" / "images"
    rows = [{"prompt": "a dog runs on the beach", "seed": 3, "image": str(images / f"{i:02d}.png"), "num_frames": 2}
            for i in range(4)]  # fmt: skip
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run, out = tmp_path / "run", tmp_path / "policy.safetensors"
    arguments = ["--model", "tiny-i2v", "--prompts", tmp_path / "p.jsonl", "--run", run, "--out", out, "--videos", 3]
    arguments += ["--held-out", 1, "--counts", 2, 3, "--train-steps", 5, "--costs", 0.02, "--batch-size", 2]
    script("train_step_count", "render", *arguments)
    kept = run / "rewards.jsonl"
    whole = kept.read_text()
    kept.write_text(whole[:-40])
    script("train_step_count", "all", *arguments)
    found = {json.dumps(json.loads(line)) for line in kept.read_text().splitlines() if line in whole.splitlines()}
    assert found == {json.dumps(json.loads(line)) for line in whole.splitlines()}
    assert len(whole.splitlines()) == 4 * 2
    assert "1 prompts held out" in capsys.readouterr().out
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row | {"seed": 4}) + "\n" for row in rows))
    with pytest.raises(SystemExit, match="another prompts"):
        script("train_step_count", "train", *arguments)


def test_heads_learn_with_guidance_and_from_pairs(script, tmp_path, capsys):
    (tmp_path / "p.jsonl").write_text("".join(
        json.dumps({"prompt": p, "guidance_scale": 1}) + "\n" for p in PROMPTS[:4]
    ))  # fmt: skip
    arguments = ["--prompts", tmp_path / "p.jsonl", "--run", tmp_path / "run", "--out", tmp_path / "h.safetensors"]
    with pytest.raises(SystemExit, match="without guidance"):
        script("train_early_exit", "collect", *arguments, "--videos", 2, "--tune-videos", 1)
    with pytest.raises(SystemExit):
        script("train_early_exit", "collect", *arguments, "--window", 1)
    assert "two or more" in capsys.readouterr().err


def test_what_a_folder_of_videos_shows(script, videos, monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    captioned = importlib.import_module("training_videos").captioned
    found = [request.prompt for _, request in captioned(videos)]
    rng = np.random.default_rng(3)
    assert sorted(found) == sorted(str(random_scene(rng, 1)) for _ in range(5))


def test_policies_against_fixed_counts_by_hand(script, monkeypatch):
    """Two prompts, of which one is worth more steps; counts 1, 2, 4, of which 2 is worth nothing."""
    points = importlib.import_module("step_count_points")
    known = points.Candidates(["a", "b"], np.zeros((2, 3)), {"q": np.array([[0.8, 0.8, 1.0], [0, 0, 1.0]])},
                              np.ones(2))  # fmt: skip
    found = points.compared(np.array([0, 2]), np.array([1.0, 2, 4]), known)
    assert found["mean_steps"] == 2.5
    q = found["measures"]["q"]
    assert q["policy"] == pytest.approx(0.9)
    assert q["above_fixed"][0] == pytest.approx(0.9 - (0.4 + 0.25 * 0.6))
    assert q["above_hull"][0] == pytest.approx(0.9 - (0.4 + 0.5 * 0.6))
    assert q["above_random"][0] == pytest.approx(0.9 - 0.7)
    heavy = points.Candidates(known.prompts, known.quality, known.measures, np.array([1.0, 3.0]))
    assert points.compared(np.array([0, 2]), np.array([1.0, 2, 4]), heavy)["mean_steps"] == pytest.approx(13 / 4)
    assert points.upper_hull([0, 1, 2, 3], [0, 1, 1, 3]) == ([0, 3], [0, 3])


def test_collected_latents_are_the_videos(script, tmp_path):
    prompts, run = tmp_path / "p.txt", tmp_path / "run"
    prompts.write_text("\n".join(PROMPTS[:3]))
    script("train_early_exit", "collect", "--prompts", prompts, "--run", run, "--out", tmp_path / "h.safetensors",
           "--videos", 1, "--tune-videos", 1, "--steps", 2, "--window", 2)  # fmt: skip
    pipe = load_pipeline("tiny-t2v", LoadConfig(device="cpu"))
    final = load_file(run / "calls-00000.safetensors")["final"].float().view(16, 4, 8, 8)  # frames first
    with torch.no_grad():
        pixels = pipe.vae.decode(final / pipe.vae.config.scaling_factor).sample
    request = read_requests(prompts, num_inference_steps=2)[0]
    [(video, _)] = generate(pipe, [request], skip=SkipConfig(policy="none"))
    drawn = ((pixels / 2 + 0.5).clamp(0, 1) * 255).permute(0, 2, 3, 1).numpy()
    assert np.abs(drawn - video.frames).mean() < 2
