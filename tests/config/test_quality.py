"""--quality, --target-psnr and calibration: what they stand for, what they refuse, what they reach."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import yaml
from commandline import run
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

import videoada
from videoada import SkipConfig
from videoada.benchmarks.calibrate import calibrate
from videoada.benchmarks.every_prompt import ENOUGH, limit_of_nearly_all, limit_rank, of_nearly_all
from videoada.benchmarks.presets import preset
from videoada.config.merging import merged
from videoada.config.prompts import read_requests
from videoada.config.quality import (
    CONFIDENCE,
    QUALITIES,
    Calibration,
    CurvePoint,
    between,
    falling,
    quality_fields,
    read_calibration,
)
from videoada.config.settings import RunSettings, read_settings
from videoada.errors import ConfigError, PromptError
from videoada.generation.describe import describe
from videoada.records.record import RunRecord
from videoada.rendering.jobs import batches, plan_job

PROMPT = "a red circle moving right on a black background"


def test_quality_levels_are_ordered_and_balanced_is_the_default():
    tolerances = [quality_fields(name)["tolerance"] for name in QUALITIES]
    assert tolerances == sorted(tolerances)
    assert len(set(tolerances)) == 4
    assert SkipConfig(**quality_fields("balanced")) == SkipConfig() == RunSettings().skip()
    assert RunSettings(quality="fast").skip().tolerance == tolerances[-1]
    assert RunSettings(quality="fast", max_skip_steps=3).skip().max_skip_steps == 3


def test_a_model_that_comes_less_near_has_levels_of_its_own():
    for name in QUALITIES:
        assert quality_fields(name, "emoji-t2v")["tolerance"] < quality_fields(name)["tolerance"]
        assert quality_fields(name, "tiny-wan")["tolerance"] <= quality_fields(name)["tolerance"]
        assert quality_fields(name, "a/folder/of/my-model") == quality_fields(name, "tiny-t2v") == quality_fields(name)
    own = quality_fields("high", "emoji-t2v")["tolerance"]
    assert RunSettings(model="emoji-t2v", quality="high").skip().tolerance == own
    assert preset("quality", model="emoji-t2v")[2].skip.tolerance == own
    with videoada.skip_steps(videoada.load_pipeline("emoji-t2v", device="cpu"), quality="high") as trace:
        assert trace.config.tolerance == own


@pytest.mark.parametrize("name", QUALITIES)
def test_a_level_was_measured_to_be_the_same_fidelity_on_every_embedded_model(name):
    files = sorted((ROOT / "samples" / "results" / "quality").glob("*-*.json"))
    points = [point for file in files if not file.name.startswith("requests")
              for point in json.loads(file.read_text())["points"] if point["method"] == f"quality {name}"]  # fmt: skip
    assert len(points) == 4
    assert max(point["psnr"] for point in points) - min(point["psnr"] for point in points) < 3


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"quality": "best"}, "unknown quality 'best'; choose from"),
        ({"quality": "fastt"}, "did you mean 'fast'"),
        ({"quality": "fast", "tolerance": 0.1}, "`quality` and `tolerance` say the same thing"),
        ({"quality": "fast", "target_psnr": 30}, "`quality` and `target_psnr` say the same thing"),
        ({"threshold": 0.1, "target_psnr": 30}, "`target_psnr` and `threshold` say the same thing"),
        ({"quality": "fast", "policy": "third-order"}, "has no `tolerance`"),
        ({"target_speedup": 2, "target_psnr": 30}, "`target_psnr` and `target_speedup` say the same thing"),
        ({"target_speedup": 2, "num_predictions": 20}, "`target_speedup` and `num_predictions` say the same thing"),
        ({"target_speedup": 2, "model": "my/model"}, "calibrate --model my/model --prompts FILE --target-speedup 2`"),
        ({"target_speedup": 9, "calibration": "FOUND"}, r"from 2\.00 to 5\.00 times as fast; 9\.00 is outside"),
        ({"target_speedup": 2, "early_exit": True}, "`target_speedup` is calibrated for skipping alone"),
        ({"target_speedup": 2, "steps": "auto"}, "give it without `steps=auto`"),
        ({"target_psnr": 36, "model": "my/model"}, "there is no calibration for 'my/model'"),
        ({"target_psnr": 36, "calibration": {"curve": 3}}, "holds no calibration"),
        ({"target_psnr": 36, "calibration": {}}, "holds no calibration"),
        ({"target_psnr": 36, "calibration": {"curve": [{"tolerance": 0}]}}, "holds no calibration"),
        ({"target_psnr": 36, "steps": 20, "calibration": "FOUND"}, "is of steps 50, and the run has 20"),
        (
            {"target_psnr": 36, "scheduler": "euler", "calibration": "FOUND"},
            "is of scheduler ddim, and the run has",
        ),
        ({"policy": "none", "guidance_tolerance": 0.1}, "goes with a policy that skips"),
        ({"tolerance": 0, "guidance_tolerance": 0.1}, "goes with a policy that skips"),
    ],
)
def test_two_goals_or_unknown_ones_are_refused(fields, part):
    if fields.get("calibration") == "FOUND":
        fields = fields | {"calibration": FOUND}
    with pytest.raises(ConfigError, match=part):
        RunSettings(**fields).skip()


CURVE = [
    {"tolerance": 0.01, "psnr": 50.0, "psnr_of_95": 46.0, "psnr_worst": 40.0, "rows": 0.5},
    {"tolerance": 0.04, "psnr": 40.0, "psnr_of_95": 36.0, "psnr_worst": 30.0, "rows": 0.3},
    {"tolerance": 0.16, "psnr": 30.0, "psnr_of_95": 26.0, "psnr_worst": 25.0, "rows": 0.2},
]
FOUND = {"model": "tiny-t2v", "scheduler": "ddim", "num_inference_steps": 50, "prompts": 8, "curve": CURVE}


def test_a_target_is_read_off_the_curve():
    calibration = read_calibration(FOUND)
    assert calibration.tolerance_for_psnr(36) == pytest.approx(0.04)  # what 95 % of the prompts have, not the mean
    assert calibration.tolerance_to_try(41) == pytest.approx(0.02)  # halfway in the logarithm
    assert calibration.tolerance_to_try(45.9) == pytest.approx(0.02)  # wherever the curve may fall
    assert calibration.tolerance_to_try(26) == pytest.approx(0.16)  # none falls short
    assert calibration.tolerance_for_psnr(41) == pytest.approx(0.01)  # where as much was measured
    assert calibration.tolerance_for_rows(0.25) == pytest.approx(0.08)
    assert RunSettings(target_psnr=41, calibration=FOUND).skip().tolerance == pytest.approx(0.01)
    older = FOUND | {"curve": [{k: v for k, v in point.items() if k != "psnr_of_95"} for point in CURVE]}
    assert read_calibration(older).tolerance_for_psnr(30) == pytest.approx(0.04)  # of the worst, the next that it has
    surer = FOUND | {"curve": [point | {"psnr_promised": point["psnr_of_95"] - 3} for point in CURVE]}
    assert read_calibration(surer).tolerance_for_psnr(33) == pytest.approx(0.04)
    assert RunSettings(target_speedup=4, calibration=FOUND).skip().tolerance == pytest.approx(0.08)
    assert RunSettings(target_speedup=4, calibration=FOUND).skip().policy == "error-controlled"
    with pytest.raises(ConfigError, match=r"promises from 26 to 46 dB, by its tolerances; 60 dB is outside"):
        calibration.tolerance_for_psnr(60)
    with pytest.raises(ConfigError, match=r"20 dB is outside; make one for it with `videoada calibrate`, or give `tol"):
        RunSettings(target_psnr=20, calibration=FOUND).skip()
    with pytest.raises(ConfigError, match=r"from 2\.00 to 5\.00 times as fast; 8\.00 is outside"):
        calibration.tolerance_for_rows(1 / 8)


@given(st.lists(st.tuples(st.floats(0.001, 1), st.floats(20, 60)), min_size=2, max_size=8, unique_by=lambda p: p[0]))
def test_a_curve_that_rises_somewhere_is_smoothed_and_can_be_read(points):
    curve = falling(points)
    values = [v for _, v in curve]
    assert all(a >= b - 1e-9 for a, b in zip(values, values[1:], strict=False))
    assert sum(values) == pytest.approx(sum(v for _, v in points))
    middle = (values[0] + values[-1]) / 2
    assert min(t for t, _ in points) <= between(curve, middle) * (1 + 1e-9)
    assert between(curve, middle) <= max(t for t, _ in points) * (1 + 1e-9)


def test_a_record_holds_what_was_promised(pipe, tmp_path, capsys):
    """And beside it, with a full run, what came; its repetition takes the tolerance that it was read as."""
    curve = [point | {"tolerance": point["tolerance"] * 2} for point in CURVE]
    config = tmp_path / "c.yaml"
    config.write_text(yaml.safe_dump({"steps": 8, "num_frames": 1, "calibration": FOUND | {
        "num_inference_steps": 8, "confidence": 0.62, "curve": curve}}))  # fmt: skip
    code, out, err = run(capsys, "generate", "--config", str(config), "--prompt", PROMPT, "--target-psnr", "36",
                         "--compare", "--json", "--output", str(tmp_path / "a.mkv"))  # fmt: skip
    assert code == 0, err
    record = json.loads(out.splitlines()[-1])
    assert (record["skip"]["target_psnr"], record["skip"]["tolerance"]) == (36, pytest.approx(0.08))
    assert record["skip"]["target_confidence"] == 0.62
    assert record["fidelity"]["psnr"] is None or record["fidelity"]["psnr"] > 0
    code, out, err = run(capsys, "generate", "--from-record", str(tmp_path / "a.json"), "--print-config")
    assert code == 0, err
    again = yaml.safe_load(out)
    assert again["tolerance"] == pytest.approx(0.08)
    assert not {"target_psnr", "target_confidence"} & again.keys()
    code, out, _ = run(capsys, "inspect", str(tmp_path / "a.json"))
    assert "target_psnr 36" in out
    assert "target_confidence 0.62" in out
    said = describe(RunRecord.from_file(tmp_path / "a.json"))
    assert "Its tolerance was calibrated so that 95 % of such videos have 36 dB to the full run, 62% sure." in said
    with pytest.raises(ConfigError, match="read off a model's calibration"):
        videoada.SkipConfig(target_psnr=36)


def test_a_promise_is_of_what_was_calibrated():
    """With another predictor the tolerance is what it is, and promises nothing; a hash knows the tolerance alone."""
    asked = RunSettings(prompt=PROMPT, target_psnr=36, calibration=FOUND)
    assert asked.skip().target_psnr == 36
    for field, value in {"predictor": "hold", "max_skip_steps": 2, "final_steps": 3}.items():
        skip = asked.model_copy(update={field: value}).skip()
        assert (skip.target_psnr, skip.tolerance) == (None, asked.skip().tolerance)
    for field, value in {"policy": "error-controlled", "predictor": "linear", "max_skip_steps": 8}.items():
        assert asked.model_copy(update={field: value}).skip() == asked.skip()  # said, and no other
    plain = RunSettings(prompt=PROMPT, tolerance=asked.skip().tolerance)
    one, other = plan_job(asked), plan_job(plain)
    assert one.sha256 == other.sha256
    assert batches([one, other], 8) == [[one], [other]]  # each with its own record
    own = FOUND | {"scheduler": None, "model": "tiny-wan"}
    with pytest.raises(ConfigError, match="is of scheduler the model's own, and the run has euler"):
        RunSettings(model="tiny-wan", target_psnr=36, calibration=own, scheduler="euler").skip()


@pytest.mark.parametrize("target", ["target_psnr", "target_speedup"])
@pytest.mark.parametrize(("model", "psnr"), [("tiny-t2v", 35), ("tiny-i2v", 50), ("tiny-wan", 41), ("emoji-t2v", 44)])
def test_a_target_beside_a_calibrated_file_is_promised(model, psnr, target):
    """`calibrate` writes the policy and the predictor, too: those that it calibrated."""
    goal = {target: psnr if target == "target_psnr" else 3}
    config = read_settings(f"calibrated-{model}")
    skip = RunSettings(**merged(config, {"prompt": PROMPT, **goal})).skip()
    assert {name: getattr(skip, name) for name in goal} == goal
    assert skip.tolerance != config["tolerance"]


def test_a_promise_holds_for_videos_that_were_not_seen():
    """After 32 that were, 95 % of them are above it on average; above the 32's own quantile less are."""
    rng = np.random.default_rng(5)
    seen, unseen = rng.normal(45, 5, (2000, 32)), rng.normal(45, 5, (2000, 100))
    limits = np.array([[of_nearly_all(row)] for row in seen])
    assert np.mean(unseen >= limits) == pytest.approx(0.95, abs=0.005)
    assert np.mean(unseen >= np.quantile(seen, 0.05, axis=1, keepdims=True)) < 0.935
    assert of_nearly_all([41.0, 40.0, 55.0]) == 40.0


