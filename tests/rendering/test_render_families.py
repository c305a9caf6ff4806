"""Prompt files on other families' folders: rendered, gone on with, and refused before weights are read."""

from __future__ import annotations

import json

import numpy as np
import pytest
from commandline import command

from videoada.media.video import Video

SIZE = ["--height", 16, "--width", 16, "--num-frames", 9, "--steps", 6]


def test_two_prompts_are_rendered_once(build_folder, tmp_path, one_thread):
    (tmp_path / "p.txt").write_text("a red circle moves right\na tan square moves north\n")
    args = ["render", tmp_path / "p.txt", "--out", tmp_path / "out", "--model", build_folder("wan-2.1-t2v"), *SIZE]
    assert "rendered 2 videos" in command(*args, "--batch-size", 2).stderr
    record = json.loads((tmp_path / "out" / "0000.json").read_text())
    assert record["request"]["scheduler"] is None
    assert (record["request"]["fps"], record["request"]["guidance_scale"]) == (16, 5.0)
    (tmp_path / "out" / "0001.mp4").unlink()
    assert "2 videos, 1 of them there" in command(*args).stderr
    assert "2 videos, 2 of them there" in command(*args).stderr


@pytest.fixture
def source(tmp_path):
    rng = np.random.default_rng(0)
    Video(rng.integers(0, 256, (4, 32, 32, 3), dtype=np.uint8), 8).write(tmp_path / "in.mkv")
    return tmp_path


def test_videos_and_strengths_are_columns(build_folder, source, one_thread):
    (source / "p.csv").write_text("prompt,video,strength\na red circle,in.mkv,0.5\na red circle,in.mkv,1\n")
    command(
        "render", source / "p.csv", "--out", source / "out", "--model", build_folder("modelscope-v2v"), "--steps", 6
    )
    records = [json.loads((source / "out" / f"000{i}.json").read_text()) for i in (0, 1)]
    assert [record["num_inference_steps"] for record in records] == [3, 6]
    assert all(record["video_sha256"] for record in records)


@pytest.mark.parametrize(("header", "naming"), [("image", "id"), ("Image,prompt", "slug"), ("id,image", "vbench")])
def test_images_will_do_for_a_model_that_takes_no_prompt(header, naming, inputs, build_folder, tmp_path, one_thread):
    row = {
        "image": inputs["IMAGE"].name,
        "Image,prompt": f"{inputs['IMAGE'].name},",
        "id,image": f"first,{inputs['IMAGE'].name}",
    }
    (tmp_path / "p.csv").write_text(f"{header}\n{row[header]}\n")
    command(
        "render", tmp_path / "p.csv", "--images", inputs["IMAGE"].parent, "--out", tmp_path / "out", "--naming", naming,
        "--model", build_folder("svd"), "--height", 16, "--width", 16, "--num-frames", 2, "--steps", 9,
    )  # fmt: skip
    [file] = (tmp_path / "out").glob("*.mp4")
    assert file.stem.startswith({"id": "0000", "slug": "in-", "vbench": "in-0"}[naming])
    record = json.loads(file.with_suffix(".json").read_text())
    assert record["image_sha256"]
    assert record["not_used"] == []


@pytest.mark.parametrize("name", ["wan-2.1-t2v", "cogvideox-ddim"])
def test_a_batch_is_decoded_whole_by_a_vae_of_videos(name, build_folder, tmp_path, one_thread):
    (tmp_path / "p.txt").write_text("a red circle\na tan square\n")
    folder = build_folder(name)
    command("render", tmp_path / "p.txt", "--out", tmp_path / "out", "--model", folder, *SIZE, "--batch-size", 2)
    assert json.loads((tmp_path / "out" / "0000.json").read_text())["not_used"] == []


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        (
            "wan-2.1-v2v",
            "video\nin.mkv\n",
            "line 2: the prompt is empty, and WanVideoToVideoPipeline generates",
        ),
        (
            "svd",
            "seed\n3\n",
            "line 1: a CSV file begins with the names of its columns, one of them 'prompt' (or 'image'",
        ),
        ("wan-2.1-t2v", "prompt,video\nx,in.mkv\n", "line 2: WanPipeline takes no video"),
        ("wan-2.1-t2v", "prompt,strength\nx,0.5\n", "line 2: WanPipeline has no --strength"),
        ("modelscope-v2v", "prompt\nx\n", "line 2: VideoToVideoSDPipeline generates from a video"),
        ("modelscope-v2v", "prompt,video\nx,none.mkv\n", "none.mkv does not exist"),
        ("modelscope-v2v", "prompt,video\nx,p.csv\n", "line 2: --video: can't read a video from"),
        ("wan-2.1-i2v", "prompt\nx\n", "line 2: WanImageToVideoPipeline generates from an image and a prompt"),
        ("svd", "prompt\nx\n", "line 2: StableVideoDiffusionPipeline generates from an image; give"),
    ],
)
def test_entries_that_do_not_fit_are_told_before_weights_are_read(name, text, problem, build_folder, source):
    (source / "p.csv").write_text(text)
    err = command("render", source / "p.csv", "--out", source / "out", "--model", build_folder(name), code=2).stderr
    assert err.count("\n") == 1
    assert problem in err
    assert not (source / "out").exists()
