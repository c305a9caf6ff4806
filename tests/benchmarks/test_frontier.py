"""The benchmark's arithmetic by hand, its presets, and a small run: paired, resumable, honest about what failed."""

from __future__ import annotations

import dataclasses
import json
import sys

import diffusers
import numpy as np
import pytest
from commandline import run

import videoada
from videoada import SkipConfig
from videoada.benchmarks.benchmark import Cell, benchmark, read_cells
from videoada.benchmarks.frontier import at_budget, best_curve, bootstrap, budgets_table, points_table, summarize
from videoada.benchmarks.methods import Method, why_not
from videoada.benchmarks.presets import PRESETS, deepcache, few_steps, full, preset, release, systems
from videoada.config.quality import QUALITIES
from videoada.errors import ConfigError, PromptError
from videoada.metrics import paired_fidelity

PROMPTS = ("a red circle moving right on a black background", "a blue square growing on a gray background")


def cell(method="m 1", family="m", prompt=0, rows=0.5, psnr=40.0, **fields):
    return Cell(
        **{
            "model": "tiny", "method": method, "family": family, "prompt": prompt, "predictions": 25, "rows": rows,
            "macs": rows, "seconds": 1.0, "seconds_full": 2.0, "psnr": psnr, "ssim": 0.9, "tof": 0.1,
            "psnr_reference": 30.0, "agreement": 1.0, "coherent": True,
        } | fields
    )  # fmt: skip


def test_points_are_means_over_prompts():
    cells = [cell(prompt=0, psnr=40.0, rows=0.4), cell(prompt=1, psnr=None, rows=0.6, coherent=False, seconds=3.0)]
    [point] = summarize(cells)
    assert (point.psnr, point.psnr_worst) == (70.0, 40.0)  # equal frames count as 100 dB
    assert point.rows == pytest.approx(0.5)
    assert point.coherent == 0.5
    assert point.speedup == pytest.approx(4 / 4)
    assert point.psnr_low == pytest.approx(40.0)
    assert point.psnr_high == pytest.approx(100.0)


def test_the_bootstrap_is_the_means_own_spread():
    values = np.random.default_rng(1).normal(30, 3, size=400)
    low, high = bootstrap(values)
    assert low < values.mean() < high
    assert (high - low) / 2 == pytest.approx(1.96 * 3 / 20, rel=0.15)
    assert bootstrap([5.0]) == (5.0, 5.0)


def test_curves_leave_out_what_a_cheaper_point_beats():
    cells = [
        cell("m a", rows=0.3, psnr=30.0), cell("m b", rows=0.4, psnr=29.0), cell("m c", rows=0.5, psnr=40.0),
        cell("m d", rows=0.9, psnr=39.0),
    ]  # fmt: skip
    points = summarize(cells)
    assert best_curve(points) == [(0.3, 30.0), (0.5, 40.0)]
    assert at_budget(points, 0.4) == pytest.approx(35.0)
    assert at_budget(points, 0.8) == 40.0  # more rows are never worse
    assert at_budget(points, 0.29) is None
    assert at_budget(points, 0.4, "psnr_reference") == 30.0
    cells = [dataclasses.replace(c, psnr_reference=None) for c in cells]
    assert at_budget(summarize(cells), 0.4, "psnr_reference") is None


def test_tables_say_what_they_hold():
    points = summarize([
        cell("videoada tolerance 0.1", "videoada", rows=0.3, psnr=44.0), cell("old 1", "old", rows=0.3, psnr=34.0),
        cell("full run", "full run", rows=1.0, psnr=None),
    ])  # fmt: skip
    table = points_table(points)
    assert "| full run | 25.0 | 100.0% | 100.0% | identical |" in table
    assert "| 44.0 | 44.0 |" in table
    budgets = budgets_table(points, [0.3, 0.2])
    assert "| videoada | 44.0 · 44.0 · 30.0 · 100.0% | — |" in budgets
    assert "| old | 34.0 (-10.0)" in budgets
    dear = budgets_table(points, [0.5, 0.3])  # a cheaper setting's value is no value at the budget
    assert "| videoada | 44.0 · 44.0 · 30.0 · 100.0% [30%] | 44.0 · 44.0 · 30.0 · 100.0% |" in dear


