"""Training from end to end, on as little as goes: the library in this process, and the real command line."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from commandline import run as command
from conftest import PROMPTS, ROOT
from safetensors.torch import load_file

from videoada import LoadConfig, SkipConfig, load_pipeline
from videoada.config.prompts import read_requests
from videoada.errors import ConfigError, ModelError, PromptError
from videoada.generation import generate as generation
from videoada.learned.early_exit import find_heads
from videoada.learned.step_policy import StepPolicy
from videoada.media.video import Video
from videoada.models.catalogue import ASSETS
from videoada.shapes import random_scene, render
from videoada.training import exits, points, steps
from videoada.training.config import ExitTraining, StepTraining
from videoada.training.exits import train_exits
from videoada.training.run import Training, same_run
from videoada.training.steps import train_steps
from videoada.training.videos import captioned


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


@pytest.fixture(scope="module")
def images_pipe():
    return load_pipeline("tiny-i2v", LoadConfig(device="cpu"))


def test_exit_heads_from_a_folder_of_videos(pipe, images_pipe, videos, tmp_path, monkeypatch):
    out, run = tmp_path / "heads.safetensors", tmp_path / "run"
    monkeypatch.setattr(exits, "BEYOND", (1.5,))
    monkeypatch.setattr(exits, "QUANTILES", (0.5,))
    options = {"prompts": videos, "run": run, "out": out, "videos": 3, "tune_videos": 2, "steps": 3, "train_steps": 4,
               "rows": 2, "batch_size": 2}  # fmt: skip
    lines = []
    made = train_exits(pipe, "all", on_progress=lines.append, **options)
    assert made.path == out
    assert made.threshold == find_heads(pipe, out).threshold
    assert "collected 3 of 3 prompts" in lines
    kept = {path: path.stat().st_mtime_ns for path in run.glob("calls-*")}
    assert len(kept) == 2
    assert find_heads(pipe, out).horizon == 2 * 333
    assert train_exits(pipe, "heads", **options | {"train_steps": 6}) is None  # continues
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())
    with pytest.raises(ConfigError, match="holds no heads-alone"):
        train_exits(pipe, "joint", **options)
    train_exits(pipe, "heads", alone=True, **options)
    before = pipe.unet.conv_out.weight.clone()
    made = train_exits(pipe, "joint", joint_steps=2, joint_rows=2, evaluations=1, **options)
    logged = [json.loads(line) for line in (run / "joint-ual-1.jsonl").read_text().splitlines()]
    assert [set(line) for line in logged] == [{"step", "held_out"}] * 2
    with pytest.raises(ModelError, match="of another model"):
        find_heads(images_pipe, made.path / "exit-heads.safetensors")
    tuned = type(pipe.unet).from_pretrained(made.path)
    assert torch.equal(pipe.unet.conv_out.weight, before)
    assert not torch.equal(tuned.conv_out.weight, before)
    with pytest.raises(ConfigError, match="another videos"):
        train_exits(pipe, "collect", **options | {"videos": 2})
    with pytest.raises(ModelError, match="text-to-video models only"):
        train_exits(images_pipe, "collect", **options | {"run": tmp_path / "other"})


def test_a_step_policy_from_a_folder_of_videos(pipe, videos, tmp_path):
    out, run = tmp_path / "policy.safetensors", tmp_path / "run"
    made = train_steps(pipe, "all", prompts=videos, run=run, out=out, videos=3, held_out=2, counts=(4, 2),
                       train_steps=20, costs=(0.02, 0.4), batch_size=3)  # fmt: skip
    assert "2 prompts held out" in made.table
    assert made.cost in (0.02, 0.4)
    assert StepPolicy.load(out, pipe.text_encoder).counts == (2, 4)
    rows = [json.loads(line) for line in (run / "rewards.jsonl").read_text().splitlines()]
    assert [r["ssim"] for r in rows if r["steps"] == 4] == [1.0] * 5
    found = json.loads((run / "points.json").read_text())
    assert [p["cost"] for p in found["points"]] == [0.02, 0.4]
    assert found["points"] == json.loads(json.dumps(made.results["points"]))


def test_a_step_policy_goes_on_after_a_cut_line_with_prompts_of_any_kind(tmp_path, capsys):
    """By the command line; also rows that differ in their image alone."""
    images = ROOT / "samples" / "images"
    rows = [{"prompt": "a dog runs on the beach", "seed": 3, "image": str(images / f"{i:02d}.png"), "num_frames": 2}
            for i in range(4)]  # fmt: skip
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run, out = tmp_path / "run", tmp_path / "policy.safetensors"
    arguments = ["--model", "tiny-i2v", "--prompts", str(tmp_path / "p.jsonl"), "--run", str(run), "--out", str(out),
                 "--videos", "3", "--held-out", "1", "--counts", "2,3", "--train-steps", "5", "--costs", "0.02",
                 "--batch-size", "2"]  # fmt: skip
    code, shown, told = command(capsys, "train", "steps", "render", *arguments)
    assert (code, shown) == (0, "")
    assert "training: 3 of 3" in told
    kept = run / "rewards.jsonl"
    complete = kept.read_text()
    kept.write_text(complete[:-40])
    code, shown, told = command(capsys, "train", "steps", "all", "--quiet", *arguments)
    assert (code, told) == (0, "")
    found = {json.dumps(json.loads(line)) for line in kept.read_text().splitlines() if line in complete.splitlines()}
    assert found == {json.dumps(json.loads(line)) for line in complete.splitlines()}
    assert len(complete.splitlines()) == 4 * 2
    assert "1 prompt held out" in shown
    assert f"wrote {out}: λ 0.02" in shown
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row | {"seed": 4}) + "\n" for row in rows))
    code, _, told = command(capsys, "train", "steps", "train", *arguments)
    assert code == 2
    assert "another prompts" in told


@pytest.mark.parametrize(("stage", "unused"), [
    (["exits", "collect", "--steps", "2", "--tune-videos", "1"], "the column 'fps'"),
    (["steps", "render", "--counts", "1,2", "--held-out", "1"], "the columns 'steps', 'fps'"),
])  # fmt: skip
def test_columns_that_training_does_not_use_are_listed_once(stage, unused, tmp_path, capsys):
    steps = [] if stage[0] == "exits" else ["steps"]
    rows = [{"prompt": prompt, **dict.fromkeys(steps, 9), "fps": 8, **({} if i else {"mood": "glad"})}
            for i, prompt in enumerate(PROMPTS[:4])]  # fmt: skip
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row | {"num_frames": 2}) + "\n" for row in rows))
    arguments = ["--prompts", str(tmp_path / "p.jsonl"), "--run", str(tmp_path / "run"), "--videos", "2"]
    code, _, told = command(capsys, "train", *stage, *arguments, "--out", str(tmp_path / "o.safetensors"))
    assert code == 0
    assert told.splitlines()[:2] == [f"not used of p.jsonl: {text}" for text in ("the column 'mood' (1 of 4)", unused)]
    assert told.count("not used") == 2


def test_exit_heads_by_the_command_line(tmp_path):
    """Collecting by the installed program, in a process of its own."""
    (tmp_path / "p.txt").write_text("\n".join(PROMPTS[:4]))
    arguments = ["--prompts", "p.txt", "--run", "run", "--out", "heads/h.safetensors", "--videos", "2",
                 "--tune-videos", "1", "--steps", "2", "--batch-size", "1"]  # fmt: skip
    ran = subprocess.run([sys.executable, "-m", "videoada", "train", "exits", "collect", *arguments], cwd=tmp_path,
                         capture_output=True, text=True, check=True)  # fmt: skip
    assert ran.stdout == ""
    assert "collected 2 of 2 prompts" in ran.stderr
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "about.json", "calls-00000.safetensors", "calls-00001.safetensors"
    }  # fmt: skip
    assert (tmp_path / "heads").is_dir()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["exits", "collect", "--window", "1"], "two or more"),
        (["exits", "colect"], "did you mean 'collect'?"),
        (["exits", "all", "--model", "modelscope-t2v"], "name the file to write"),
        (["exits", "all", "--keep", "1.5"], "keep: "),
        (["steps", "all", "--counts", "2,x"], "--counts are numbers"),
        (["steps", "all", "--counts", "0"], "counts: "),
        (["steps", "all", "--quality", "fvd"], "quality: "),
        (["steps", "all", "--model", "modelscope-t2v"], "name the file to write"),
        (["steps", "train"], "holds no ssim of these prompts; run the stage render first"),
        (["steps", "render", "--scorer", "nowhere:score"], "a scorer is named module:function"),
        (["exits", "heads"], "holds no calls; run the stage collect first"),
        (["exits", "tune"], "holds no heads-u1-ual1-lr0.002.safetensors; run the stage heads first"),
        (["exits", "collect", "--prompts", "none.txt"], "none.txt does not exist"),
    ],
)
def test_what_can_not_be_trained_is_one_line(capsys, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    if "--model" not in arguments:
        arguments = [*arguments, "--out", "out.safetensors"]
    code, shown, told = command(capsys, "train", *arguments)
    assert (code, shown) == (2, "")
    assert told.startswith("error: ")
    assert told.count("\n") == 1
    assert said in told


def test_files_that_are_written_where_none_is_named(tmp_path):
    """The part that ships for tiny-t2v, and its table in a checkout; for another run the run's own folder."""
    run = tmp_path / "run"
    assert ExitTraining(run=run).file("tiny-t2v") == ASSETS / "early_exit" / "tiny-t2v.safetensors"
    assert ExitTraining(run=run, alone=True).file("tiny-t2v") == run / "alone.safetensors"
    assert StepTraining(run=run).file("tiny-t2v") == ASSETS / "step_count" / "tiny-t2v.safetensors"
    assert StepTraining(run=run).folder("tiny-t2v") == ROOT / "samples" / "results" / "step-count"
    assert StepTraining(run=run, out=tmp_path / "p.safetensors").folder("tiny-t2v") == run
    assert StepTraining(run=run, out=tmp_path / "p.safetensors").folder("another") == run


