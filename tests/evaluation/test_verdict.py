"""The verdict: default skipping passes, damaged videos fail, on videos that the embedded models generate; who is whose
partner; what is missing; limits of one's own."""

from __future__ import annotations

import importlib.util
import json
import shutil

import numpy as np
import pytest
from commandline import command
from conftest import ROOT
from made_videos import PROMPTS, record, write

import videoada
from videoada.config.run import GenerationConfig, SkipConfig
from videoada.errors import ConfigError, OutputError
from videoada.evaluation.judging.limits import read_limits, shipped_limits
from videoada.evaluation.judging.weighing import weigh
from videoada.evaluation.result import EvaluationResult
from videoada.media.video import Video
from videoada.shapes import render

SPEC = importlib.util.spec_from_file_location("verdict_script", ROOT / "scripts" / "experiments" / "verdict.py")
script = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(script)
DAMAGES = [name for name in script.DAMAGES if name != script.NONE]


@pytest.fixture(scope="module")
def rendered(pipe, tmp_path_factory):
    """Three sample prompts of tiny-t2v at 16 steps, with the default skipping and in full."""
    where = tmp_path_factory.mktemp("rendered")
    prompts = (ROOT / "samples" / "prompts.txt").read_text().splitlines()[:3]
    for side, skip in (("skipped", SkipConfig()), ("full", SkipConfig(policy="none"))):
        (where / side).mkdir()
        requests = [GenerationConfig(prompt=p, seed=i, num_inference_steps=16) for i, p in enumerate(prompts)]
        for i, (video, kept) in enumerate(videoada.generate(pipe, requests, skip=skip, batch_size=3)):
            videoada.save_run(video, kept, where / side / f"{i}.mkv")
    return where


def test_default_skipping_passes(rendered):
    done = command("verdict", rendered / "skipped", rendered / "full")
    assert "pass: 3 pairs" in done.stdout
    assert "worst SSIM" in done.stdout
    found = videoada.judge(rendered / "skipped", rendered / "full")
    assert found.passed
    assert not found.failures
    assert {check.passed for check in found.checks} == {True}
    assert {check.name for check in found.checks} == set(shipped_limits().given())


@pytest.mark.parametrize("name", DAMAGES)
def test_each_damage_fails_and_says_which_limit_and_which_video(rendered, tmp_path, name):
    script.write_damaged(rendered / "skipped", tmp_path / "damaged", name)
    folders, output = (tmp_path / "damaged", rendered / "full"), tmp_path / "verdict.json"
    done = command("verdict", *folders, "--pair-by", "name", "--output", output, code=1)
    found = json.loads(output.read_text())
    failed = [check for check in found["checks"] if check["passed"] is False]
    assert failed
    assert not found["passed"]
    assert not found["missing"]
    if name == script.REPLACED:
        assert {check["video"] for check in failed if check["name"].split("_")[1] == "worst"} == {"0.mkv"}
    assert f"fail: {failed[0]['title']}" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("model", script.PROMPTS)
def test_at_the_models_own_settings(model, tmp_path):
    for row in script.measure(model, tmp_path, 4):
        assert row["passed"] == (row["damage"] == script.NONE), row


# ---- what needs no model -------------------------------------------------------------------------------------------


@pytest.fixture
def pairs(tmp_path):
    """Two pairs with records, a little brighter, under other names than their full runs."""
    for seed in range(2):
        full = render(PROMPTS[seed], seed=seed)
        write(tmp_path / "full", f"z{9 - seed}.mkv", full, record(PROMPTS[seed], seed, "none"))
        brighter = script.brighter(full, [1 + seed] * 3)
        write(tmp_path / "skipped", f"clip-{seed}.mkv", brighter, record(PROMPTS[seed], seed))
    return tmp_path