@pytest.mark.parametrize("count", [8, 32, 45, 96, 200])
def test_a_promise_is_as_sure_as_it_says(count):
    """For videos of any distribution: of 4,000 calibrations so many promise what 95 % of all videos have."""
    rng = np.random.default_rng(count)
    for draw, quantile in ((rng.standard_normal, -1.6449), (rng.standard_exponential, 0.0513)):
        found = [limit_of_nearly_all(list(row)) for row in draw((4000, count))]
        _, sure = limit_rank(count)
        assert np.mean([limit <= quantile for limit in found]) == pytest.approx(sure, abs=0.02)
        assert (sure >= CONFIDENCE) == (count >= ENOUGH)
    assert of_nearly_all(range(96)) > limit_of_nearly_all(range(96)) == 1  # the second smallest


def small(count):
    return [
        videoada.GenerationConfig(prompt=PROMPT, seed=i, num_inference_steps=14, num_frames=2) for i in range(count)
    ]


def test_calibration_measures_and_holds_out(pipe):
    said = []
    tolerance, found = calibrate(
        pipe, small(4), target_speedup=1.5, tolerances=(0.005, 0.05, 0.5), batch_size=2, on_run=said.append
    )
    assert 0.005 <= tolerance <= 0.5
    assert (found.prompts, found.held_out_prompts) == (2, 2)
    assert len(found.curve) == 5  # refined twice
    assert all(point.psnr_worst <= point.psnr_promised <= point.psnr_of_95 <= point.psnr for point in found.curve)
    assert found.confidence == pytest.approx(1 - 0.95**2, abs=0.001)
    assert found.curve[0].psnr > found.curve[-1].psnr
    assert found.curve[0].rows > found.curve[-1].rows
    assert 0.4 < found.held_out.rows < 0.9
    assert len(said) == 7
    assert Calibration.model_validate(found.model_dump(mode="json")) == found


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({}, "one of the two"),
        ({"target_psnr": 30, "target_speedup": 2}, "one of the two"),
        ({"target_speedup": 0.5}, "from 1 to the number of steps"),
        ({"target_psnr": float("nan")}, "between 0 and 100"),
    ],
)
def test_calibration_refuses(pipe, fields, part):
    with pytest.raises(ConfigError, match=part):
        calibrate(pipe, small(4), **fields)
    with pytest.raises(ConfigError, match="three prompts"):
        calibrate(pipe, small(2), target_psnr=30)


