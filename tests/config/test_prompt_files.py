"""Prompt files as benchmarks, spreadsheets and other tools write them: entries read as meant, the rest listed."""

from __future__ import annotations

import codecs
import json
from pathlib import Path

import pytest

from videoada.config.columns import COLUMNS, OTHER_NAMES, SAMPLERS
from videoada.config.prompt_forms import BENCHMARKS, ENDINGS
from videoada.config.prompts import read_prompts, read_requests
from videoada.config.run import SCHEDULERS
from videoada.errors import PromptError

FILES = Path(__file__).parent / "prompt_files"
A, B = "a red circle moving right", "a blue square, growing; slowly"


def written(tmp_path, name, text, encoding="utf-8"):
    path = tmp_path / name
    path.write_bytes(text.encode(encoding) if isinstance(text, str) else text)
    return path


def fields_of(tmp_path, name, text, **options):
    return [entry.fields for entry in read_prompts(written(tmp_path, name, text, **options)).entries]


# ---- benchmarks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "entries", "unused"),
    [
        ("VBench_full_info.json", 6, ["the columns 'dimension', 'auxiliary_info' (5 of 6)"]),
        ("color.json", 2, ["the column 'color_en'"]),
        ("vbench2_i2v_full_info.json", 2, ["the columns 'dimension', 'image_type'"]),
        ("VBench2_full_info.json", 4, ["the columns 'dimension', 'auxiliary_info' (3 of 4)"]),
        ("VBench2_full_text_info.json", 2, ["the column 'dimension'"]),
        ("Instance_Preservation.json", 1, ["the columns 'dimension', 'auxiliary_info'"]),
        ("metadata.json", 3, ["the column 'attributes'"]),
        ("motion_binding.json", 2, ["the columns 'object_1', 'd_1', 'object_2' (1 of 2), 'd_2' (1 of 2)"]),
        ("action_binding.json", 1, ["the columns 'phrase_0', 'phrase_1'"]),
        ("dynamic_attribute_binding.json", 1, ["the columns 'state 0', 'state 1', 'tag'"]),
        ("all_dimension.txt", 2, ["1 line that begins with #"]),
    ],
)
def test_layouts_of_benchmarks(name, entries, unused):
    file = read_prompts(FILES / name)
    assert (len(file.entries), file.not_used) == (entries, unused)
    assert all(entry.fields["prompt"] for entry in file.entries)


def test_every_listed_benchmark_has_a_file():
    named = {Path(file).name for _, files, _, _ in BENCHMARKS for file in files.split(", ")}
    assert named <= {path.name for path in FILES.iterdir()}


def test_keys_are_ids_but_not_where_they_are_the_prompt():
    assert [entry.id for entry in read_prompts(FILES / "metadata.json").entries] == ["0000", "0001", "0002"]
    keyed = read_prompts(FILES / "VBench2_full_text_info.json").entries
    assert [entry.id for entry in keyed] == [None, None]
    assert [len(entry.fields["prompt"]) for entry in keyed] == [19, 311]
    assert [entry.line for entry in keyed] == [2, 9]


def test_images_of_vbench():
    images = [Path(entry.fields["image"]).name for entry in read_prompts(FILES / "vbench2_i2v_full_info.json").entries]
    assert images == ["a gray background.jpg", "a red circle.jpg"]


# ---- forms -----------------------------------------------------------------------------------------------------------

ROWS = [{"prompt": A, "seed": 7}, {"prompt": B, "seed": 8}]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.json", json.dumps(ROWS)),
        ("p.json", "[" + ",\n".join(map(json.dumps, ROWS)) + ",\n]"),
        ("p.json", "\n".join(map(json.dumps, ROWS))),  # JSON Lines, as data sets are often called
        ("p.json", json.dumps({"a": ROWS[0], "b": ROWS[1]})),
        ("p.json", json.dumps({A: {"seed": 7}, B: {"seed": 8}})),
        ("p.json", json.dumps({"prompts": ROWS})),
        ("p.json", json.dumps({"prompts": {"0": ROWS[0], "1": ROWS[1]}})),
        ("p.json", json.dumps({"circles": ROWS[:1], "squares": ROWS[1:]})),
        ("p.json", json.dumps({"prompt": {"0": A, "1": B}, "seed": {"0": 7, "1": 8}})),  # pandas
        ("p.json", json.dumps({"prompt": [A, B], "seed": [7.0, 8]})),
        ("p.jsonl", "\n".join(map(json.dumps, ROWS))),
        ("p.jsonl", json.dumps(ROWS, indent=1)),
        ("p.jsonl", json.dumps(ROWS)),
        ("p.csv", f'Prompt,SEED\n{A},7\n"{B}",8\n'),
        ("p.csv", f'prompt;seed\n{A};7\n"{B}";8.0\n'),
        ("p.csv", f"PROMPT\tSeed\n{A}\t7\n{B}\t8\n"),
        ("p.tsv", f"prompt\tseed\n{A}\t7\n{B}\t8\n"),
        ("p.csv", f'sep=;\nprompt;seed\n{A};7\n"{B}";8\n'),
        ("p.csv", f'\n"prompt","seed"\n"{A}","7.0"\n,\n"{B}","8e0"\n,\n'),
    ],
)
def test_forms_of_the_same_rows(tmp_path, name, text):
    assert fields_of(tmp_path, name, text) == ROWS


