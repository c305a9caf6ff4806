"""Early exit and the step count together with skipping: generate, records, the command line, benchmark and report."""

from __future__ import annotations

import hashlib
import json

import pytest
import torch
from commandline import run
from conftest import PROMPTS
from parts import biased
from prompt_files import ROOT

import videoada
from videoada.benchmarks.benchmark import benchmark, digest
from videoada.benchmarks.methods import Method
from videoada.benchmarks.timing import time_pairs
from videoada.config.prompts import read_entries
from videoada.config.run import SkipConfig
from videoada.config.settings import RunSettings
from videoada.errors import ConfigError, ModelError
from videoada.evaluation.report import write_report
from videoada.generation.make_record import differs
from videoada.learned.early_exit import find_heads
from videoada.learned.exit_heads import ExitHeads
from videoada.learned.parts import EXIT_HEADS, STEP_POLICY, trained_for
from videoada.learned.step_policy import StepPolicy, find_policy, prompt_embedding, with_chosen_steps
from videoada.records.find import settings_of
from videoada.records.record import RunRecord
from videoada.rendering.jobs import plan_jobs


def test_early_exit_composes_with_skipping(pipe, tmp_path, monkeypatch):
    torch.manual_seed(3)
    heads = ExitHeads.for_unet(pipe.unet)
    heads.save(tmp_path / "h.safetensors")
    skip = SkipConfig(policy="every-n", every=2, exit_threshold=0.5, exit_heads=str(tmp_path / "h.safetensors"))
    requests = [
        videoada.GenerationConfig(prompt=p, num_inference_steps=4, num_frames=2, seed=i)
        for i, p in enumerate(PROMPTS[:2])
    ]
    together = [record for _, record in videoada.generate(pipe, requests, skip=skip, batch_size=2)]
    for request, record in zip(requests, together, strict=True):
        [(_, alone)] = videoada.generate(pipe, [request], skip=skip)
        assert alone.early_exit["steps"] == record.early_exit["steps"]
        assert [exit is not None for exit in record.early_exit["steps"]] == record.computed
        assert (record.unet_rows, record.unet_rows_full) == (4, 8)  # counting the exits' costs is no call
        assert sum(record.savings.values()) == pytest.approx(1, abs=1e-3)
        assert record.savings["early_exit"] == pytest.approx(0.5 * (1 - record.early_exit["macs"]), abs=1e-3)
        assert settings_of(record)["exit_threshold"] == 0.5
    with videoada.early_exit(pipe, 0.0, heads):
        [(video, _)] = videoada.generate(pipe, requests[:1], skip=SkipConfig(policy="none"))
    [(plain, _)] = videoada.generate(pipe, requests[:1], skip=SkipConfig(policy="none"))
    assert video.sha256() == plain.sha256()
    with pytest.raises(ConfigError, match="for early exit add"), videoada.skip_steps(pipe, early_exit=True):
        pass
    monkeypatch.setattr(videoada.learned.parts, "ASSETS", tmp_path)
    with pytest.raises(ModelError, match=r"no exit heads are shipped for 'tiny-t2v': .*`exit_heads`"):
        find_heads(pipe)


def test_by_the_command_line(pipe, tmp_path, capsys):
    ExitHeads.for_unet(pipe.unet).save(tmp_path / "h.safetensors")
    flags = [
        "--prompt",
        PROMPTS[0],
        "--steps",
        "3",
        "--num-frames",
        "2",
        "--exit-heads",
        str(tmp_path / "h.safetensors"),
    ]
    output = ["--output", str(tmp_path / "x.mkv")]
    code, out, _ = run(capsys, "generate", *flags, "--exit-threshold", "0.9", "--json", *output)
    assert code == 0
    record = RunRecord.model_validate(json.loads(out))
    assert record.early_exit["steps"] == [0, 0, 0]
    code, _, err = run(capsys, "generate", *flags, "--guidance-tolerance", "0.1", *output)
    assert (code, "do not go together" in err) == (2, True)
    code, _, err = run(capsys, "generate", *flags, "--exit-threshold", "2", *output)
    assert code == 2
    code, _, err = run(capsys, "generate", *flags[:-1], str(tmp_path / "none"), *output)
    assert (code, "does not exist" in err) == (2, True)