def test_a_verdict_is_written_and_holds_the_evaluation(pairs):
    found = videoada.judge(pairs / "skipped", pairs / "full")
    found.write(pairs / "verdict.json")
    kept = json.loads((pairs / "verdict.json").read_text())
    assert videoada.Verdict.model_validate(kept) == found
    assert kept["pairs"] == 2
    assert kept["limits"]["min_worst_ssim"] == 0.88
    assert kept["evaluation"]["videos"][0]["fidelity"]["ssim"] > 0.88
    by_name = {check.name: check for check in found.checks}
    rows = found.evaluation.videos
    worst = min(rows, key=lambda row: row.fidelity["ssim"])
    assert (by_name["min_worst_ssim"].value, by_name["min_worst_ssim"].video) == (worst.fidelity["ssim"], worst.video)
    mean = np.mean([row.fidelity["psnr"] for row in rows])
    assert by_name["min_mean_psnr"].value == pytest.approx(mean)


def test_a_video_that_is_missing_on_either_side_fails_and_is_listed(pairs):
    write(pairs / "skipped", "stranger.mkv", render(PROMPTS[2], seed=7), record(PROMPTS[2], 7))
    write(pairs / "full", "lonely.mkv", render(PROMPTS[3], seed=8), record(PROMPTS[3], 8, "none"))
    found = videoada.judge(pairs / "skipped", pairs / "full")
    assert not found.passed
    assert {line.split(":")[0] for line in found.missing} == {"stranger.mkv", "lonely.mkv"}
    assert all(check.passed for check in found.checks if check.name != "max_fvd")  # of sets that differ
    done = command("verdict", pairs / "skipped", pairs / "full", code=1)
    assert "fail: missing: stranger.mkv: no partner with its prompt and seed (generated)" in done.stdout
    assert "lonely.mkv" in done.stdout


def test_a_video_that_can_not_be_read_fails_and_is_listed(pairs):
    (pairs / "skipped" / "broken.mp4").write_bytes(b"\0" * 500)
    done = command("verdict", pairs / "skipped", pairs / "full", code=1)
    assert "fail: unreadable: " in done.stdout
    assert "broken.mp4" in done.stdout


def test_names_pair_folders_without_records_and_order_does_not(pairs, tmp_path):
    for side, names in (("a", ("one", "two.v2", "three")), ("b", ("two.v2", "three", "one"))):
        for name, seed in zip(names, (0, 1, 2) if side == "a" else (1, 2, 0), strict=True):
            write(tmp_path / side, name + (".mkv" if side == "a" else ".webp"), render(PROMPTS[seed], seed=seed))
    with pytest.raises(OutputError, match=r"nothing pairs .* no run record; `pair_by=name`"):
        videoada.judge(tmp_path / "a", tmp_path / "b")
    found = videoada.judge(tmp_path / "a", tmp_path / "b", pair_by="name")
    assert found.passed
    assert found.pairs == 3
    assert {row.reference for row in found.evaluation.videos} == {"one.webp", "two.v2.webp", "three.webp"}
    assert next(c for c in found.checks if c.name == "min_worst_psnr").note == "all frames are equal"
    write(tmp_path / "a", "one.webp", render(PROMPTS[0], seed=0))
    again = videoada.judge(tmp_path / "a", tmp_path / "b", pair_by="name")
    assert sum("another video of this folder has the same name" in line for line in again.missing) == 2
    assert sum("several partners have its name" in line for line in again.missing) == 1
    shutil.rmtree(tmp_path / "b")
    write(tmp_path / "b", "else.mkv", render(PROMPTS[0], seed=0))
    with pytest.raises(OutputError, match=r"nothing pairs .* their file names differ"):
        videoada.judge(tmp_path / "a", tmp_path / "b", pair_by="name")


def test_frames_of_another_number_are_a_failure(pairs):
    write(pairs / "a", "0.mkv", render(PROMPTS[0], num_frames=12))
    write(pairs / "b", "0.mkv", render(PROMPTS[0], num_frames=16))
    found = videoada.judge(pairs / "a", pairs / "b", pair_by="name")
    assert not found.passed
    assert found.failures == ["not comparable: 0.mkv: 12 frames of 64×64 against 16 frames of 64×64"]