def test_one_entry_and_keyed_prompts(tmp_path):
    assert fields_of(tmp_path, "p.json", json.dumps(ROWS[0])) == ROWS[:1]
    file = read_prompts(written(tmp_path, "p.json", json.dumps({"x/1": A, "x/2": B})))
    assert [(entry.id, entry.fields["prompt"]) for entry in file.entries] == [("x/1", A), ("x/2", B)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "ascii"])
def test_encodings(tmp_path, encoding):
    text = f"prompt,seed\r\n{A},7\r\n" + ("" if encoding == "ascii" else '"un café, 日",8\r\n')
    rows = fields_of(tmp_path, "p.csv", text, encoding=encoding)
    assert rows[0] == ROWS[0]
    assert encoding == "ascii" or rows[1]["prompt"] == "un café, 日"


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ("a\nun café\n".encode("latin-1"), r"p.txt: line 2 is neither UTF-8 nor UTF-16 text \(byte 0xe9\)"),
        ("一个人在骑自行车".encode("gb18030"), "line 1 is neither UTF-8 nor UTF-16"),
        (codecs.BOM_UTF16_LE + "a cat".encode("utf-16-le")[:-1], "its UTF-16 text is damaged or cut off"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "is a Git LFS pointer"),
        (b"<!DOCTYPE html><html>", "is a web page"),
        (b"", "is empty"),
    ],
)
def test_bytes_that_are_no_text(tmp_path, data, problem):
    with pytest.raises(PromptError, match=problem):
        read_prompts(written(tmp_path, "p.txt", data))


def test_a_folder_and_what_is_not_there(tmp_path):
    for path, problem in (
        (tmp_path, "is a folder"),
        (tmp_path / "no.txt", "no.txt does not exist"),
        (Path("https://host/p.csv"), "https://host/p.csv is a URL, and URLs are not fetched"),
    ):
        with pytest.raises(PromptError, match=problem):
            read_prompts(path)


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("p.csv", f"prompt,seed,seed\n{A},1,2\n", "line 1: the column 'seed' stands twice"),
        ("p.csv", f'prompt,seed\n"{A},1\n{B},2\n', "line 2: a quote"),
        ("p.csv", f"prompt,steps,num_inference_steps\n{A},1,2\n", "line 2: the columns 'steps' and 'num_inf"),
        ("p.csv", f"prompt,size,width\n{A},64x32,32\n", "line 2: .* different things of the width: 64 and 32"),
        ("p.csv", f"prompt;cfg_scale\n{A};7,5\n", r"line 2: column 'cfg_scale': '7,5' is no number: .* as 7\.5"),
        ("p.csv", f"prompt,seed\n{A},42.5\n", "column 'seed': '42.5' is no whole number"),
        ("p.csv", f"prompt,seed\n{A},1.8446744073709552e+19\n", "too large to be exact"),
        ("p.csv", f"prompt,seed\n{A},1_000\n", "'1_000' is no number"),
        ("p.csv", f"prompt,seed\n{A},1e999999999\n", "is no number"),
        ("p.csv", f"prompt,resolution\n{A},720p\n", "give the size as WIDTHxHEIGHT"),
        ("p.jsonl", f'{{"prompt": "{A}", "resolution": [320, 512]}}', "give the size as WIDTHxHEIGHT"),
        ("p.jsonl", f'{{"prompt": "{A}", "seed": 1, "seed": 2}}', "line 1: the key 'seed' stands twice"),
        ("p.jsonl", f'"{A}"\n{{"prompt": "{B}", "seed": 1, "seed": 2}}', "line 2: the key 'seed' stands twice"),
        ("p.json", '[{"prompt": "\\ud800"}]', "line 1: the prompt holds half a character"),
        ("p.json", f'[\n"{A}",\n"{B}"', "line 3: the list that begins in line 1 is not closed"),
        ("p.json", f'["{A}" "{B}"]', "line 1: a comma is missing"),
        ("p.json", '{"prompt": ["a", "b"], "seed": [1]}', "not of the same entries: 2 and 1"),
        ("p.json", '{"prompt": ["a", "b"], "seed": 1}', "the column 'seed' does not hold a list"),
        ("p.json", f'[{{"prompt": "{A}", "seed": {"9" * 5000}}}]', "line 1: it holds a number of too many digits"),
        ("p.json", '{"0": 1, "1": 2}', "line 1: it has no prompt"),
        ("p.csv", f"prompt,image\n{A},https://host/a.png\n", "line 2: the image https://host/a.png is a URL"),
    ],
)
def test_what_can_have_two_meanings_is_refused(tmp_path, name, text, problem):
    with pytest.raises(PromptError, match=problem) as caught:
        read_prompts(written(tmp_path, name, text))
    assert str(caught.value).startswith(str(tmp_path / name))


