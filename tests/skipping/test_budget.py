"""Budgets: exactly so many predictions for each video, placed by its own trajectory."""

from __future__ import annotations

import json
import math

import pytest
import tiny_pipelines as tiny
import torch
from commandline import run
from conftest import PROMPTS
from hypothesis import given, settings
from hypothesis import strategies as st

import videoada
from videoada import GenerationConfig, SkipConfig, SkipState, skip_steps
from videoada.benchmarks.closed_form import SCHEDULERS, ClosedForm, Gaussian, Mixture, size
from videoada.errors import ConfigError
from videoada.records.find import settings_of
from videoada.skipping.rules.budget import Budget, next_call
from videoada.skipping.rules.level import CLEAN, Level
from videoada.skipping.rules.window import check_budget

REQUEST = {"num_inference_steps": 12, "num_frames": 2}


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize(("steps", "counts"), [(9, (5, 7, 8)), (30, (5, 10, 17, 29))])
def test_every_prompt_of_a_batch_takes_exactly_so_many(scheduler, steps, counts):
    pipe = ClosedForm(scheduler, Mixture(1))
    for count in counts:
        with skip_steps(pipe, num_predictions=count) as trace:
            pipe(steps, seed=count, batch=3)
        assert trace.num_predictions == [count] * 3
        assert not trace.fallbacks
        assert all(row[0] and sum(row[:5]) >= 3 and row[-1] for row in trace.computed)


def first_calls(pipe, steps, **fields):
    with skip_steps(pipe, **fields) as trace:
        pipe(steps, seed=2, batch=2)
    return "".join(".x"[call] for call in trace.computed[0][:5])


def test_near_pure_noise_every_second_of_the_first_steps_waits():
    """α after step 2 of 50 is 0.014 at a shift of 3, after step 4 it is 0.028; at a shift of 1 both are above 0.03."""
    flow = ClosedForm("flow-3", Mixture(1))
    assert first_calls(flow, 50, num_predictions=12) == "x.x.x"
    assert first_calls(flow, 50, num_predictions=20).startswith("x.xx")  # as with a tolerance of 0.026
    assert first_calls(flow, 50, num_predictions=25).startswith("xxx")  # of 0.011
    assert first_calls(flow, 50, num_predictions=12, warmup_steps=3) == "xxx.."
    assert first_calls(flow, 50, num_predictions=12, skip_from=0.1) == "xxxxx"
    assert first_calls(flow, 50, num_predictions=50) == "xxxxx"
    assert first_calls(ClosedForm("flow-1", Mixture(1)), 50, num_predictions=12).startswith("xxx")
    assert first_calls(ClosedForm("ddim", Mixture(1)), 50, num_predictions=12).startswith("xxx")


def test_they_wait_under_a_tolerance_too_unless_it_is_small():
    """They may while α is below two thirds of it: a smaller one must come nearer to the full run, down to 0."""
    flow = ClosedForm("flow-3", Mixture(1))
    assert first_calls(flow, 50, tolerance=0.05) == "x.x.x"
    assert first_calls(flow, 50, tolerance=0.025).startswith("x.xx")
    assert first_calls(flow, 50, tolerance=0.02).startswith("xxx")
    assert first_calls(flow, 50, tolerance=0.05, warmup_steps=3).startswith("xxx")
    assert first_calls(ClosedForm("ddim", Mixture(1)), 50, tolerance=0.05).startswith("xxx")


@pytest.mark.parametrize("scheduler", ["flow-3", "flow-7", "unipc-flow-3"])
@pytest.mark.parametrize("data", [Gaussian, Mixture])
def test_calls_that_waited_are_worth_more_later(scheduler, data):
    """The error of the result at 9 of 50 predictions, with and without."""

    def error(**fields):
        differences = []
        for seed in range(3):
            pipe = ClosedForm(scheduler, data(seed))
            full = pipe(50, seed=seed, batch=2)
            with skip_steps(pipe, num_predictions=9, **fields):
                differences.append(pipe(50, seed=seed, batch=2) - full)
        return float(torch.cat(differences).square().mean().sqrt())

    assert error() < error(warmup_steps=3)


