"""Values that a setting can't have: in our words wherever they come from, and with the file that they stand in."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest
import yaml
from commandline import QUICK, run

from videoada.cli.options import flag_of
from videoada.config.run import GenerationConfig
from videoada.config.settings import RunSettings, kind_of, said_of
from videoada.config.wanted import number_wanted
from videoada.media.films.rates import exact_rate
from videoada.media.video import Video
from videoada.training.config import ExitTraining

NUMBERS = [name for name in RunSettings.model_fields if name != "calibration" and kind_of(name) in (int, float)]
COLUMNS = [name for name in NUMBERS if said_of(name).get("column")]
BEYOND = {"fps": "0", "seed": "-5", "skip_from": "200%", "skip_to": "-1%"}
WITH = {"damping": ["--predictor", "linear"], "exit_threshold": ["--early-exit"]}  # what the field needs beside it
THEIRS = ("Input should", "unable to parse", "validation error", "finite", "Invalid value", "greater than", "less than")


def hold(done, *named):
    """One line of ours that names the input."""
    code, _, err = done
    [line] = err.splitlines()
    assert (code, line.startswith("error: ")) == (2, True), err
    assert not any(word in line for word in THEIRS), line
    for text in named:
        assert text in line, line


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_out_of_range_and_no_numbers_are_told_in_our_words(name, tmp_path, capsys):
    for value in (BEYOND.get(name, "-1"), "nan", "x", "1/0", "9" * 500):
        options = [f"{flag_of(name)}={value}", *WITH.get(name, []), "--output", str(tmp_path / "a.mkv")]
        hold(run(capsys, *QUICK[:3], *options), flag_of(name))
        path = tmp_path / "a.yaml"
        path.write_text(f"prompt: a red circle\n{name}: {value if value != 'nan' else '.nan'}\n")
        hold(run(capsys, "generate", "--config", str(path), "--output", str(tmp_path / "a.mkv")), str(path), name)


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_are_told_in_our_words_too(name, tmp_path, capsys):
    for value in (BEYOND.get(name, "-1"), "x", "1/0"):
        path = tmp_path / "p.jsonl"
        path.write_text(json.dumps({"prompt": "a red circle", name: value}) + "\n")
        hold(run(capsys, "render", str(path), "--out", str(tmp_path / "out")), "p.jsonl, line 1: ")


def test_other_commands_options_as_well(tmp_path, capsys):
    for args in (
        ("evaluate", "--generated", ".", "--num-frames", "x"), ("evaluate", "--generated", ".", "--stride", "0"),
        ("report", str(tmp_path), "--cases", "-1"), ("benchmark", "--pairs", "0"), ("benchmark", "--pairs", "1.5"),
        ("train", "exits", "all", "--lr", "x"), ("train", "exits", "all", "--rows", "1"),
        ("train", "steps", "all", "--entropy=-1"), ("analyse", "--prompts", "p.txt", "--steps", "3"),
        ("calibrate", "--prompts", "p.txt", "--limit", "0"), ("render", "p.txt", "--out", "x", "--max-retries", "y"),
    ):  # fmt: skip
        flag = next(part.split("=")[0] for part in reversed(args) if part.startswith("--"))
        hold(run(capsys, *args), flag, "give a ")


def test_a_training_s_limits(capsys):
    hold(run(capsys, "train", "exits", "all", "--keep", "2"), "--keep: give a number above 0 up to 1, got 2.0")
    assert ExitTraining(keep=0.5).keep == 0.5


def test_what_limits_leave():
    assert number_wanted({}) == "a number"
    assert number_wanted({"ge": 1}, integer=True) == "a whole number, 1 or more"
    assert number_wanted({"gt": 0}) == "a number, above 0"
    assert number_wanted({"le": 2.5}) == "a number, 2.5 or less"
    assert number_wanted({"ge": 8, "le": 16384}, integer=True) == "a whole number from 8 to 16384"
    assert number_wanted({"ge": 0, "lt": 1}) == "a number from 0 to below 1"


@pytest.mark.parametrize("text", [
    "stepz: 4", "height: 99999", "policy: every-n\ntolerance: 0.3", "compile: 7", "device: [cpu]", "quantize: int3",
    "batch_decision: none", "calibration: 3", "codec: divx", "prompt: 12", "seed: -1", "mask: no/such.txt", "steps: x",
])  # fmt: skip
def test_a_configuration_s_fault_names_its_file(text, tmp_path, capsys):
    path = tmp_path / "mine.yaml"
    path.write_text(text if text.startswith("prompt") else f"prompt: a red circle\n{text}\n")
    named = "int3" if "int3" in text else text.split(":")[0]
    hold(run(capsys, "generate", "--config", str(path), "--output", str(tmp_path / "a.mkv")), f"{path}: ", named)
    (tmp_path / "p.txt").write_text("a red circle\n")
    args = ("render", str(tmp_path / "p.txt"), "--out", str(tmp_path / "out"), "--config", str(path))
    hold(run(capsys, *args), f"{path}: ", named)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine.yaml", "p.txt"]


def test_limits_of_a_check_name_their_file(tmp_path, capsys):
    for text in ("no_such_limit: 3", "max_cut_share: x"):
        (tmp_path / "limits.yaml").write_text(f"{text}\n")
        done = run(capsys, "check", str(tmp_path), "--config", str(tmp_path / "limits.yaml"))
        hold(done, f"{tmp_path / 'limits.yaml'}: ", text.split(":")[0])


def test_a_flag_s_fault_does_not(tmp_path, capsys):
    path = tmp_path / "mine.yaml"
    path.write_text("height: 32\n")
    code, _, err = run(capsys, *QUICK[:3], "--config", str(path), "--height", "99999", "--print-config")
    assert (code, err.startswith("error: --height: give a whole number from 8 to 16384")) == (2, True)


def test_what_all_entries_share_is_of_no_line(tmp_path, capsys):
    (tmp_path / "p.txt").write_text("a red circle\n")
    for command in (("render", str(tmp_path / "p.txt"), "--out", str(tmp_path / "out")),
                    ("analyse", "--prompts", str(tmp_path / "p.txt"))):  # fmt: skip
        _, _, err = run(capsys, *command, "--num-frames", "0")
        assert err.startswith("error: --num-frames: give a whole number from 1 to 4096, got 0")


@pytest.mark.parametrize(("text", "rate"), [
    ("24000/1001", Fraction(24000, 1001)), ("30000 / 1001", Fraction(30000, 1001)), ("25/2", Fraction(25, 2)),
    ("8", Fraction(8)), ("24/1", Fraction(24)), ("23.976", Fraction(24000, 1001)),
])  # fmt: skip
def test_frame_rates_are_fractions_in_options_columns_and_keys(text, rate, tmp_path, capsys):
    assert exact_rate(GenerationConfig(fps=text).fps) == rate
    (tmp_path / "a.yaml").write_text(f"fps: {text}\n")
    for given in (("--fps", text), ("--config", str(tmp_path / "a.yaml"))):
        code, out, err = run(capsys, *QUICK[:3], *given, "--print-config")
        assert (code, err) == (0, "")
        assert exact_rate(yaml.safe_load(out)["fps"]) == rate
    (tmp_path / "p.csv").write_text(f"prompt,frame_rate,steps,num_frames\na red circle,{text},3,2\n")
    code, _, err = run(capsys, "render", str(tmp_path / "p.csv"), "--out", str(tmp_path / "out"), "--quiet")
    assert (code, err) == (0, "")
    assert exact_rate(Video.read(tmp_path / "out" / "0000.mp4").fps) == rate
    [record] = (tmp_path / "out").rglob("0000.json")
    found = json.loads(record.read_text())["request"]["fps"]
    assert exact_rate(found) == rate
    again = GenerationConfig(fps=rate).fps
    assert (exact_rate(again), type(again)) == (rate, int if rate.denominator == 1 else float)
