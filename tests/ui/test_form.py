"""The form: what was entered as runs, a run back in the form, uploads that are read as all files are."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
from conftest import PROMPTS
from PIL import Image

from videoada.config.settings import RunSettings, read_settings
from videoada.errors import ConfigError, ImageError, PromptError
from videoada.models.vocabulary import vocabulary_of
from videoada.ui.form import AS_SET, EXACTLY, SPEED, Entered, as_labels, entered_of, fields, runs_of
from videoada.ui.uploads import Uploads


@pytest.fixture
def uploads(tmp_path):
    return Uploads(tmp_path)


def png(size=(8, 8)):
    data = io.BytesIO()
    Image.new("RGB", size, (200, 30, 30)).save(data, "PNG")
    return data.getvalue()


def test_every_setting_of_generate_is_on_the_page():
    folded = {field.name for field in fields()}
    shown = {"prompt", "model", "image", "seed", "quality", "num_predictions", "target_speedup"}
    without = {"batch_size", "batch_decision", "calibration"}
    assert folded | shown | without == set(RunSettings.model_fields)
    assert not folded & (shown | without)
    for field in fields():
        assert field.text == RunSettings.model_fields[field.name].description


def test_a_page_for_others_names_no_files_of_this_machine():
    assert {"lora", "mask", "video", "exit_heads", "step_policy"}.isdisjoint(
        field.name for field in fields(local=False)
    )


def test_nothing_entered_is_the_default_of_generate(uploads):
    [run] = runs_of(Entered(PROMPTS[0], "tiny-t2v"), uploads)
    assert run == RunSettings(prompt=PROMPTS[0])


@pytest.mark.parametrize(
    ("entered", "wanted"),
    [
        ({"amount": "fast"}, {"quality": "fast"}),
        ({"amount": EXACTLY, "number": 20.0}, {"num_predictions": 20}),
        ({"amount": SPEED, "speed": 2}, {"target_speedup": 2.0}),
        ({"amount": AS_SET, "more": {"tolerance": "0.1"}}, {"tolerance": 0.1}),
        ({"amount": AS_SET, "more": {"mask": "1010", "policy": ""}}, {"mask": "1010"}),
        ({"seed": " 7 "}, {"seed": 7}),
        ({"more": {"steps": "auto", "fps": "24000/1001", "corrector": "no"}},
         {"steps": "auto", "fps": "24000/1001", "corrector": False}),
        ({"more": {"lora": ""}}, {}),
    ],
)  # fmt: skip
def test_what_is_entered_is_what_generate_takes_and_comes_back(uploads, entered, wanted):
    [run] = runs_of(Entered(PROMPTS[0], "tiny-t2v", **entered), uploads)
    assert run == RunSettings(prompt=PROMPTS[0], **wanted)
    values = {name: value for name, value in run.model_dump().items() if value is not None}
    back = entered_of(values, uploads)
    assert runs_of(back, uploads) == [run]


def test_a_videos_own_calibration_comes_back_with_its_target(uploads):
    curve = read_settings("calibrated-tiny-t2v")["calibration"] | {"model": "tiny-t2v"}
    run = RunSettings(prompt=PROMPTS[0], target_psnr=43, calibration=curve)
    values = {name: value for name, value in run.model_dump().items() if value is not None}
    back = entered_of(values, uploads)
    assert runs_of(back, uploads) == [run]
    other = replace(back, model="emoji-t2v")  # which has one of its own
    assert runs_of(other, uploads) == [RunSettings(prompt=PROMPTS[0], model="emoji-t2v", target_psnr=43)]
    file = uploads.add_prompts("p.jsonl", json.dumps({"prompt": PROMPTS[0], "target_psnr": 43}).encode())
    assert runs_of(replace(back, file=file, more={}), uploads) == [run]
    assert runs_of(replace(back, amount="fast", more={}), uploads) == [RunSettings(prompt=PROMPTS[0], quality="fast")]


def test_prompts_a_line_become_runs_with_seeds_one_apart(uploads):
    text = f"{PROMPTS[0]}\n\n# a comment\n  {PROMPTS[1]}\n"
    runs = runs_of(Entered(text, "tiny-t2v", seed="5", more={"num_videos": "2"}), uploads)
    assert [(run.prompt, run.seed, run.num_videos) for run in runs] == [(PROMPTS[0], 5, 2), (PROMPTS[1], 7, 2)]


def test_a_random_seed_is_picked_once(uploads):
    first, second = runs_of(Entered("\n".join(PROMPTS[:2]), "tiny-t2v", seed="random"), uploads)
    assert second.seed == first.seed + 1


@pytest.mark.parametrize(
    ("entered", "said"),
    [
        ({"prompts": " \n "}, "there is no prompt"),
        ({"amount": EXACTLY}, "say how many"),
        ({"amount": EXACTLY, "number": 0}, "say how many"),  # an emptied control
        ({"amount": SPEED, "speed": None}, "how many times"),
        ({"more": {"num_frames": "many"}}, "`num_frames`: give a number, got 'many'"),
        ({"seed": "-1"}, "`seed`"),
        ({"image": "../../etc/passwd"}, "the image is no longer here"),
        ({"file": "../../etc/passwd"}, "the prompt file is no longer here"),
        ({"more": {"corrector": "perhaps"}}, "`corrector`"),
    ],
)
def test_what_cannot_be_met_is_said_in_one_line(uploads, entered, said):
    values = {"prompts": PROMPTS[0], "model": "tiny-t2v"} | entered
    with pytest.raises(ConfigError, match=said) as problem:
        runs_of(Entered(**values), uploads)
    assert "\n" not in str(problem.value)


def test_parameters_have_their_labels():
    assert as_labels("`num_frames=3` and `seed`:\n too few") == "“num frames” 3 and “seed”: too few"


def test_an_image_is_read_when_it_comes(uploads):
    id = uploads.add_picture("../../a/<b>.png", png())
    [run] = runs_of(Entered(PROMPTS[0], "tiny-i2v", image=id), uploads)
    assert run.image is not None
    assert run.image.endswith(".png")
    assert uploads.folder in uploads.pictures[id][0].parents
    for data in (b"", b"no picture", png()[:45]):
        with pytest.raises(ImageError, match=r"hostile<b>\.png"):
            uploads.add_picture("hostile<b>.png", data)
    assert len(list(uploads.folder.iterdir())) == 1


def test_a_prompt_file_gives_its_own_settings(uploads):
    id = uploads.add_prompts("p.csv", b"prompt,seed,steps\na red circle growing on a black background,9,12\nb,,\n")
    first, second = runs_of(Entered("not this", "tiny-t2v", seed="3", file=id), uploads)
    assert (first.prompt, first.seed, first.steps) == ("a red circle growing on a black background", 9, 12)
    assert (second.prompt, second.seed, second.steps) == ("b", 4, None)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("p.docx", b"x", "p.docx"),
        ("p.jsonl", b'{"prompt": "a"}\n{"prompt": ', r"p\.jsonl, line 2"),
        ("p.csv", b"prompt,image\na,/etc/passwd\n", "line 2: its image did not come with the file"),
        ("p.txt", b"\n", "no prompts"),
    ],
)
def test_a_prompt_file_that_cannot_be_used_is_named_as_its_owner_does(uploads, name, data, said):
    with pytest.raises(PromptError, match=said) as problem:
        uploads.add_prompts(name, data)
    assert "/tmp" not in str(problem.value)


def test_files_that_were_sent_do_not_pile_up(uploads):
    first = uploads.add_prompts("0.txt", b"a prompt")
    for i in range(1, 20):
        uploads.add_prompts(f"{i}.txt", b"a prompt")
    assert first not in uploads.lists
    kept = [uploads.add_picture("a.png", png((8 + i, 8))) for i in range(70)]
    assert len(list(uploads.folder.iterdir())) == 64
    assert kept[0] not in uploads.pictures


@pytest.mark.parametrize(
    ("model", "prompt", "part", "entry", "wanted"),
    [
        ("emoji-t2v", "", "SUBJECT", "rocket", "rocket on a white background"),
        ("emoji-t2v", "Rocket on a navy background", "SUBJECT", "red apple", "red apple on a navy background"),
        ("emoji-t2v", "green apple on a navy background", "BACKGROUND", "teal", "green apple on a teal background"),
        ("tiny-t2v", PROMPTS[0], "MOTION", "moving left", "a red circle moving left on a black background"),
        ("tiny-t2v", PROMPTS[0], "SPEED", "slowly", "a red circle moving right slowly on a black background"),
        ("tiny-t2v", PROMPTS[1], "SPEED", "quickly", "a blue square moving left quickly on a gray background"),
        ("tiny-t2v", "something else", "COLOUR", "blue", "a blue circle moving right on a black background"),
    ],
)
def test_a_word_that_is_clicked_comes_into_the_prompt(model, prompt, part, entry, wanted):
    vocabulary = vocabulary_of(model)
    assert vocabulary is not None
    assert vocabulary.with_entry(prompt, part, entry) == wanted