def test_the_command_writes_a_configuration_that_generate_takes(tmp_path, capsys):
    (tmp_path / "p.txt").write_text(f"{PROMPT}\n" * 3)
    config = tmp_path / "mine.yaml"
    sizes = ["--steps", "14", "--num-frames", "2", "--batch-size", "3"]
    prompts = ["--prompts", str(tmp_path / "p.txt")]
    code, out, err = run(capsys, "calibrate", *prompts, *sizes, "--target-speedup", "1.6", "--output", str(config))
    assert code == 0, err
    assert "tiny-t2v (small embedded model)" in out
    assert "on 1 prompt held out" in out
    assert "sure" not in out  # a speed-up is a mean
    settings = yaml.safe_load(config.read_text())
    assert len(settings["calibration"]["curve"]) >= 5
    code, out, err = run(capsys, "generate", "--config", str(config), "--prompt", PROMPT, "--json", "--quiet",
                         "--output", str(tmp_path / "a.mkv"))  # fmt: skip
    assert code == 0, err
    record = json.loads(out)
    assert record["skip"]["tolerance"] == settings["tolerance"]
    assert record["num_inference_steps"] == 14
    best = max(point["psnr_of_95"] for point in settings["calibration"]["curve"])
    code, out, err = run(capsys, "generate", "--config", str(config), "--prompt", PROMPT, "--target-psnr",
                         f"{best - 1:.2f}", "--print-config")  # fmt: skip
    assert code == 0, err
    assert yaml.safe_load(out)["target_psnr"] == pytest.approx(best - 1, abs=0.01)
    code, _, err = run(capsys, "generate", "--config", str(config), "--prompt", PROMPT, "--target-psnr", "5",
                       "--print-config")  # fmt: skip
    assert code == 2
    assert "outside" in err