def test_what_can_not_be_measured_is_said_and_does_not_fail(pairs):
    found = videoada.judge(pairs / "skipped", pairs / "full")
    fvd = next(check for check in found.checks if check.name == "max_fvd")
    assert fvd.passed is None
    assert "3 videos a side" in fvd.note
    for side in ("a", "b"):
        for i in range(3):
            Video(np.full((4, 32, 32, 3), 90 + i, np.uint8)).write(pairs / f"{side}-{i}.mkv")
            (pairs / side).mkdir(exist_ok=True)
            (pairs / f"{side}-{i}.mkv").rename(pairs / side / f"{i}.mkv")
    flat = videoada.judge(pairs / "a", pairs / "b", pair_by="name")
    notes = {check.name: check.note for check in flat.checks if check.passed is None}
    assert notes["min_worst_sharpness"] == "not measurable on these videos"
    assert "takes 16 frames or more, 0.mkv has 4" in notes["max_fvd"]
    assert flat.passed


def test_fvd_is_held_to_the_upper_end_of_its_interval(pairs):
    result = EvaluationResult(
        generated=None, reference=None, extractor=None, sampling={}, videos=[], unpaired={}, skipped=[], warnings=[],
        metrics={"FVD": {"value": 10.0, "standard_error": 5.0, "n_generated": 9, "n_reference": 9}},
    )  # fmt: skip
    for limit, passed in ((19.7, False), (19.9, True)):
        [check] = weigh(result, videoada.VerdictLimits(max_fvd=limit))
        assert (check.passed, check.value) == (passed, pytest.approx(19.8))


def test_limits_of_ones_own_win_over_the_shipped(pairs):
    config = pairs / "limits.yaml"
    config.write_text("min-mean-psnr: 60\nmin_worst_ssim: null\n")
    limits = read_limits(config)
    assert (limits.min_mean_psnr, limits.min_worst_ssim) == (60, None)
    assert limits.max_lost_coherence == shipped_limits().max_lost_coherence
    done = command("verdict", pairs / "skipped", pairs / "full", "--config", config, code=1)
    assert "fail: mean PSNR" in done.stdout
    assert "must be ≥ 60 dB; worst video: clip-" in done.stdout
    assert "SSIM" in done.stdout
    assert "worst SSIM" not in done.stdout
    with pytest.raises(ConfigError, match="there is no limit"):
        videoada.judge(pairs / "skipped", pairs / "full", videoada.VerdictLimits())


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["{tmp}/none", "{tmp}/full"], "there is no folder"),
        (["{tmp}/skipped", "{tmp}/none"], "there is no folder"),
        (["{tmp}/skipped", "{tmp}/full", "--pair-by", "order"], "unknown choice for --pair-by 'order'"),
        (["{tmp}/skipped", "{tmp}/full", "--pair-by", "name"], "nothing pairs between"),
        (["{tmp}/skipped", "{tmp}/full", "--config", "{tmp}/none.yaml"], "none.yaml"),
        (["{tmp}/skipped", "{tmp}/full", "--config", "{tmp}/wrong.yaml"], "wrong.yaml: unknown key 'min_psnr'"),
        (["{tmp}/skipped", "{tmp}/full", "--config", "{tmp}/range.yaml"], "range.yaml: min_worst_ssim: give a number"),
        (["{tmp}/skipped", "{tmp}/full", "--output", "{tmp}/none/x.json"], "make its folder first"),
        (["{tmp}/skipped", "{tmp}/full", "--output", "x.txt"], "--output: 'x.txt' must end in .json"),
        (["{tmp}/skipped", "{tmp}/full", "--device", "gpu"], "unknown device 'gpu'"),
    ],
)
def test_a_wrong_request_is_a_line(args, message, pairs):
    (pairs / "wrong.yaml").write_text("min_psnr: 3\n")
    (pairs / "range.yaml").write_text("min_worst_ssim: 3\n")
    before = sorted(pairs.rglob("*"))
    done = command("verdict", *(arg.format(tmp=pairs) for arg in args), code=2)
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not done.stdout
    assert sorted(pairs.rglob("*")) == before
