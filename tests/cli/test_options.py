"""One list of settings: what each command takes, what a prompt file's columns are, how messages name parameters."""

from __future__ import annotations

import pytest
import typer
from commandline import run
from conftest import PROMPTS

from videoada.cli import app
from videoada.cli.app import as_flags
from videoada.config.loading import LoadConfig
from videoada.config.merging import merged
from videoada.config.prompts import COLUMNS, read_entries
from videoada.config.run import TARGETS, GenerationConfig, SkipConfig
from videoada.config.settings import RunSettings, said_of

SETTINGS = {name for name in RunSettings.model_fields if said_of(name)}
OF_A_VIDEO = {"prompt", "image", "num_videos"}
OF_THE_FILE = {"codec", "crf"}
SKIPPING = {*SkipConfig.model_fields, "quality"} - {*TARGETS}
TAKEN = {
    "generate": SETTINGS,
    "render": SETTINGS - OF_A_VIDEO - {"batch_decision"},
    "benchmark": SETTINGS - OF_A_VIDEO - OF_THE_FILE - {"fps"},
    "calibrate": SETTINGS - OF_A_VIDEO - OF_THE_FILE - SKIPPING - {"step_policy", "fps"},
}


SAID_APART = ("seed", "batch_size", "target_psnr", "target_speedup", "steps")  # of which some commands say more


@pytest.mark.parametrize("name", TAKEN)
def test_commands_take_the_settings_of_the_one_list(name):
    command = typer.main.get_command(app).commands[name]
    options = {parameter.name: parameter for parameter in command.params}
    assert set(options) & SETTINGS == TAKEN[name]
    for setting in TAKEN[name]:
        assert options[setting].default is None
        if setting not in SAID_APART:
            assert options[setting].help == RunSettings.model_fields[setting].description


def test_the_list_holds_every_field_of_the_configurations():
    fields = {*GenerationConfig.model_fields, *SkipConfig.model_fields, *LoadConfig.model_fields}
    not_asked = {"num_inference_steps", "target_confidence"}  # `steps`, which may be auto; of the calibration
    assert fields - set(RunSettings.model_fields) == not_asked
    assert set(COLUMNS.values()) - set(RunSettings.model_fields) == {"id", "size"}
    for name in SETTINGS:
        assert RunSettings.model_fields[name].description


def test_rows_name_any_setting_of_a_video_or_of_skipping(tmp_path):
    (tmp_path / "p.csv").write_text(
        "prompt,predictor,corrector,early_exit,max-skip-steps,damping,mask\n"
        f'"{PROMPTS[0]}",hold,false,Yes,3,,\n"{PROMPTS[1]}",linear,1,0,,0.5,110\n'
    )
    first, second = (row.fields for row in read_entries(tmp_path / "p.csv"))
    assert (first["corrector"], first["early_exit"], first["max_skip_steps"]) == (False, True, 3)
    assert (second["corrector"], second["damping"], second["mask"]) == (True, 0.5, "110")
    assert RunSettings(**second | {"damping": None}).skip().mask == (True, True, False)


def test_a_row_that_is_neither_true_nor_false_is_one_line(tmp_path, capsys):
    (tmp_path / "p.csv").write_text(f'prompt,corrector\n"{PROMPTS[0]}",perhaps\n')
    code, _, err = run(capsys, "render", str(tmp_path / "p.csv"), "--out", str(tmp_path / "out"))
    assert (code, err.count("\n")) == (2, 1)
    assert "line 2: column 'corrector': 'perhaps' is neither true nor false" in err


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("give `image=FILE`", "give --image FILE"),
        ("`policy=every-n` and `every=1`", "--policy every-n and --every 1"),
        ("with `corrector=False`", "with --no-corrector"),
        ("`early_exit=True`, `num_inference_steps`: x", "--early-exit, --steps: x"),
        ("`save_statistics` keeps", "--save-stats keeps"),
        ("as `videoada train exits` does", "as `videoada train exits` does"),
        ("`UNet`", "`UNet`"),
        ("pass `low_cpu_mem_usage=False` to `from_pretrained`", "pass `low_cpu_mem_usage=False` to `from_pretrained`"),
    ],
)
def test_parameters_become_flags(message, shown):
    assert as_flags(message) == shown


@pytest.mark.parametrize(
    ("values", "given", "left"),
    [
        ({"tolerance": 0.1, "max_skip_steps": 2, "corrector": False}, {"tolerance": 0.3},
         {"tolerance": 0.3, "max_skip_steps": 2, "corrector": False}),  # the policy stays the same
        ({"quality": "fast", "guidance_tolerance": 0.1}, {"tolerance": 0.3},
         {"tolerance": 0.3, "guidance_tolerance": 0.1}),
        ({"threshold": 0.1, "max_skip_steps": 2}, {"tolerance": 0.3}, {"tolerance": 0.3}),
        ({"policy": "third-order", "threshold": 0.1, "warmup_steps": 5}, {"threshold": 0.2},
         {"policy": "third-order", "threshold": 0.2, "warmup_steps": 5}),
        ({"steps": "auto", "step_policy": "f"}, {"steps": 9}, {"steps": 9}),
        ({"model": "a/b", "variant": "fp16", "revision": "x"}, {"model": "tiny-t2v"}, {"model": "tiny-t2v"}),
        ({"model": "a/b", "variant": "fp16"}, {"model": "a/b"}, {"model": "a/b", "variant": "fp16"}),
    ],
)  # fmt: skip
def test_what_is_given_replaces_only_what_it_contradicts(values, given, left):
    assert merged(values, given) == left


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--batch-size", "0"], "--batch-size: give a whole number from 1 to 1000000, got 0"),
        (["--families", "x"], "--families is for a --preset"),
        (["--budgets", "nonsense"], "--budgets is for a --preset"),
        (["--limit", "2"], "--limit is of a file of --prompts"),
        (["--preset", "quality", "--pairs", "2"], "--pairs is for timing"),
        (["--preset", "quality", "--max-skip-steps", "2"], "--max-skip-steps is for timing"),
    ],
)
def test_options_of_benchmark_that_would_be_ignored_are_refused(capsys, arguments, problem):
    code, _, err = run(capsys, "benchmark", *arguments)
    assert (code, err.count("\n"), problem in err) == (2, 1, True), err


def test_columns_that_a_command_does_not_use_are_refused(tmp_path, capsys):
    (tmp_path / "p.csv").write_text(f'prompt,tolerance\n"{PROMPTS[0]}",0.1\n')
    code, _, err = run(capsys, "benchmark", "--prompts", str(tmp_path / "p.csv"))
    assert (code, err.count("\n")) == (2, 1)
    assert "line 2: the column 'tolerance' is for `videoada render` alone" in err
    (tmp_path / "p.csv").write_text(f'prompt,prediction\n"{PROMPTS[0]}",x\n')
    assert [entry.fields for entry in read_entries(tmp_path / "p.csv")] == [{"prompt": PROMPTS[0]}]
