"""The recipe of emoji-t2v from end to end, on animations of its own and a network of a few thousand weights."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from commandline import command
from conftest import ROOT
from emoji_animations import SIZE, SMALL, stages
from safetensors.torch import load_file

pytest.importorskip("emoji", reason="the extra `train` is not installed")

import fvd
import to_data
from emoji_t2v.autoencoder import read_latents, read_raw
from emoji_t2v.clips import BACKGROUNDS, Clips, parse_prompt
from emoji_t2v.denoiser import noise
from emoji_t2v.measure import clip_features, measure_video, share
from emoji_t2v.network import Sizes, TextToNoise, build_vae, read_averaged, words_of
from model import build_scheduler, temporal_modules
from training import Budget

import videoada
from videoada.media.video import Video
from videoada.models.vae_features import load_vae_extractor
from videoada.records.find import find_record
from videoada.training.run import Training

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def run(animations, tmp_path_factory):
    """The run folder of all stages, with the exported model in `out`."""
    folder = tmp_path_factory.mktemp("emoji") / "run"
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    source = "--webp", animations, "--size", SIZE, "--processes", 1
    stages("all", "--run", folder, *source, "--out", folder / "out", *SMALL, "--sheet", 1)
    torch.set_num_threads(before)
    return folder


@pytest.fixture(scope="module")
def clips(run):
    return Clips.load(run / "clips")


# ---- training ------------------------------------------------------------------------------------------------------


def test_the_folded_vae_gives_latents_of_mean_0_and_deviation_1(run, clips):
    vae = load_vae_extractor(str(run / "out")).network.vae
    latents = read_latents(run).float()  # (N, backgrounds, L, 4, h, w)
    assert latents.shape == (3, 8, 24, 4, SIZE // 8, SIZE // 8)
    assert latents.mean((0, 1, 2, 4, 5)).abs().max() < 1e-2
    assert (latents.std((0, 1, 2, 4, 5)) - 1).abs().max() < 1e-2
    every = torch.arange(24)
    x = clips.compose(torch.full_like(every, 1), every, torch.full_like(every, 3))
    with torch.inference_mode():
        assert (vae.encode(x).latent_dist.mean - latents[1, 3]).abs().max() < 0.05  # half precision
        unfolded = load_vae(run).decode(read_raw(run)[1, 3].float()).sample
        assert (vae.decode(latents[1, 3]).sample - unfolded).abs().max() < 0.05


def load_vae(run):
    vae = build_vae(Sizes((8, 8, 8, 16), (16, 16, 16), 16), SIZE)
    vae.load_state_dict(read_averaged(run / "vae.safetensors"))
    return vae.eval()


def test_time_is_learned_from_clips_alone(run):
    """Temporal layers are identities after single frames: their last layers are 0 still; then they are not."""
    for stage, learned in (("frames", False), ("clips", True)):
        saved = load_file(run / f"{stage}.safetensors")
        last = r"model\.unet\..*(temp_attentions.*proj_out|temp_convs.*conv4\.3)\.weight"
        names = [name for name in saved if re.fullmatch(last, name)]
        assert len(names) > 4
        assert all(bool(saved[name].any()) == learned for name in names)


def test_noise_is_what_the_network_must_predict():
    x0 = torch.randn(4000, 4, 1, 2, 2, generator=torch.Generator().manual_seed(1))
    alpha_bar = build_scheduler().alphas_cumprod
    for stage in ("frames", "clips"):
        found = noise(x0, stage, torch.Generator().manual_seed(2), alpha_bar)
        a = alpha_bar[found.t].view(-1, 1, 1, 1, 1)
        assert torch.allclose(a.sqrt() * x0 + (1 - a).sqrt() * found.target, found.x_t, atol=1e-4)
        again = noise(x0, stage, torch.Generator().manual_seed(2), alpha_bar)
        assert torch.equal(found.x_t, again.x_t)
        snr = (a / (1 - a)).flatten()
        expected = snr.clamp(max=5) / snr * (snr.clamp(max=1).rsqrt() if stage == "clips" else 1)
        is_begun = ~torch.isclose(found.weight, expected)
        assert 0.06 < is_begun.float().mean() < 0.10
        assert found.t[is_begun].min() >= 950
        assert torch.allclose(found.weight[is_begun], 0.15 / snr[is_begun])
        mean = found.t[~is_begun].float().mean() / 1000  # of u, half √u: 1/2 and 7/12
        assert abs(mean - (7 / 12 if stage == "clips" else 1 / 2)) < 0.02


@pytest.mark.slow
def test_killed_and_continued_is_as_if_it_never_stopped(run, tmp_path, monkeypatch):
    """Killed among the single frames, interrupted among the clips: weights and the exported folder are the same."""
    again = tmp_path / "run"
    args = ["all", "--run", again, "--clips", run / "clips", "--out", again / "out", *SMALL,
            "--save-seconds", 0]  # fmt: skip
    script = [sys.executable, ROOT / "scripts" / "embedded" / "train_emoji.py"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen([*map(str, script + args)], stdout=log, stderr=log,
                                   env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)})  # fmt: skip
        until = time.monotonic() + 240
        while not (again / "frames.safetensors").is_file() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert (again / "frames.safetensors").is_file(), (tmp_path / "log").read_text()
    assert not (again / "out").exists()
    update = Training.update

    def interrupted(self, *args, **kwargs):
        update(self, *args, **kwargs)
        if self.file.stem == "clips" and self.step == 8:
            raise KeyboardInterrupt

    monkeypatch.setattr(Training, "update", interrupted)
    with pytest.raises(KeyboardInterrupt):
        stages(*args)
    assert int(load_file(again / "clips.safetensors")["step"]) == 7
    monkeypatch.setattr(Training, "update", update)
    stages(*args)
    for stage in ("vae", "frames", "clips"):
        ours, theirs = (load_file(folder / f"{stage}.safetensors") for folder in (again, run))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[k], theirs[k]) for k in ours if k != "seconds")
    for file in (run / "out").rglob("*"):
        if file.is_file():
            assert (again / "out" / file.relative_to(run / "out")).read_bytes() == file.read_bytes(), file


def test_seconds_are_those_of_all_runs(tmp_path):
    layer = torch.nn.Linear(2, 2)
    first = Training(tmp_path, "layer", layer, lr=1e-3, ema_decay=0.9, seed=0)
    assert Budget(10, None).progress(first) == 0
    time.sleep(0.2)
    first.update(layer(torch.ones(2)).sum(), 0.1)
    assert Budget(10, None).progress(first) == 0.1
    first.save()
    second = Training(tmp_path, "layer", layer, lr=1e-3, ema_decay=0.9, seed=0)
    assert second.seconds >= 0.2
    assert 0.1 <= Budget(10, 2.0).progress(second) < 1
    assert Budget(10, 0.2).progress(second) == 1


# ---- the model -----------------------------------------------------------------------------------------------------


def test_the_export_is_a_diffusers_folder(run):
    from diffusers import TextToVideoSDPipeline

    out = run / "out"
    assert {str(file.relative_to(out)): {str(v.dtype) for v in load_file(file).values()}
            for file in out.rglob("*.safetensors")} == {
        "unet/diffusion_pytorch_model.safetensors": {"torch.float16"},
        "vae/diffusion_pytorch_model.safetensors": {"torch.float16"},
        "text_encoder/model.safetensors": {"torch.float32"},
    }  # fmt: skip
    assert (out / "subjects.txt").read_text() == "panda\nstar\nsun\n"
    pipe = TextToVideoSDPipeline.from_pretrained(out)
    pipe.set_progress_bar_config(disable=True)
    prompt = "panda on a teal background"
    assert pipe.tokenizer.tokenize(prompt) == [f"{word}</w>" for word in prompt.split()]
    generator = torch.Generator().manual_seed(0)
    plain = pipe(prompt, num_inference_steps=3, num_frames=4, guidance_scale=6.0, generator=generator,
                 output_type="np").frames[0]  # fmt: skip
    request = {"prompt": prompt, "seed": 0, "num_inference_steps": 3, "num_frames": 4, "guidance_scale": 6.0}
    ours = videoada.load_pipeline(str(out), device="cpu")
    [(video, _)] = videoada.generate(ours, **request, policy="none")
    assert video.frames.shape == (4, SIZE, SIZE, 3)
    assert np.abs(video.frames - plain * 255).max() < 1.5
    assert (run / "frames.png").is_file()
    assert (run / "clips.txt").read_text().count("background") == 1


def test_a_card_outlives_another_export(run):
    (run / "out" / "README.md").write_text("a card")
    stages("export", "--run", run, "--out", run / "out", *SMALL)
    assert (run / "out" / "README.md").read_text() == "a card"
    (run / "out" / "README.md").unlink()


def test_the_default_sizes_are_the_shipped_model():
    """Every weight of the shipped folder has its name and shape in the network of the recipe."""
    assets = ROOT / "videoada" / "assets" / "emoji-t2v"
    subjects = (assets / "subjects.txt").read_text().splitlines()
    tokens = json.loads((assets / "tokenizer" / "tokenizer.json").read_text())["model"]["vocab"]
    assert {f"{word}</w>" for word in words_of(subjects)} <= tokens.keys()
    with torch.device("meta"):
        model, vae = TextToNoise(len(tokens), Sizes(), 128), build_vae(Sizes(), 128)
    for folder, part in (("unet", model.unet), ("text_encoder", model.text_encoder), ("vae", vae)):
        [file] = (assets / folder).glob("*.safetensors")
        shipped, ours = load_file(file), part.state_dict()
        assert {k.removeprefix("text_model."): v.shape for k, v in shipped.items()} == {
            k.removeprefix("text_model."): v.shape for k, v in ours.items()
        }
    assert len(temporal_modules(model.unet)) > 10


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["vae", "--clips", "{tmp}/none"], "names.json does not name the clips"),
        (["prepare", "--webp", "{tmp}"], "holds no .webp files"),
        (["prepare", "--webp", "{tmp}", "--size", "30"], "`size`: a multiple of 8"),
        (["prepare", "--run", "{run}", "--webp", "{tmp}", "--size", "64"], "is a run with another size of clips"),
        (["export", "--clips", "{run}/clips"], "run the stage"),
        (["frames", "--clips", "{run}/clips"], "run the stage `vae` first"),
        (["export", "--clips", "{run}/clips", "--unet-channels", "16,10,16"], "`unet_channels`: 3 multiples of 16"),
        (["export", "--clips", "{run}/clips", "--device", "gpu"], "unknown device 'gpu'"),
        (["vae", "--run", "{run}", "--device", "cpu"], "is a run with another sizes"),
        (["measure", "--clips", "{run}/clips", "--model", "no-such"], "unknown model 'no-such'"),
    ],
)
def test_what_can_not_be_done_is_a_line(args, message, run, tmp_path, capsys):
    args = [arg.format(tmp=tmp_path, run=run) for arg in args]
    with pytest.raises(SystemExit) as left:
        stages(*args, *([] if "--run" in args else ["--run", tmp_path / "new"]))
    assert left.value.code == 2
    err = capsys.readouterr().err.splitlines()
    assert len(err) == 1
    assert message in err[0]


# ---- measures ------------------------------------------------------------------------------------------------------


def test_measure_prints_a_table_and_an_object(run, tmp_path, capsys):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("panda on a white background\nsomething else\n")
    args = ["measure", "--run", run, "--model", run / "out", "--vae", run / "out", "--prompts", prompts, "--samples", 6,
            "--steps", 4, "--output", tmp_path / "found.json", "--device", "cpu"]  # fmt: skip
    stages(*args)
    out, err = capsys.readouterr()
    found = json.loads(out.splitlines()[-1])
    assert found == json.loads((tmp_path / "found.json").read_text())
    assert [row["prompt"] for row in found["videos"]] == prompts.read_text().splitlines()
    assert [row["rank"] is None for row in found["videos"]] == [False, True]
    assert found["agreement"]["n"] == 1
    assert found["coherence"]["n"] == 2
    low, high = found["coherence"]["interval"]
    assert 0 <= low <= found["coherence"]["value"] <= high <= 1
    assert share([True] * 8)["interval"] == [pytest.approx(0.6756, abs=1e-4), 1]  # 8 / (8 + 1.96²)
    assert 0.5 < found["denoising"]["value"] < 1.5  # an untrained network predicts nothing: 1
    assert found["extractor"]["name"] == "vae:out"
    assert "| agreement: nearest of 3 subjects |" in err
    kept = {file: file.stat().st_mtime_ns for file in (run / "features").iterdir()}
    stages(*args, "--videos", run / "measured")
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == found
    assert {file: file.stat().st_mtime_ns for file in (run / "features").iterdir()} == kept


def test_agreement_is_right_of_the_clips_themselves(run, clips, tmp_path):
    """A composed clip is nearest to itself, whatever frame it begins with; under another prompt it is another's."""
    command("generate", "--model", run / "out", "--prompt", "x", "--steps", 2, "--num-frames", 2, "--output",
            tmp_path / "x.mkv")  # fmt: skip
    record = find_record(tmp_path / "x.mkv")
    extractor = load_vae_extractor(str(run / "out"))
    for subject, prompt, rank in (("sun", "sun", 1), ("star", "star", 1), ("star", "sun", 2)):
        request = record.request.model_copy(update={"prompt": f"{prompt} on a navy background"})
        path = tmp_path / f"{subject}-{prompt}.mkv"
        video = clips.video(clips.subjects.index(subject), 5, list(BACKGROUNDS).index("navy"))
        video.write(path, record.model_copy(update={"request": request}).model_dump_json())
        row = measure_video(path, extractor, clips, tmp_path / "kept")
        assert row["nearest"] == subject
        assert row["rank"] >= rank
        assert (row["rank"] == 1) == (rank == 1)
    windows = clip_features(clips, "navy", extractor, tmp_path / "kept")
    own = extractor(torch.from_numpy(clips.video(0, 7, 3).frames).permute(0, 3, 1, 2)[None])[0]
    assert (windows[0, 7] - own).abs().max() < 0.05  # uint8


