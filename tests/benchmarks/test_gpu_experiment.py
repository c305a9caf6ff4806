"""The script that times real architectures, on small ones: its rows, and what it keeps of an earlier file."""

from __future__ import annotations

import importlib
import json
import sys

import pytest
import torch
from builders import BUILDS
from conftest import ROOT

import videoada

PRESET = {"steps": 6, "predictions": (4, 3), "rounds": 1, "batches": (1, 2)}
VIDEOS = {
    "tiny-t2v": {"height": 32, "width": 32, "num_frames": 2}, "wan-2.1-t2v": BUILDS["wan-2.1-t2v"].call,
}  # fmt: skip


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts" / "experiments"))
    module = importlib.import_module("gpu")

    def build(name, device, dtype):
        if name == "tiny-t2v":
            return videoada.load_pipeline(name, device="cpu"), VIDEOS[name]
        pipe = BUILDS[name].make()
        pipe.set_progress_bar_config(disable=True)
        return pipe, {key: VIDEOS[name][key] for key in ("height", "width", "num_frames")}

    monkeypatch.setattr(module, "build", build)
    monkeypatch.setitem(module.PRESETS, "cpu", PRESET)
    return module


@pytest.mark.slow
@pytest.mark.parametrize(("name", "calls"), [("tiny-t2v", 1), ("wan-2.1-t2v", 2)])
def test_figures_of_each_run_are_there(gpu, name, calls):
    """Wan's guidance is two calls a step."""
    found = gpu.measure(name, PRESET, torch.device("cpu"), torch.float32, compiled=False)
    alone = {row["run"]: row for row in found["batch_1"]}
    assert list(alone) == ["full", "4 predictions", "3 predictions", "rule"]
    assert {run: row["predictions"] for run, row in alone.items()} == {
        "full": [6], "4 predictions": [4], "3 predictions": [3], "rule": [6],
    }  # fmt: skip
    assert alone["full"]["efficiency"] == 1
    assert list(alone["full"]["unet_call_milliseconds"]) == [str(2 // calls)]
    assert all(row["denoising_seconds"] <= row["seconds"] for row in found["batch_1"])
    assert all(row["peak_memory_bytes"] > 0 for row in found["batch_1"])
    [full, own] = found["batch_2"]
    assert (full["predictions"], own["predictions"]) == ([6, 6], [4, 3])
    call = alone["full"]["unet_call_milliseconds"][str(2 // calls)]
    assert found["decision_share_of_a_unet_call"] == pytest.approx(found["decision_milliseconds"] / call, abs=1e-6)


def test_what_was_measured_by_the_same_versions_stays(gpu, monkeypatch, tmp_path):
    output = tmp_path / "a.json"

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["gpu.py", "--preset", "cpu", "--output", str(output), *arguments])
        gpu.main()
        return json.loads(output.read_text())

    monkeypatch.setattr(gpu, "measure", lambda name, *_: {"figures": name})
    assert list(run("--models", "tiny-t2v")["models"]) == ["tiny-t2v"]
    both = run("--models", "wan-2.1-t2v", "--dtype", "bfloat16", "--compile")
    assert list(both["models"]) == ["tiny-t2v", "wan-2.1-t2v, bfloat16, compiled"]
    assert both["versions"]["torch"] == torch.__version__
    for change in ({"versions": both["versions"] | {"torch": "1.0"}}, {"measured_on": "an earlier commit"}):
        output.write_text(json.dumps(both | change))
        assert list(run("--models", "tiny-i2v")["models"]) == ["tiny-i2v"]
