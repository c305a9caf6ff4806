"""videoada models NAME: what a model understands; and prompts that an embedded model does not know, on the terminal."""

from __future__ import annotations

import json

import pytest
from commandline import run

from videoada.models.catalogue import KNOWN
from videoada.models.vocabulary import vocabulary_of


def test_one_model_with_all_its_subjects(capsys):
    code, out, err = run(capsys, "models", "emoji-t2v")
    assert (code, err) == (0, "")
    assert "emoji-t2v: text to video, 128×128, 16 frames, MIT, embedded" in out
    assert "--steps 50 --guidance-scale 6 --num-frames 16 --fps 8" in out
    assert "SUBJECT on a BACKGROUND background, such as: aerial tramway on a white background" in out
    assert "SUBJECT: 732\n" in out
    emoji = vocabulary_of("emoji-t2v")
    for entry in (*emoji.subjects, *emoji.backgrounds):
        assert f"{entry} " in out or f"{entry}\n" in out
    [line] = run(capsys, "models", "emoji-t2v", "--json")[1].splitlines()
    entry = json.loads(line)
    assert entry["subjects"] == list(emoji.subjects)
    assert entry["backgrounds"] == list(emoji.backgrounds)
    assert (entry["guidance_scale"], entry["cached"], entry["form"]) == (6.0, True, emoji.form)


def test_the_recommended_settings_are_options_of_generate(capsys):
    for model in KNOWN.values():
        out = run(capsys, "models", model.name)[1]
        [line] = (line for line in out.splitlines() if "recommended: " in line)
        flags = line.partition("recommended: ")[2].split()
        code, shown, _ = run(capsys, "generate", "--prompt", "x", *flags, "--print-config", "--output", "v.mp4")
        assert code == 0
        assert f"guidance_scale: {model.guidance_scale}" in shown


def test_search(capsys):
    out = run(capsys, "models", "emoji-t2v", "--search", "cat")[1]
    assert "SUBJECT: 11 of 732" in out
    assert "weary cat" in out
    assert "dog" not in out
    assert "BACKGROUND:" not in out
    out = run(capsys, "models", "emoji-t2v", "--search", "elefant [b]")[1]
    assert "nothing has words that begin with 'elefant [b]'; nearest: elephant" in out
    entry = json.loads(run(capsys, "models", "emoji-t2v", "--search", "wom danc", "--json")[1])
    assert (entry["subjects"], entry["backgrounds"]) == (["woman dancing"], [])


def test_the_grammar_of_the_shapes(capsys):
    out = run(capsys, "models", "tiny-i2v")[1]
    assert "a COLOUR SHAPE MOTION [SPEED] [and …] on a BACKGROUND background" in out
    assert "such as: a red circle moving right on a black background" in out
    assert "SHAPE: 3\ncircle  square  triangle" in out
    entry = json.loads(run(capsys, "models", "tiny-t2v", "--json")[1])
    assert entry["speeds"] == ["slowly", "quickly"]


def test_a_model_that_takes_any_text_and_the_list(capsys):
    out = run(capsys, "models", "ali-vilab/i2vgen-xl")[1]
    assert "from ali-vilab/i2vgen-xl" in out
    assert "prompts: any text" in out
    assert "subjects" not in json.loads(run(capsys, "models", "i2vgen-xl", "--json")[1])
    assert "`videoada models NAME` shows which prompts" in run(capsys, "models")[1]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["emoji"], "unknown model 'emoji'; did you mean 'emoji-t2v'? choose tiny-t2v, tiny-i2v, emoji-t2v, tiny-wan"),
        (["tiny"], "did you mean 'tiny-wan' or 'tiny-t2v'?"),
        (["quokka", "--json"], "unknown model 'quokka'; choose tiny-t2v"),
        (["--search", "cat"], "--search cat needs the name of a model"),
        (["i2vgen-xl", "--search", "cat"], "no list for --search cat"),
    ],
)
def test_errors_of_one_line(capsys, args, message):
    code, out, err = run(capsys, "models", *args)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1


def test_a_combination_that_it_does_not_know_is_a_warning_on_the_terminal_and_in_json(tmp_path, capsys):
    code, out, err = run(
        capsys, "generate", "--model", "emoji-t2v", "--prompt", "a panda dancing", "--steps", "2", "--num-frames", "1",
        "--json", "--output", str(tmp_path / "v.mkv"),
    )  # fmt: skip
    assert code == 0
    expected = "emoji-t2v knows no 'panda dancing'; nearest of its 732 subjects: panda, man dancing, woman dancing"
    assert json.loads(out)["warnings"][0].startswith(expected)
    assert f"warning: {expected}" in err
    assert "`videoada models emoji-t2v` shows what it knows" in err