@settings(deadline=None, max_examples=60)
@given(
    steps=st.integers(6, 40), share=st.floats(0, 1), warmup=st.none() | st.integers(1, 6), final=st.integers(0, 3),
    decision=st.sampled_from(["prompt", "mean", "any"]), batch=st.integers(1, 3), seed=st.integers(0, 99),
    scheduler=st.sampled_from(["ddim", "flow-7"]),
)  # fmt: skip
def test_any_budget_that_is_taken_is_met(steps, share, warmup, final, decision, batch, seed, scheduler):
    least = max(warmup or 0, 3) + final + 1
    if least >= steps:
        return
    count = least + round(share * (steps - least))
    pipe = ClosedForm(scheduler, Mixture(seed))
    fields = {"num_predictions": count, "final_steps": final, "batch_decision": decision}
    fields |= {} if warmup is None else {"warmup_steps": warmup}
    with skip_steps(pipe, **fields) as trace:
        pipe(steps, seed=seed, batch=batch)
    assert trace.num_predictions == [count] * batch
    assert all(all(row[: 1 if warmup is None else max(warmup, 3)]) for row in trace.computed)
    assert all(all(row[steps - final :]) for row in trace.computed)
    if decision != "prompt":
        assert len({tuple(row) for row in trace.computed}) == 1


@pytest.mark.parametrize("scheduler", ["ddim", "unipc-flow-3"])
def test_a_budget_of_all_steps_is_the_plain_run(scheduler):
    pipe = ClosedForm(scheduler, Gaussian(0))
    full = pipe(20, seed=1, batch=2)
    with skip_steps(pipe, num_predictions=20) as trace:
        assert torch.equal(pipe(20, seed=1, batch=2), full)
    assert trace.num_predictions == [20, 20]
    assert "`num_predictions` is the number of steps" in trace.summary()


def test_more_predictions_come_nearer():
    pipe = ClosedForm("ddim", Mixture(0))
    full = pipe(50, seed=1, batch=4)
    errors = []
    for count in (5, 8, 12, 18, 30):
        with skip_steps(pipe, num_predictions=count):
            errors.append(size(pipe(50, seed=1, batch=4) - full))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0] / 100


def changing(at, by, rows):
    """A network whose picture moves at some steps for some prompts of the batch."""

    def change(x0):
        x0 = x0.clone()
        if len(x0) == 2 and at <= pipe.step < at + 8:
            x0[rows] += by * (pipe.step - at) ** 2
        return x0

    pipe = ClosedForm("ddim", Gaussian(0), change)
    return pipe


def test_two_prompts_of_one_budget_spend_it_each_where_it_needs_it():
    pipe = changing(20, 0.02, 1)
    with skip_steps(pipe, num_predictions=16) as trace:
        pipe(50, batch=2)
    assert trace.num_predictions == [16, 16]
    calm, moving = (sum(row[20:34]) for row in trace.computed)
    assert moving > calm


def test_estimates_that_are_no_numbers_are_computed_and_the_budget_is_said_to_be_exceeded():
    def change(x0):
        return x0 * (math.nan if pipe.step >= 9 else 1.0)

    pipe = ClosedForm("ddim", Gaussian(0), change)
    with skip_steps(pipe, num_predictions=12) as trace:
        pipe(30)
    [fallback] = trace.fallbacks
    assert "not a number" in fallback.reason
    assert all(trace.computed[0][fallback.step :])
    assert trace.num_predictions[0] > 12


def test_where_calls_are_few_all_gaps_widen_and_where_they_are_many_none_is_left():
    levels = (*(Level(math.sin(a), math.cos(a)) for a in torch.linspace(0.1, 1.55, 40).tolist()), CLEAN)
    firsts = [next_call(1, 2, 0.0, count, 39, levels) for count in range(1, 36)]
    assert firsts == sorted(firsts, reverse=True)
    assert firsts[0] > 12
    assert firsts[-1] == 3
    calm, moving = (next_call(1, 2, excess, 8, 39, levels) for excess in (-2.0, 2.0))
    assert moving < calm


