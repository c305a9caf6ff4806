"""Folders of other families' pipelines through the real command line: their own settings, skipping, what is refused."""

from __future__ import annotations

import json

import diffusers
import pytest
from builders import BUILDS
from commandline import command

import videoada
from videoada import ModelError
from videoada.media.video import Video
from videoada.metrics import paired_fidelity
from videoada.models.arguments import needs
from videoada.models.recommended import left_to_model, with_recommended
from videoada.models.sources import check_folder, pipeline_class

PROMPT = "a red circle moves right"
SIZE = ["--height", 16, "--width", 16]
# What the command line is asked for beside the prompt, and what the pipeline itself recommends.
FAMILIES = {
    "wan-2.1-t2v": ([*SIZE, "--num-frames", 9], (5.0, 16)),
    "wan-2.2-a14b": ([*SIZE, "--num-frames", 9], (5.0, 16)),
    "ltx-t2v": (["--height", 32, "--width", 32, "--num-frames", 9], (3.0, 25)),
    "cogvideox-ddim": ([*SIZE, "--num-frames", 9], (6.0, 8)),
    "hunyuanvideo": ([*SIZE, "--num-frames", 9], (6.0, 15)),
    "animatediff": ([*SIZE, "--num-frames", 3], (7.5, 8)),
    "svd": ([*SIZE, "--num-frames", 3, "--image", "IMAGE"], (3.0, 7)),
    "modelscope-v2v": (["--video", "VIDEO", "--strength", 0.5], (15.0, 12)),  # the video's rate
}
QUICK = {"wan-2.1-t2v", "svd", "modelscope-v2v", "flux"}  # the others take minutes together: `make test-families`
ALONE = {"modelscope-v2v"}  # generate one video a call


