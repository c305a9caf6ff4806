"""Prompt files in every form, their names, seeds and jobs; without any model."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from commandline import run
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from videoada.config.prompts import read_entries
from videoada.config.settings import RunSettings
from videoada.errors import ConfigError, PromptError
from videoada.rendering.jobs import batches, plan_jobs, shard
from videoada.rendering.naming import check_id, slug, vbench_name

A, B = "a red circle moving right on a black background", "a blue square growing on a navy background"


def write(tmp_path, name, text):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def jobs_of(path, settings=None, **options):
    return plan_jobs(read_entries(path), settings or RunSettings(), source=path, **options)


# ---- forms -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.txt", f"{A}\n\n  {B}  \n"),
        ("p.txt", f"\ufeff{A}\r\n\r\n{B}\r\n"),  # as Windows writes it
        ("p.txt", f"{A}\r{B}"),
        ("p.csv", f"prompt,seed\n{A},\n{B},\n"),
        ("p.csv", f'note,prompt_en\n"one, ""two""","{A}"\nx,"{B}"\n'),
        ("p.jsonl", f'{{"prompt": "{A}"}}\n\n"{B}"\n'),
        ("p.json", json.dumps([{"prompt_en": A, "dimension": ["color"], "auxiliary_info": {"color": "red"}},
                               {"prompt_en": B, "dimension": []}], indent=4)),  # VBench
        ("p.json", json.dumps([{"prompt": A, "object_1": "circle", "d_1": "right"}, {"prompt": B}])),  # T2V-CompBench
    ],
)  # fmt: skip
def test_forms(tmp_path, name, text):
    assert [row.fields["prompt"] for row in read_entries(write(tmp_path, name, text))] == [A, B]


def test_a_prompt_may_hold_odd_separators(tmp_path):
    [row] = read_entries(write(tmp_path, "p.txt", "one\u2028two\x0bthree\n"))
    assert row.fields["prompt"] == "one\u2028two\x0bthree"


def test_vbench_i2v_images(tmp_path):
    rows = [
        {"prompt_en": "a town", "dimension": ["i2v_background"], "image_type": "x", "image_name": "a town.jpg"},
        {"prompt_en": "a town, camera pans left", "dimension": ["camera_motion"], "image_type": "x"},
    ]
    path = write(tmp_path, "v.json", json.dumps(rows))
    assert {row.fields["image"] for row in read_entries(path, tmp_path / "crop")} == {str(tmp_path / "crop/a town.jpg")}


def test_overrides(tmp_path):
    path = write(
        tmp_path,
        "p.csv",
        f"prompt,seed,steps,size,quality,negative_prompt,id\n{A},7,12,96x64,fast,red,first\n{A},,,,,,\n",
    )
    first, second = jobs_of(path, RunSettings(steps=30, tolerance=0.01))
    request = first.request
    assert (request.seed, request.num_inference_steps, request.width, request.height) == (7, 12, 96, 64)
    assert (request.negative_prompt, first.name, first.skip.tolerance) == ("red", "first", 0.12)
    assert (second.request.num_inference_steps, second.request.width, second.skip.tolerance) == (30, None, 0.01)
    assert second.name == "0001"


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("p.txt", "", r"p.txt is empty \(0 bytes\)"),
        ("p.txt", "\n# a comment\n", "holds no prompts: 1 line that begins with #"),
        ("p.txt", b"\xff\xfe\x00", "can't read prompts"),
        ("p.txt", f"{A}\nx\0y\n", "line 2: the prompt holds a NUL"),
        ("p.doc", A, "can't tell the form"),
        ("p.csv", f"{A}\n{B}\n", "line 1: a CSV file begins with the names"),
        ("p.csv", f'prompt,seed\n"{A}\n, more",x\n', "line 2: column 'seed': 'x' is no number"),
        ("p.csv", f'prompt,seed\n"{A}\nmore",1\n{B},1.5\n', "line 4: column 'seed'"),
        ("p.csv", f"prompt,seed\n{A},1,2\n", "line 2: it has more cells"),
        ("p.csv", f"prompt,sed\n{A},1\n", "did you mean 'seed'"),
        ("p.csv", f"prompt,steps\n{A},0\n", "line 2: --steps: "),
        ("p.csv", f"prompt,size\n{A},big\n", "line 2: column 'size': give the size as WIDTHxHEIGHT"),
        ("p.csv", f"prompt,quality\n{A},best\n", "line 2: unknown quality"),
        ("p.csv", f"prompt,image\n{A},no.png\n", "line 2: the image .*no.png does not exist"),
        ("p.csv", f"prompt,quality,tolerance\n{A},fast,0.1\n", "line 2: .*say the same thing"),
        ("p.csv", f"prompt,id\n{A},render\n", "line 2: the id 'render' is the name of a file"),
        ("p.csv", f"prompt,id\n{A},{'a/' * 600}b\n", "line 2: the id .* is too long for a path"),
        ("p.csv", f"prompt,height\n{A},101\n", "line 2: height 101 is not a multiple of 8"),
        ("p.jsonl", f'"{A}"\n{{"prompt": 3}}\n', "line 2: column 'prompt': '3' is no text"),
        ("p.jsonl", f'"{A}"\n\n{{\n', "line 3"),
        ("p.jsonl", '{"seed": 3}', "line 1: it has no prompt"),
        ("p.jsonl", '{"prompt": " "}', "line 1: the prompt is empty"),
        ("p.jsonl", '{"prompt": "x", "seed": true}', "no whole number"),
        ("p.jsonl", '{"prompt": "x", "seed": 1e400}', "line 1: column 'seed': 'inf' is no whole number"),
        ("p.json", '{"seed": 3}', "line 1: it has no prompt"),
        ("p.json", '[\n {"prompt": "x"},\n {"prompt": ""}\n]', "line 3: the prompt is empty"),
        ("p.json", '[\n {"prompt": "x"},\n {"prompt"\n]', "line 4"),
        ("p.json", '["x", "y"', "line 1"),
        ("p.json", '["x"]\n["y"]', "line 2: after the list comes"),
        ("p.json", "[" * 100_000, "nested too deeply"),
        ("p.csv", f"prompt,id\n{A},../x\n", "line 2: the id"),
        ("p.csv", f"prompt,id\n{A},x\n{B},x\n", "line 3: its video would be named 'x', as that of line 2"),
    ],
)  # fmt: skip
def test_bad_files_are_told_with_their_line(tmp_path, capsys, name, text, problem):
    path = write(tmp_path, name, text)
    code, _, err = run(capsys, "render", str(path), "--out", str(tmp_path / "out"))
    assert (code, err.count("\n")) == (2, 1)
    assert re.search(problem, err), err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_hundred_thousand_rows_stay_small(tmp_path):
    path = write(
        tmp_path, "p.csv", "prompt,seed,steps\n" + "".join(f"prompt {i},{i},{20 + i % 9}\n" for i in range(10**5))
    )
    code = (
        "import psutil, sys\nfrom videoada.config.prompts import read_entries\n"
        "from videoada.config.settings import RunSettings\nfrom videoada.rendering.jobs import plan_jobs\n"
        f"rows = read_entries({str(path)!r})\njobs = plan_jobs(rows, RunSettings())\nassert len(jobs) == 10**5\n"
        "assert 'torch' not in sys.modules\nprint(psutil.Process().memory_info().rss)"
    )
    peak = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert int(peak) < 500e6


