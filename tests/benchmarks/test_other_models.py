"""Benchmark, calibrate and analyse on a flow model: its own scheduler, and methods that do not fit are left out."""

from __future__ import annotations

import json
import lzma

import pytest
from commandline import command
from conftest import PROMPTS, ROOT

from videoada.benchmarks.benchmark import digest
from videoada.benchmarks.methods import why_not
from videoada.benchmarks.presets import preset
from videoada.models.recommended import recommended_of

SIZE = ["--height", 16, "--width", 16, "--num-frames", 9]


@pytest.fixture
def wan(build_folder, one_thread):
    return ["--model", build_folder("wan-2.1-t2v")]


@pytest.fixture
def prompts(tmp_path):
    (tmp_path / "p.csv").write_text("prompt,height,width\n" + "".join(f"{text},16,16\n" for text in PROMPTS[:3]))
    return tmp_path / "p.csv"


@pytest.mark.parametrize("name", ["frontier", "quality", "predictors", "guidance", "schedulers"])
def test_committed_cells_are_of_these_methods(name, pipe):
    """A method that names no scheduler has that of the catalogue: the hashes of the cells stay."""
    with lzma.open(ROOT / "samples" / "cells" / f"{name}-tiny-t2v.jsonl.xz", "rt") as file:
        committed = {(cell["method"], cell["digest"]) for cell in map(json.loads, file)}
    assert recommended_of(pipe)["scheduler"] == "ddim"
    fitting = [method for method in preset(name) if why_not(pipe, method) is None]
    assert {(method.name, digest(method, pipe)) for method in fitting} == committed
    assert all(method.timestep_spacing == "shifted" for method in preset(name) if method not in fitting)


def test_pairs_are_timed_with_the_models_own_scheduler(wan):
    done = command("benchmark", *wan, *SIZE, "--steps", 8, "--pairs", 1, "--json")
    result = json.loads(done.stdout)
    assert result["predictions"] < 8
    assert result["psnr"] is None or result["psnr"] > 30
    assert "its own scheduler" in command("benchmark", *wan, *SIZE, "--steps", 8, "--pairs", 1).stdout


def test_methods_that_do_not_fit_are_left_out_with_the_reason(wan, prompts, tmp_path):
    done = command(
        "benchmark", "--preset", "frontier", "--families", "full run,tolerance 0.05,fewer steps 13,interval 2,rtol 8",
        "--prompts", prompts, "--limit", 1, *wan, "--num-frames", 9, "--steps", 8, "--reference-steps", 10,
        "--output", tmp_path / "b", "--json",
    )  # fmt: skip
    assert [point["method"] for point in json.loads(done.stdout.splitlines()[-1])] == [
        "full run", "videoada tolerance 0.05", "unipc, fewer steps 13 shifted", "dpm++, fewer steps 13 shifted",
        "euler, fewer steps 13 shifted",
    ]  # fmt: skip
    said = " ".join(done.stderr.split())
    assert "left out: ddim, fewer steps 13 trailing: --scheduler ddim does not go with this model's" in said
    assert "unipc, fewer steps 13 trailing: UniPCMultistepScheduler has a process of its own" in said
    assert "left out: adaptive DPM-Solver rtol 8: UniPCMultistepScheduler has no ᾱ of a diffusion" in said
    assert "left out: DeepCache interval 2: WanTransformer3DModel has no down and up blocks to cache" in said
    again = command(
        "benchmark", "--preset", "frontier", "--families", "DeepCache", "--prompts", prompts, "--limit", 1, *wan,
        "--num-frames", 9, "--steps", 8, "--output", tmp_path / "c", code=2,
    )  # fmt: skip
    assert again.stderr.startswith("left out") or "has no down and up blocks" in again.stderr


def test_a_calibration_is_made_and_used(wan, prompts, tmp_path):
    done = command(
        "calibrate", *wan, *SIZE, "--prompts", prompts, "--steps", 10, "--target-speedup", 1.5,
        "--output", tmp_path / "cal.yaml",
    )  # fmt: skip
    assert "for 1.5 times fewer UNet rows" in done.stdout
    made = tmp_path / "x.mkv"
    command("generate", "--config", tmp_path / "cal.yaml", "--prompt", PROMPTS[0], "--output", made, "--quiet")
    assert "run: its own scheduler, guidance 5, seed 0" in command("inspect", made).stdout


def test_the_oracle_is_searched(wan, prompts, tmp_path):
    done = command(
        "analyse", *wan, "--prompts", prompts, "--limit", 1, "--steps", 8, "--num-frames", 9, "--max-skips", 2,
        "--output", tmp_path / "a",
    )  # fmt: skip
    assert "1 prompt" in done.stdout
    assert "| videoada |" in done.stdout
