"""What was asked for and not used stands in the record, and the command's summary says the same lines."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from commandline import command
from PIL import Image

import videoada
from videoada.models.tokens import watch_tokens

PROMPT = "a red circle moving right on a black background"
WORDS = " ".join(f"word{i}" for i in range(600))
SMALL = ("--height", 16, "--width", 16, "--steps", 4)


def made(model, tmp_path, *args, prompt=PROMPT):
    """The record, and the lines of the summary that say what was not used."""
    done = command("generate", "--model", model, "--prompt", prompt, *args, "--output", tmp_path / "v.mkv")
    record = json.loads((tmp_path / "v.json").read_text())
    said = [line.removeprefix("not used: ") for line in done.stderr.splitlines() if line.startswith("not used: ")]
    return record, said


@pytest.mark.parametrize(
    ("name", "frames", "tokenizers"),
    [
        ("modelscope-t2v", 2, ["CLIPTokenizer"]), ("wan-2.1-t2v", 5, ["T5Tokenizer"]),
        ("cogvideox-ddim", 5, ["T5Tokenizer"]), ("hunyuanvideo", 5, ["CLIPTokenizer", "LlamaTokenizer"]),
    ],
)  # fmt: skip
def test_the_words_beyond_each_encoders_limit_are_in_the_record_and_the_summary(
    name, frames, tokenizers, build_folder, tmp_path
):
    record, said = made(build_folder(name), tmp_path, *SMALL, "--num-frames", frames, prompt=f"{PROMPT} {WORDS}")
    lines = [text for text in record["not_used"] if text.startswith("`prompt`")]
    assert sorted(word for text in lines for word in text.split() if word.endswith("Tokenizer")) == tokenizers
    for text in lines:
        words = text.partition('cut: "')[2].removesuffix('"').removesuffix(" …")
        assert words
        assert words in f"{PROMPT} {WORDS}"
        assert "Llama" in text or not words.startswith("a red")  # a template fills it
    assert [text.replace("`prompt`", "--prompt") for text in lines] == [t for t in said if t.startswith("--prompt")]
    record, said = made(build_folder(name), tmp_path, *SMALL, "--num-frames", frames, prompt="a red circle")
    short = [text for text in record["not_used"] if text.startswith("`prompt`")]
    assert all("Llama" in text for text in short)  # of this small build its own template is more than it takes


def test_the_words_cut_are_those_that_change_nothing(pipe):
    """Two prompts that differ in them alone give one video; one that differs before them another."""
    long = "a red circle moving right on a black background and then " + " ".join(["it goes on"] * 20)
    [(first, record)] = videoada.generate(pipe, prompt=long, num_inference_steps=2, num_frames=2)
    [line] = record.not_used
    words = line.partition('cut: "')[2].removesuffix('"')
    assert long.endswith(words)
    kept = long.removesuffix(words)
    [(same, _)] = videoada.generate(pipe, prompt=kept + "blue " * 30, num_inference_steps=2, num_frames=2)
    [(other, _)] = videoada.generate(
        pipe, prompt=kept.replace("circle", "square") + words, num_inference_steps=2, num_frames=2
    )
    assert same.sha256() == first.sha256() != other.sha256()


def test_each_video_of_a_batch_has_its_own_words_and_negative_prompts_theirs(pipe):
    cut, negative = f"{PROMPT} {' '.join(['then it stops'] * 30)}", " ".join(["dark"] * 60)
    requests = [
        videoada.GenerationConfig(prompt=text, negative_prompt=no, num_inference_steps=2, num_frames=2)
        for text, no in ((PROMPT, None), (cut, None), (PROMPT, negative))
    ]
    plain, long, dark = (record.not_used for _, record in videoada.generate(pipe, requests, batch_size=3))
    assert plain == []
    assert [text.split("`")[1] for text in long] == ["prompt"]
    assert [text.split("`")[1] for text in dark] == ["negative_prompt"]


def test_image_to_video_says_it_too(inputs):
    i2v = videoada.load_pipeline("tiny-i2v", device="cpu")
    [(_, record)] = videoada.generate(
        i2v, prompt=f"{PROMPT} {WORDS}", image=str(inputs["IMAGE"]), num_inference_steps=2, num_frames=2
    )
    assert any(text.startswith("`prompt`") for text in record.not_used)


def test_tokenizers_are_as_before(pipe):
    kind = type(pipe.tokenizer)
    with watch_tokens(pipe):
        assert type(pipe.tokenizer) is not kind
    assert type(pipe.tokenizer) is kind


@pytest.mark.parametrize(
    ("args", "parameter"),
    [
        (("--target-fps", 8), "target_fps"),
        (("--guidance-scale", 1, "--negative-prompt", "blue"), "negative_prompt"),
        (("--warmup-steps", 1), "warmup_steps=1"),
        (("--skip-from", "0%"), "skip_from=0"),
        (("--batch-decision", "any"), "batch_decision=any"),
        (("--policy", "none", "--predictor", "taylor2"), "predictor"),
    ],
)
def test_settings_without_effect(args, parameter, tmp_path):
    record, said = made("tiny-t2v", tmp_path, "--steps", 12, "--num-frames", 2, *args)
    assert [text.split("`")[1] for text in record["not_used"]] == [parameter]
    assert len(said) == 1


def test_guidance_in_two_calls_and_an_order_of_weights_that_nothing_has(build_folder, tmp_path):
    record, _ = made(
        build_folder("wan-2.1-t2v"), tmp_path, "--height", 16, "--width", 16, "--steps", 8, "--num-frames", 5,
        "--guidance-tolerance", 0.05, "--target-fps", 8,
    )  # fmt: skip
    assert [text.split("`")[1] for text in record["not_used"]] == ["target_fps", "guidance_tolerance"]


@pytest.mark.parametrize(("name", "fps", "held"), [
    ("a.gif", 23.976, "25"), ("a.webp", 23.976, "23.8095"), ("a.gif", 25, None), ("a.webp", 8, None),
    ("a.gif", 8, "8.33333"), ("a.mp4", 23.976, None),
])  # fmt: skip
def test_a_file_that_rounds_the_frame_rate_says_so(name, fps, held, tmp_path):
    done = command("generate", "--prompt", PROMPT, "--steps", 2, "--num-frames", 2, "--fps", fps,
                   "--output", tmp_path / name, "--json")  # fmt: skip
    rounded = [text for text in json.loads(done.stdout)["not_used"] if text.startswith("`fps=")]
    assert [text.rpartition(" ")[2] for text in rounded] == ([] if held is None else [held])
    if held:
        with Image.open(tmp_path / name) as animation:
            animation.seek(1)
            animation.load()
            assert 1000 / animation.info["duration"] == pytest.approx(float(held), rel=1e-5)
        assert f"not used: --fps {fps}" in done.stderr


def test_libraries_do_not_say_it_again(tmp_path):
    """In a process of its own: a library's message is for stderr, and some come once."""
    code = (
        "import videoada, sys\npipe = videoada.load_pipeline('tiny-t2v', device='cpu')\n"
        "videoada.generate(pipe, prompt='a red circle' + ' and so on' * 100, num_inference_steps=2, num_frames=2)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0
    assert "truncated" not in done.stderr
    assert "sequence length" not in done.stderr


def test_what_of_an_image_is_not_shown_to_the_model(tmp_path):
    still = Image.new("RGB", (64, 64), "red")
    others = [Image.new("RGB", (64, 64), colour) for colour in ("blue", "green")]
    still.save(tmp_path / "a.webp", save_all=True, append_images=others)
    Image.new("RGBA", (64, 64), (255, 0, 0, 0)).save(tmp_path / "b.png")
    Image.new("RGBA", (64, 64), (255, 0, 0, 255)).save(tmp_path / "c.png")
    found = {}
    for name in ("a.webp", "b.png", "c.png"):
        record, _ = made("tiny-i2v", tmp_path, "--steps", 2, "--num-frames", 2, "--image", tmp_path / name)
        found[name] = [text for text in record["not_used"] if text.startswith("`image`")]
    assert found == {
        "a.webp": ["`image`: the first of its 3 pictures is shown to the model"],
        "b.png": ["`image`: its transparent pixels are shown to the model on white"],
        "c.png": [],
    }


def test_a_codec_is_repeated_or_said(tmp_path, monkeypatch):
    """As a key of a configuration, in the record, and of a record whose new file can't hold it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.yaml").write_text("codec: vp9\ncrf: 30\nsteps: 2\nnum_frames: 2\n")
    command("generate", "--config", "c.yaml", "--prompt", PROMPT, "--output", "a.mp4")
    again = ("generate", "--from-record", "a.mp4", "--output")

    def held(name):
        record = json.loads((tmp_path / name).read_text())
        unused = [text.split("`")[1] for text in record["not_used"] if text.startswith(("`codec", "`crf"))]
        return record["request"]["codec"], record["request"]["crf"], unused

    assert held("a.json") == ("vp9", 30, [])
    command(*again, "b.webm")
    assert held("b.json") == ("vp9", 30, [])
    done = command(*again, "c.mov")
    assert held("c.json") == (None, None, ["codec=vp9", "crf=30"])
    assert "not used: --codec vp9: of the record, and .mov can't hold it" in done.stderr
    command(*again, "d")
    assert held("d.json")[2] == ["codec=vp9", "crf=30"]
    command(*again, "e.mkv", "--codec", "h264", "--crf", 40)
    assert held("e.json") == ("h264", 40, [])
    command("generate", "--config", "c.yaml", "--prompt", PROMPT, "--output", "f.gif", code=2)
    (tmp_path / "p.txt").write_text(f"{PROMPT}\n")
    command("render", "p.txt", "--config", "c.yaml", "--out", "out", "--format", "webm")
    assert held("out/0000.json") == ("vp9", 30, [])


def test_a_prompt_that_is_no_text(tmp_path):
    done = command("generate", "--prompt", "caf\udce9", "--output", tmp_path / "a.mp4", code=2)
    assert "the prompt is no text" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_render_lists_it_in_its_summary(tmp_path):
    (tmp_path / "p.csv").write_text(f"prompt,dimension,sampler\n{PROMPT},motion,ddim\n")
    done = command("render", tmp_path / "p.csv", "--out", tmp_path / "out", "--steps", 2, "--num-frames", 2,
                   "--images", tmp_path, "--json")  # fmt: skip
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["not_used"] == json.loads(done.stdout)["not_used"]
    assert any("'dimension'" in text for text in summary["not_used"])
    assert any("`images=" in text for text in summary["not_used"])
    assert not any("sampler" in text for text in summary["not_used"])
    for text in summary["not_used"]:
        assert text.partition("`")[0] in done.stderr
