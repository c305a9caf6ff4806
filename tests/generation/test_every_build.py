"""Every small build of a diffusers pipeline through `videoada generate --model FOLDER`: a video, or one line."""

from __future__ import annotations

import json

import pytest
from builders import BUILDS
from commandline import command

from videoada.media.video import Video

PROMPT = "a red circle moves right"
SIZE = ["--height", 16, "--width", 16]
TASKS = {
    "text to video": [*SIZE, "--num-frames", 9],
    "text to video with sound": [*SIZE, "--num-frames", 9],
    "image to video": [*SIZE, "--num-frames", 9, "--image", "IMAGE"],
    "video to video": ["--video", "VIDEO"],
    "text to image": [],
}
LARGE = ["--height", 32, "--width", 32, "--num-frames", 9]
ASKED = {
    "ltx-t2v": LARGE, "ltx-i2v": [*LARGE, "--image", "IMAGE"], "ltx-condition": [*LARGE, "--image", "IMAGE"],
    "ltx2": LARGE, "wan-2.2-5b": LARGE, "latte": [*SIZE, "--num-frames", 2],
    "allegro": [*SIZE, "--num-frames", 8, "--vae-tiling"], "sana-video": LARGE,
    "sana-video-i2v": [*LARGE, "--image", "IMAGE"],
}  # fmt: skip
# The small builds that no request can run, with what says so; text-to-image pipelines are none of ours.
REFUSED = {
    "consisid": "ConsisIDPipeline generates from embeddings of a face",
    "sana-video": "SanaVideoPipeline refuses the request: Invalid sample size",
    "sana-video-i2v": "SanaImageToVideoPipeline refuses the request: Invalid sample size",
    "hunyuanvideo-i2v": "HunyuanVideoImageToVideoPipeline refuses the request: Image features and image tokens do not",
    "kandinsky5": "this Kandinsky5T2VPipeline has no tokenizer, and can't read a --prompt",
} | {name: "which does not generate videos" for name, build in BUILDS.items() if build.task == "text to image"}
MADE = {"helios": 33, "mochi": 7, "mochi-inverted": 7, "latte": 2, "allegro": 8, "cogvideox-v2v": 8}  # frames
QUICK = {"wan-vace", "kandinsky5", "latte", "sd3"}  # the others: `make test-families`


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in BUILDS]
)
def test_a_folder_ends_in_a_video_or_in_one_line(name, build_folder, inputs, tmp_path, one_thread):
    build, output = BUILDS[name], tmp_path / "v.mkv"
    asked = ASKED.get(name, TASKS[build.task])
    asked = [inputs.get(value, value) if isinstance(value, str) else value for value in asked]
    done = command(
        "generate", "--model", build_folder(name), "--prompt", PROMPT, "--steps", 10, *asked, "--output", output,
        "--json", "--quiet", code=2 if name in REFUSED else 0,
    )  # fmt: skip
    if name in REFUSED:
        assert done.stderr.count("\n") == 1
        assert done.stderr.startswith("error: ")
        assert REFUSED[name] in done.stderr
        assert list(tmp_path.iterdir()) == []
        return
    record = json.loads(done.stdout)
    video = Video.read(output)
    assert len(video.frames) == record["num_frames"] == MADE.get(name, 5 if build.task == "video to video" else 9)
    assert video.sha256() == record["frames_sha256"]
    assert video.fps == record["request"]["fps"]
    assert record["num_inference_steps"] <= 10
    if build.task == "video to video":
        assert (video.fps, "fps" in record["model_defaults"]) == (12, False)