# ---- seeds and names -------------------------------------------------------------------------------------------------


def seeds(path, **options):
    return {(job.request.prompt, job.sample): job.request.seed for job in jobs_of(path, **options)}


def test_a_rows_seed_is_of_its_content_and_the_base_seed(tmp_path):
    both = seeds(write(tmp_path, "p.txt", f"{A}\n{B}\n"), samples_per_prompt=2)
    assert seeds(write(tmp_path, "q.txt", f"{B}\nanother\n{A}\n"), samples_per_prompt=2).items() >= both.items()
    assert both[A, 1] == both[A, 0] + 1
    later = seeds(write(tmp_path, "p.txt", f"{A}\n{B}\n"), settings=RunSettings(seed=5))
    assert later == {key: seed + 5 for key, seed in both.items() if key[1] == 0}
    assert len({job.request.seed for job in jobs_of(write(tmp_path, "p.txt", f"{A}\n" * 20))}) == 20
    assert (
        seeds(write(tmp_path, "p.txt", f"{A}\n{B}\n"), settings=RunSettings(negative_prompt="x")).items()
        <= both.items()
    )
    mixed = jobs_of(write(tmp_path, "p.csv", f"prompt,steps\n{A},9\n{A},8\n"))  # the same in other numbers of steps
    assert [job.request.seed for job in mixed] == [both[A, 0]] * 2
    assert len({job.name for job in plan_jobs(read_entries(tmp_path / "p.csv"), RunSettings(), naming="slug")}) == 2


def test_what_shapes_a_video_changes_its_hash(tmp_path):
    path = write(tmp_path, "p.txt", A)
    hashes = {
        jobs_of(path, RunSettings(**settings), **options)[0].sha256
        for settings, options in [
            ({}, {}), ({"steps": 20}, {}), ({"quality": "fast"}, {}), ({"seed": 1}, {}), ({"model": "x"}, {}),
            ({"negative_prompt": "x"}, {}), ({"dtype": "float16"}, {}), ({}, {"format": ".mkv"}), ({"fps": 9}, {}),
        ]
    }  # fmt: skip
    assert len(hashes) == 9
    same = jobs_of(path, RunSettings(batch_size=4, device="cpu", decode_chunk_size=2, offload="model"))[0].sha256
    assert same in hashes