def test_heads_learn_with_guidance(pipe, tmp_path):
    (tmp_path / "p.jsonl").write_text("".join(
        json.dumps({"prompt": p, "guidance_scale": 1}) + "\n" for p in PROMPTS[:4]
    ))  # fmt: skip
    with pytest.raises(PromptError, match="without guidance"):
        train_exits(pipe, "collect", prompts=tmp_path / "p.jsonl", run=tmp_path / "run", out=tmp_path / "h.safetensors",
                    videos=2, tune_videos=1)  # fmt: skip
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_continues_as_if_never_stopped(tmp_path):
    """Weights after 2 + 2 steps are those after 4; another run's folder and a damaged file are refused."""

    def train(run, until):
        torch.manual_seed(0)
        training = Training(run, "line", torch.nn.Linear(3, 1), lr=0.1, ema_decay=0.9, seed=5)
        while training.step < until:
            x = torch.randn(8, 3, generator=training.rng)
            training.update((training.model(x) - x.sum(1, keepdim=True)).square().mean(), training.step / 4)
        training.save()

    for name, stops in (("once", [4]), ("twice", [2, 4])):
        same_run(tmp_path / name, model="line", rows=8)
        for until in stops:
            train(tmp_path / name, until)
    once, twice = (load_file(tmp_path / name / "line.safetensors") for name in ("once", "twice"))
    assert once.keys() == twice.keys()
    assert all(torch.equal(once[key], twice[key]) for key in once if key != "seconds")  # what they took
    with pytest.raises(ConfigError, match="another rows; name another run folder"):
        same_run(tmp_path / "once", model="line", rows=9)
    (tmp_path / "once" / "line.safetensors").write_bytes(b"cut")
    with pytest.raises(ModelError, match="can't read"):
        train(tmp_path / "once", 5)
    (tmp_path / "once" / "about.json").write_text("{")
    with pytest.raises(ConfigError, match="not of a training run"):
        same_run(tmp_path / "once", model="line")


