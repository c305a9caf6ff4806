"""Any name that the file system allows: written and read as a file's, never as a URL, a pattern or a flag."""

from __future__ import annotations

import ast
import json
import os
from pathlib import Path

import numpy as np
import pytest
from commandline import QUICK, command

import videoada
from videoada.errors import ConfigError, OutputError
from videoada.failures import url_problem, wrong_with
from videoada.files import FileNames, check_file, folded
from videoada.media.finding import find_videos
from videoada.media.metadata import read_metadata
from videoada.media.outputs import check_output
from videoada.media.video import Video

FRAMES = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
METADATA = json.dumps({"prompt": "x", "seed": 3, "fps": 8, "num_frames": 4})
ODD = (
    "12:30", "scene:2", "-x", "--out", "%d", "a%03d", "#1", "what?", "a&b=c", "new\nline", "tab\t", "日本", "a|b",
    "[x]*", '"', "$HOME", "~", " spaced ", "https:x", "file:y", "concat:a", "@p", "a\\b", "e\u0301", "x" * 240,
)  # fmt: skip


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".gif", ".webp", ""])
def test_every_reader_and_writer_takes_odd_names(tmp_path, monkeypatch, name, ending):
    monkeypatch.chdir(tmp_path)  # an absolute path begins with a slash, and hides what a name does
    path = Path(f"{name}{ending}")
    Video(FRAMES, 8).write(path, METADATA)
    assert os.listdir() == [str(path)]
    back = Video.read(path)
    assert (back.frames.shape, back.fps) == (FRAMES.shape, 8)
    assert json.loads(read_metadata(path)) == json.loads(METADATA)
    assert find_videos(".") == [path]


def test_names_that_are_no_text(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = Path(os.fsdecode(b"caf\xe9.mp4"))
    try:
        path.touch()
    except OSError:
        pytest.skip("this file system holds names of UTF-8 alone")
    Video(FRAMES, 8).write(path, METADATA)
    assert Video.read(path).frames.shape == FRAMES.shape


def test_av_opens_local_files_alone():
    """The one way to FFmpeg: `file_url`. imageio is given an open file."""
    for file in Path(videoada.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            called = ast.unparse(node.func)
            if called == "av.open":
                assert ast.unparse(node.args[0]).startswith("file_url("), file
            if called.startswith("iio."):
                assert ast.unparse(node.args[0]) == "file", file


def test_commands_take_odd_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command(*QUICK, "--output", "12:30.mp4", "--quiet")
    assert sorted(os.listdir()) == ["12:30.json", "12:30.mp4"]
    command("inspect", "12:30.mp4")
    os.rename("12:30.mp4", "scene:2.mp4")
    done = command("check", "scene:2.mp4", "--json")
    assert json.loads(done.stdout)["video"] == "scene:2.mp4"
    os.mkdir("a:b")
    os.rename("scene:2.mp4", "a:b/-%d.mp4")
    done = command("evaluate", "--generated", "a:b", "--metrics", "coherence", "--json", "--output", "#?.json")
    assert json.loads(done.stdout)["videos"][0]["video"] == "-%d.mp4"
    assert os.path.exists("#?.json")


@pytest.mark.parametrize(
    "args",
    [
        ("generate", "--prompt", "x", "--image", "https://host/a.png"),
        ("generate", "--prompt", "x", "--video", "https://host/a.mp4"),
        ("generate", "--config", "https://host/a.yaml"),
        ("generate", "--from-record", "https://host/a.mp4"),
        ("generate", "--prompt", "x", "--output", "s3://bucket/a.mp4"),
        ("generate", "--prompt", "x", "--image", "file:///home/a.png"),
        ("render", "https://host/p.csv", "--out", "out"),
        ("render", "p.txt", "--out", "s3://bucket/out"),
        ("render", "p.txt", "--out", "out", "--images", "https://host/images"),
        ("render", "p.csv", "--out", "out", "--model", "tiny-i2v"),
        ("evaluate", "--generated", "https://host/set"),
        ("evaluate", "--generated", ".", "--reference-stats", "https://host/s.safetensors"),
        ("evaluate", "--generated", ".", "--report", "https://host/r.html"),
        ("check", "https://host/a.mp4"),
        ("inspect", "https://host/a.mp4"),
        ("report", "https://host/a.mp4"),
        ("report", "--evaluation", "https://host/a.json"),
        ("status", "https://host/out"),
        ("benchmark", "--prompts", "https://host/p.txt"),
        ("benchmark", "--preset", "tiny", "--output", "gs://bucket/out"),
        ("calibrate", "--prompts", "https://host/p.txt", "--target-psnr", "30", "--output", "c.yaml"),
        ("analyse", "--prompts", "https://host/p.txt"),
    ],
)
def test_urls_are_not_fetched(tmp_path, monkeypatch, args):
    monkeypatch.chdir(tmp_path)
    Path("p.txt").write_text("x\n")
    Path("p.csv").write_text("prompt,image\nx,https://host/a.png\n")
    before = sorted(os.listdir())
    error = command(*args, code=2).stderr
    assert error.count("\n") == 1
    assert any(words in error for words in ("URLs are not fetched", "nothing is written to URLs", "name the file"))
    assert "://" in error  # as it was written, not as a path makes it
    assert sorted(os.listdir()) == before


def test_a_path_that_is_there_is_no_url(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert url_problem("https://host/x") is not None
    for path in ("12:30/x", "C:/x", "scene:/x", "a/https:/x", "https", "https:"):
        assert url_problem(path) is None
    os.makedirs("https:/host")
    Path("https:/host/x").write_text("x")
    assert url_problem("https://host/x") is None
    assert wrong_with("https:/host/x") is None


def test_what_a_file_system_holds_and_tells_apart_is_tried(tmp_path):
    with FileNames(tmp_path / "not" / "there") as names:
        assert names.problem("plain name-1.mp4") is None
        assert not os.listdir(tmp_path)  # plain names need no trial
        assert names.problem("12:30 ü|?.json") is None
        assert "File name too long" in names.problem("x" * 256)
        assert "more than" in names.problem("/".join(["y" * 200] * 30))
        assert names.problem("a\0b") is not None
        (tmp_path / "A").touch()
        assert names.apart("a", "A") is not (tmp_path / "a").exists()
        assert names.apart("x/e\u0301", "x/é") is True or folded("e\u0301") == folded("é")
        assert not names.apart("a", "a")
    assert os.listdir(tmp_path) == ["A"]


@pytest.mark.parametrize("name", ["x" * 252 + ".mp4", "é" * 126 + ".mp4"])
def test_a_name_too_long_is_known_before_anything_is_generated(tmp_path, name):
    with pytest.raises(OutputError, match="can't write"):
        check_output(tmp_path / name)
    with pytest.raises(ConfigError, match="`report`"):
        check_file(tmp_path / f"{name}.html", "report", ".html")
    assert not os.listdir(tmp_path)