def test_a_state_without_counts_is_one_of_none():
    assert Budget(5).decide(SkipState(0, 10, 2, (), (0, 0))).compute == (True, True)
    spent = SkipState(5, 10, 2, (), (0, 0), computed=(4, 3))
    assert Budget(5).decide(spent).compute == (False, True)


# ---- pipelines whose calls change ------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [6, 8, 13])
def test_two_experts_share_one_budget(count):
    pipe = tiny.wan(second=True)
    with skip_steps(pipe, num_predictions=count) as trace:
        tiny.call(pipe, prompts=2, steps=16)
    assert trace.num_predictions == [count] * 2
    assert sum(all(d.compute) for d in trace.decisions) >= 5


def test_several_loops_have_the_budget_each():
    pipe = ClosedForm("ddim", Gaussian(0))
    for _ in range(2):
        with skip_steps(pipe, num_predictions=7) as trace:
            pipe(20)
        assert trace.num_predictions == [7]


# ---- refused ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"num_predictions": 4}, "`num_predictions=4` is too few: it is 5 or more"),
        ({"num_predictions": 8, "warmup_steps": 6, "final_steps": 2}, "is too few: it is 9 or more"),
        ({"num_predictions": 13}, "`num_predictions=13` is more than the 12 steps of the run"),
        ({"num_predictions": 6, "skip_from": "50%"}, "is too few for 12 steps: it is 8 or more"),
        ({"num_predictions": 8, "max_skip_steps": 3}, "policy 'budget' has no `max_skip_steps`"),
        ({"num_predictions": 8, "tolerance": 0.1}, "`tolerance` and `num_predictions` say the same thing"),
        ({"num_predictions": 8, "threshold": 0.1}, "`threshold` and `num_predictions` say the same thing"),
        ({"num_predictions": 8, "quality": "fast"}, "`quality` and `num_predictions` say the same thing"),
        ({"num_predictions": 8, "target_psnr": 40}, "`target_psnr` and `num_predictions` say the same thing"),
        ({"num_predictions": 8, "mask": (True,) * 12}, "has no `mask`"),
        ({"num_predictions": 8, "early_exit": True}, "give it without `early_exit`"),
        ({"num_predictions": 8, "step_policy": "shipped"}, "give it without `step_policy`"),
        ({"policy": "budget"}, "policy 'budget' needs `num_predictions`"),
        ({"policy": "error-controlled", "num_predictions": 8}, "has no `num_predictions`"),
    ],
)
def test_what_does_not_go_with_a_budget_is_refused_before_anything_is_generated(pipe, fields, problem):
    seen = []
    with pytest.raises(ConfigError, match=problem) as found:
        videoada.generate(pipe, prompt=PROMPTS[0], on_step=lambda *step: seen.append(step), **REQUEST | fields)
    assert "\n" not in str(found.value)
    assert not seen


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (("--num-predictions", "4"), "--num-predictions 4 is too few"),
        (("--num-predictions", "13"), "--num-predictions 13 is more than the 12 steps of the run"),
        (("--num-predictions", "8", "--early-exit"), "give it without"),
        (("--num-predictions", "8", "--mask", "111111111111"), "has no --mask"),
        (("--num-predictions", "8", "--tolerance", "0.1"), "say the same thing"),
        (("--target-speedup", "2", "--num-predictions", "8"), "say the same thing"),
        (("--target-speedup", "0.5"), "--target-speedup: give a number from 1"),
    ],
)
def test_the_command_line_refuses_it_in_one_line(tmp_path, capsys, flags, problem):
    common = ("--steps", "12", "--num-frames", "2")
    out = tmp_path / "out.mp4"
    code, _, err = run(capsys, "generate", "--prompt", PROMPTS[0], "--output", str(out), *common, *flags)
    assert code == 2
    assert problem in err
    assert "Traceback" not in err
    (tmp_path / "p.txt").write_text(f"{PROMPTS[0]}\n")
    code, _, err = run(capsys, "render", str(tmp_path / "p.txt"), "--out", str(tmp_path / "all"), *common, *flags)
    assert code == 2
    assert problem in err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["p.txt"]