def test_presets_hold_what_their_names_say():
    for name in PRESETS:
        methods = preset(name)
        names = [m.name for m in methods]
        assert len(set(names)) == len(names), name
    assert [m.knob for m in preset("quality")[1:]] == list(QUALITIES)
    frontier = {m.family for m in preset("frontier")}
    assert {"videoada", "AdaptiveDiffusion release", "AdaptiveDiffusion paper", "DeepCache", "adaptive DPM-Solver",
            "ddim, fewer steps", "dpm++, fewer steps", "unipc, fewer steps", "every n"} <= frontier  # fmt: skip
    assert {m.scheduler for m in preset("paper-schedulers")} >= {"ddim", "dpm++-sde", "euler"}
    assert {m.num_inference_steps for m in preset("paper-steps")[1:]} == {50, 25, 15, 10}
    assert {m.skip.max_skip_steps for m in preset("paper-ablation")[1:]} == {2, 4, 6, 8}
    assert [m.skip.num_predictions for m in preset("budgets") if m.family == "budget"] == [10, 13, 17, 20, 25]
    with pytest.raises(ConfigError, match="did you mean 'frontier'"):
        preset("fronteir")


def small_requests(**fields):
    common = {"num_inference_steps": 8, "num_frames": 2}
    return [videoada.GenerationConfig(prompt=p, seed=i, **(common | fields)) for i, p in enumerate(PROMPTS)]


METHODS = [full(), *release(thresholds=(0.03,)), *few_steps("ddim", (4,))[:1]]


def test_cells_are_what_generate_draws_and_are_not_drawn_twice(pipe, tmp_path):
    requests, reported = small_requests(), []
    cells = benchmark(pipe, requests, METHODS, tmp_path, reference_steps=12, batch_size=2, on_cell=reported.append)
    assert len(cells) == len(reported) == 6
    assert [c.psnr for c in cells if c.family == "full run"] == [None, None]
    skip = SkipConfig(policy="third-order-release", threshold=0.03)
    for i, request in enumerate(requests):
        own = next(c for c in cells if c.family == "AdaptiveDiffusion release" and c.prompt == i)
        [(video, record)] = videoada.generate(pipe, [request], skip=skip)
        [(plain, _)] = videoada.generate(pipe, [request], skip=SkipConfig(policy="none"))
        assert own.computed == "".join("01"[c] for c in record.computed)
        assert own.rows == round(record.unet_rows / record.unet_rows_full, 4)
        psnr = paired_fidelity(video.frames, plain.frames).psnr
        assert own.psnr == pytest.approx(psnr, abs=0.5) if psnr else own.psnr is None
        assert own.psnr_reference is not None
        assert own.agreement in (0, 0.25, 0.5, 0.75, 1)
    assert len(list(tmp_path.rglob("*.mkv"))) == 4

    again = benchmark(pipe, requests, METHODS, tmp_path, reference_steps=12, batch_size=2, on_cell=reported.append)
    assert len(reported) == 6
    assert again == cells
    with (tmp_path / "cells.jsonl").open("a") as file:
        file.write('{"model": "tiny-t2v", "meth')  # an interruption in the middle of a line
    more = [*METHODS, *release(thresholds=(0.1,))]
    benchmark(pipe, requests, more, tmp_path, reference_steps=12, batch_size=2, on_cell=reported.append)
    assert len(reported) == 8
    assert len(read_cells(tmp_path)) == 8
    next(tmp_path.rglob("full-ddim/001.json")).unlink()  # an interruption between a video and what is told of it
    other = METHODS[1].model_copy(update={"skip": SkipConfig(policy="every-n", every=2)})  # under the same name
    changed = benchmark(pipe, requests, [other], tmp_path, reference_steps=12, batch_size=2, on_cell=reported.append)
    assert len(reported) == 10
    assert {c.computed for c in changed} == {"10101010"}
    assert len(list(tmp_path.rglob("full-ddim/*.json"))) == 2
    with pytest.raises(PromptError, match="other prompts"):
        benchmark(pipe, small_requests(num_frames=3), METHODS, tmp_path, reference_steps=None)