@pytest.mark.parametrize("model", ["tiny-t2v", "tiny-i2v", "tiny-wan"])
def test_embedded_models_come_calibrated(model):
    found = read_calibration(read_settings(f"calibrated-{model}")["calibration"])
    assert found.prompts == 96
    assert found.confidence >= CONFIDENCE
    promised = {point.tolerance: point.promised for point in found.curve}
    for target in (42, 41, 40, 39):
        skip = RunSettings(model=model, target_psnr=target).skip()
        assert promised[skip.tolerance] >= target
        assert skip.target_confidence == CONFIDENCE  # as `calibrate` says: at one tolerance the limit is surer


CURVES = {  # of 90 prompts, by tolerance: what all but the worst of them have, and the worst
    "smooth": lambda tolerance: (45 - 100 * tolerance, 30),
    "at once": lambda tolerance: (50 if tolerance < 0.11 else 30, 20),
    "and a lone rise": lambda tolerance: (45 - 100 * tolerance + 8 * (0.3 < tolerance < 0.34), 15),
    "far above": lambda tolerance: (70 - 10 * tolerance, 69 - 10 * tolerance),
}


@pytest.mark.parametrize("curve", CURVES)
def test_what_was_promised_was_measured(curve, monkeypatch):
    """At a tolerance of the curve the second worst of 90 prompts has the target, at the next one it has not."""
    calibration = sys.modules[calibrate.__module__]

    asked = []

    def measure(pipe, requests, full, tolerance, batch_size):
        asked.append((len(requests), tolerance))
        most, worst = CURVES[curve](tolerance)
        psnr = [most] * (len(requests) - 1) + [worst]
        return CurvePoint(
            tolerance=tolerance, psnr=float(np.mean(psnr)), psnr_of_95=of_nearly_all(psnr),
            psnr_promised=limit_of_nearly_all(psnr), psnr_worst=min(psnr), rows=min(1, 0.2 / tolerance**0.1),
        )  # fmt: skip

    monkeypatch.setattr(calibration, "_measure", measure)
    monkeypatch.setattr(calibration, "generate", lambda *args, **settings: [])
    requests = small(135)
    monkeypatch.setattr(calibration, "with_recommended", lambda pipe, requests: requests)
    monkeypatch.setattr(calibration, "check_request", lambda *args: None)
    pipe = videoada.load_pipeline("tiny-t2v", device="cpu")
    tolerance, found = calibrate(pipe, requests, target_psnr=40)
    promised = {point.tolerance: point.psnr_promised for point in found.curve}
    assert promised[tolerance] >= 40 > min(v for t, v in promised.items() if t > tolerance)
    assert min(t for t in promised if t > tolerance) < tolerance * 1.2  # of neighbours that were twice as large
    assert tolerance > 0.03
    assert (found.confidence >= CONFIDENCE, found.prompts) == (True, 90)
    assert asked[-1] == (45, tolerance)
    assert (found.held_out.tolerance, found.held_out.psnr_promised) == (tolerance, None)