def some(names):
    return [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.fixture
def generated(build_folder, inputs, tmp_path, one_thread):
    """Records of `videoada generate` with a build's folder, or the error's line."""

    def generate(name, *more, code=0, steps=10, output=tmp_path / "out" / "v.mkv"):
        output.parent.mkdir(exist_ok=True)
        asked = [inputs.get(value, value) if isinstance(value, str) else value for value in more]
        done = command(
            "generate", "--model", build_folder(name), "--prompt", PROMPT, "--steps", steps, *asked, "--output", output,
            "--json", "--quiet", code=code,
        )  # fmt: skip
        if code == 0:
            return [json.loads(line) for line in done.stdout.splitlines()]
        assert list(output.parent.iterdir()) == []
        return done.stderr

    return generate


@pytest.mark.parametrize("name", some(BUILDS))
def test_folders_load_as_their_class_says(name, build_folder):
    build = BUILDS[name]
    if build.task == "text to image":
        with pytest.raises(ModelError, match=f"{build.pipeline}, which does not generate videos"):
            check_folder(build_folder(name))
        return
    check_folder(build_folder(name))
    kind = pipeline_class(build_folder(name))
    assert kind.__name__ == build.pipeline
    assert needs(kind, "image") == (build.task == "image to video" and name != "ltx-condition")
    assert needs(kind, "video") == (build.task == "video to video" and name != "wan-vace")


@pytest.mark.parametrize("name", some(FAMILIES))
def test_a_family_generates_with_its_own_settings_and_again_from_its_record(name, generated, tmp_path):
    asked, (guidance, fps) = FAMILIES[name]
    records = generated(name, *asked, "--num-videos", 2, "--batch-size", 2, "--compare")
    assert len(records) == 2
    for record in records:
        assert record["request"]["scheduler"] is None
        assert (record["request"]["guidance_scale"], record["request"]["fps"]) == (guidance, fps)
        assert record["model_defaults"] == (["guidance_scale"] if "VIDEO" in asked else ["guidance_scale", "fps"])
        assert record["computed"][0]
        assert record["num_inference_steps"] == (5 if name in ALONE else 10)
        assert record["fidelity"]["identical"] or record["fidelity"]["psnr"] > 20
        assert record["unet_rows"] <= record["unet_rows_full"]
        said = "`batch_size`: VideoToVideoSDPipeline generates one video a call"
        assert (said in record["not_used"]) == (name in ALONE)
    assert (tmp_path / "out" / "v-001-compare.mkv").is_file()
    again = tmp_path / "again.mkv"
    done = command("generate", "--from-record", tmp_path / "out" / "v-000.mkv", "--output", again, "--json", "--quiet")
    repeated = json.loads(done.stdout)
    assert repeated["computed"] == records[0]["computed"]
    in_batch, alone = (Video.read(path).frames for path in (tmp_path / "out" / "v-000.mkv", again))
    psnr = paired_fidelity(alone, in_batch, flow=False).psnr  # rounded otherwise than in a batch
    assert psnr is None or psnr > 60
    third = command("generate", "--from-record", again, "--output", tmp_path / "third.mkv", "--json", "--quiet")
    assert json.loads(third.stdout)["frames_sha256"] == repeated["frames_sha256"]


@pytest.mark.parametrize(
    ("name", "asked", "problem"),
    [
        ("wan-2.1-t2v", ["--height", 30], "height 30 is not a multiple of 16"),
        ("wan-2.2-5b", [*SIZE, "--num-frames", 9], "height 16 is not a multiple of 32"),
        ("cogvideox-ddim", ["--height", 24], "height 24 is not a multiple of 16"),
        (
            "ltx-t2v",
            ["--height", 24, "--width", 32],
            "LTXPipeline refuses the request: --height and --width",
        ),
        ("allegro", [*SIZE, "--num-frames", 5], "AllegroPipeline refuses the request: Decoding without tiling"),
        ("animatediff", ["--num-frames", 40], "generates up to 32 frames: give --num-frames 32"),
        ("consisid", ["--image", "IMAGE"], "ConsisIDPipeline generates from embeddings of a face"),
        ("wan-2.1-t2v", ["--image", "IMAGE"], "WanPipeline generates from text alone"),
        ("wan-2.1-t2v", ["--video", "VIDEO"], "WanPipeline takes no video: leave --video out"),
        ("wan-2.1-t2v", ["--strength", 0.5], "WanPipeline has no --strength"),
        ("wan-2.1-t2v", ["--scheduler", "ddim"], "--scheduler ddim does not go with this model's UniPCMultistep"),
        ("hunyuanvideo", ["--scheduler", "euler-a"], "--scheduler euler-a does not go with this model's FlowMatch"),
        ("wan-2.1-t2v", ["--early-exit"], "WanPipeline has no unet"),
        ("svd", [], "StableVideoDiffusionPipeline generates from an image; give it an --image"),
        ("svd", ["--image", "none.png"], "the image none.png does not exist"),
        ("modelscope-v2v", [], "VideoToVideoSDPipeline generates from a video; give it a --video"),
        ("modelscope-v2v", ["--video", "TEXT"], "--video: can't read a video from"),
        ("modelscope-v2v", ["--video", "VIDEO", "--num-frames", 30], "has 5 frames, and 30 are asked for"),
        ("modelscope-v2v", ["--video", "VIDEO", "--image", "IMAGE"], "takes no image: leave --image out"),
        ("modelscope-v2v", ["--video", "VIDEO", "--strength", 0], "--strength: give a number above 0 up to 1, got 0"),
        (
            "modelscope-v2v",
            ["--video", "VIDEO", "--strength", 2],
            "--strength: give a number above 0 up to 1, got ",
        ),
        ("modelscope-v2v", ["--video", "VIDEO", "--strength", 0.05], "of 0.05 leaves none of 10 steps to run"),
        ("cogvideox-v2v", ["--video", "VIDEO", "--strength", 0.05], "of 0.05 leaves none of 10 steps to run"),
    ],
)
def test_what_a_family_can_not_do_is_one_line_and_nothing_is_written(name, asked, problem, generated):
    err = generated(name, *asked, code=2)
    assert err.count("\n") == 1
    assert err.startswith("error: ")
    assert problem in err


@pytest.mark.parametrize(
    ("name", "asked", "unused"),
    [
        ("svd", ["--image", "IMAGE", "--negative-prompt", "bad"], ["prompt", "negative_prompt"]),
        ("hunyuanvideo", ["--negative-prompt", "bad"], ["negative_prompt", "prompt"]),  # beyond its letters' limit
        ("motif-video", ["--guidance-scale", 3], ["guidance_scale"]),
        ("wan-2.1-t2v", ["--decode-chunk-size", 2], ["decode_chunk_size"]),
        ("cogvideox-ddim", ["--decode-chunk-size", 1], ["decode_chunk_size"]),
        ("text2video-zero", ["--decode-chunk-size", 1], ["decode_chunk_size"]),
        ("wan-2.1-t2v", ["--negative-prompt", "bad"], []),
    ],
)
def test_what_has_no_effect_is_said(name, asked, unused, generated):
    frames = ["--num-frames", 9 if name != "svd" else 3]
    [record] = generated(name, *SIZE, *frames, *asked, steps=4)
    assert [text.split("`")[1] for text in record["not_used"]] == unused


@pytest.mark.parametrize(("asked", "made"), [(3, 1), (10, 9), (9, 9)])
def test_a_number_of_frames_that_is_rounded_is_said(asked, made, generated):
    [record] = generated("wan-2.1-t2v", *SIZE, "--num-frames", asked, steps=4)
    assert record["num_frames"] == made
    said = f"`num_frames`: WanPipeline generates {made} frame{'s' * (made != 1)} where {asked} are asked for"
    assert record["not_used"] == ([said] if asked != made else [])


@pytest.mark.parametrize("scheduler", ["euler", "unipc", "dpm++"])
def test_schedulers_of_flows_run_a_flow_model(scheduler, generated):
    [record] = generated("wan-2.1-t2v", *SIZE, "--num-frames", 9, "--scheduler", scheduler, "--compare", steps=12)
    assert record["request"]["scheduler"] == scheduler
    assert record["num_predictions"] < 12
    assert record["fidelity"]["psnr"] > 25


def test_a_video_to_video_run_of_few_steps_is_compared(generated):
    """The warm-up before it runs two steps of those that the strength leaves, not two of which it leaves none."""
    [record] = generated("cogvideox-v2v", "--video", "VIDEO", "--strength", 0.3, "--compare")
    assert record["num_inference_steps"] == 3


def test_text2video_zero_runs_with_few_steps(generated):
    [record] = generated("text2video-zero", *SIZE, "--num-frames", 2, "--compare", steps=8)
    assert (record["num_frames"], record["request"]["guidance_scale"]) == (2, 7.5)


def test_diffusion_forcing_which_can_not_skip_is_compared(generated):
    [record] = generated("skyreels-v2-df", *SIZE, "--num-frames", 9, "--compare", steps=4)
    assert record["fidelity"]["identical"]
    assert any(warning.startswith("no step was skipped: SkyReelsV2") for warning in record["warnings"])


@pytest.mark.parametrize("name", some(["modelscope-v2v", "wan-vace"]))
def test_the_file_has_its_source_videos_rate_unless_another_is_asked_for(name, generated, tmp_path):
    [record] = generated(name, "--video", "VIDEO", steps=4)
    assert (record["request"]["fps"], record["request"]["num_frames"]) == (12, 5)
    assert {"fps", "num_frames"}.isdisjoint(record["model_defaults"])
    assert Video.read(tmp_path / "out" / "v.mkv").fps == 12
    [record] = generated(name, "--video", "VIDEO", "--fps", 5, steps=4)
    assert record["request"]["fps"] == 5
    assert Video.read(tmp_path / "out" / "v.mkv").fps == 5


def test_pictures_have_no_rate_and_a_video_in_memory_has_its_own(build_folder, inputs):
    pipe = videoada.load_pipeline(str(build_folder("wan-vace")), device="cpu")
    video = Video.read(inputs["VIDEO"])
    for source, rate in ((video, 12), (list(video.frames), 16)):
        [request] = with_recommended(pipe, [videoada.GenerationConfig(prompt="x", video=source)])
        assert (request.fps, request.num_frames) == (rate, 5)
        assert ("fps" in left_to_model(pipe, videoada.GenerationConfig(prompt="x", video=source))) == (rate == 16)


def test_a_video_that_is_gone_on_from_may_be_shorter_than_the_result(generated):
    [record] = generated(
        "ltx-condition", "--video", "VIDEO", "--height", 32, "--width", 32, "--num-frames", 17, steps=4
    )
    assert (record["num_frames"], record["request"]["fps"]) == (17, 12)


@pytest.mark.parametrize("steps", [8, 9])
def test_at_few_steps_one_line_says_that_nothing_is_gained(steps, generated):
    [record] = generated("wan-2.1-t2v", *SIZE, "--num-frames", 9, steps=steps)
    gained = [text for text in record["warnings"] if "nothing is gained" in text]
    assert gained == ([
        "with 8 steps, as distilled models take, nothing is gained by skipping: each does the work of many"
    ] if steps == 8 else [])  # fmt: skip
    assert len(record["warnings"]) == 1


def test_a_scheduler_of_distilled_models_is_reported_at_any_number_of_steps(build_folder):
    pipe = videoada.load_pipeline(str(build_folder("animatediff")), device="cpu")
    pipe.scheduler = diffusers.LCMScheduler.from_config(pipe.scheduler.config)
    asked = {"prompt": PROMPT, "height": 16, "width": 16, "num_frames": 2, "num_inference_steps": 20}
    [(_, record)] = videoada.generate(pipe, **asked)
    assert record.warnings[-1].startswith("with 20 steps of LCMScheduler, as distilled models take, nothing is gained")
