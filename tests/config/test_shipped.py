"""Configurations that ship: one source for package and checkout, found by name."""

from __future__ import annotations

import pytest
import yaml
from commandline import PROMPT, QUICK, run
from conftest import ROOT

from videoada.config.quality import QUALITIES, quality_fields, read_calibration
from videoada.config.settings import RunSettings, read_settings
from videoada.config.shipped import LIMITS, RUNS, read_shipped, shipped_names
from videoada.errors import ConfigError
from videoada.media.video import Video
from videoada.metrics import CoherenceLimits
from videoada.shapes import render

CONFIGURATIONS = [*RUNS, *LIMITS]


def test_configs_are_links_into_the_package():
    data = ROOT / "videoada" / "config" / "data"
    links = sorted((ROOT / "configs").glob("*.yaml"))
    assert [path.stem for path in links] == sorted(path.stem for path in data.iterdir()) == list(shipped_names())
    for path in links:
        assert path.readlink().as_posix() == f"../videoada/config/data/{path.name}"
        assert path.read_bytes() == (data / path.name).read_bytes()


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_each_loads_by_name(name):
    values = read_settings(name, CONFIGURATIONS)
    assert values == read_settings(f"{name}.yaml", CONFIGURATIONS) == read_settings(ROOT / "configs" / f"{name}.yaml")
    if name == "coherence":
        assert CoherenceLimits(**values) == CoherenceLimits()
    else:
        settings = RunSettings(**values)
        assert settings.skip().policy == "error-controlled"
        if name.startswith("calibrated-"):
            assert read_calibration(settings.calibration).model == settings.model == name.removeprefix("calibrated-")
            assert RunSettings(model=settings.model, target_psnr=40).skip().tolerance > 0


def test_each_quality_level_loads():
    assert tuple(read_shipped("quality")) == (*QUALITIES, "models")
    for level in QUALITIES:
        assert quality_fields(level) == read_shipped("quality")[level]


def test_a_file_wins_over_a_name_and_a_folder_does_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "example").mkdir()
    (tmp_path / "tiny-t2v.yaml").write_text("steps: 3\n")
    assert read_settings("example")["seed"] == 7
    assert read_settings("tiny-t2v.yaml") == {"steps": 3}
    assert read_settings("tiny-t2v")["steps"] == 50


@pytest.mark.parametrize(
    "name", ["exmaple", "mine.yaml", "quality", "quality.yaml", "coherence", "..", "x" * 5000, "a\nb", "a\0"]
)
def test_unknown_names_are_told_what_ships(name):
    with pytest.raises(ConfigError) as error:
        read_settings(name)
    text = str(error.value)
    assert text.startswith("there is no file '")
    assert text.endswith(", ".join(RUNS))
    assert len(text.splitlines()) == 1
    assert len(text) < 400


def test_names_and_levels_on_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, out, _ = run(capsys, "generate", "--config", "example", "--seed", "5", "--print-config")
    assert code == 0
    assert yaml.safe_load(out) == read_shipped("example") | {"seed": 5}
    code, _, err = run(capsys, *QUICK, "--config", "exmaple")
    assert (code, len(err.splitlines())) == (2, 1)
    assert "tiny-i2v" in err
    Video(frames=render(PROMPT, seed=0), fps=8).write(tmp_path / "clip.mkv")
    assert run(capsys, "check", "clip.mkv", "--config", "coherence")[0] == 0
    code, _, err = run(capsys, "check", "clip.mkv", "--config", "nothing")
    assert (code, len(err.splitlines())) == (2, 1)
    assert "coherence" in err