@pytest.mark.parametrize(("count", "said"), [(3, "9% sure; with 68"), (68, "90% sure\n")])
def test_the_command_says_how_sure_it_is(count, said, tmp_path, capsys, monkeypatch):
    def find(pipe, requests, **settings):
        seen = len(requests) * 2 // 3
        sure = limit_rank(seen)[1]
        point = CurvePoint(tolerance=0.05, psnr=45, psnr_of_95=41, psnr_worst=40, rows=0.4)
        about = FOUND | {"prompts": seen, "held_out": point, "held_out_prompts": count - seen, "confidence": sure}
        return 0.05, Calibration.model_validate(about)

    monkeypatch.setattr("videoada.benchmarks.calibrate.calibrate", find)
    (tmp_path / "p.txt").write_text(f"{PROMPT}\n" * count)
    code, out, err = run(capsys, "calibrate", "--prompts", str(tmp_path / "p.txt"), "--target-psnr", "40", "--output",
                         str(tmp_path / "c.yaml"))  # fmt: skip
    assert code == 0, err
    assert said in out


def test_prompt_files(tmp_path):
    rows = [
        {"prompt": PROMPT, "num_frames": 24, "height": 64, "width": 96},
        {"prompt": "x", "seed": 7, "image": "a.png"},
    ]
    path = tmp_path / "p.jsonl"
    path.write_text("\n\n".join(json.dumps(row) for row in rows) + "\n\n")
    first, second = read_requests(path, num_frames=8, num_inference_steps=9)
    assert (first.num_frames, first.height, first.seed, first.num_inference_steps) == (24, 64, 0, 9)
    assert (second.seed, second.num_frames, second.image) == (7, 8, str(tmp_path / "a.png"))
    for text, part in (("{", "line 1"), ("[1]", "no JSON object"), ('{"prompt": ""}', "line 1: the prompt is empty"),
                       ('{"prompt": "x", "sed": 1}', "line 1: unknown key"), ("", "is empty")):  # fmt: skip
        path.write_text(text)
        with pytest.raises(PromptError, match=part):
            read_requests(path)
    path.write_text('{"prompt": "x"}\n\n{')
    with pytest.raises(PromptError, match="line 3"):
        read_requests(path)