def test_what_a_folder_of_videos_shows(videos):
    found = [request.prompt for _, request in captioned(videos)]
    rng = np.random.default_rng(3)
    assert sorted(found) == sorted(str(random_scene(rng, 1)) for _ in range(5))


def test_policies_against_fixed_counts_by_hand():
    """Two prompts, of which one is worth more steps; counts 1, 2, 4, of which 2 is worth nothing."""
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


def test_a_scorer_of_ones_own(pipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taste.py").write_text("def score(frames, prompt):\n    return len(prompt) + frames.shape[0] / 100\n")
    (tmp_path / "p.txt").write_text("\n".join(PROMPTS[:3]))
    try:
        train_steps(pipe, "render", run=tmp_path / "run", out=tmp_path / "p.safetensors", prompts=tmp_path / "p.txt",
                    videos=2, held_out=1, counts=(1, 2), scorer="taste:score")  # fmt: skip
    finally:
        sys.path.remove(str(tmp_path))
    rows = steps.read_rewards(tmp_path / "run")
    assert [row["score"] for row in rows] == [len(p) + 0.16 for p in PROMPTS[:3] for _ in range(2)]


def test_collected_latents_are_the_videos(pipe, tmp_path):
    prompts, run = tmp_path / "p.txt", tmp_path / "run"
    prompts.write_text("\n".join(PROMPTS[:3]))
    train_exits(pipe, "collect", prompts=prompts, run=run, out=tmp_path / "h.safetensors", videos=1, tune_videos=1,
                steps=2, window=2)  # fmt: skip
    final = load_file(run / "calls-00000.safetensors")["final"].float().view(16, 4, 8, 8)  # frames first
    with torch.no_grad():
        pixels = pipe.vae.decode(final / pipe.vae.config.scaling_factor).sample
    request = read_requests(prompts, num_inference_steps=2)[0]
    [(video, _)] = generation.generate(pipe, [request], skip=SkipConfig(policy="none"))
    drawn = ((pixels / 2 + 0.5).clamp(0, 1) * 255).permute(0, 2, 3, 1).numpy()
    assert np.abs(drawn - video.frames).mean() < 2