def test_benchmarks_and_reports_take_exits_and_step_counts(pipe, tmp_path):
    heads, policy = tmp_path / "h.safetensors", biased(pipe, tmp_path)  # always 4 steps
    ExitHeads.for_unet(pipe.unet).save(heads)
    skip = SkipConfig(policy="none", exit_threshold=0.9, exit_heads=str(heads))
    method = Method(family="both", knob="", skip=skip, step_policy=policy)
    request = videoada.GenerationConfig(prompt=PROMPTS[0], num_inference_steps=5, num_frames=2)
    [cell] = benchmark(pipe, [request], [method], tmp_path / "cells", reference_steps=None)
    assert (cell.predictions, cell.rows) == (4, 0.8)
    longer = request.model_copy(update={"num_inference_steps": 8})  # not the full run that the policy was trained for
    with pytest.raises(ConfigError, match="give `num_inference_steps=5`"):
        benchmark(pipe, [longer], [method], tmp_path / "others", reference_steps=None)
    [(video, record)] = videoada.generate(pipe, [request.model_copy(update={"step_policy": policy})], skip=skip)
    assert cell.macs == pytest.approx(0.8 * record.early_exit["macs"], abs=1e-3)
    before = digest(method, pipe)
    StepPolicy(192).save(policy)
    after = digest(method, pipe)
    assert before != after
    heads.write_bytes(b"other")
    assert digest(method, pipe) not in (before, after)
    (tmp_path / "shown").mkdir()
    video.write(tmp_path / "shown" / "x.mkv", record.to_json())
    write_report(tmp_path / "report.html", folders=[tmp_path / "shown"])
    page = (tmp_path / "report.html").read_text()
    assert "4 steps chosen of at most 5" in page
    assert f"early exit: {record.early_exit['macs']:.0%} of the multiply-adds" in page
    assert "44v-11h9V44z" in page  # a quarter of the height: it left at the first of three exits
    assert "saved by fewer steps 20%, skipping 0%" in page


def test_two_prompts_of_one_seed_without_guidance_leave_apart(pipe, tmp_path):
    torch.manual_seed(0)  # of the heads, which are not trained
    ExitHeads.for_unet(pipe.unet).save(tmp_path / "h.safetensors")
    skip = SkipConfig(policy="none", exit_threshold=0.9, exit_heads=str(tmp_path / "h.safetensors"))
    requests = [
        videoada.GenerationConfig(prompt=p, seed=7, guidance_scale=1.0, num_inference_steps=3, num_frames=2)
        for p in PROMPTS[:2]
    ]
    generated = videoada.generate(pipe, requests, skip=skip, batch_size=2)
    assert [record.early_exit["steps"] for _, record in generated] == [[0, 0, 0]] * 2
    assert all(record.unet_rows == 3 for _, record in generated)
    sha = hashlib.sha256((tmp_path / "h.safetensors").read_bytes()).hexdigest()
    assert {record.early_exit["heads_sha256"] for _, record in generated} == {sha}
    assert settings_of(generated[0][1])["exit_heads"] == skip.exit_heads


def test_heads_that_were_replaced_are_others(pipe, tmp_path):
    """In one process, in a job's hash, and against the record of a video."""
    (tmp_path / "p.txt").write_text(PROMPTS[0] + "\n")
    path, hashes, thresholds = tmp_path / "h.safetensors", [], []
    settings = RunSettings(steps=2, num_frames=2, policy="none", exit_heads=str(path))
    for threshold in (0.25, 0.75):
        heads = ExitHeads.for_unet(pipe.unet)
        heads.threshold = threshold
        heads.save(path)
        [job] = plan_jobs(read_entries(tmp_path / "p.txt"), settings)
        [(_, record)] = videoada.generate(pipe, [job.request], skip=job.skip)
        hashes.append(job.sha256)
        thresholds.append(record.early_exit["threshold"])
        if threshold == 0.25:
            first = record
    assert thresholds == [0.25, 0.75]
    assert hashes[0] != hashes[1]
    assert differs(first, pipe, None, record.skip)
    assert not differs(record, pipe, None, record.skip)


