"""videoada evaluate and check through the command line; clips from every format; what can't be read."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from commandline import command
from made_videos import PROMPTS, record, write, write_sets
from torch import nn

import videoada
from videoada.errors import ConfigError, OutputError
from videoada.media.clips import Sampling, read_clips
from videoada.media.video import Video
from videoada.metrics import VideoStatistics, kernel_distance
from videoada.metrics.frechet import frechet_distance
from videoada.shapes import render


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("sets")
    write_sets(root)
    return root


def run_process(*args, code=0):
    process = [sys.executable, "-m", "videoada", *map(str, args)]
    done = subprocess.run(process, capture_output=True, text=True, timeout=300)
    assert done.returncode == code, (done.returncode, done.stdout[-2000:], done.stderr[-2000:])
    return done


def test_evaluate_measures_pairs_and_sets(folders, tmp_path):
    done = run_process(
        "evaluate", "--generated", folders / "skipped", "--reference", folders / "full", "--json",
        "--output", tmp_path / "result.json", "--report", tmp_path / "report.html",
    )  # fmt: skip
    result = json.loads(done.stdout)
    assert result["generated"]["videos"] == result["reference"]["videos"] == 4
    assert result["reference"]["kind"] == "full runs"
    assert result["extractor"]["name"] == "tiny-shapes-v1"
    assert len(result["extractor"]["weights_sha256"]) == 64
    metrics = result["metrics"]
    assert {"FVD[tiny-shapes-v1]", "KVD[tiny-shapes-v1]", "SSIM", "tOF", "prompt agreement", "coherence"} < set(metrics)
    assert metrics["PSNR (pooled)"]["n"] == 3
    assert metrics["PSNR (pooled)"]["identical"] == 1
    assert metrics["FVD[tiny-shapes-v1]"]["n_generated"] == 4
    assert metrics["prompt agreement"]["value"] == 1
    rows = {row["video"]: row for row in result["videos"]}
    assert rows["clip-0.mkv"]["reference"] == "z9.mkv"
    assert rows["clip-2"]["fidelity"]["identical"]
    assert not result["unpaired"]
    assert not result["skipped"]
    assert any("the same prompts and seeds" in w for w in result["warnings"])
    assert any("dimensions: use KVD" in w for w in result["warnings"])
    assert json.loads((tmp_path / "result.json").read_text()) == result
    assert "<html" in (tmp_path / "report.html").read_text()


def test_the_numbers_are_those_of_the_functions(folders):
    result = videoada.evaluate(folders / "skipped", folders / "full", workers=1, batch_size=3)
    extractor = videoada.metrics.load_extractor()

    def features(folder):
        paths = sorted((folders / folder).iterdir())
        clips = [read_clips(p).clips[0] for p in paths if p.suffix in (".mkv", ".webp", "")]
        return extractor(torch.from_numpy(np.stack(clips)).permute(0, 1, 4, 2, 3))

    made, real = features("skipped"), features("full").flip(0)  # full runs are named the other way round
    fvd = float(frechet_distance(real, made))
    assert result.metrics["FVD[tiny-shapes-v1]"]["value"] == pytest.approx(fvd, rel=1e-4)
    value, _ = kernel_distance(real, made, paired=True)
    assert result.metrics["KVD[tiny-shapes-v1]"]["value"] == pytest.approx(float(value), rel=1e-3, abs=1e-6)
    again = videoada.evaluate(folders / "skipped", folders / "full", workers=3, batch_size=3)
    assert again.metrics == result.metrics
    assert again.videos == result.videos


class Colour(nn.Module):
    def forward(self, videos):
        return videos.float().mean((1, 3, 4)) / 255


def test_metrics_of_ones_choice(folders):
    names = ("paired-feature-distance", "ms-ssim", "psnr")
    result = videoada.evaluate(folders / "skipped", folders / "full", metrics=names)
    assert set(result.metrics) == {
        "paired feature distance[tiny-shapes-v1]", "MS-SSIM", "PSNR (pooled)", "PSNR (mean of frames)",
        "PSNR (worst frame)",
    }  # fmt: skip
    assert result.metrics["MS-SSIM"]["value"] is None  # 64 pixels are too few for five scales
    assert result.metrics["paired feature distance[tiny-shapes-v1]"]["value"] > 0

    result = videoada.evaluate(
        folders / "skipped", folders / "full", metrics=("fvd", "fvd-infinity"), extractor=Colour()
    )
    assert "FVD[Colour]" in result.metrics
    assert any("FVD∞ needs" in w for w in result.warnings)


def test_a_result_is_written_and_read_back(folders, tmp_path):
    result = videoada.evaluate(folders / "skipped", folders / "full", metrics=("psnr",))
    result.write(tmp_path / "result.json")
    assert (tmp_path / "result.json").read_text() == result.model_dump_json(indent=2) + "\n"
    assert videoada.EvaluationResult.from_file(tmp_path / "result.json") == result
    with pytest.raises(OutputError, match="can't write"):
        result.write(tmp_path / "none" / "result.json")


def test_a_file_that_can_not_be_written_is_refused_before_anything_is_measured(folders, tmp_path):
    seen = []
    for path, message in ((tmp_path / "none" / "x.safetensors", "make its folder first"), (tmp_path, "it is a folder")):
        with pytest.raises(ConfigError, match=f"`save_statistics`: .*{message}"):
            videoada.evaluate(reference=folders / "full", save_statistics=path, on_video=lambda *at: seen.append(at))
    assert not seen


def test_what_can_not_be_paired_is_said(folders, tmp_path):
    shutil.copytree(folders / "skipped", tmp_path / "made")
    write(tmp_path / "made", "stranger.mkv", render(PROMPTS[0], seed=77), record(PROMPTS[0], 77))
    write(tmp_path / "made", "nameless.mkv", render(PROMPTS[0], seed=78))
    write(tmp_path / "made", "short.mkv", render(PROMPTS[1], seed=5, num_frames=8), record(PROMPTS[1], 5, num_frames=8))
    shutil.copytree(folders / "full", tmp_path / "real")
    write(tmp_path / "real", "long.mkv", render(PROMPTS[1], seed=5), record(PROMPTS[1], 5, "none"))
    for name in ("twin-a.mkv", "twin-b.mkv"):
        write(tmp_path / "real", name, render(PROMPTS[3], seed=50), record(PROMPTS[3], 50, "none"))
    sides = "--generated", tmp_path / "made", "--reference", tmp_path / "real"
    done = command("evaluate", *sides, "--metrics", "psnr,coherence", "--json")
    result = json.loads(done.stdout)
    assert any("nameless.mkv: no run record" in line for line in result["unpaired"]["generated"])
    both = videoada.evaluate(tmp_path / "made", tmp_path / "real", metrics=("kvd",), extractor=Colour(), num_frames=8)
    assert any("partners make KVD" in warning for warning in both.warnings)
    assert any("stranger.mkv: no partner" in line for line in result["unpaired"]["generated"])
    assert sum("twin" in line and "same prompt and seed" in line for line in result["unpaired"]["reference"]) == 2
    different = next(row for row in result["videos"] if row["video"] == "short.mkv")
    assert "8 frames" in different["not_compared"]
    assert different["fidelity"] is None


def test_cached_statistics_give_the_same_numbers(folders, tmp_path):
    stats = tmp_path / "full.safetensors"
    command("evaluate", "--reference", folders / "full", "--save-stats", stats)
    direct = videoada.evaluate(folders / "skipped", folders / "full", metrics=("fvd", "kvd"))
    done = command("evaluate", "--generated", folders / "skipped", "--reference-stats", stats, "--json")
    cached = json.loads(done.stdout)
    assert cached["reference"]["kind"] == "cached statistics"
    assert cached["reference"]["videos"] == 4
    name = "FVD[tiny-shapes-v1]"
    assert cached["metrics"][name]["value"] == pytest.approx(direct.metrics[name]["value"], rel=1e-6)
    assert any("4 clips" in w and "bias" in w for w in cached["warnings"])
    kept = VideoStatistics.load(stats)
    unpaired = videoada.evaluate(folders / "skipped", kept, metrics=("kvd",)).metrics["KVD[tiny-shapes-v1]"]
    assert cached["metrics"]["KVD[tiny-shapes-v1]"] == unpaired
    done = command(
        "evaluate", "--generated", folders / "skipped", "--reference-stats", stats, "--num-frames", "10", code=2
    )
    assert "statistics are of other clips" in done.stderr
    other = VideoStatistics(torch.zeros(4, 3), {"extractor": {"name": "i3d"}, "sampling": {}, "videos": 4})
    other.save(stats)
    done = command("evaluate", "--generated", folders / "skipped", "--reference-stats", stats, code=2)
    assert "statistics are of the extractor i3d" in done.stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "there are no generated videos"),
        (["--generated", "{tmp}/none"], "there is no folder"),
        (["--generated", "{tmp}"], "holds no videos"),
        (["--generated", "{skipped}", "--reference", "{full}", "--reference-stats", "x"], "not both"),
        (["--generated", "{skipped}", "--reference-stats", "{tmp}/x"], "can't read statistics: "),
        (["--generated", "{skipped}", "--metrics", "fvvd"], "did you mean 'fvd'"),
        (["--generated", "{skipped}", "--metrics", "psnr"], "psnr: needs a --reference folder"),
        (["--generated", "{skipped}", "--reference", "{full}", "--metrics", ","], "there is no metric"),
        (
            ["--generated", "{skipped}", "--reference", "{full}", "--protocol", "fvd2048_16"],
            "did you mean 'fvd2048_16f'",
        ),
        (["--generated", "{skipped}", "--protocol", "fvd2048_16f", "--stride", "2"], "fixes --stride"),
        (["--generated", "{skipped}", "--reference", "{full}", "--extractor", "i3"], "unknown extractor"),
        (
            ["--generated", "{skipped}", "--reference", "{full}", "--num-frames", "17"],
            "it has 16 frames, 17 are needed",
        ),
        (["--generated", "{skipped}", "--output", "x.txt"], "--output: 'x.txt' must end in .json"),
        (["--generated", "{skipped}", "--report", "{tmp}/none/x.html"], "make its folder first"),
        (["--reference", "{full}", "--save-stats", "{tmp}"], "must end in .safetensors"),
        (
            ["--reference", "{full}", "--save-stats", "{tmp}/none/x.safetensors"],
            "--save-stats: {tmp}/none/x.safetensors",
        ),
        (["--generated", "{skipped}", "--bad-videos", "maybe"], "bad-videos"),
        (["--generated", "{skipped}", "--reference", "{full}", "--clips-per-video", "4"], "needs --num-frames"),
        (
            ["--generated", "{skipped}", "--reference", "{full}", "--num-frames", "16", "--clips-per-video", "2"],
            "no room for 2 different clips",
        ),
        (["--generated", "{skipped}", "--save-stats", "{tmp}/x.safetensors"], "there is none"),
        (["--generated", "{skipped}", "--reference", "{full}", "--device", "gpu"], "unknown device 'gpu'"),
        (["--generated", "{skipped}", "--reference", "{full}", "--metrics", "lpips"], "LPIPS needs torchvision"),
    ],
)
def test_a_wrong_request_is_a_line(args, message, folders, tmp_path):
    if "lpips" in args and importlib.util.find_spec("torchvision"):
        pytest.skip("torchvision is installed here")
    places = {"tmp": tmp_path, "skipped": folders / "skipped", "full": folders / "full"}
    done = command("evaluate", *(a.format(**places) for a in args), code=2)
    assert message.format(**places) in done.stderr
    assert done.stderr.count("\n") == 1
    assert not done.stdout
    assert not list(tmp_path.iterdir())


def test_bad_videos_are_named_and_skipped_or_fatal(folders, tmp_path):
    for side in ("skipped", "full"):
        shutil.copytree(folders / side, tmp_path / side)
    (tmp_path / "skipped" / "broken.mp4").write_bytes(b"\0" * 500)
    write(tmp_path / "full", "short.mkv", render(PROMPTS[0], num_frames=9))
    both = ("evaluate", "--generated", tmp_path / "skipped", "--reference", tmp_path / "full", "--num-frames", "16")
    done = command(*both, code=2)
    assert "broken.mp4" in done.stderr
    assert "--bad-videos skip" in done.stderr
    assert not done.stdout
    done = command(*both, "--bad-videos", "skip", "--json", code=1)
    result = json.loads(done.stdout)
    assert {s["file"].rsplit("/", 1)[1] for s in result["skipped"]} == {"broken.mp4", "short.mkv"}
    assert result["generated"]["videos"] == result["reference"]["videos"] == 4
    done = command(*both, "--bad-videos", "skip", code=1)
    assert "left out" in done.stdout
    assert "broken.mp4" in done.stdout


def test_partners_of_other_lengths_are_not_compared(tmp_path):
    """Their middles are other moments, even if the clips cut from them are equally long."""
    for name, frames in (("made", 16), ("real", 32)):
        for seed in range(2):
            clip = render(PROMPTS[seed], seed=seed, num_frames=frames)
            write(tmp_path / name, f"{seed}.mkv", clip, record(PROMPTS[seed], seed, num_frames=frames))
    result = videoada.evaluate(tmp_path / "made", tmp_path / "real", num_frames=16, metrics=("psnr", "kvd"))
    assert all(row.fidelity is None for row in result.videos)
    assert result.videos[0].not_compared == "16 frames of 64×64 against 32 frames of 64×64"


def test_what_makes_pairs_unlike_is_said(tmp_path):
    for name, steps in (("made", 4), ("real", 5)):
        kept = record(PROMPTS[0], 0, num_inference_steps=steps, computed=[True] * steps, signal=[None] * steps,
                      num_predictions=steps)  # fmt: skip
        write(tmp_path / name, "a.mp4", render(PROMPTS[0]), kept)
    warnings = videoada.evaluate(tmp_path / "made", tmp_path / "real", metrics=("psnr",)).warnings
    assert any("lossy files (.mp4)" in w for w in warnings)
    assert any("1 pair of different steps" in w for w in warnings)


def test_the_size_of_a_batch_changes_nothing(tmp_path):
    for i in range(7):
        write(tmp_path / "made", f"{i}.mkv", render(PROMPTS[0], seed=i))
        write(tmp_path / "real", f"{i}.mkv", render(PROMPTS[1], seed=i))
    one = videoada.evaluate(tmp_path / "made", tmp_path / "real", metrics=("fvd",), batch_size=1)
    few = videoada.evaluate(tmp_path / "made", tmp_path / "real", metrics=("fvd",), batch_size=5)
    name = "FVD[tiny-shapes-v1]"
    assert few.metrics[name]["value"] == pytest.approx(one.metrics[name]["value"], rel=1e-4)


# ---- clips ---------------------------------------------------------------------------------------------------------


def test_clips_lie_evenly():
    assert [list(c) for c in Sampling(3, 2, 2).indices(14)] == [[2, 4, 6], [7, 9, 11]]
    assert [list(c) for c in Sampling(4).indices(6)] == [[1, 2, 3, 4]]
    assert [list(c) for c in Sampling(None, 5).indices(11)] == [[0, 5, 10]]
    with pytest.raises(OutputError, match="it has 4 frames, 5 are needed"):
        Sampling(3, 2).indices(4)


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.gif", "clip.webp", "clip"])
def test_clips_are_the_videos_frames(name, tmp_path):
    frames = render(PROMPTS[0], num_frames=40, size=(48, 64))
    Video(frames).write(tmp_path / name)
    whole = Video.read(tmp_path / name).frames
    for sampling in (Sampling(5, 2, 3), Sampling(2), Sampling(40), Sampling(None, 3)):
        for found, chosen in zip(read_clips(tmp_path / name, sampling).clips, sampling.indices(40), strict=True):
            assert np.array_equal(found, whole[chosen])


def test_frame_folders_are_read_in_the_order_of_their_numbers(tmp_path):
    frames = render(PROMPTS[0], num_frames=12)
    (tmp_path / "set" / "clip").mkdir(parents=True)
    for i, frame in enumerate(frames):
        iio.imwrite(tmp_path / "set" / "clip" / f"f{i}.png", frame)
    (tmp_path / "set" / "clip" / ".DS_Store").write_bytes(b"x")
    assert np.array_equal(read_clips(tmp_path / "set" / "clip").clips[0], frames)
    (tmp_path / "set" / "mixed").mkdir()
    iio.imwrite(tmp_path / "set" / "mixed" / "f0.png", frames[0])
    (tmp_path / "set" / "mixed" / "notes.txt").write_text("no frame")
    done = command("evaluate", "--generated", tmp_path / "set", "--bad-videos", "skip", "--json", code=1)
    assert "more than frames (PNG, JPEG, WebP)" in json.loads(done.stdout)["skipped"][0]["reason"]


def test_a_comparison_video_is_no_sample(folders, tmp_path):
    write(tmp_path, "a.mkv", render(PROMPTS[0]))
    write(tmp_path, "a-compare.mkv", render(PROMPTS[0]))
    write(tmp_path, "b-compare.mkv", render(PROMPTS[0]))
    assert [p.name for p in videoada.media.finding.find_videos(tmp_path)] == ["a.mkv", "b-compare.mkv"]


def test_configuration_is_checked():
    with pytest.raises(ConfigError, match="unknown key"):
        videoada.EvaluationConfig(frames=3)
    assert videoada.EvaluationConfig(protocol="fvd2048_128f_subsample8f").sampling() == Sampling(16, 8)


# ---- check ---------------------------------------------------------------------------------------------------------


def test_check_tells_broken_from_clean(tmp_path):
    frames = render(PROMPTS[0])
    write(tmp_path, "clean.mp4", frames)
    write(tmp_path, "frozen.mp4", frames[[0] * 16])
    write(tmp_path, "doubled.mp4", frames.repeat(2, axis=0)[:16])
    write(tmp_path, "shuffled", frames[np.random.default_rng(0).permutation(16)])
    flicker = np.where(np.arange(16) % 2, 0.8, 1.0)[:, None, None, None]
    write(tmp_path, "flicker.webp", (frames * flicker).round().astype(np.uint8))
    done = command("check", tmp_path / "clean.mp4")
    assert "passed" in done.stdout
    for name in ("frozen.mp4", "doubled.mp4", "shuffled", "flicker.webp"):
        done = command("check", tmp_path / name, "--json", code=1)
        found = json.loads(done.stdout)
        assert found["failed"], name
    done = command("check", tmp_path, "--json", code=1)
    assert len(done.stdout.splitlines()) == 5


def test_check_takes_limits_and_names_what_it_can_not_read(tmp_path):
    write(tmp_path, "clean.mkv", render(PROMPTS[0]))
    (tmp_path / "limits.yaml").write_text("max_warping_error: 0\n")
    done = command("check", tmp_path / "clean.mkv", "--config", tmp_path / "limits.yaml", "--json", code=1)
    assert json.loads(done.stdout)["failed"] == ["warping_error"]
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    done = command("check", tmp_path / "bad.mp4", code=2)
    assert done.stderr.startswith("error: can't read a video")
    assert not done.stdout
    done = command("check", tmp_path / "bad.mp4", tmp_path / "clean.mkv", code=1)
    assert "bad.mp4" in done.stderr
    assert "passed" in done.stdout
    (tmp_path / "limits.yaml").write_text("max_fun: 0\n")
    assert (
        "unknown key" in command("check", tmp_path / "clean.mkv", "--config", tmp_path / "limits.yaml", code=2).stderr
    )
    assert command("check", "nowhere.mp4", code=2).stderr.count("\n") == 1


# ---- what sides are made of ----------------------------------------------------------------------------------------


def test_frame_rates_that_differ_are_said_and_held(tmp_path):
    for side, fps in (("made", 8), ("real", 25)):
        (tmp_path / side).mkdir()
        for i in range(2):
            Video(render(PROMPTS[i]), fps).write(tmp_path / side / f"{i}.mp4")
    with pytest.raises(ConfigError, match=r"0.mp4 has 8 frames a second, .*0.mp4 25 .*`match_fps=8`"):
        videoada.evaluate(tmp_path / "made", tmp_path / "real", metrics=("kvd",))
    result = videoada.evaluate(tmp_path / "made", tmp_path / "real", metrics=("coherence",))
    assert (result.generated.rates, result.reference.rates) == ([8], [25])
    assert any("frame rates differ, generated and reference: 8 and 25" in warning for warning in result.warnings)


def test_read_at_once_and_frame_by_frame_measure_the_same(tmp_path):
    """Where no extractor asks for clips, videos are let go frame by frame."""
    write_sets(tmp_path)
    metrics = ("psnr", "ssim", "tof", "agreement", "coherence")
    streamed = videoada.evaluate(tmp_path / "skipped", tmp_path / "full", metrics=metrics)
    held = videoada.evaluate(tmp_path / "skipped", tmp_path / "full", metrics=(*metrics, "kvd"))
    assert streamed.videos == held.videos
    assert streamed.generated == held.generated


def test_a_metric_says_what_it_takes():
    with pytest.raises(ValueError, match="torch tensor"):
        videoada.metrics.KernelVideoDistance().update(np.zeros((2, 16, 32, 32, 3), np.uint8), real=True)