def test_a_method_that_fails_in_diffusers_is_told_and_left_out(pipe, tmp_path, monkeypatch):
    module = sys.modules["videoada.benchmarks.benchmark"]  # videoada.benchmarks.benchmark is the function
    real = module.generate_with

    def generate_with(pipe, method, *rest):
        if method.family == "broken":
            code = compile("raise IndexError('index 26 is out of bounds')", "/x/diffusers/schedulers/a.py", "exec")
            exec(code)
        return real(pipe, method, *rest)

    monkeypatch.setattr(module, "generate_with", generate_with)
    failed = []
    methods = [full(), Method(family="broken", knob="", num_inference_steps=4)]
    cells = benchmark(pipe, small_requests()[:1], methods, tmp_path, reference_steps=None,
                      on_failure=lambda method, error: failed.append(str(error)))  # fmt: skip
    assert failed == ["index 26 is out of bounds"]
    assert [c.family for c in cells] == ["full run"]
    with pytest.raises(IndexError):
        benchmark(pipe, small_requests()[:1], methods, tmp_path, reference_steps=None)


def test_a_solver_that_breaks_within_diffusers_is_left_out_where_generating_names_it_anew(pipe, tmp_path, monkeypatch):
    """As Karras spacings do on some of its schedules: `generate` raises a ConfigError from the solver's."""

    def broken(self, model_output, timestep, sample, return_dict=True):
        code = compile("raise IndexError('index 26 is out of bounds')", diffusers.schedulers.__file__, "exec")
        exec(code, vars(diffusers.schedulers) | {"__name__": "diffusers.schedulers.a"})

    monkeypatch.setattr(diffusers.UniPCMultistepScheduler, "step", broken)
    failed = []
    methods = [full(), Method(family="broken", knob="", scheduler="unipc", num_inference_steps=4)]
    cells = benchmark(pipe, small_requests()[:1], methods, tmp_path, reference_steps=None,
                      on_failure=lambda method, error: failed.append(str(error)))  # fmt: skip
    assert [text.partition(": ")[2] for text in failed] == ["IndexError: index 26 is out of bounds"]
    assert [c.family for c in cells] == ["full run"]


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [(["--preset", "paper-video", "--families", "DeepCache"], "DeepCache"), (["--preset", "systems", "--families",
     "early exit"], "early exit")],
)  # fmt: skip
def test_methods_that_replace_blocks_are_refused_on_a_compiled_network_before_anything_runs(
    tmp_path, capsys, monkeypatch, arguments, kind
):
    monkeypatch.setattr("videoada.benchmarks.methods.generate", None)
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, "benchmark", *arguments, "--compile", "--output", str(tmp_path / "b"))
    assert code == 2
    assert err.startswith(f"error: {kind} replaces blocks of the UNet, which --compile has frozen: leave one")
    assert err.count("\n") == 1


def test_of_a_compiled_network_the_other_methods_are_measured(pipe, monkeypatch):
    """Whoever compiled it."""
    monkeypatch.setattr(pipe.unet, "_compiled_call_impl", pipe.unet._call_impl)
    left = [method.family for method in METHODS + deepcache((2,)) + systems() if why_not(pipe, method)]
    assert set(left) == {"DeepCache"} | {name for name in left if "early exit" in name}
    assert len(left) == 5


def test_the_command_writes_tables_figures_and_a_plot(tmp_path, capsys):
    (tmp_path / "p.jsonl").write_text(json.dumps({"prompt": PROMPTS[0], "seed": 4, "num_frames": 2}) + "\n")
    arguments = ["benchmark", "--preset", "quality", "--prompts", str(tmp_path / "p.jsonl"), "--steps", "8",
                 "--output", str(tmp_path / "b"), "--budgets", "60"]  # fmt: skip
    code, out, err = run(capsys, *arguments)
    assert code == 0, err
    assert "tiny-t2v (small embedded model), 1 prompt" in out
    for name in QUALITIES:
        assert f"| quality {name} |" in out
    figures = json.loads((tmp_path / "b" / "tiny-t2v.json").read_text())
    assert figures["versions"]["torch"]
    assert (tmp_path / "b" / "tiny-t2v.md").read_text() == out
    assert "<svg" in (tmp_path / "b" / "tiny-t2v.svg").read_text()
    code, out, _ = run(capsys, *arguments, "--json", "--families", "quality fast,full")
    assert code == 0
    assert [p["method"] for p in json.loads(out.splitlines()[-1])] == ["full run", "quality fast"]


