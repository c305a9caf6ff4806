"""What the embedded models understand, against their own tokenizers."""

from __future__ import annotations

import functools
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from videoada.models.catalogue import ASSETS, EMBEDDED
from videoada.models.understanding import understand
from videoada.models.vocabulary import plain_words, read_words, vocabulary_of
from videoada.shapes import WORDS


@functools.cache
def tokenizer(model):
    return AutoTokenizer.from_pretrained(ASSETS / model / "tokenizer")


@pytest.mark.parametrize("model", EMBEDDED)
def test_the_words_are_those_that_are_one_token(model):
    vocabulary = vocabulary_of(model)
    vocab = tokenizer(model).get_vocab()  # of byte pairs, whose words end in </w>, or of T5, whose words begin with ▁
    words = (token for token in vocab if token.endswith("</w>") or token.startswith("▁"))
    tokens = {token.removesuffix("</w>").removeprefix("▁") for token in words} - {""}
    assert vocabulary.words == {token for token in tokens if len(token) > 1 or token in vocabulary.words}
    assert understand(model, vocabulary.example).warning is None


def test_each_model_has_its_own_and_others_have_none():
    assert all(vocabulary_of(name).words == set(WORDS) for name in ("tiny-t2v", "tiny-i2v", "tiny-wan"))
    emoji = vocabulary_of("emoji-t2v")
    assert (len(emoji.words), len(emoji.subjects), len(emoji.backgrounds)) == (603, 732, 8)
    assert len(emoji.subject_of) == 732  # articles apart, no two are the same
    assert emoji.example == "aerial tramway on a white background"
    assert vocabulary_of("i2vgen-xl") is vocabulary_of("somebody/else") is vocabulary_of("") is None


# Up to the CJK radicals: what comes after is still being assigned, to each library at its own time.
CHARACTERS = st.one_of(st.sampled_from("'’-.,!_ aast\n\tredmlv3²½Ⅷé🐼€"), st.characters(max_codepoint=0x2FFF))


@given(st.text(CHARACTERS, max_size=30))
def test_words_are_cut_as_the_tokenizer_cuts_them(text):
    cut = tokenizer("emoji-t2v").backend_tokenizer
    normal = cut.normalizer.normalize_str(text)
    pieces = [normal[slice(*where)] for _, where in cut.pre_tokenizer.pre_tokenize_str(normal)]
    words = [piece.removeprefix("'") for piece in pieces if unicodedata.category(piece[-1])[0] in "LN"]
    as_digits = ["0" if unicodedata.category(word[0]) in ("Nl", "No") else word for word in words]
    assert read_words(text) == as_digits


@pytest.mark.parametrize(
    ("text", "read", "plain"),
    [
        ("A Panda, on an ORANGE background.", None, "a panda on an orange background"),
        ("T-Rex at one o'clock", None, "t rex at one o clock"),
        ("a 'star'", "a s tar", "a star"),
        ("the cat's", None, "the cat s"),
        ("🐱 and ⭐", "and", "cat face and white medium star"),
        ("10 cafés", None, "1 0 cafés"),
    ],
)
def test_words_as_read_and_as_meant(text, read, plain):
    assert " ".join(plain_words(text)) == plain
    assert " ".join(read_words(text)) == (plain if read is None else read)


def test_search_takes_the_beginnings_of_words():
    emoji = vocabulary_of("emoji-t2v")
    assert emoji.search("cat").subjects[:3] == ("black cat", "cat", "cat face")
    assert emoji.search("Wom Danc").subjects == ("woman dancing",)
    assert emoji.search("nav").listed() == {"subjects": [], "backgrounds": ["navy"]}
    assert emoji.search("").parts == emoji.parts
    assert emoji.near("elefant") == ["elephant"]
    assert emoji.near("kitten") == []