# ---- the clips as reference set ------------------------------------------------------------------------------------


def test_distances_to_the_clips(run, clips, tmp_path, monkeypatch, capsys):
    def in_process(*args, output=None):
        done = command(*args)
        if output:
            output.write_text(done.stdout)

    monkeypatch.setattr(fvd, "videoada", in_process)
    folder = tmp_path / "fvd"
    model = str(run / "out")
    args = ["fvd.py", folder, "--real-emoji", run / "clips", "--model", model, "--count", 4, "--", "--steps", 6,
            "--guidance-scale", 6, "--policy", "every-n", "--every", 3]  # fmt: skip
    monkeypatch.setattr(sys, "argv", [*map(str, args)])
    fvd.main()
    rows = json.loads((folder / "to-data.json").read_text())["rows"]
    names = ["full", "skipped", "data, other starts", "skipped − full"]
    assert [(row["set"], row["extractor"]) for row in rows] == [
        (name, extractor) for extractor in ("vae:out", "tiny-shapes-v1") for name in names
    ]
    assert {(row["n"], row["n_data"]) for row in rows} == {(4, 3)}
    for i in (0, 4):
        full, skipped, data, difference = rows[i : i + 4]
        for kind in ("fvd", "kvd"):
            assert difference[kind]["value"] == pytest.approx(skipped[kind]["value"] - full[kind]["value"])
            assert all(row[kind]["standard_error"] > 0 for row in (full, skipped, data))
    assert rows[2]["fvd"]["value"] < rows[0]["fvd"]["value"]  # an untrained model is farther from the data than data
    text = (folder / "to-data.md").read_text()
    assert text.count("\n| ") == 1 + len(rows)
    assert text.strip() in capsys.readouterr().out
    data = Video.read(folder / "data" / "1f43c.mkv")
    assert any(np.array_equal(data.frames, clips.video(0, start, b).frames) for start in range(24) for b in range(8))
    prompts = (folder / "prompts.txt").read_text().splitlines()
    assert [find_record(folder / "full" / f"{i:04d}.mkv").request.prompt for i in range(4)] == prompts
    again = Video.read(folder / "data-again" / "0002.mkv").frames
    subject, background = parse_prompt(prompts[2])
    which = clips.subjects.index(subject), list(BACKGROUNDS).index(background)
    assert any(np.array_equal(again, clips.video(which[0], start, which[1]).frames) for start in range(24))
    kept = {file: file.stat().st_mtime_ns for part in ("data", "features") for file in (folder / part).iterdir()}
    fvd.main()  # goes on: nothing is made again
    assert {file: file.stat().st_mtime_ns for file in kept} == kept
    assert to_data.shown({"value": 1.23456, "standard_error": None}) == "1.235"