def test_a_run_that_never_left_says_so(pipe, tmp_path):
    heads = ExitHeads.for_unet(pipe.unet)
    heads.save(tmp_path / "h.safetensors")
    request = videoada.GenerationConfig(prompt=PROMPTS[0], num_inference_steps=2, num_frames=2)
    for threshold, warned in ((1e-9, True), (0.9, False), (0.0, False)):
        skip = SkipConfig(policy="none", exit_threshold=threshold, exit_heads=str(tmp_path / "h.safetensors"))
        [(_, record)] = videoada.generate(pipe, [request], skip=skip)
        assert any("no step left the network early" in text for text in record.warnings) is warned
        assert record.early_exit["steps"] == [0 if threshold == 0.9 else 3] * 2


def test_what_contradicts_itself(capsys, tmp_path):
    mask = ["--mask", "1" * 50, "--policy", "mask", "--steps", "auto", "--output", str(tmp_path / "a.mkv")]
    code, _, err = run(capsys, "generate", "--prompt", PROMPTS[0], *mask)
    assert (code, "--steps auto" in err, err.count("\n")) == (2, True, 1)
    (tmp_path / "c.yaml").write_text("early_exit: true\n")
    code, out, _ = run(capsys, "generate", "--config", str(tmp_path / "c.yaml"), "--no-early-exit", "--print-config")
    assert (code, "early_exit: false" in out) == (0, True)


def test_parts_of_another_model_are_told_without_a_hash(pipe, tmp_path):
    heads = ExitHeads.for_unet(pipe.unet)
    heads.model = trained_for(pipe, pipe.unet) | {"weights_sha256": None}  # as of weights too large to hash
    heads.save(tmp_path / "h.safetensors")
    ExitHeads.load(tmp_path / "h.safetensors", pipe.unet, "abc")
    other = type(pipe.unet).from_config(pipe.unet.config)
    with pytest.raises(ModelError, match="are of another model"):
        ExitHeads.load(tmp_path / "h.safetensors", other, "abc")
    heads.model["class"] = "I2VGenXLUNet"
    heads.save(tmp_path / "h.safetensors")
    with pytest.raises(ModelError, match="are of another model"):
        ExitHeads.load(tmp_path / "h.safetensors", pipe.unet, "abc")


def test_early_exit_is_timed_with_the_shipped_heads(pipe, tmp_path, monkeypatch):
    (tmp_path / "early_exit").mkdir()
    heads = ExitHeads.for_unet(pipe.unet)
    heads.model = trained_for(pipe, pipe.unet)
    heads.save(tmp_path / "early_exit" / "tiny-t2v.safetensors")
    monkeypatch.setattr(videoada.learned.parts, "ASSETS", tmp_path)
    request = videoada.GenerationConfig(prompt=PROMPTS[0], num_inference_steps=3, num_frames=2)
    skip = SkipConfig(policy="none", early_exit=True, exit_threshold=0.9)
    timing = time_pairs(pipe, [request], skip=skip, pairs=1)
    assert timing.predictions == 3
    assert timing.psnr is not None


@pytest.mark.parametrize("flags", [["--early-exit"], ["--steps", "auto"], ["--exit-heads", "none.safetensors"]])
def test_rendering_without_the_part_writes_nothing(flags, tmp_path, capsys):
    (tmp_path / "p.csv").write_text(f"prompt,image\n{PROMPTS[0]},{ROOT / 'samples' / 'images' / '00.png'}\n")
    out = tmp_path / "out"
    code, _, err = run(capsys, "render", str(tmp_path / "p.csv"), "--out", str(out), "--model", "tiny-i2v", *flags)
    assert (code, err.count("\n"), out.exists()) == (2, 1, False)


def test_rendering_with_the_part_of_another_model_ends_at_once(pipe, tmp_path, capsys):
    heads = ExitHeads.for_unet(pipe.unet)
    heads.model = trained_for(pipe, pipe.unet) | {"name": "another", "weights_sha256": "abc"}
    heads.save(tmp_path / "h.safetensors")
    (tmp_path / "p.txt").write_text("\n".join(PROMPTS[:3]) + "\n")
    flags = ["--steps", "2", "--num-frames", "2", "--exit-heads", str(tmp_path / "h.safetensors"), "--quiet"]
    code, _, err = run(capsys, "render", str(tmp_path / "p.txt"), "--out", str(tmp_path / "out"), *flags)
    assert (code, "of another model (another)" in err, err.count("\n")) == (2, True, 1)
    assert not list((tmp_path / "out").glob("*.mp4"))


