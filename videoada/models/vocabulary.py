"""What an embedded model understands: the form of its prompts, the words of its training captions, its subjects."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from videoada.models.catalogue import ASSETS, known_model
from videoada.models.nearest import nearest
from videoada.shapes import BACKGROUNDS, COLOURS, MOTIONS, SHAPES, SPEEDS

ARTICLES = ("a", "an", "the")
SUBJECT, BACKGROUND = "SUBJECT", "BACKGROUND"
EMOJI_BACKGROUNDS = ("white", "black", "gray", "navy", "teal", "pink", "orange", "green")
SHAPES_FORM = "a COLOUR SHAPE MOTION [SPEED] [and …] on a BACKGROUND background"
SHAPES_PARTS = {
    "COLOUR": tuple(COLOURS), "SHAPE": SHAPES, "MOTION": MOTIONS, "SPEED": tuple(filter(None, SPEEDS)),
    BACKGROUND: tuple(BACKGROUNDS),
}  # fmt: skip


@dataclass(frozen=True)
class Vocabulary:
    """`form` is a prompt with a word in capitals for each of `parts`, which lists what can be written there."""

    model: str
    form: str
    parts: Mapping[str, tuple[str, ...]] = field(hash=False)

    @property
    def subjects(self) -> tuple[str, ...]:
        """What the model generates, in lower-case words; none where prompts have another form."""
        return self.parts.get(SUBJECT, ())

    @property
    def backgrounds(self) -> tuple[str, ...]:
        return self.parts.get(BACKGROUND, ())

    @functools.cached_property
    def subject_of(self) -> dict[tuple[str, ...], str]:
        """Each subject by its words without articles."""
        return {without_articles(subject.split()): subject for subject in self.subjects}

    @functools.cached_property
    def words(self) -> frozenset[str]:
        """Every word of the captions that the model was trained on, in lower case."""
        texts = [self.form, *(text for part in self.parts.values() for text in part)]
        return frozenset(word for text in texts for word in re.findall(r"\b[a-z]+\b", text))

    @property
    def example(self) -> str:
        """A prompt that is right: the form with the first entry of each part, without what can be left out."""
        required = re.sub(r"\[.*?\] ", "", self.form)
        return re.sub(r"[A-Z]+", lambda name: self.parts[name.group()][0], required)

    def search(self, text: str) -> Vocabulary:
        """The same with those entries alone that have, for each word of `text`, a word that begins with it."""
        wanted = plain_words(text)

        def fits(entry: str) -> bool:
            return all(any(word.startswith(begin) for word in entry.split()) for begin in wanted)

        return replace(self, parts={name: tuple(filter(fits, part)) for name, part in self.parts.items()})

    def listed(self) -> dict[str, list[str]]:
        """Each of `parts` as a list under its plural: subjects, backgrounds, colours, …"""
        return {f"{name.lower()}s": list(part) for name, part in self.parts.items()}

    def with_entry(self, prompt: str, part: str, entry: str) -> str:
        """The prompt with `entry` where it has another of that part; the example with it, where it has none."""
        words = "|".join(sorted(map(re.escape, self.parts[part]), key=len, reverse=True))  # "red apple" before "apple"
        after = r"(?= background\b)" if part == BACKGROUND else ""  # a subject may have a colour
        for text in (prompt, self.example):
            if found := re.search(rf"\b(?:{words})\b{after}", text, re.IGNORECASE):
                return f"{text[: found.start()]}{entry}{text[found.end() :]}"
        text = prompt if " on a " in prompt else self.example  # the part can be left out: a speed, which ends a motion
        return text.replace(" on a ", f" {entry} on a ", 1)

    def near(self, text: str) -> list[str]:
        """At most three entries of the first part that has any near `text`, the likest first."""
        found = (nearest(plain_words(text), part) for part in self.parts.values())
        return next(filter(None, found), [])


@functools.cache
def vocabulary_of(model: str) -> Vocabulary | None:
    """What the embedded model of that name understands; None for other models, which take any text."""
    known = known_model(model)
    if known is None or not known.embedded:
        return None
    file = ASSETS / known.source / "subjects.txt"
    if not file.is_file():
        return Vocabulary(known.name, SHAPES_FORM, SHAPES_PARTS)
    subjects = tuple(file.read_text(encoding="utf-8").split("\n")[:-1])
    form = f"{SUBJECT} on a {BACKGROUND} background"
    return Vocabulary(known.name, form, {SUBJECT: subjects, BACKGROUND: EMOJI_BACKGROUNDS})


def without_articles(words: Sequence[str]) -> tuple[str, ...]:
    """The words of a text that are no articles."""
    return tuple(word for word in words if word not in ARTICLES)


def read_words(text: str) -> list[str]:
    """The words of a text as the embedded models' tokenizer cuts it, in lower case: runs of letters, single digits.

    What follows an apostrophe as in 's, 't, 're, 've, 'm, 'll and 'd is a word of its own: 'star is s and tar. Other
    signs are left out.
    """
    composed = unicodedata.normalize("NFC", text)
    digits = "".join("0" if unicodedata.category(sign) in ("Nl", "No") else sign for sign in composed)  # ² is no letter
    found = re.findall(r"'(s|t|re|ve|m|ll|d)|([^\W\d_]+|\d)|(?:_|[^\w\s])+", digits.lower())
    return [contraction or word for contraction, word in found if contraction or word]


def plain_words(text: str) -> list[str]:
    """The words of a text as its writer means them, in lower case: an apostrophe is a sign as any other, an emoji
    is the words of its Unicode name."""
    named = (f" {unicodedata.name(sign, '')} " if unicodedata.category(sign) == "So" else sign for sign in text)
    return read_words("".join(named).replace("'", " "))
