"""The experiments that look into a run: what they read is what the run computed."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from conftest import PROMPTS
from prompt_files import ROOT

import videoada
from videoada.config.run import SkipConfig
from videoada.skipping.rules.decision import Mask

EXPERIMENTS = ROOT / "scripts" / "experiments"


def test_calls_are_read_and_not_what_was_extrapolated_to_them(pipe, monkeypatch):
    """Under the default rule the guard reads both, one after the other; under a mask there is no guard."""
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    from gaps import predictions

    request = videoada.GenerationConfig(prompt=PROMPTS[0], num_inference_steps=14, num_frames=2)
    own = predictions(pipe, request, SkipConfig(tolerance=0.3))
    mask = Mask(tuple(step in own for step in range(14)))
    masked = predictions(pipe, request, mask, predictor="linear", corrector=True)
    assert 5 < len(own) < 14
    assert list(own) == list(masked)
    assert all(torch.equal(own[step].x0, masked[step].x0) for step in own)


def test_variants_measure_again_only_the_tolerances_that_lack_one(pipe, monkeypatch):
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    import variants

    shipped = variants.VARIANTS["corrector: as shipped, from further on"]
    monkeypatch.setattr(variants, "VARIANTS", {"as shipped": shipped})
    request = videoada.GenerationConfig(prompt=PROMPTS[0], num_inference_steps=12, num_frames=2)
    psnr = {"0.3": {"line": 1.0, "as shipped": 2.0}, "0.6": {"line": 3.0}}
    known = {"psnr": psnr, "predictions": {"0.3": 7, "0.6": 8}}
    found = variants.measure(pipe, request, (0.3, 0.6), known)
    assert found["psnr"]["0.3"] == known["psnr"]["0.3"]
    assert found["predictions"]["0.3"] == 7
    assert found["psnr"]["0.6"].keys() == {"line", "as shipped"}
    assert 20 < found["psnr"]["0.6"]["line"] != found["psnr"]["0.6"]["as shipped"]
    monkeypatch.setattr(variants, "generate", None)  # nothing is generated where all is known
    assert variants.measure(pipe, request, (0.3,), known)["psnr"] == {"0.3": known["psnr"]["0.3"]}


@pytest.mark.slow
def test_the_picture_of_a_trajectory_is_drawn(tmp_path):
    command = [sys.executable, EXPERIMENTS / "trajectory.py", "--output", tmp_path / "t.svg"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ran.stdout == f"{tmp_path / 't.svg'}: 15 of 50 predictions\n"
    assert (tmp_path / "t.svg").read_text().count("<path") > 50