# ---- columns ---------------------------------------------------------------------------------------------------------


def test_columns_of_other_tools(tmp_path):
    text = (
        "Prompt,Negative,Cfg-Scale,Sampler,Resolution,num_inference_steps,FPS,frames,Random Seed\n"
        f"{A},blurry,7.5,Euler a,96x64,20.0,23.976,8.0,3\n"
    )
    assert fields_of(tmp_path, "p.csv", text) == [{
        "prompt": A, "negative_prompt": "blurry", "guidance_scale": 7.5, "scheduler": "euler-a", "width": 96,
        "height": 64, "steps": 20, "fps": 23.976, "num_frames": 8, "seed": 3,
    }]  # fmt: skip


def test_other_names_stand_for_columns():
    assert set(OTHER_NAMES.values()) <= set(COLUMNS)
    assert set(SAMPLERS.values()) <= set(SCHEDULERS)
    assert set(ENDINGS) == {".txt", ".csv", ".tsv", ".jsonl", ".json"}


def test_what_pandas_leaves_empty_says_nothing(tmp_path):
    rows = fields_of(tmp_path, "p.json", f'[{{"prompt": "{A}", "seed": NaN, "steps": null, "image": ""}}]')
    assert rows == [{"prompt": A}]
    file = read_prompts(written(tmp_path, "p.csv", f',prompt,seed\n0,{A},42.0\n1,"{B}",\n'))
    assert [entry.fields for entry in file.entries] == [{"prompt": A, "seed": 42}, {"prompt": B}]
    assert file.not_used == ["the column without a name"]


@pytest.mark.parametrize(
    "name",
    ["prompt_cn", "prompt_id", "prompt_2", "caption", "weight", "model", "prediction", "image_id", "num_images", "tag",
     "video_path", "video_length", "video_id", "style", "stepwise", "sizes_ok", "seeded", "hash", "file"],
)  # fmt: skip
def test_other_columns_are_listed_and_refuse_nothing(tmp_path, name):
    file = read_prompts(written(tmp_path, "p.csv", f"prompt,{name},seed\n{A},x,1\n{B.split(',')[0]},,2\n"))
    assert file.entries[0].fields == {"prompt": A, "seed": 1}
    assert file.not_used == [f"the column '{name}' (1 of 2)"]


def test_a_slip_is_refused_only_where_what_it_means_is_missing(tmp_path):
    with pytest.raises(PromptError, match="line 2: unknown key 'sed'; did you mean 'seed'"):
        read_prompts(written(tmp_path, "p.csv", f"prompt,sed\n{A},1\n"))
    assert read_prompts(written(tmp_path, "p.csv", f"prompt,sed,seed\n{A},1,2\n")).not_used == ["the column 'sed'"]


def test_everything_left_out_is_listed(tmp_path):
    text = json.dumps({"version": 2, "animals": ["a cat"], "things": ["a cup"], "notes": "none"})
    assert read_prompts(written(tmp_path, "p.json", text)).not_used == [
        "the key 'version', which holds no list of prompts", "the key 'notes', which holds no list of prompts",
        "the names of the lists ('animals', 'things')",
    ]  # fmt: skip
    text = json.dumps({"version": 2, "0": {"prompt": A}})
    assert read_prompts(written(tmp_path, "p.json", text)).not_used == ["the key 'version', which holds no entry"]
    text = f"# one\n{A}\n  # two\n"
    heard = []
    assert len(read_requests(written(tmp_path, "p.txt", text), on_message=heard.append)) == 1
    assert heard == ["not used of p.txt: 2 lines that begin with #"]
    file = read_prompts(written(tmp_path, "p.csv", f"prompt,x\n{A},1\n,\n"))
    assert file.not_used == ["the column 'x'", "1 row with nothing in it"]
