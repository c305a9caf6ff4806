"""VMAF against libvmaf in the FFmpeg of imageio-ffmpeg, and against vmaf-torch's own sum over a clip."""

from __future__ import annotations

import json
import subprocess

import cv2
import imageio_ffmpeg
import numpy as np
import pytest
import torch

from videoada.errors import ConfigError, MetricError
from videoada.metrics import vmaf_score
from videoada.metrics.vmaf import load_vmaf, luma
from videoada.shapes import render

vmaf_torch = pytest.importorskip("vmaf_torch", reason="needs the extra vmaf")
FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()


def clips(size, num_frames=5):
    """A textured clip, and two damaged ones."""
    rng = np.random.default_rng(0)
    full = render("a red circle moving right on a gray background", seed=1, size=size, num_frames=num_frames)
    full = np.clip(full + rng.integers(0, 30, full.shape[1:]), 0, 255).astype(np.uint8)
    noisy = np.clip(full + rng.normal(0, 8, full.shape), 0, 255).round().astype(np.uint8)
    return full, noisy, np.stack([cv2.GaussianBlur(frame, (0, 0), 1.0) for frame in full])


def by_libvmaf(made, full, folder, model):
    """The pooled score of planes that are luma as `luma` gives it, and grey."""
    for name, clip in (("made", made), ("full", full)):
        planes = [luma(frame)[0, 0].byte().numpy() for frame in clip]
        (folder / name).write_bytes(b"".join(plane.tobytes() + bytes([128]) * (plane.size // 2) for plane in planes))
    form = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{full.shape[2]}x{full.shape[1]}"]
    asked = f"libvmaf=model=version={model}:log_fmt=json:log_path=log.json"
    command = [FFMPEG, "-v", "error", *form, "-i", "made", *form, "-i", "full", "-lavfi", asked, "-f", "null", "-"]
    subprocess.run(command, check=True, capture_output=True, cwd=folder)
    return json.loads((folder / "log.json").read_text())["pooled_metrics"]["vmaf"]["mean"]


@pytest.fixture(scope="module")
def libvmaf():
    filters = subprocess.run([FFMPEG, "-hide_banner", "-filters"], capture_output=True, text=True).stdout
    if " libvmaf " not in filters:
        pytest.skip("this FFmpeg is built without libvmaf")


@pytest.mark.parametrize("size", [32, (48, 80), 64, 128])
def test_agrees_with_libvmaf(libvmaf, size, tmp_path):
    """Small sides are where vmaf-torch itself is off: below 65 pixels by its border, elsewhere by its motion."""
    full, noisy, blurred = clips(size)
    for made in (noisy, blurred):
        assert vmaf_score(made, full) == pytest.approx(by_libvmaf(made, full, tmp_path, "vmaf_float_v0.6.1"), abs=0.05)
    if size == 128:
        assert vmaf_score(noisy, full) == pytest.approx(by_libvmaf(noisy, full, tmp_path, "vmaf_v0.6.1"), abs=0.05)


def test_luma_is_ffmpegs():
    frames = np.random.default_rng(1).integers(0, 256, (1, 16, 16, 3), dtype=np.uint8)
    command = [FFMPEG, "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "16x16", "-i", "-",
               "-f", "rawvideo", "-pix_fmt", "yuv420p", "-"]  # fmt: skip
    planes = subprocess.run(command, input=frames.tobytes(), capture_output=True, check=True).stdout
    theirs = np.frombuffer(planes[:256], np.uint8).reshape(16, 16)
    assert np.abs(luma(frames[0])[0, 0].numpy() - theirs).max() <= 1
    ends = np.stack([np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 255, np.uint8)])
    assert [luma(frame).unique().tolist() for frame in ends] == [[16], [235]]


def test_frame_by_frame_is_the_packages_sum():
    """At a size where vmaf-torch has no border below zero, but for its motion at the edges."""
    full, noisy, _ = clips(96)
    planes = [torch.cat([luma(frame) for frame in clip]) for clip in (full, noisy)]
    with torch.inference_mode():
        theirs = float(vmaf_torch.VMAF(clip_score=True)(*planes).mean())
    assert vmaf_score(noisy, full) == pytest.approx(theirs, abs=0.01)


def test_better_is_higher_and_equal_clips_are_near_the_top():
    full, noisy, blurred = clips(64, 3)
    worse = np.stack([cv2.GaussianBlur(frame, (0, 0), 2.0) for frame in full])
    scores = [vmaf_score(made, full) for made in (full, blurred, worse)]
    assert scores == sorted(scores, reverse=True)
    assert 97 < scores[0] <= 100
    assert 0 <= scores[-1] < 60
    assert vmaf_score(noisy[:1], full[:1]) < 97


def test_what_it_does_not_see():
    """Brightness and colour of the same luma."""
    full = clips(64, 3)[0]
    assert vmaf_score((full // 2 + 100).astype(np.uint8), full // 2) > 97


def test_small_frames_are_a_line():
    small = render("a red circle standing still on a gray background", size=31, num_frames=2)
    with pytest.raises(MetricError, match=r"VMAF needs frames of at least 32×32 pixels, got 31×31: leave vmaf out"):
        vmaf_score(small, small)


def test_without_the_package_it_is_a_line(monkeypatch):
    import sys

    load_vmaf.cache_clear()
    monkeypatch.setitem(sys.modules, "vmaf_torch", None)
    full = clips(32, 1)[0]
    with pytest.raises(ConfigError, match=r"VMAF needs vmaf-torch: pip install 'videoada\[vmaf\]'"):
        vmaf_score(full, full)
    load_vmaf.cache_clear()