def test_auto_steps_have_no_budget(tmp_path, capsys):
    flags = ("--num-predictions", "8", "--steps", "auto", "--output", str(tmp_path / "x.mp4"))
    code, _, err = run(capsys, "generate", "--prompt", PROMPTS[0], *flags)
    assert code == 2
    assert "give it without" in err


def test_shares_of_the_steps_count_as_first_and_last():
    config = SkipConfig(num_predictions=10, skip_from=0.2, skip_to=0.9)
    check_budget(config, 20)  # 4 + 2 + 1
    check_budget(config, 10)
    with pytest.raises(ConfigError, match="it is 11 or more"):
        check_budget(config, 33)


def test_a_budget_beyond_the_steps_that_a_pipeline_takes_is_refused():
    pipe = ClosedForm("ddim", Gaussian(0))
    with skip_steps(pipe, num_predictions=21), pytest.raises(ConfigError, match="more than the 20 steps"):
        pipe(20)


# ---- records, prompt files, renders ----------------------------------------------------------------------------------


def test_a_record_holds_the_budget_and_repeats_the_run(pipe):
    requests = [GenerationConfig(prompt=prompt, seed=i, **REQUEST) for i, prompt in enumerate(PROMPTS[:2])]
    results = videoada.generate(pipe, requests, num_predictions=7, batch_size=2)
    for _, record in results:
        assert record.skip == SkipConfig(policy="budget", num_predictions=7)
        assert (record.skip.predictor, record.skip.corrector) == ("linear", True)
        assert record.num_predictions == sum(record.computed) == 7
        assert not [text for text in record.not_used if "num_predictions" in text]
        assert record.unet_rows * 12 == record.unet_rows_full * 7
    repeated = settings_of(results[1][1])
    assert (repeated["policy"], repeated["num_predictions"]) == ("budget", 7)
    again = videoada.RunRecord.model_validate_json(results[1][1].model_dump_json())
    assert again.skip == results[1][1].skip


def test_a_prompt_file_gives_each_entry_its_budget(tmp_path, capsys):
    (tmp_path / "p.csv").write_text(
        f'prompt,num-predictions,steps\n"{PROMPTS[0]}",6,12\n"{PROMPTS[1]}",9,12\n"{PROMPTS[0]}",,10\n'
    )
    common = ("render", str(tmp_path / "p.csv"), "--out", str(tmp_path / "out"), "--num-frames", "2")
    code, _, err = run(capsys, *common)
    assert code == 0, err
    records = [videoada.find_record(path) for path in sorted((tmp_path / "out").glob("*.mp4"))]
    assert [r.num_predictions for r in records[:2]] == [6, 9]
    assert [r.skip.policy for r in records] == ["budget", "budget", "error-controlled"]
    again, first = tmp_path / "again.mkv", sorted((tmp_path / "out").glob("*.mp4"))[1]
    code, _, err = run(capsys, "generate", "--from-record", str(first), "--output", str(again))
    assert code == 0, err
    assert videoada.find_record(again).computed == records[1].computed
    (tmp_path / "bad.csv").write_text(f'prompt,num_predictions,steps\n"{PROMPTS[0]}",60,12\n')
    code, _, err = run(capsys, "render", str(tmp_path / "bad.csv"), "--out", str(tmp_path / "bad"))
    assert code == 2
    assert "line 2: " in err or "line 1: " in err
    assert "more than the 12 steps" in err
    assert not (tmp_path / "bad").exists()


def test_a_dry_run_counts_the_budget(tmp_path, capsys):
    (tmp_path / "p.csv").write_text(f'prompt,num_predictions\n"{PROMPTS[0]}",6\n"{PROMPTS[1]}",9\n')
    flags = ("--steps", "12", "--num-frames", "2", "--dry-run", "--json")
    code, out, err = run(capsys, "render", str(tmp_path / "p.csv"), "--out", str(tmp_path / "out"), *flags)
    assert code == 0, err
    found = json.loads(out)
    assert found["predictions_a_video"] == 7.5
    assert found["unet_rows"] * 24 == found["unet_rows_full"] * 15
    assert not (tmp_path / "out").exists()
