"""Measures of pairs that are asked for by name: in results, with their worst, and never among the defaults."""

from __future__ import annotations

import sys

import cv2
import numpy as np
import pytest
from commandline import command
from made_videos import PROMPTS, record, write

import videoada
from videoada.evaluation.config import DEFAULT_METRICS
from videoada.metrics import colour_shift, motion_ratio, sharpness_ratio, temporal_psnr
from videoada.metrics.vmaf import load_vmaf
from videoada.shapes import render

ASKED = ("sharpness-ratio", "temporal-psnr", "motion-ratio", "colour-shift")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A blurred, a brighter and an equal video, and their full runs."""
    root = tmp_path_factory.mktemp("sets")
    for seed, prompt in enumerate(PROMPTS[:3]):
        full = render(prompt, seed=seed) // 2
        blurred = np.stack([cv2.GaussianBlur(frame, (0, 0), 1.5) for frame in full])
        made = (blurred, full + 10, full)[seed]
        write(root / "full", f"{seed}.mkv", full, record(prompt, seed, "none"))
        write(root / "made", f"{seed}.mkv", made, record(prompt, seed))
    return root


def clips(seed):
    full = render(PROMPTS[seed], seed=seed) // 2
    return (np.stack([cv2.GaussianBlur(frame, (0, 0), 1.5) for frame in full]), full + 10, full)[seed], full


def test_they_are_measured_by_name(folders):
    result = videoada.evaluate(folders / "made", folders / "full", metrics=ASKED)
    pairs = [clips(seed) for seed in range(3)]
    sharp = [sharpness_ratio(*pair).sharpness_ratio for pair in pairs]
    found = result.metrics["sharpness ratio"]
    assert found["value"] == pytest.approx(np.mean(sharp))
    assert found["worst"] == min(sharp) < 0.5
    assert result.metrics["sharpness ratio (Tenengrad)"]["worst"] < 1
    temporal = result.metrics["temporal PSNR"]
    assert (temporal["value"], temporal["n"], temporal["identical"]) == (
        pytest.approx(temporal_psnr(*pairs[0])), 1, 2,
    )  # fmt: skip
    assert result.metrics["motion ratio"]["value"] == pytest.approx(np.mean([motion_ratio(*pair) for pair in pairs]))
    shift = result.metrics["colour shift"]
    assert shift["worst"] == pytest.approx(10) == colour_shift(*pairs[1]).colour_shift
    assert result.metrics["colour shift (ΔE)"]["worst"] == pytest.approx(colour_shift(*pairs[1]).colour_delta_e)
    assert [row.fidelity["temporal_identical"] for row in result.videos] == [False, True, True]


def test_none_is_a_default(folders):
    assert not {*ASKED, "vmaf"} & set(DEFAULT_METRICS)
    result = videoada.evaluate(folders / "made", folders / "full", metrics=("psnr",))
    assert set(result.videos[0].fidelity) == {"psnr", "psnr_frame_mean", "psnr_worst_frame", "ssim", "tof", "identical"}


def test_vmaf_on_the_command_line(folders, tmp_path):
    pytest.importorskip("vmaf_torch", reason="needs the extra vmaf")
    result = videoada.evaluate(folders / "made", folders / "full", metrics=("vmaf",))
    assert result.metrics["VMAF"]["worst"] == min(row.fidelity["vmaf"] for row in result.videos) < 90
    assert result.videos[2].fidelity["vmaf"] > 97
    for side in ("full", "made"):
        small = render(PROMPTS[0], size=(32, 30), num_frames=2)
        write(tmp_path / side, "a.mkv", small, record(PROMPTS[0], 1, height=32, width=30, num_frames=2))
    done = command("evaluate", "--generated", tmp_path / "made", "--reference", tmp_path / "full", "--metrics", "vmaf",
                   "--output", tmp_path / "result.json", code=2)  # fmt: skip
    assert done.stderr == (
        "error: VMAF needs frames of at least 32×32 pixels, got 30×32: leave vmaf out of --metrics\n"
    )
    assert not (tmp_path / "result.json").exists()


def test_without_the_extra_it_is_a_line(folders, monkeypatch):
    load_vmaf.cache_clear()
    monkeypatch.setitem(sys.modules, "vmaf_torch", None)
    sides = ("--generated", folders / "made", "--reference", folders / "full")
    done = command("evaluate", *sides, "--metrics", "vmaf", code=2)
    assert done.stderr.startswith("error: VMAF needs vmaf-torch: pip install 'videoada[vmaf]'")
