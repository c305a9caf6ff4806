"""Names of rendered videos: VBench's own, told apart as the folder's file system tells them apart."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from commandline import command

from videoada.config.prompts import read_entries
from videoada.config.settings import RunSettings
from videoada.errors import PromptError
from videoada.files import FileNames, folded
from videoada.rendering.jobs import plan_jobs
from videoada.rendering.naming import vbench_name
from videoada.rendering.plan import plan_render

FILES = Path(__file__).parents[1] / "config" / "prompt_files"
A, B = "a red circle moving right", "a blue square growing"
FEW = ("--steps", "2", "--num-frames", "4", "--json")


def tells_case(folder):
    (folder / "case").touch()
    return not (folder / "CASE").exists()


def expected(name):
    """The names that VBench's loader looks for, one video of each prompt."""
    rows = json.loads((FILES / name).read_text(encoding="utf-8"))
    return [f"{row['prompt_en'][: 180 if '2_full' in name else None]}-0" for row in rows]


@pytest.mark.parametrize(
    "name", ["VBench_full_info.json", "VBench2_full_info.json", "color.json", "Instance_Preservation.json"]
)
def test_names_of_benchmarks(tmp_path, name):
    jobs = plan_render(FILES / name, tmp_path / "out", naming="vbench").jobs
    assert {job.name for job in jobs if job.name.endswith("-0")} == set(expected(name))


def test_vbench_is_rendered_with_its_own_names(tmp_path, monkeypatch):
    if not tells_case(tmp_path):
        pytest.skip("this file system does not tell case apart")
    monkeypatch.chdir(tmp_path)
    out = Path("12:30")
    done = command(
        "render", FILES / "VBench_full_info.json", "--out", out, "--naming", "vbench", "--batch-size", "6", *FEW
    )
    assert {path.name for path in out.glob("*.mp4")} == {
        f"{name}.mp4" for name in expected("VBench_full_info.json")
    } | {"a blue square growing-1.mp4"}
    assert {"A navy background-0.mp4", "a navy background-0.mp4"} <= set(os.listdir(out / "videos"))
    summary = json.loads(done.stdout)
    assert summary["not_used"] == ["the columns 'dimension', 'auxiliary_info' (5 of 6)"]
    lines = done.stderr.splitlines()
    assert lines[0] == "not used: the columns 'dimension', 'auxiliary_info' (5 of 6)"
    assert lines[1].startswith("note: entries that repeat the prompt of another: 1;")
    assert lines[2].startswith("6 videos, 0 of them there")
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".videoada-")]


def test_a_case_pair_where_case_is_not_told_apart_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(FileNames, "apart", lambda self, name, other: folded(name) != folded(other))
    with pytest.raises(PromptError, match=r"line 37: .* does not tell from 'A navy background-0', as that of line"):
        plan_render(FILES / "VBench_full_info.json", tmp_path / "out", naming="vbench")


def test_ids_are_told_apart_by_the_file_system(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text(f"prompt,id\n{A},x\n{B},X\n{A} slowly,e\u0301\n{B} slowly,\u00e9\n")
    with FileNames(tmp_path) as names:
        apart = names.apart("x", "X") and names.apart("e\u0301", "\u00e9")
    if not apart:
        pytest.skip("this file system does not tell them apart")
    assert [job.name for job in plan_render(path, tmp_path / "out").jobs] == ["x", "X", "e\u0301", "\u00e9"]
    with pytest.raises(PromptError, match="line 3"):  # without a folder, whatever any file system tells apart
        plan_jobs(read_entries(path), RunSettings(), source=path)
    path.write_text(f"prompt,id\n{A},x/y\n{B},X\n")
    assert len(plan_render(path, tmp_path / "out", format="frames").jobs) == 2
    path.write_text(f"prompt,id\n{A},x/y\n{B},x\n")
    with pytest.raises(PromptError, match="inside those of 'x'"):
        plan_render(path, tmp_path / "out", format="frames")


def test_a_name_that_the_file_system_refuses_is_known_before(tmp_path, monkeypatch):
    refused = "the file system can't hold this name (Invalid argument)"
    monkeypatch.setattr(FileNames, "problem", lambda self, name: refused if ":" in name else None)
    path = tmp_path / "p.csv"
    path.write_text(f"prompt,id\n{A},12:30\n")
    with pytest.raises(PromptError, match="line 2: its video can't be named '12:30': the file system can't hold"):
        plan_render(path, tmp_path / "out")
    path.write_text(f"prompt\n{A}: slowly\n{B}\n")
    plan = plan_render(path, tmp_path / "out", naming="vbench")
    assert [job.name.startswith("a-red-circle") for job in plan.jobs] == [True, False]
    [note] = plan.notes
    assert note.startswith("prompts that can't be names of files here: 1; their videos are named by slug")
    assert f"'{A}: slowly'" in note


def test_long_prompts_take_the_first_letters_as_vbench_2_has_them():
    assert vbench_name("x" * 210, 0) == "x" * 210 + "-0"
    assert vbench_name("x" * 300, 2) == "x" * 180 + "-2"
    assert vbench_name("é" * 180, 0) is None  # 360 bytes


def test_images_that_nothing_asks_for_are_listed(tmp_path):
    path = tmp_path / "p.txt"
    path.write_text(A)
    plan = plan_render(path, tmp_path / "out", images=tmp_path)
    assert plan.not_used == (f"`images={tmp_path}`: no entry names an image",)


def test_what_is_not_used_is_said_before_a_trial_run(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text(f"prompt,style,eta\n{A},oil,0.5\n")
    heard = []
    plan_render(path, tmp_path / "out").report(heard.append)
    assert heard == ["not used: the columns 'style', 'eta'"]
