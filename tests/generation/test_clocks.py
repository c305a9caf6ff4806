"""What first calls of a size cost is no part of what a method takes, by a network whose first calls are slow."""

from __future__ import annotations

import statistics
import time

import pytest
import torch
from conftest import PROMPTS

import videoada
from videoada import GenerationConfig, SkipConfig
from videoada.benchmarks.benchmark import benchmark
from videoada.benchmarks.frontier import summarize
from videoada.benchmarks.methods import Method
from videoada.benchmarks.timing import time_pairs
from videoada.cli.show import show_record
from videoada.config.settings import RunSettings
from videoada.rendering.estimate import estimate, estimate_plan
from videoada.rendering.session import plan_render
from videoada.skipping import clock

SLOW, CALL = 2.0, 0.01  # seconds
REQUESTS = [
    GenerationConfig(prompt=p, seed=3 + i, num_inference_steps=10, num_frames=2, height=32, width=32)
    for i, p in enumerate(PROMPTS)
]
SKIP = SkipConfig(tolerance=0.3)


@pytest.fixture
def cold(pipe, monkeypatch):
    """The embedded model as on a GPU: nothing was called yet, and what is new takes seconds more. Its calls."""
    shapes, calls, plain = set(), [], pipe.unet.forward

    def forward(sample, *args, **kwargs):
        calls.append(len(sample))
        time.sleep(CALL if tuple(sample.shape) in shapes else SLOW)
        shapes.add(tuple(sample.shape))
        return plain(sample, *args, **kwargs)

    monkeypatch.setattr(clock, "_CALLED", set())
    monkeypatch.setattr(pipe.unet, "forward", forward, raising=False)
    monkeypatch.setattr("videoada.models.placement.is_gpu", lambda device: True)
    return calls


def test_a_record_says_what_first_calls_took(pipe, cold):
    [(_, first)] = videoada.generate(pipe, REQUESTS[:1], policy="none")
    [(_, second)] = videoada.generate(pipe, REQUESTS[:1], policy="none")
    assert SLOW <= first.first_call_seconds < first.seconds["denoise"]
    assert second.first_call_seconds == 0
    assert first.seconds["denoise"] - first.first_call_seconds == pytest.approx(second.seconds["denoise"], abs=1.5)


def test_a_comparison_leaves_first_calls_out(pipe, cold):
    """Prompts that skip apart call the network with sizes that the warm-up did not."""
    found = videoada.compare(pipe, REQUESTS, batch_size=4, policy="every-n", every=2)
    for each in found:
        assert each.record.first_call_seconds == each.full_record.first_call_seconds == 0
        ours, theirs = (r.seconds["denoise"] * len(REQUESTS) for r in (each.record, each.full_record))
        assert ours < theirs + SLOW / 2  # a first call in it would be SLOW more; how much faster it was, load decides
    with_masks = videoada.compare(pipe, REQUESTS, skip=SKIP, batch_size=4)
    assert len(set(cold)) > 1
    assert all(each.record.first_call_seconds == 0 for each in with_masks)


def test_denoising_and_the_full_time_are_told_apart(pipe, cold, capsys):
    from rich.console import Console

    [found] = videoada.compare(pipe, REQUESTS[:1], policy="every-n", every=2)
    seconds, full = found.record.seconds, found.full_record.seconds
    fidelity = found.record.fidelity
    assert fidelity["speedup"] == pytest.approx(full["total"] / seconds["total"], rel=0.01)
    assert fidelity["speedup_denoising"] == pytest.approx(full["denoise"] / seconds["denoise"], rel=0.01)
    show_record(Console(width=300), found.record)
    shown = capsys.readouterr().out
    assert f"{fidelity['speedup']:.2f}× as fast (the denoising alone {fidelity['speedup_denoising']:.2f}×)" in shown
    assert "first calls" not in shown
    show_record(Console(width=300), found.record.model_copy(update={"first_call_seconds": 99.0}))
    assert "of the denoising 99.00 s were first calls of a size" in capsys.readouterr().out


def test_a_benchmarks_cells_leave_first_calls_out(pipe, cold, tmp_path):
    method = Method(family="videoada", knob="", skip=SKIP)
    cells = benchmark(pipe, REQUESTS, [method], tmp_path, reference_steps=None, batch_size=4)
    assert len(set(cold)) > 1
    for cell, (_, warm) in zip(cells, videoada.generate(pipe, REQUESTS, skip=SKIP, batch_size=4), strict=True):
        assert warm.first_call_seconds == 0
        assert 4 * cell.denoising < 4 * warm.seconds["denoise"] + SLOW
        assert cell.denoising <= cell.seconds
    [point] = summarize(cells)
    assert point.speedup_denoising == pytest.approx(
        sum(c.denoising_full for c in cells) / sum(c.denoising for c in cells)
    )
    old = [cell.__class__(**{**vars(cell), "denoising": None}) for cell in cells]
    assert "speedup_denoising" not in summarize(old)[0].as_dict()


def test_a_timing_leaves_first_calls_out_and_tells_the_denoising_apart(pipe, cold):
    pairs = []
    timing = time_pairs(pipe, REQUESTS, skip=SKIP, batch_size=2, pairs=2, on_pair=lambda i, pair: pairs.append(pair))
    assert all(pair.first_calls == 0 for pair in pairs)
    assert all(pair.full_denoising < pair.full for pair in pairs)
    assert timing.speedup_denoising == statistics.median(p.full_denoising / p.skipped_denoising for p in pairs)


def test_on_a_cpu_nothing_is_run_twice(pipe, cold, monkeypatch):
    monkeypatch.setattr("videoada.models.placement.is_gpu", lambda device: False)
    videoada.compare(pipe, REQUESTS, skip=SkipConfig(policy="every-n", every=3), batch_size=4)
    assert len(cold) == 2 + 4 + 10  # the warm-up, the skipped and the full run


def test_a_second_shape_is_new_and_a_second_network_of_a_kind_is_not():
    layer, like = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    clock._CALLED.clear()
    assert clock._is_first(layer, (torch.zeros(1, 2),), {})
    assert not clock._is_first(like, (torch.zeros(1, 2),), {})
    assert clock._is_first(layer, (torch.zeros(2, 2),), {})
    assert clock._is_first(layer.half(), (torch.zeros(2, 2).half(),), {})


def test_an_estimate_leaves_first_calls_out(pipe, cold, tmp_path, monkeypatch):
    """Of its trial, and of the videos that are there."""
    monkeypatch.setattr("videoada.rendering.estimate.load_pipeline", lambda *_: pipe)
    (tmp_path / "p.txt").write_text("\n".join(PROMPTS[:2]))
    fields = {"steps": 5, "num_frames": 2, "height": 32, "width": 32, "policy": "none"}
    plan = plan_render(tmp_path / "p.txt", tmp_path / "out", RunSettings(**fields))
    found = estimate_plan(plan)
    assert len(cold) == 10  # the trial twice
    [(_, warm)] = videoada.generate(pipe, REQUESTS[:1], policy="none")
    assert found["seconds_a_video"] < warm.seconds["total"] + SLOW
    records = [{"seconds": {"denoise": s, "total": s}, "first_call_seconds": first, "num_predictions": 5, "unet_rows":
                10, "unet_rows_full": 10} for s, first in ((9.0, 8.0), (1.0, 0.0), (2.0, 0.0))]  # fmt: skip
    assert estimate(4, records)["seconds_a_video"] == 1.5
    assert estimate(4, records[:1])["seconds_a_video"] == 9.0
