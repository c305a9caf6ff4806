"""generate(), records and video files."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest
from commandline import run
from conftest import PROMPTS, draw
from hypothesis import given, settings
from hypothesis import strategies as st

import videoada
from videoada.errors import ConfigError, ModelError, OutputError
from videoada.files import written_aside
from videoada.media.video import Video
from videoada.metrics import paired_fidelity
from videoada.models.catalogue import ASSETS
from videoada.records.record import RunRecord

SMALL = {"num_inference_steps": 8, "num_frames": 4}


def test_policy_none_is_plain_diffusers_loaded_by_diffusers(pipe):
    from diffusers import TextToVideoSDPipeline

    plain = TextToVideoSDPipeline.from_pretrained(ASSETS / "tiny-t2v")
    plain.set_progress_bar_config(disable=True)
    frames = draw(plain, steps=8)[0]
    for skip in (videoada.SkipConfig(policy="none"), videoada.SkipConfig(threshold=0)):
        [(video, record)] = videoada.generate(pipe, prompt=PROMPTS[0], seed=3, skip=skip, **SMALL)
        assert (video.frames == np.rint(frames * 255).astype(np.uint8)).all()
        assert record.num_predictions == 8


def test_the_record_says_what_ran(pipe):
    [(video, record)] = videoada.generate(
        pipe, prompt=PROMPTS[2], seed=5, skip=videoada.SkipConfig(threshold=3.0), **SMALL
    )
    assert video.frames.shape == (4, 64, 64, 3)
    assert record.num_predictions == sum(record.computed) < 8 == len(record.computed) == len(record.signal)
    assert (record.unet_rows, record.unet_rows_full) == (2 * record.num_predictions, 16)
    assert record.model.embedded
    assert len(record.model.weights_sha256) == 64
    assert record.skip == videoada.SkipConfig(threshold=3.0)
    assert record.skip.model_dump(exclude_none=True) == {
        "policy": "third-order", "threshold": 3.0, "max_skip_steps": 4, "warmup_steps": 3, "final_steps": 1,
        "predictor": "hold", "corrector": False, "batch_decision": "prompt",
    }  # fmt: skip
    own = {"guidance_scale": 9.0, "fps": 8, "scheduler": "ddim"}  # the model's, as nothing was said
    assert record.request == videoada.GenerationConfig(prompt=PROMPTS[2], seed=5, **SMALL | own)
    assert record.model_defaults == list(own)
    assert (record.schema_version, record.load) == (2, videoada.LoadConfig(device="cpu"))
    assert set(record.seconds) == {"load", "encode", "denoise", "decode", "write", "total"}
    assert any("nothing, else" in w for w in record.warnings)
    assert "with 8 steps, as distilled models take, nothing is gained by skipping" in record.warnings[-1]
    again = RunRecord.model_validate_json(record.to_json())
    assert again == record
    json.loads(record.to_json(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_run_after_run_and_several_requests_change_nothing(pipe):
    requests = [videoada.GenerationConfig(prompt=p, seed=9, **SMALL) for p in PROMPTS[:2]]
    (a, _), (b, _) = videoada.generate(pipe, requests)
    [(b_alone, _)] = videoada.generate(pipe, requests[1:])
    assert (b.frames == b_alone.frames).all()
    assert (a.frames != b.frames).any()


def test_a_run_that_skips_nothing_says_so(pipe):
    steps = SMALL | {"num_inference_steps": 9}
    [(_, record)] = videoada.generate(pipe, prompt=PROMPTS[0], threshold=1e-9, **steps)
    assert record.warnings[0].startswith("no step was skipped: nothing was saved on this prompt; raise the threshold")
    assert record.warnings[1] == "with 9 steps there is little to skip; skipping pays from about 15"


def test_words_that_the_embedded_model_never_saw_are_in_the_record_unless_it_is_loaded_elsewhere(pipe):
    asked = {"prompt": "A red Zebra, moving right on a Martian background.", "negative_prompt": "a blurry circel"}
    [(_, record)] = videoada.generate(pipe, **asked, **SMALL)
    known = record.warnings[:2]
    assert known[0].startswith("tiny-t2v has never seen: zebra, martian; none of its 29 words is near; it takes `a COL")
    assert known[1].startswith(
        "negative prompt: tiny-t2v has never seen: blurry, circel; nearest of its 29 words: circle;"
    )
    [(_, record)] = videoada.generate(pipe, **asked, **SMALL | {"guidance_scale": 1.0})
    assert not any("negative prompt" in w for w in record.warnings)  # which is not used
    elsewhere = type(pipe)(**pipe.components)
    elsewhere.set_progress_bar_config(disable=True)
    [(_, record)] = videoada.generate(elsewhere, **asked, **SMALL)
    assert not any("never seen" in w for w in record.warnings)


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"prompt": "  "}, "empty"),
        ({"prompt": "x", "num_inference_steps": 0}, "`num_inference_steps`"),
        ({"prompt": "x", "height": 60}, "multiple of 8"),
        ({"prompt": "x", "scheduler": "ddmi"}, "did you mean 'ddim'"),
        ({"prompt": "x", "seed": -1}, "seed"),
        ({"prompt": "x", "guidance_scale": float("inf")}, "`guidance_scale`"),
        ({"prompt": "x", "colour": "red"}, "unknown key 'colour'"),
    ],
)
def test_requests_that_cannot_be_met(pipe, fields, part):
    with pytest.raises(ConfigError, match=part):
        videoada.generate(pipe, **fields)


@pytest.mark.parametrize("name", ["no-such-model", "tiny-t2w", "/nowhere/at/all"])
def test_unknown_models_are_named(name):
    with pytest.raises(ModelError, match=r"unknown model|there is no folder"):
        videoada.load_pipeline(name)


def test_a_folder_that_is_no_model(tmp_path):
    with pytest.raises(ModelError, match="no model_index"):
        videoada.load_pipeline(str(tmp_path))
    (tmp_path / "model_index.json").write_text("{ not json")
    with pytest.raises(ModelError, match="can't read"):
        videoada.load_pipeline(str(tmp_path))


def test_missing_cuda_is_one_clear_line():
    with pytest.raises(ConfigError, match="`device=cpu`"):
        videoada.load_pipeline("tiny-t2v", device="cuda:99")
    with pytest.raises(ConfigError, match="unknown device"):
        videoada.load_pipeline("tiny-t2v", device="warp")
    with pytest.raises(ConfigError, match="unknown dtype"):
        videoada.load_pipeline("tiny-t2v", dtype="float8")


# ---- files ----


def clip(frames=5, height=64, width=64, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 5), st.integers(8, 70), st.integers(8, 70), st.integers(1, 60))
def test_mkv_is_lossless(tmp_path_factory, frames, height, width, fps):
    path = tmp_path_factory.mktemp("v") / "clip.mkv"
    video = Video(clip(frames, height, width), fps)
    video.write(path)
    back = Video.read(path)
    assert (back.frames == video.frames).all()
    assert back.fps == fps


def test_mp4_plays_close_to_what_was_drawn(tmp_path):
    smooth = np.repeat(np.linspace(0, 255, 63, dtype=np.uint8)[None, :, None], 61, axis=0)
    frames = np.stack([np.repeat(np.roll(smooth, i, axis=1), 3, axis=2) for i in range(8)])
    Video(frames, 12).write(tmp_path / "clip.mp4")
    back = Video.read(tmp_path / "clip.mp4")
    assert back.frames.shape == (8, 62, 64, 3)  # padded to even sizes
    assert back.fps == 12
    assert paired_fidelity(back.frames[:, :61, :63], frames).psnr > 28
    assert b"moov" in (tmp_path / "clip.mp4").read_bytes()[:200]  # faststart: the index comes first


def test_nothing_is_left_of_a_file_that_failed(tmp_path):
    def fail():
        with written_aside(tmp_path / "clip.mp4") as aside:
            aside.write_bytes(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["clip.avi", "missing/clip.mp4"])
def test_files_that_cannot_be_written(tmp_path, name):
    with pytest.raises(OutputError):
        Video(clip()).write(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_reading_what_is_no_video(tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"not a video")
    with pytest.raises(OutputError, match="can't read"):
        Video.read(tmp_path / "clip.mp4")


def test_floats_are_rounded_not_truncated():
    assert Video.from_float(np.full((1, 2, 2, 3), 0.999)).frames[0, 0, 0, 0] == 255


# ---- fidelity ----


def test_psnr_by_hand():
    target = np.zeros((4, 16, 16, 3), np.uint8)
    preds = target.copy()
    preds[0] = 10
    found = paired_fidelity(preds, target)
    assert found.psnr == pytest.approx(10 * np.log10(255**2 / 25))
    assert found.psnr_worst_frame == found.psnr_frame_mean == pytest.approx(10 * np.log10(255**2 / 100))
    same = paired_fidelity(target, target)
    assert (same.psnr, same.identical, same.ssim) == (None, True, pytest.approx(1.0))


def test_psnr_and_ssim_against_scikit_image():
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    target = clip(3)
    preds = np.clip(target.astype(int) + clip(3, seed=1) // 8, 0, 255).astype(np.uint8)
    found = paired_fidelity(preds, target)
    assert found.psnr == pytest.approx(peak_signal_noise_ratio(target, preds), abs=1e-6)
    reference = np.mean([
        structural_similarity(t, p, channel_axis=-1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
        for t, p in zip(target, preds, strict=True)
    ])  # fmt: skip
    assert found.ssim == pytest.approx(reference, abs=5e-3)


def test_two_threads_do_not_share_a_trace():
    """Two pipelines at once: the wrapper hangs on the objects, not on their classes."""
    pipes = [videoada.load_pipeline("tiny-t2v", device="cpu") for _ in range(2)]
    found = {}

    def run(i):
        [(_, found[i])] = videoada.generate(
            pipes[i], prompt=PROMPTS[i], skip=videoada.SkipConfig(threshold=0.4), **SMALL
        )

    threads = [threading.Thread(target=run, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(2):
        [(_, alone)] = videoada.generate(pipes[i], prompt=PROMPTS[i], skip=videoada.SkipConfig(threshold=0.4), **SMALL)
        assert alone.computed == found[i].computed


def test_multiscale_ssim_where_it_fits():
    from videoada.metrics import multiscale_ssim

    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (2, 176, 180, 3), dtype=np.uint8)
    noisy = np.clip(frames + rng.normal(0, 20, frames.shape), 0, 255).astype(np.uint8)
    assert multiscale_ssim(frames, frames) == pytest.approx(1)
    assert 0.5 < multiscale_ssim(noisy, frames) < 0.999
    assert multiscale_ssim(frames[:, :175], frames[:, :175]) is None


def test_frames_that_are_no_numbers_are_told(pipe, tmp_path, capsys):
    flags = ["--prompt", "a red circle", "--steps", "2", "--num-frames", "1", "--output", str(tmp_path / "x.mkv")]
    for scale in ("1e20", "1e38"):
        for more in ([], ["--compare"]):
            code, _, err = run(capsys, "generate", *flags, "--guidance-scale", scale, *more)
            assert (code, "lower --guidance-scale" in err, err.count("error: ")) == (2, True, 1), (scale, more, err)
    assert not list(tmp_path.iterdir())