@pytest.mark.parametrize(
    ("flags", "policy"),
    [
        (["--policy", "none"], "none"), (["--threshold", "0.1"], "third-order"), (["--every", "3"], "every-n"),
        (["--mask", "1" * 14], "mask"), (["--quality", "fast"], "error-controlled"),
        (["--no-corrector"], "error-controlled"), (["--predictor", "hold"], "error-controlled"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("own", [{"tolerance": 0.2, "damping": 0.5, "predictor": "linear"}, {"policy": "third-order"}])
def test_a_flag_wins_over_the_configurations_way_to_skip(flags, policy, own, tmp_path, capsys):
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({"steps": 14, "prompt": PROMPT} | own))
    code, out, err = run(capsys, "generate", "--config", str(tmp_path / "c.yaml"), *flags, "--print-config")
    assert code == 0, err
    found = RunSettings(**yaml.safe_load(out)).skip()
    assert found.policy == policy or "policy" in own
    assert found.corrector is ("--no-corrector" not in flags and found.policy == "error-controlled")


def test_a_folder_that_is_not_there_is_known_before_the_work(tmp_path, capsys):
    (tmp_path / "p.txt").write_text(f"{PROMPT}\n" * 3)
    code, _, err = run(capsys, "calibrate", "--prompts", str(tmp_path / "p.txt"), "--target-psnr", "40", "--output",
                       str(tmp_path / "no" / "x.yaml"))  # fmt: skip
    assert code == 2
    assert "make its folder first" in err
