"""Inputs that nobody means, through the command line: a line that names each, exit code 2, and nothing written."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from commandline import QUICK, run
from PIL import Image

from videoada import evaluate, generate
from videoada.errors import ConfigError, counted
from videoada.evaluation.result import EvaluationResult
from videoada.media.video import Video
from videoada.training.run import contents

QUIET = ["--metrics", "fvd", "--quiet"]


def films(folder, names, num_frames=16):
    folder.mkdir()
    for i, name in enumerate(names):
        frames = np.random.default_rng(i).integers(0, 255, (num_frames, 32, 32, 3), dtype=np.uint8)
        Video(frames, 8).write(folder / name)
    return folder


def refused(done, *named):
    code, out, err = done
    *_, line = err.splitlines()
    assert (code, out, line.startswith("error: ")) == (2, "", True), (code, out, err)
    for text in named:
        assert text in line, line


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """Two folders of films, and the result of measuring one against the other."""
    where = tmp_path_factory.mktemp("hostile")
    films(where / "a", ("0.mkv", "1.mkv"))
    films(where / "b", ("0.mkv", "1.mkv"))
    evaluate(where / "a", where / "b", metrics=("fvd",)).write(where / "result.json")
    return where


def test_names_that_a_result_or_record_can_t_hold(here, tmp_path, capsys):
    """They were measured, or the video generated, and then could not be written."""
    strange = os.fsdecode(b"caf\xe9")
    try:
        films(tmp_path / "a", ("0.mkv", "1.mkv"))
        os.rename(tmp_path / "a" / "1.mkv", tmp_path / "a" / f"{strange}.mkv")
    except (OSError, UnicodeError):
        pytest.skip("the file system holds UTF-8 names alone")
    output = tmp_path / "o.json"
    args = ("--generated", str(tmp_path / "a"), "--reference", str(here / "b"), "--output", str(output), *QUIET)
    refused(run(capsys, "evaluate", *args), "caf\\udce9.mkv", "rename it")
    Image.new("RGB", (40, 40)).save(tmp_path / "i.png")
    os.rename(tmp_path / "i.png", tmp_path / f"{strange}.png")
    args = ("--model", "tiny-i2v", "--image", str(tmp_path / f"{strange}.png"), "--output", str(tmp_path / "o.mkv"))
    refused(run(capsys, *QUICK, *args), "--image", "caf\\udce9.png", "rename it")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["a", f"{strange}.png"])


def test_a_folder_to_learn_from_may_hold_any_names(tmp_path):
    films(tmp_path / "a", ("0.mkv",))
    try:
        os.rename(tmp_path / "a" / "0.mkv", tmp_path / "a" / os.fsdecode(b"caf\xe9.mkv"))
    except (OSError, UnicodeError):
        pytest.skip("the file system holds UTF-8 names alone")
    assert contents(tmp_path / "a").startswith(str(tmp_path / "a"))


@pytest.mark.parametrize(("change", "said"), [
    (lambda text: text.replace('"value":', '"value": NaN, "was":', 1), "NaN"),
    (lambda text: text.replace('"value":', '"value": 1e999, "was":', 1), "1e999"),
    (lambda text: text.replace('"schema_version": 1', '"schema_version": 99', 1), "schema 99"),
    (lambda text: text[: len(text) // 2], "result.json"),
    (lambda text: "[" * 100_000, "nested too deeply"),
    (lambda text: "[]", "result.json"),
    (lambda text: json.dumps(json.loads(text) | {"videos": 3}), "videos: give a list, got 3"),
])  # fmt: skip
def test_results_that_hold_no_measurement(change, said, here, tmp_path, capsys):
    text = change((here / "result.json").read_text())
    (tmp_path / "result.json").write_text(text)
    done = run(capsys, "report", "--evaluation", str(tmp_path / "result.json"), "--output", str(tmp_path / "r.html"))
    refused(done, "result.json", said)
    assert "Input should" not in done[2]
    assert not (tmp_path / "r.html").exists()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_results_in_the_encodings_of_other_programs(encoding, here, tmp_path):
    text = (here / "result.json").read_text()
    (tmp_path / "result.json").write_bytes(text.encode(encoding))
    assert EvaluationResult.from_file(tmp_path / "result.json") == EvaluationResult.from_file(here / "result.json")


def test_a_report_lists_what_is_not_in_it(here, tmp_path, capsys):
    folder = films(tmp_path / "some", ("bare.mkv",))
    assert run(capsys, *QUICK, "--quiet", "--output", str(folder / "made.mkv"))[0] == 0
    (folder / "odd.xyz").write_text("odd")
    code, _, err = run(capsys, "report", str(folder), "--output", str(tmp_path / "r.html"))
    assert code == 0
    assert err.splitlines()[:2] == [
        f"not used: 1 video without a run record: '{folder / 'bare.mkv'}'",
        f"not used: 1 file in {folder} with endings that are no video's (.xyz): 'odd.xyz'",
    ]
    refused(run(capsys, "report", str(here / "a"), "--output", str(tmp_path / "n.html")), "2 videos without", "0.mkv")
    assert not (tmp_path / "n.html").exists()


def test_a_folder_named_as_a_film_is_found(tmp_path, capsys):
    folder = films(tmp_path / "some", ("0.mkv",))
    (folder / "x.mp4").mkdir()
    for more in ((), ("--recursive",)):
        refused(run(capsys, "evaluate", "--generated", str(folder), "--quiet", *more), "x.mp4", "holds no frames")


def test_settings_of_an_evaluation_without_effect(here, capsys):
    generated = ("evaluate", "--generated", str(here / "a"), "--metrics", "coherence", "--quiet")
    code, out, _ = run(capsys, *generated, "--extractor", "i3d", "--batch-size", "4")
    assert code == 0
    for flag in ("--batch-size 4", "--extractor i3d"):
        assert f"not used: {flag}: no metric here needs an extractor" in out
    refused(run(capsys, *generated, "--device", "tpu"), "unknown device 'tpu'")


@pytest.mark.parametrize(("name", "said"), [
    (".mp4", "names no file: put a name before the ending"), ("film.mkv/x.mp4", "is a file, not a folder"),
])  # fmt: skip
def test_outputs_that_are_no_names(name, said, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "film.mkv").write_text("a film")
    refused(run(capsys, *QUICK, "--output", name), name.split("/")[0], said)
    assert [p.name for p in tmp_path.iterdir()] == ["film.mkv"]


def test_an_output_folder_that_is_a_file(tmp_path, capsys):
    (tmp_path / "p.txt").write_text("a red circle\n")
    refused(run(capsys, "render", str(tmp_path / "p.txt"), "--out", str(tmp_path / "p.txt")), "is a file; name another")
    for args in (("analyse",), ("benchmark", "--preset", "frontier")):
        done = run(capsys, *args, "--prompts", str(tmp_path / "p.txt"), "--output", str(tmp_path / "p.txt" / "x"))
        refused(done, str(tmp_path / "p.txt"), "is a file; name another folder")


def test_one_is_no_plural():
    assert [counted(n, "video") for n in (0, 1, 2)] == ["0 videos", "1 video", "2 videos"]
    assert counted(1, "entry", "entries") == "1 entry"


def test_one_video_is_counted_as_one(pipe, tmp_path, capsys):
    folder = films(tmp_path / "some", ("0.mkv",), num_frames=1)
    code, out, _ = run(capsys, "evaluate", "--generated", str(folder), "--quiet")
    assert code == 0
    assert "1 video, 1 frame of 32×32" in " ".join(out.split())
    (tmp_path / "p.txt").write_text("a red circle\n")
    out = tmp_path / "out"
    code, _, err = run(
        capsys, "render", str(tmp_path / "p.txt"), "--out", str(out), "--steps", "3", "--num-frames", "1"
    )
    assert code == 0
    assert "1 videos" not in err
    with pytest.raises(ConfigError, match="the mask has 1 entry but the run has 3 steps"):
        generate(pipe, prompt="a red circle", num_inference_steps=3, num_frames=1, mask=(True,))
