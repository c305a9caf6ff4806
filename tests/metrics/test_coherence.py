"""Coherence: each measure against its formula, each kind of broken clip caught, clean ones passed."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_videos import record
from skimage.metrics import structural_similarity

from videoada.errors import ConfigError
from videoada.metrics import CoherenceLimits, check_coherence, temporal_flow_error
from videoada.metrics.frame_memo import dis_of
from videoada.shapes import random_scene, render


def clip(prompt="a red circle moving right on a gray background", seed=0, **options):
    return render(prompt, seed=seed, **options)


def broken(frames, kind, rng):
    frames = frames.copy()
    if kind == "frozen":
        frames[:] = frames[0]
    elif kind == "half frozen":
        frames[len(frames) // 2 :] = frames[len(frames) // 2]
    elif kind == "duplicated":
        frames[1::2] = frames[::2][: len(frames[1::2])]
    elif kind == "shuffled":
        frames = frames[rng.permutation(len(frames))]
    elif kind == "flickering":
        gain = np.where(np.arange(len(frames)) % 2, 0.85, 1.1)
        frames = np.clip(frames * gain[:, None, None, None], 0, 255).round().astype(np.uint8)
    return frames


def test_measures_follow_their_formulas():
    frames = clip()
    found = check_coherence(frames)
    x = frames.astype(float)
    step = np.abs(x[1:] - x[:-1])
    assert found["temporal_flickering"] == pytest.approx((255 - step.mean()) / 255)
    second = np.abs(x[2:] - 2 * x[1:-1] + x[:-2]).mean()
    assert found["second_difference"] == pytest.approx(second)
    assert found["second_difference_ratio"] == pytest.approx(second / step.mean())
    assert found["freeze_share"] == 0
    assert found["longest_freeze"] == 1
    psnr = [10 * np.log10(255**2 / np.square(a - b).mean()) for a, b in zip(x[1:], x[:-1], strict=True)]
    assert found["adjacent_psnr_mean"] == pytest.approx(np.mean(psnr), abs=1e-4)
    assert found["adjacent_psnr_min"] == pytest.approx(np.min(psnr), abs=1e-4)
    options = {"channel_axis": 2, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "full": True}
    ssim = [  # torchmetrics averages the whole picture, scikit-image leaves its border out
        structural_similarity(a, b, data_range=255, **options)[1].mean()
        for a, b in zip(frames[1:], frames[:-1], strict=True)
    ]
    assert found["adjacent_ssim_mean"] == pytest.approx(np.mean(ssim), abs=2e-3)
    assert found["adjacent_ssim_p5"] == pytest.approx(np.percentile(ssim, 5), abs=4e-3)


def test_numbers_by_hand():
    """Grey levels 0, 10, 10, 30: steps 10, 0, 20; second differences −10, 20."""
    frames = np.broadcast_to(np.uint8([0, 10, 10, 30])[:, None, None, None], (4, 16, 16, 3)).copy()
    found = check_coherence(frames)
    assert found["temporal_flickering"] == pytest.approx((255 - 10) / 255)
    assert found["second_difference"] == pytest.approx(15)
    assert found["second_difference_ratio"] == pytest.approx(1.5)
    assert found["freeze_share"] == pytest.approx(1 / 3)
    assert found["longest_freeze"] == 2
    assert found["luma_flicker"] == pytest.approx(15)
    assert found["return_share"] is None  # too few frames to tell


def test_flow_of_a_picture_that_slides():
    rng = np.random.default_rng(0)
    picture = cv2.GaussianBlur(rng.integers(0, 255, (128, 200, 3), dtype=np.uint8), (0, 0), 3)
    picture = cv2.normalize(picture, None, 0, 255, cv2.NORM_MINMAX)
    frames = np.stack([picture[:, 3 * t : 3 * t + 128] for t in range(10)])
    found = check_coherence(frames)
    assert found["flow_magnitude"] == pytest.approx(3, abs=0.4)
    assert found["warping_error"] < 1e-3
    jumbled = check_coherence(frames[np.random.default_rng(1).permutation(10)])
    assert jumbled["flow_magnitude"] > 1.5 * found["flow_magnitude"]


def test_a_cut_is_found():
    frames = np.concatenate([clip()[:8], clip("a yellow square growing on a brown background")[:8]])
    found = check_coherence(frames)
    assert found["cut_share"] == pytest.approx(1 / 15)
    assert "cut_share" in found["failed"]


@pytest.mark.parametrize("kind", ["frozen", "half frozen", "duplicated", "shuffled", "flickering"])
def test_broken_clips_fail(kind):
    rng = np.random.default_rng(3)
    moving = [s for s in (random_scene(rng, 1) for _ in range(40)) if s.objects[0].motion != "standing still"]
    for seed, scene in enumerate(moving):
        found = check_coherence(broken(render(scene, seed=seed), kind, rng))
        assert not found["passed"], scene


def test_clean_clips_pass():
    rng = np.random.default_rng(4)
    moving = [s for s in (random_scene(rng, 1) for _ in range(60)) if s.objects[0].motion != "standing still"]
    for seed, scene in enumerate(moving):
        found = check_coherence(render(scene, seed=seed))
        assert found["passed"], (str(scene), found["failed"])
        noisy = np.clip(render(scene, seed=seed) + rng.normal(0, 2, (16, 64, 64, 3)), 0, 255).round().astype(np.uint8)
        assert check_coherence(noisy)["passed"], str(scene)


def test_a_frozen_clip_looks_perfect_to_the_other_measures():
    found = check_coherence(broken(clip(), "frozen", None))
    assert found["temporal_flickering"] == 1
    assert found["warping_error"] < 1e-12
    assert found["flow_magnitude"] == 0
    assert found["freeze_share"] == 1
    assert found["longest_freeze"] == 16
    assert found["failed"] == ["still_share"]


def test_limits_are_the_callers():
    frozen = broken(clip(), "frozen", None)
    assert check_coherence(frozen, CoherenceLimits(max_still_share=None))["passed"]
    assert check_coherence(clip(), CoherenceLimits(max_warping_error=0))["failed"] == ["warping_error"]
    with pytest.raises(ConfigError, match="unknown key"):
        CoherenceLimits(max_fun=1)


@settings(max_examples=25, deadline=None)
@given(frames=st.integers(1, 12), height=st.integers(1, 40), width=st.integers(1, 40), seed=st.integers(0, 99))
def test_any_clip_has_finite_measures(frames, height, width, seed):
    found = check_coherence(np.random.default_rng(seed).integers(0, 255, (frames, height, width, 3), dtype=np.uint8))
    assert all(v is None or isinstance(v, (bool, list)) or np.isfinite(v) for v in found.values())


@pytest.mark.parametrize(("height", "width"), [(12, 40), (15, 44), (13, 320), (12, 46), (320, 13), (40, 40), (33, 45)])
def test_flow_of_small_frames_is_the_same_each_time_and_kills_no_process(height, width):
    """OpenCV's DIS reads beyond low frames of 40 pixels and more, and of small ones its second flow was another."""
    frames = np.random.default_rng(0).integers(0, 255, (2, height, width, 3), dtype=np.uint8)
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    dis = dis_of(height, width)
    flows = [dis.calc(*grey, None) for _ in range(20)]
    assert all(np.array_equal(flow, flows[0]) for flow in flows)
    assert np.abs(flows[0]).max() < 100
    assert temporal_flow_error(frames, frames) == 0
    assert np.isfinite(check_coherence(frames)["flow_magnitude"])


