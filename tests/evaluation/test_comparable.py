"""Sets of other sizes, lengths, rates or lossy codecs: refused in a line, or brought together, never mixed."""

from __future__ import annotations

import json

import numpy as np
import pytest
from commandline import command
from made_videos import PROMPTS, write
from torch import nn

import videoada
from videoada.errors import ConfigError
from videoada.evaluation.measuring import resized
from videoada.media.clips import Sampling, read_clips
from videoada.media.reading import open_video
from videoada.media.video import Video
from videoada.metrics import VideoStatistics
from videoada.shapes import render


class Colour(nn.Module):
    def forward(self, videos):
        return videos.float().mean((1, 3, 4)) / 255


def make(folder, ending=".mkv", size=64, num_frames=16, fps=8, count=2):
    folder.mkdir(exist_ok=True)
    for i in range(count):
        clip = render(PROMPTS[i], seed=i, size=size, num_frames=num_frames)
        Video(clip, fps).write(folder / f"{i}{ending}")
    return folder


OTHERS = {
    "size": ({"size": 32}, "64×64 pixels", "32×32 pixels; --match-size 32x32 brings"),
    "frames": ({"num_frames": 20}, "16 frames", "20 frames; --num-frames 16 takes"),
    "rate": ({"fps": 16}, "8 frames a second", "16 frames a second; --match-fps 8 takes"),
    "loss": ({"ending": ".mp4"}, "a lossless codec", "the lossy codec h264; the loss"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_sets_that_differ_are_refused_in_a_line(name, tmp_path):
    fields, one, other = OTHERS[name]
    made, real = make(tmp_path / "made"), make(tmp_path / "real", **fields)
    ask = ("evaluate", "--generated", made, "--reference", real, "--metrics", "kvd", "--pair-by", "name")
    done = command(*ask, code=2)
    assert done.stderr.startswith("error: can't be compared: ")
    assert one in done.stderr
    assert other in done.stderr
    assert done.stderr.count("\n") == 1
    for path in real.iterdir():  # the same within one set
        path.rename(made / f"also-{path.name}")
    done = command("evaluate", "--generated", made, "--reference", made, "--metrics", "kvd", code=2)
    assert one in done.stderr
    assert other.split(";")[0].split(" takes")[0] in done.stderr


@pytest.mark.parametrize(
    ("name", "flag"),
    [("size", {"match_size": "32x32"}), ("frames", {"num_frames": 16}), ("rate", {"match_fps": 8.0}),
     ("loss", {"any_codec": True})],
)  # fmt: skip
def test_flags_bring_them_together(name, flag, tmp_path):
    fields = OTHERS[name][0] | ({"num_frames": 31} if name == "rate" else {})
    made, real = make(tmp_path / "made"), make(tmp_path / "real", **fields)
    result = videoada.evaluate(made, real, metrics=("kvd",), extractor=Colour(), pair_by="name", **flag)
    assert result.metrics["KVD[Colour]"]["n_generated"] == 2
    if name == "size":
        assert result.generated.sizes == result.reference.sizes == ["16 frames of 32×32"]
        pairs = videoada.evaluate(made, real, metrics=("psnr",), pair_by="name", **flag)
        assert all(row.fidelity["psnr"] > 25 for row in pairs.videos)
    if name == "rate":
        assert result.generated.rates == result.reference.rates == [8]
        assert result.sampling["match_fps"] == 8


def test_only_what_the_metrics_need_must_be_alike(tmp_path):
    """PSNR of a pair does not ask for the rate, nor for other pairs' sizes; its partner's loss counts."""
    made, real = make(tmp_path / "made"), make(tmp_path / "real", fps=16)
    for folder in (made, real):
        Video(render(PROMPTS[2], seed=2, size=32)).write(folder / "small.mkv")
    result = videoada.evaluate(made, real, metrics=("psnr", "coherence"), pair_by="name")
    assert sum(row.fidelity["identical"] for row in result.videos) == 3
    assert any("frame rates differ" in text for text in result.warnings)
    almost = make(tmp_path / "almost", fps=7.99)
    assert videoada.evaluate(almost, made, metrics=("motion-ratio",), pair_by="name").metrics
    with pytest.raises(ConfigError, match=r"8 frames a second, .* 16 frames a second"):
        videoada.evaluate(made, real, metrics=("motion-ratio",), pair_by="name")
    webm = make(tmp_path / "webm", ".webm", fps=16)
    mp4 = make(tmp_path / "mp4", ".mp4", fps=16)
    with pytest.raises(ConfigError, match=r"lossy codec vp9, .*lossy codec h264; .*`any_codec`"):
        videoada.evaluate(webm, mp4, metrics=("psnr",), pair_by="name")
    same = videoada.evaluate(mp4, mp4, metrics=("psnr",), pair_by="name")
    assert same.generated.codecs == ["h264 in .mp4"]
    loss = videoada.evaluate(webm, mp4, metrics=("psnr",), pair_by="name", any_codec=True)
    assert all(row.fidelity["psnr"] < 60 for row in loss.videos)
    assert any("lossy files" in text for text in loss.warnings)


def test_lossless_codecs_are_alike(tmp_path):
    made, real = make(tmp_path / "made", ".mkv"), make(tmp_path / "real", ".webp")
    write(real, "folder", render(PROMPTS[2], seed=2))
    write(made, "folder.mkv", render(PROMPTS[2], seed=2))
    result = videoada.evaluate(made, real, metrics=("psnr", "kvd"), extractor=Colour(), pair_by="name")
    assert result.reference.codecs == ["png in a folder", "webp in .webp"]
    assert result.generated.codecs == ["ffv1 in .mkv"]
    assert result.metrics["PSNR (pooled)"]["identical"] == 3


def test_statistics_say_what_they_are_of_and_refuse_others(tmp_path):
    real, stats = make(tmp_path / "real"), tmp_path / "real.safetensors"
    videoada.evaluate(reference=real, save_statistics=stats, extractor=Colour())
    kept = VideoStatistics.load(stats)
    assert kept.about["form"] == {"size": [64, 64], "num_frames": 16, "fps": 8, "codec": "lossless"}
    assert kept.about["codecs"] == ["ffv1 in .mkv"]
    result = videoada.evaluate(real, kept, metrics=("kvd",), extractor=Colour())
    assert (result.reference.sizes, result.reference.rates, result.reference.codecs) == (
        ["16 frames of 64×64"], [8], ["ffv1 in .mkv"])  # fmt: skip
    for name, (fields, one, other) in OTHERS.items():
        made = make(tmp_path / name, **fields)
        with pytest.raises(ConfigError) as caught:
            videoada.evaluate(made, kept, metrics=("kvd",), extractor=Colour())
        assert f"the file of statistics has {one}" in str(caught.value)
        assert other.split(";")[0] in str(caught.value)
    old = VideoStatistics(kept.features, {k: v for k, v in kept.about.items() if k not in ("form", "codecs")})
    unknown = videoada.evaluate(make(tmp_path / "any", size=32), old, metrics=("kvd",), extractor=Colour())
    assert any("the statistics do not say of what size" in text for text in unknown.warnings)
    mixed = make(make(tmp_path / "mixed"), ".mp4")
    with pytest.raises(ConfigError, match="can't be compared"):
        videoada.evaluate(reference=mixed, save_statistics=tmp_path / "mixed.safetensors", extractor=Colour())
    assert not (tmp_path / "mixed.safetensors").exists()


def test_frames_at_a_rate_are_those_nearest_in_time(tmp_path):
    frames = np.repeat(np.arange(24, dtype=np.uint8) * 10, 32 * 32 * 3).reshape(24, 32, 32, 3)
    Video(frames, 24).write(tmp_path / "a.mkv")
    for fps, expected in ((24, range(24)), (12, range(0, 24, 2)), (8, range(0, 24, 3)), (10, (0, 2, 5, 7, 10, 12, 14, 17, 19, 22))):  # fmt: skip  # noqa: E501
        found = read_clips(tmp_path / "a.mkv", Sampling(fps=fps)).clips[0]
        assert [int(frame[0, 0, 0]) // 10 for frame in found] == list(expected)
    clips = read_clips(tmp_path / "a.mkv", Sampling(3, 1, 2, fps=12))
    assert [[int(frame[0, 0, 0]) // 10 for frame in clip] for clip in clips.clips] == [[4, 6, 8], [14, 16, 18]]
    with pytest.raises(videoada.OutputError, match="24 frames a second, fewer than `match_fps=25`"):
        read_clips(tmp_path / "a.mkv", Sampling(fps=25))


def test_resized_frames_are_means_of_the_pixels_that_they_cover():
    frame = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    expected = frame.reshape(4, 2, 4, 3, 3).mean((1, 3))
    assert np.abs(resized(frame, (4, 4)) - expected).max() <= 0.51
    assert resized(frame, (12, 8)) is frame
    assert resized(frame, (24, 16)).shape == (16, 24, 3)


def test_the_verdict_refuses_them_too(tmp_path):
    full, made = make(tmp_path / "full"), make(tmp_path / "made", ".mp4")
    done = command("verdict", made, full, "--pair-by", "name", code=2)
    assert "--any-codec" in done.stderr
    output = tmp_path / "verdict.json"
    command("verdict", full, full, "--pair-by", "name", "--match-size", "48x32", "--output", output)
    assert json.loads(output.read_text())["evaluation"]["generated"]["sizes"] == ["16 frames of 48×32"]
    assert command("verdict", full, full, "--match-size", "48", code=2).stderr.startswith("error: --match-size: ")


def test_every_kind_of_file_names_its_codec(tmp_path):
    clip = render(PROMPTS[0], num_frames=4)
    for name, codec in (("a.mp4", "h264"), ("a.mkv", "ffv1"), ("a.webm", "vp9"), ("a.gif", "gif"), ("a.webp", "webp"),
                        ("a", "png")):  # fmt: skip
        Video(clip).write(tmp_path / name)
        video = open_video(tmp_path / name)
        assert sum(frame is not None for frame in video.frames()) == 4
        assert video.codec == codec
