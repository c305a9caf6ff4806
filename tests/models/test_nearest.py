"""What is near an unknown word or phrase."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from videoada.models.nearest import likeness, nearest, nearest_words

PHRASES = (
    "panda",
    "man dancing",
    "woman dancing",
    "man walking",
    "teddy bear",
    "face with horns",
    "fire engine",
    "t rex",
)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("panda dancing", ["panda", "man dancing", "woman dancing"]),  # the rarer word first
        ("pandas", ["panda"]),
        ("dancer", ["man dancing", "woman dancing"]),
        ("teddybear", ["teddy bear"]),
        ("trex", ["t rex"]),
        ("quokka", []),
        ("quokka with a hat", []),  # a shared function word says nothing
        ("", []),
    ],
)
def test_shared_words_then_spelling(text, found):
    assert nearest(text.split(), PHRASES) == found


@pytest.mark.parametrize(
    ("word", "found"),
    [("purpel", ["purple"]), ("circel", ["circle"]), ("grey", ["gray"]), ("cube", []), ("a", []), ("santa", [])],
)
def test_a_word_by_its_spelling_alone(word, found):
    assert nearest_words(word, ("purple", "circle", "square", "gray", "ant", "b")) == found


@given(st.text(max_size=40), st.text(max_size=40))
def test_likeness_is_a_fraction_and_1_for_the_same_word(first, second):
    assert 0 <= likeness(first, second) <= 1
    assert likeness(first, first) == 1


@given(st.lists(st.text(alphabet="adefinprtx", max_size=12), max_size=6), st.integers(0, 4))
def test_of_the_phrases_at_most_so_many_and_a_known_one_first(words, limit):
    found = nearest(words, PHRASES, limit)
    assert len(found) <= limit
    assert set(found) <= set(PHRASES)
    assert nearest(["panda", *words], PHRASES)[0] == "panda" or words
