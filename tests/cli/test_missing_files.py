"""Every option and argument that takes a file or a folder says that it is missing, or a folder where a file is meant.

The list is made from the commands themselves: a new option that takes a path is tried as well.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pytest
from commandline import run

from videoada.cli.app import app
from videoada.cli.options import flag_of
from videoada.config.settings import RunSettings
from videoada.media.video import Video

# What each command needs beside the option that is tried; {here} holds videos, prompts and an empty folder.
COMMANDS = {
    "generate": ["--prompt", "a red circle", "--steps", "3", "--num-frames", "2", "--output", "{here}/made.mkv"],
    "render": ["{here}/p.txt", "--out", "{here}/out", "--steps", "3", "--num-frames", "2"],
    "evaluate": ["--generated", "{here}/videos", "--reference", "{here}/videos", "--metrics", "fvd"],
    "calibrate": ["--prompts", "{here}/p.txt", "--target-psnr", "30", "--output", "{here}/made.yaml"],
    "analyse": ["--prompts", "{here}/p.txt", "--output", "{here}/out"],
    "benchmark": ["--prompts", "{here}/p.txt"],
    "check": ["{here}/videos"],
    "verdict": ["{here}/videos", "{here}/videos"],
    "inspect": ["{here}/videos/0.mkv"],
    "report": ["{here}/videos", "--output", "{here}/made.html"],
    "status": ["{here}/videos"],
    "ui": ["{here}/folder", "--no-open", "--port", "0"],
    "exits": ["all", "--run", "{here}/run", "--out", "{here}/made.safetensors"],
    "steps": ["all", "--run", "{here}/run", "--out", "{here}/made.safetensors"],
}
# Text that names a file or folder, though its type does not say so.
TEXTS = ("model", "image", "video", "mask", "exit_heads", "step_policy", "lora", "extractor", "frame_model", "scorer")
SETTINGS = {name for name in RunSettings.model_fields if name in TEXTS}
MADE = {("render", "out"), ("analyse", "output"), ("exits", "run"), ("steps", "run"), ("steps", "results")}  # folders
MADE |= {("benchmark", "output"), ("exits", "out"), ("steps", "out"), ("work", "folder"), ("ui", "folder")}
ELSE = {  # what goes with an option, and what does not
    "step_policy": (["--steps", "auto"], ["--steps"]), "from_record": ([], ["--prompt", "--steps", "--num-frames"]),
    "reference_stats": ([], ["--reference"]), "save_stats": ([], []), "evaluation": ([], ["{here}/videos"]),
    "lora": ([], []), "scorer": (["--quality", "score"], []), "calibration_prompts": (["--preset", "adaptivity"], []),
}  # fmt: skip


def commands():
    for typer_app in (app, *(group.typer_instance for group in app.registered_groups)):
        for command in typer_app.registered_commands:
            yield command.callback.__name__, command.callback


def path_options():
    for name, callback in commands():
        hints = get_type_hints(callback, include_extras=True) if not hasattr(callback, "__signature__") else {
            p.name: p.annotation for p in inspect.signature(callback).parameters.values()
        }  # fmt: skip
        for parameter in inspect.signature(callback).parameters.values():
            kind = hints[parameter.name]
            if parameter.name in TEXTS or _is_path(kind):
                made = next(p for p in get_args(kind) if hasattr(p, "param_decls"))
                yield name, parameter.name, type(made).__name__ == "ArgumentInfo", (*(made.param_decls or ()), None)[0]


def _is_path(kind):
    return kind is Path or any(_is_path(part) for part in get_args(kind))


OPTIONS = [option for option in path_options() if option[:2] not in MADE]


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    where = tmp_path_factory.mktemp("here")
    (where / "p.txt").write_text("a red circle\na blue square\na green triangle\n")
    (where / "folder").mkdir()
    (where / "videos").mkdir()
    for i in range(2):
        frames = np.random.default_rng(i).integers(0, 255, (4, 32, 32, 3), dtype=np.uint8)
        Video(frames, 8).write(where / "videos" / f"{i}.mkv")
    return where


def asked(here, command, option, argument, flag, value):
    args = [part.format(here=here) for part in COMMANDS[command]]
    more, less = ELSE.get(option, ([], []))
    less = [part.format(here=here) for part in less]
    flag = flag or flag_of(option)
    if argument and option != "videos":
        args = args[1:]
    elif argument:
        args = [part for part in args if part != f"{here}/videos"]
    for other in (flag, *less):
        if other in args:
            at = args.index(other)
            del args[at : at + (2 if other.startswith("--") else 1)]
    group = ["train"] if command in ("exits", "steps") else []
    head = args[:1] if group else []
    given = [value] if argument else [flag, value]
    return [*group, command, *head, *given, *args[len(head) :], *more]


def test_the_options_are_all_there():
    assert {command for command, *_ in OPTIONS} == set(COMMANDS)
    assert len(OPTIONS) > 50


@pytest.mark.parametrize(("command", "option", "argument", "flag"), OPTIONS, ids=lambda value: str(value))
def test_what_is_missing_is_said_and_nothing_written(command, option, argument, flag, here, capsys):
    ending = {"lora": ".safetensors", "prompts": ".txt", "images": "", "generated": "", "reference": "", "output": {
        "calibrate": ".yaml", "report": ".html", "evaluate": ".json", "generate": ".mkv",
        "verdict": ".json"}.get(command, ""),
        "report": ".html", "save_stats": ".safetensors", "evaluation": ".json"}.get(option, ".safetensors")  # fmt: skip
    missing = f"{here}/no/such{ending}"
    before = sorted(here.rglob("*"))
    code, _, err = run(capsys, *asked(here, command, option, argument, flag, missing))
    last = err.strip().splitlines()[-1]
    assert (code, last.startswith("error: ")) == (2, True), err
    if option == "video" and command in ("benchmark", "calibrate"):  # the embedded models take none
        assert "takes no video" in last
        return
    assert f"{here}/no" in last or option == "scorer", err
    said = ("make it first", "does not exist", "there is no ", "make its folder first", "no module named")
    assert any(words in last.lower() for words in said), err
    assert sorted(here.rglob("*")) == before
