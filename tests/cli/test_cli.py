"""The real command line: exit codes, one-line errors, whole files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from commandline import PROMPT, QUICK, run
from processes import heed_interrupts

from videoada.config.mask import read_mask
from videoada.errors import ConfigError
from videoada.media.video import Video
from videoada.records.record import RunRecord


def test_a_video_with_its_record(tmp_path, capsys):
    output = tmp_path / "out.mkv"
    code, out, err = run(capsys, *QUICK, "--threshold", "0.5", "--json", "--output", str(output))
    assert code == 0
    [line] = out.splitlines()
    record = RunRecord.model_validate(json.loads(line))
    assert record == RunRecord.from_file(tmp_path / "out.json")
    assert Video.read(output).frames.shape == (4, 64, 64, 3)
    assert f"predictions {record.num_predictions}/6" in err
    assert "embedded" in err
    assert record.seconds["total"] > record.seconds["denoise"] > 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.json", "out.mkv"]


def test_a_prompt_is_text_not_markup(tmp_path, capsys):
    code, _, err = run(capsys, *QUICK[:2], "a [/red] [bold]zebra", *QUICK[3:], "--output", str(tmp_path / "[b].mp4"))
    assert code == 0
    assert "tiny-t2v has never seen: bold, zebra; none of its 29 words is near" in err
    assert (tmp_path / "[b].mp4").is_file()


def test_several_videos_take_the_following_seeds(tmp_path, capsys):
    code, out, err = run(
        capsys,
        *QUICK,
        "--policy",
        "none",
        "--num-videos",
        "2",
        "--json",
        "--quiet",
        "--output",
        str(tmp_path / "v.mkv"),
    )
    assert (code, err) == (0, "")
    assert [json.loads(line)["request"]["seed"] for line in out.splitlines()] == [3, 4]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["v-000.json", "v-000.mkv", "v-001.json", "v-001.mkv"]
    run(capsys, *QUICK, "--policy", "none", "--seed", "4", "--output", str(tmp_path / "w.mkv"))
    assert (Video.read(tmp_path / "w.mkv").frames == Video.read(tmp_path / "v-001.mkv").frames).all()


def test_a_mask_from_a_record_replays_the_run(tmp_path, capsys):
    run(capsys, *QUICK, "--threshold", "0.5", "--output", str(tmp_path / "a.mkv"))
    code, _, _ = run(
        capsys, *QUICK, "--policy", "mask", "--mask", str(tmp_path / "a.json"), "--output", str(tmp_path / "b.mkv")
    )
    assert code == 0
    assert (Video.read(tmp_path / "a.mkv").frames == Video.read(tmp_path / "b.mkv").frames).all()


@pytest.mark.parametrize("text", ["1,1,0,1", "1101", "1 1 0 1", "[1, 1, 0, 1]", "[true, true, false, true]"])
def test_masks_are_read_in_every_form(text, tmp_path):
    assert read_mask(text) == (True, True, False, True)
    (tmp_path / "mask.txt").write_text(text + "\n")
    assert read_mask(str(tmp_path / "mask.txt")) == (True, True, False, True)


@pytest.mark.parametrize("text", ["", "1,2", "yes", "[1, [0]]", "{}", "[1, 0", '{"computed": 3}', "\0"])
def test_what_is_no_mask(text):
    with pytest.raises(ConfigError, match="mask"):
        read_mask(text)


@pytest.mark.parametrize(
    ("args", "part"),
    [
        (["--prompt", " "], "prompt is empty"),
        (["--steps", "0"], "--steps: "),
        (["--threshold", "-1"], "threshold"),
        (["--threshold", "nan"], "threshold"),
        (["--threshold", "many"], "threshold"),
        (["--policy", "third-orde"], "did you mean 'third-order'"),
        (["--policy", "every-n", "--threshold", "0.1"], "has no --threshold"),
        (["--policy", "mask", "--mask", "110"], "3 entries but the run has 6"),
        (["--predictor", "guess"], "unknown predictor"),
        (["--scheduler", "pndm"], "more than once a step"),
        (["--scheduler", "ddmi"], "did you mean 'ddim'"),
        (["--model", "tiny-t3v"], "unknown model"),
        (["--height", "33"], "multiple of 8"),
        (["--device", "cuda:9"], "--device cpu"),
        (["--output", "clip.avi"], "end it in"),
        (["--output", "no/such/folder/clip.mp4"], "does not exist"),
        (["--frobnicate"], "No such option"),
        (["--num-videos", "0"], "num-videos"),
    ],
)
def test_bad_requests_are_one_line_and_write_nothing(args, part, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *QUICK, *args)
    assert code == 2
    assert out == ""
    [line] = [text for text in err.splitlines() if not text.startswith("model: ")]
    assert line.startswith("error: ")
    assert part in line
    assert list(tmp_path.iterdir()) == []


def test_help_and_version_need_no_torch(capsys):
    code = subprocess.run(
        [
            sys.executable, "-c",
            "import sys, videoada; assert not {'torch', 'diffusers', 'numpy', 'pydantic'} & set(sys.modules)\n"
            "from videoada.cli import main\n"
            "try: main(['generate', '--help'])\n"
            "except SystemExit as stop: assert not stop.code\n"
            "assert not {'torch', 'diffusers', 'transformers'} & set(sys.modules)",
        ],
        capture_output=True, text=True,
    )  # fmt: skip
    assert code.returncode == 0, code.stderr
    assert "--threshold" in code.stdout
    assert run(capsys, "--version")[1].startswith("videoada ")


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
@pytest.mark.parametrize("moment", ["importing", "loading", "denoising"])
def test_ctrl_c_leaves_no_partial_file(moment, tmp_path):
    process = subprocess.Popen(
        [
            sys.executable, "-X", "importtime" if moment == "importing" else "utf8", "-m", "videoada",
            "generate", "--prompt", PROMPT, "--steps", "900", "--output", "clip.mp4",
        ],
        cwd=tmp_path, stderr=subprocess.PIPE, text=True, preexec_fn=heed_interrupts,
    )  # fmt: skip
    if moment == "importing":
        while "typer" not in process.stderr.readline():
            pass
    elif moment == "denoising":
        assert "embedded" in process.stderr.readline()  # the model is loaded: the run begins
        time.sleep(1)
    else:
        time.sleep(4)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "interrupted" in err
    assert list(tmp_path.iterdir()) == []