def test_an_image_is_known_by_its_content(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    path = write(tmp_path, "p.csv", f"prompt,image\n{A},a.png\n")
    before = jobs_of(path)[0]
    Image.new("RGB", (8, 8), "red").save(tmp_path / "a.png")
    after = jobs_of(path)[0]
    assert before.sha256 != after.sha256
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(PromptError, match=r"line 2: .* is no PNG"):
        jobs_of(path)


@given(st.text(max_size=300))
def test_ids_stay_inside_the_folder(text):
    try:
        name = check_id(text)
    except ValueError:
        return
    path = Path("/out") / f"{name}.mp4"
    assert not {"", ".", ".."} & set(name.split("/"))
    assert "\0" not in name
    assert path.is_relative_to("/out")
    assert all(len(part.encode()) <= 255 for part in path.parts)


@pytest.mark.parametrize(
    "bad", ["", ".", "..", "../x", "/etc/x", "a//b", "a/../b", "x\0", "x\n", ".hidden", "a\\b", "é" * 200, "/"]
)
def test_bad_ids(bad):
    with pytest.raises(ValueError, match="the id"):
        check_id(bad)


def test_good_ids():
    assert [check_id(x) for x in ("0001.mp4", "color/0001", "🙂", "a b")] == ["0001", "color/0001", "🙂", "a b"]


@given(st.text(min_size=1, max_size=400))
def test_slugs_are_plain(prompt):
    name = slug(prompt, "0123456789")
    assert name.endswith("01234567")
    assert not set(name) & set("/\\. \0\n")
    assert len(name.encode()) < 240


def test_naming(tmp_path):
    long = "x" * 300
    path = write(tmp_path, "p.jsonl", "\n".join(json.dumps(p) for p in (A, "a/b", long, A)))
    by_place = [job.name for job in jobs_of(path, samples_per_prompt=2)]
    assert by_place == [f"{i:04d}{end}" for i in range(4) for end in ("", "-1")]
    names = [job.name for job in jobs_of(path, naming="vbench", samples_per_prompt=2)]
    assert names[:2] + names[6:] == [f"{A}-{i}" for i in range(4)]  # the second A's are further samples
    assert all("/" not in name and len(name.encode()) < 200 for name in names[2:6])
    assert vbench_name("a/b", 0) is None
    slugs = [job.name for job in jobs_of(path, naming="slug")]
    assert slugs[0].startswith("a-red-circle-moving-right-on-a-black-background-")
    assert len(set(slugs)) == 4
    reordered = write(tmp_path, "q.txt", f"{long}\n{A}\n")
    assert jobs_of(reordered, naming="slug")[1].name == slugs[0]


def test_frames_of_one_are_not_inside_anothers(tmp_path):
    path = write(tmp_path, "p.csv", f"prompt,id\n{A},x/y\n{B},x\n")
    with pytest.raises(PromptError, match="line 2: its frames would be inside those of 'x'"):
        jobs_of(path, format="")
    assert len(jobs_of(path)) == 2


def test_columns_without_a_name_are_left_unread(tmp_path):
    pandas = write(tmp_path, "p.csv", f",prompt\n0,{A}\n1,{B}\n")
    assert [row.fields for row in read_entries(pandas)] == [{"prompt": A}, {"prompt": B}]
    assert [row.fields for row in read_entries(write(tmp_path, "q.csv", f"prompt,\n{A},\n"))] == [{"prompt": A}]


def test_whole_batch_rules_are_refused(tmp_path):
    with pytest.raises(PromptError, match="who is generated together would change the videos"):
        jobs_of(write(tmp_path, "p.txt", A), RunSettings(batch_decision="mean"))


def test_shards_and_batches(tmp_path):
    path = write(tmp_path, "p.csv", "prompt,steps\n" + "".join(f"p{i},{10 + i % 2}\n" for i in range(9)))
    jobs = jobs_of(path)
    parts = [shard(jobs, i, 4) for i in (1, 2, 3, 4)]
    assert sorted(job.name for part in parts for job in part) == sorted(job.name for job in jobs)
    for index, count in ((0, 4), (5, 4)):
        with pytest.raises(ConfigError, match="the first part is 1/4"):
            shard(jobs, index, count)
    found = batches(jobs, 4)
    assert sorted(len(batch) for batch in found) == [1, 4, 4]
    assert all(len({job.request.num_inference_steps for job in batch}) == 1 for batch in found)


@pytest.mark.parametrize(
    ("fields", "sha256", "same"),
    [
        ({}, "bd35dacd2f6ea521b243a76090fbabbf6c8d91fa601e0197c0d932580c1514a6", True),
        ({"quality": "fast", "seed": 7}, "03ee52fd8cc59c2aa118ec37f6a395a6a0f5b8e010cfdbfe42c339e29c9b89ac", True),
        ({"codec": "vp9"}, "bd35dacd2f6ea521b243a76090fbabbf6c8d91fa601e0197c0d932580c1514a6", False),
        ({"warmup_steps": 3}, "bd35dacd2f6ea521b243a76090fbabbf6c8d91fa601e0197c0d932580c1514a6", False),
    ],
)
def test_hashes_of_folders_that_were_rendered_before_stay(fields, sha256, same, tmp_path):
    """These are of before codecs, shares of the steps, strengths and LoRA files: such a folder is gone on with."""
    entries = read_entries(write(tmp_path, "p.txt", f"{A}\n"))
    [job] = plan_jobs(entries, RunSettings(**fields))
    assert (job.sha256 == sha256) == same
