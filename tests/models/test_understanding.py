"""What an embedded model is given for a prompt, and what it says of one that it does not know."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import videoada
from videoada.models.catalogue import EMBEDDED, KNOWN
from videoada.models.understanding import Understood, understand
from videoada.models.vocabulary import vocabulary_of
from videoada.shapes import random_scene

FORM = "it takes `SUBJECT on a BACKGROUND background`"
EIGHT = "white, black, gray, navy, teal, pink, orange, green"
SHAPES_FORM = "it takes `a COLOUR SHAPE MOTION [SPEED] [and …] on a BACKGROUND background`"


def test_every_subject_on_every_background_is_given_as_it_is_without_a_warning():
    emoji = vocabulary_of("emoji-t2v")
    for subject in emoji.subjects:
        for background in emoji.backgrounds:
            for article in ("", "a "):
                prompt = f"{article}{subject} on a {background} background"
                assert understand("emoji-t2v", prompt) == Understood(prompt)


@given(st.integers(0, 2**32), st.integers(1, 4), st.sampled_from(("tiny-t2v", "tiny-i2v")))
def test_every_scene_is_given_as_it_is_without_a_warning(seed, num_objects, model):
    prompt = str(random_scene(np.random.default_rng(seed), num_objects))
    for written in (prompt, prompt.replace(" on a", ", on the").title() + ".", prompt.removesuffix(" background")):
        assert understand(model, written) == Understood(written)


@pytest.mark.parametrize(
    ("prompt", "given"),
    [
        ("A Panda, on an orange background.", "panda on a orange background"),
        ("Two o'clock on a pink background", "two o clock on a pink background"),
        ("a T-Rex on navy", "t rex on a navy background"),
        ("the panda on the teal background", "panda on a teal background"),
        ("navy background, panda", "panda on a navy background"),
        ("rolling on floor laughing, navy background", "rolling on the floor laughing on a navy background"),
        ("'tiger face' on a pink background", "tiger face on a pink background"),
        ("🐱 on a white background", "cat face on a white background"),
        ("face blowing kiss on a green background", "face blowing a kiss on a green background"),
    ],
)
def test_known_words_in_another_wording_are_given_in_that_of_the_training(prompt, given):
    warning = f"emoji-t2v was given `{given}` for this prompt; {FORM}"
    assert understand("emoji-t2v", prompt) == Understood(given, warning)
    assert understand("emoji-t2v", given) == Understood(given)


@pytest.mark.parametrize(
    "prompt",
    ["A  Panda on a\nNAVY background ...", "panda on navy", "heart on fire on a pink background!", "a bat on black"],
)
def test_case_spaces_signs_at_the_end_and_missing_small_words_change_nothing(prompt):
    assert understand("emoji-t2v", prompt) == Understood(prompt)


@pytest.mark.parametrize(
    ("prompt", "warning"),
    [
        (
            "a panda dancing on a navy background",
            f"knows no 'panda dancing'; nearest of its 732 subjects: panda, man dancing, woman dancing; {FORM}",
        ),
        (
            "a panda dancing",
            "knows no 'panda dancing'; nearest of its 732 subjects: panda, man dancing, woman dancing; "
            f"it was given no background, which can be {EIGHT}; {FORM}",
        ),
        (
            "a quokka on a navy background",
            "has never seen: quokka; none of its 732 subjects is near (`videoada models emoji-t2v` lists them); "
            + FORM,
        ),
        ("an elefant on a navy background", f"has never seen: elefant; nearest of its 732 subjects: elephant; {FORM}"),
        ("A Panda!", f"was given no background, which can be {EIGHT}; {FORM}"),
        ("panda on a purple background", f"knows no 'purple' background, only {EIGHT}; {FORM}"),
        (
            "fluffy pandas on a dark green background",
            "has never seen: fluffy, pandas; nearest of its 732 subjects: panda; "
            f"it knows no 'dark green' background, only {EIGHT}; {FORM}",
        ),
        (
            "panda and cat in front of a teal background",
            f"knows no 'panda and cat in front of'; nearest of its 732 subjects: panda, cat, cat face; {FORM}",
        ),
        (
            "panda 🎉 on a navy background",
            f"knows no 'panda party popper'; nearest of its 732 subjects: party popper, panda; {FORM}",
        ),
        ("on a navy background", f"was given no subject; {FORM}"),
        ("", f"was given no subject; it was given no background, which can be {EIGHT}; {FORM}"),
        (
            " ".join(f"w{letter}" for letter in "abcdefgh") + " on navy",
            "has never seen: wa, wb, wc, wd, we, wf and 2 more",
        ),
    ],
)
def test_what_is_unknown_is_named_with_what_is_near(prompt, warning):
    understood = understand("emoji-t2v", prompt)
    assert understood.prompt == prompt
    assert understood.warning.startswith(f"emoji-t2v {warning}")


@pytest.mark.parametrize(
    ("prompt", "given", "warning"),
    [
        ("cat", "cat", None),
        ("Navy background.", "Navy background.", None),
        ("cat on a navy background", "cat on a navy background", None),
        (" ", " ", None),
        ("...", "...", None),
        ("blurry", "blurry", "negative prompt: emoji-t2v has never seen: blurry; none of its 732"),
        ("the cat", "cat", "negative prompt: emoji-t2v was given `cat` for this prompt"),
        ("a red background", "a red background", f"negative prompt: emoji-t2v knows no 'red' background, only {EIGHT}"),
    ],
)
def test_a_negative_prompt_may_be_a_part(prompt, given, warning):
    understood = understand("emoji-t2v", prompt, negative=True)
    assert understood.prompt == given
    assert understood.warning is warning is None or understood.warning.startswith(warning)


@pytest.mark.parametrize(
    ("prompt", "warning"),
    [
        (
            "a purpel cube moving right on a black background",
            f"has never seen: purpel, cube; nearest of its 29 words: purple; {SHAPES_FORM}",
        ),
        ("a panda", f"has never seen: panda; none of its 29 words is near; {SHAPES_FORM}"),
        (
            "a red circle moving right",
            "knows no such scene: prompt must end in 'on a black|gray|navy|brown background': 'a red circle moving "
            f"right'; {SHAPES_FORM}",
        ),
        (
            "a red circle on a black background",
            f"knows no such scene: not 'a COLOUR SHAPE MOTION [slowly|quickly]': 'a red circle'; {SHAPES_FORM}",
        ),
    ],
)
def test_the_shapes_models_know_their_grammar(prompt, warning):
    assert understand("tiny-t2v", prompt) == Understood(prompt, f"tiny-t2v {warning}")
    negative = understand("tiny-i2v", prompt, negative=True).warning
    assert (negative is None) == ("never seen" not in warning)  # known words are enough there


def test_a_word_that_the_tokenizer_would_cut_is_given_without_its_quotes():
    given = "a red square moving up on a black background"
    understood = understand("tiny-t2v", "a red 'square' moving up on a black background")
    assert understood == Understood(given, f"tiny-t2v was given `{given}` for this prompt; {SHAPES_FORM}")


WORDS = sorted(set().union(*(vocabulary_of(model).words for model in EMBEDDED)))
TEXTS = st.one_of(
    st.text(max_size=60),
    st.lists(st.sampled_from([*WORDS, "on", "a", "the", "background", "navy", ",", "'", "quokka"]), max_size=14).map(
        " ".join
    ),
)


@given(TEXTS, st.sampled_from((*KNOWN, "owner/model")), st.booleans())
def test_any_text_gives_at_most_one_line_and_what_is_given_is_right(text, model, negative):
    understood = understand(model, text, negative)
    assert understood.warning is None or len(understood.warning.splitlines()) == 1
    if model not in EMBEDDED:
        assert understood == Understood(text)
    if understood.prompt != text:
        assert understand(model, understood.prompt, negative) == Understood(understood.prompt)


@pytest.mark.parametrize(
    "text", ["quokka" * 5000, "on a " * 20_000, "! ? " * 20_000, " ".join(map(str, range(20_000)))]
)
@pytest.mark.parametrize("model", EMBEDDED)
def test_a_long_text_takes_no_long_time_or_line(model, text):
    began = time.perf_counter()
    assert len(understand(model, text).warning) < 600
    assert time.perf_counter() - began < 3


def test_the_pipeline_is_given_the_wording_of_the_training():
    pipe = videoada.load_pipeline("emoji-t2v", device="cpu")
    small = {"num_inference_steps": 2, "num_frames": 1, "guidance_scale": 2.0, "seed": 1}
    right, wrong = "panda on a orange background", "A Panda, on an orange background."
    [(expected, quiet)] = videoada.generate(pipe, prompt=right, negative_prompt="cat", **small)
    [(video, record)] = videoada.generate(pipe, prompt=wrong, negative_prompt="The cat!", **small)
    assert (video.frames == expected.frames).all()
    assert record.request.prompt == wrong  # as it was asked for
    assert record.warnings[:2] == [
        f"emoji-t2v was given `{right}` for this prompt; {FORM}",
        f"negative prompt: emoji-t2v was given `cat` for this prompt; {FORM}",
    ]
    assert not any("emoji" in warning for warning in quiet.warnings)
    batch = [
        videoada.GenerationConfig(prompt=p, negative_prompt="cat", **small) for p in (wrong, "fox on a teal background")
    ]
    [(first, _), _] = videoada.generate(pipe, batch, batch_size=2)
    assert np.abs(first.frames.astype(int) - expected.frames).max() <= 1