def test_methods_whose_names_hold_commas_are_separated_by_semicolons():
    names = [method.name for method in preset("frontier", "dpm++, fewer steps 20 leading; DeepCache interval 3")]
    assert names == ["dpm++, fewer steps 20 leading", "DeepCache interval 3"]
    assert [method.name for method in preset("frontier", "interval 2, interval 3")] == [
        "DeepCache interval 2", "DeepCache interval 3",
    ]  # fmt: skip


def test_a_preset_under_another_scheduler(pipe, tmp_path, capsys):
    """All methods and the full run that they are measured against; a few-step solver is a scheduler by itself."""
    methods = preset("frontier", scheduler="euler")
    assert {method.full_scheduler for method in methods} == {"euler"}
    solvers = {method.scheduler for method in methods if method.family.endswith("fewer steps")}
    assert solvers == {"ddim", "dpm++", "unipc", "euler"}
    others = [method for method in methods if not method.family.endswith("fewer steps")]
    assert {m.scheduler for m in others if not m.solver_tolerance} == {"euler"}
    assert {m.scheduler for m in others if m.solver_tolerance} == {None}
    with pytest.raises(ConfigError, match="scheduler"):
        preset("frontier", scheduler="nothing")
    prompts = tmp_path / "p.txt"
    prompts.write_text("a red circle\n")
    few = ["--prompts", str(prompts), "--steps", "8", "--num-frames", "1", "--json", "--output"]
    found = {}
    for scheduler in ("dpm++", "euler"):
        folder = tmp_path / scheduler
        few_methods = ["--families", "full run,tolerance 0.6,TaylorSeer"]
        code, out, err = run(capsys, "benchmark", "--preset", "baselines", *few_methods, "--scheduler", scheduler, *few,
                             str(folder))  # fmt: skip
        assert code == 0, err
        assert f"1 prompt, {scheduler}" in (folder / "tiny-t2v.md").read_text()
        points = json.loads(out.splitlines()[-1])
        assert points[0]["psnr"] is None or points[0]["psnr"] > 90
        found[scheduler] = [point["psnr"] for point in points[1:]]
    assert found["dpm++"] != found["euler"]
    code, _, err = run(capsys, "benchmark", "--preset", "baselines", *few, str(tmp_path / "euler"))
    assert code == 2
    assert "holds figures under euler" in err
    asked = {"prompt": "a red circle", "num_inference_steps": 8, "num_frames": 1, "scheduler": "euler"}
    [(skipped, _)], [(full_run, _)] = (
        videoada.generate(pipe, **asked, **skip) for skip in ({"tolerance": 0.6}, {"policy": "none"})
    )
    psnr = paired_fidelity(skipped.frames, full_run.frames).psnr
    assert psnr == pytest.approx(found["euler"][0], abs=0.05)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--preset", "schedulers", "--scheduler", "ddim"], "compares schedulers of its own"),
        (["--preset", "quality", "--scheduler", "nothing"], "scheduler"),
        (["--preset", "adaptivity", "--prompts", "x.txt", "--scheduler", "ddim"], "under the model's own scheduler"),
        (["--preset", "nothing"], "unknown preset"),
        (["--preset", "quality", "--families", "xyz"], "no method of preset"),
        (["--preset", "quality", "--budgets", "many"], "percentages"),
        (["--preset", "quality", "--budgets", "0"], "percentages"),
        (["--prompts", "nowhere.txt"], "nowhere.txt does not exist"),
        (["--policy", "third-orde"], "did you mean"),
        (["--quality", "fast", "--tolerance", "0.1"], "give one"),
    ],
)
def test_wrong_requests_are_one_line(arguments, part, capsys):
    code, _, err = run(capsys, "benchmark", *arguments)
    assert code == 2
    assert part in err
    assert err.count("\n") == 1