def test_rendering_takes_a_switch_that_says_no(tmp_path, capsys):
    (tmp_path / "p.txt").write_text(PROMPTS[0] + "\n")
    (tmp_path / "c.yaml").write_text("early_exit: true\nsteps: 3\nnum_frames: 2\n")
    flags = ["--config", str(tmp_path / "c.yaml"), "--no-early-exit", "--quiet"]
    code, _, err = run(capsys, "render", str(tmp_path / "p.txt"), "--out", str(tmp_path / "out"), *flags)
    assert code == 0, err
    record = json.loads((tmp_path / "out" / "0000.json").read_text())
    assert record["early_exit"] is None


def test_no_exits_where_the_network_is_moved_about(tmp_path):
    pipe = videoada.load_pipeline("tiny-t2v", device="cpu", offload="model")
    heads = ExitHeads.for_unet(pipe.unet)
    with pytest.raises(ConfigError, match="`offload`"), videoada.early_exit(pipe, 0.5, heads):
        pass


def test_the_preset_takes_ones_own_parts(pipe, tmp_path, capsys):
    heads, policy = tmp_path / "h.safetensors", biased(pipe, tmp_path)
    ExitHeads.for_unet(pipe.unet).save(heads)
    (tmp_path / "p.jsonl").write_text(json.dumps({"prompt": PROMPTS[0], "num_frames": 2}) + "\n")
    flags = ["benchmark", "--prompts", str(tmp_path / "p.jsonl"), "--steps", "5", "--step-policy", policy]
    own = [*flags, "--preset", "systems", "--exit-heads", str(heads), "--output", str(tmp_path / "b"), "--json"]
    code, out, err = run(capsys, *own)
    assert code == 0, err
    points = {p["method"]: p for p in json.loads(out.splitlines()[-1])}
    assert len(points) == 8
    assert points["step count"]["rows"] == 0.8
    for wrong, told in (
        ([*flags], "with --steps auto"),
        ([*flags, "--preset", "frontier"], "--preset systems"),
        (["benchmark", "--preset", "systems", "--steps", "auto"], "is for timing"),
        (["benchmark", "--steps", "many"], "steps"),
    ):
        code, _, err = run(capsys, *wrong)
        assert (code, told in err, err.count("\n")) == (2, True, 1)


def test_chosen_step_counts_are_timed(pipe, tmp_path, capsys):
    """Prompts of equally many steps make a batch; all are held against the most steps that could be chosen."""
    torch.manual_seed(3)  # all of its layers
    policy = StepPolicy(2 * pipe.text_encoder.config.hidden_size, [3, 4, 6])
    torch.nn.init.normal_(policy.layers[-1].weight, std=5)
    policy.model = trained_for(pipe, pipe.text_encoder)
    policy.save(tmp_path / "p.safetensors")
    chosen = policy.choose(prompt_embedding(pipe, PROMPTS))
    assert len(set(chosen)) > 1
    (tmp_path / "p.txt").write_text("\n".join(PROMPTS) + "\n")
    flags = ["benchmark", "--prompts", str(tmp_path / "p.txt"), "--num-frames", "2", "--policy", "none", "--json"]
    flags += ["--step-policy", str(tmp_path / "p.safetensors"), "--steps", "auto"]
    code, out, err = run(capsys, *flags, "--pairs", str(len(PROMPTS)))
    assert code == 0, err
    timing = json.loads(out)
    assert timing["num_inference_steps"] == 6
    assert timing["predictions"] == pytest.approx(sum(chosen) / len(chosen))
    code, _, err = run(capsys, *flags, "--batch-size", str(len(PROMPTS)))
    assert (code, "equally many steps" in err) == (2, True)


@pytest.mark.slow
def test_what_ships_saves_work_and_keeps_the_video(pipe):
    for part, most in ((EXIT_HEADS, 2e6), (STEP_POLICY, 1e6)):
        assert part.file("tiny-t2v").stat().st_size < most
    request = videoada.GenerationConfig(prompt=PROMPTS[0], seed=3, step_policy="shipped")
    [chosen] = with_chosen_steps(pipe, [request])
    assert chosen.num_inference_steps in find_policy(pipe).counts
    skip = SkipConfig(policy="none", early_exit=True)
    [compared] = videoada.compare(pipe, [request.model_copy(update={"step_policy": None})], skip=skip)
    assert compared.record.early_exit["macs"] < 0.85
    assert compared.record.fidelity["psnr"] > 28