def test_what_is_no_clip_is_refused():
    for bad in (np.zeros((0, 4, 4, 3), np.uint8), np.zeros((4, 4, 3), np.uint8), np.zeros((2, 4, 4, 3))):
        with pytest.raises(ValueError, match="must be"):
            check_coherence(bad)


def test_lost_coherence_is_flagged_under_compare():
    """Only checks that the full run passes count: a prompt that stands still freezes in both."""
    from videoada.generation.compare import lost_coherence

    moving, frozen = check_coherence(clip()), check_coherence(broken(clip(), "frozen", None))
    made, full = record("a", 0, coherence=frozen), record("a", 0, "none", coherence=moving)
    [warning] = lost_coherence(made, full)
    assert "still share 1" in warning
    assert lost_coherence(made, full.model_copy(update={"coherence": frozen})) == []
    assert lost_coherence(full, made) == []


def test_generate_records_coherence_and_compare_the_latents_errors(pipe):
    import videoada

    request = videoada.GenerationConfig(prompt="a red circle moving right on a black background", num_inference_steps=6,
                                        num_frames=8, seed=3)  # fmt: skip
    skip = videoada.SkipConfig(policy="mask", mask=(1, 1, 0, 1, 0, 1))
    [comparison] = videoada.compare(pipe, [request], skip=skip)
    record = comparison.record
    assert record.coherence == check_coherence(comparison.video.frames)
    assert record.frames_sha256 == comparison.video.sha256()
    errors = record.fidelity["latent_error"]
    assert len(errors) == 6
    assert errors[:2] == [0, 0]
    assert all(error > 0 for error in errors[2:])
    same = videoada.compare(pipe, [request], skip=videoada.SkipConfig(policy="none"))[0].record
    assert same.fidelity["identical"]
    assert same.fidelity["latent_error"] == [0] * 6


def test_latent_errors_by_hand():
    import torch

    from videoada.generation.compare import latent_errors

    full = [[torch.tensor([[3.0, 4.0], [1.0, 0.0]]), torch.tensor([[0.0, 2.0], [0.0, 1.0]])]]
    made = [[torch.tensor([[3.0, 4.0], [1.0, 1.0]]), torch.tensor([[0.0, 1.0], [0.0, 1.0]])]]
    assert latent_errors(made, full) == [[0.0, 0.5], [1.0, 0.0]]
