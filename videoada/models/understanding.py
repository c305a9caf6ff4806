"""understand(): what an embedded model is given for a prompt, what of it it does not know, and what is near."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass

from videoada.errors import PromptError
from videoada.models.nearest import nearest, nearest_words
from videoada.models.vocabulary import (
    ARTICLES,
    BACKGROUND,
    SUBJECT,
    Vocabulary,
    plain_words,
    read_words,
    vocabulary_of,
    without_articles,
)
from videoada.shapes import parse

MOST_NAMED, MOST_LETTERS = 6, 120  # of words that are listed; of a text that is quoted


@dataclass(frozen=True)
class Understood:
    """`prompt` is what the pipeline is given: the user's own, or the same in the model's form; `warning` is a line."""

    prompt: str
    warning: str | None = None


@functools.lru_cache(maxsize=1024)
def understand(model: str, prompt: str, negative: bool = False) -> Understood:
    """What the model of that name is given for `prompt`, and what of it the model does not know.

    Models that are not embedded are given every prompt as it is, without a warning, and so is an embedded one whose
    prompt is right. A prompt whose words are all known, in a wording that the model was not trained on, is given in
    that of the training; any other as it is, with a warning that names what is unknown and what is near. A negative
    prompt may be a subject or a background alone, and may be empty.
    """
    vocabulary = vocabulary_of(model)
    if vocabulary is None or (negative and not prompt.strip()):
        return Understood(prompt)
    read = _read_subject if vocabulary.subjects else _read_scene
    given, unknown = read(vocabulary, prompt, negative)
    takes = f"takes `{vocabulary.form}`"
    if not unknown and given == prompt:
        return Understood(prompt)
    clauses = [*unknown, takes] if unknown else [f"was given `{given}` for this prompt", takes]
    return Understood(given, f"{'negative prompt: ' if negative else ''}{vocabulary.model} {'; it '.join(clauses)}")


# ---- SUBJECT on a BACKGROUND background ----------------------------------------------------------------------------

# Measured on emoji-t2v, seven subjects: with `a` before the subject, without it before the background, and without the
# word `background` it generates the same; with `an`, with `the` before the subject, with a comma, or with the
# background first, other subjects.
RIGHT = re.compile(r"(?:a )?(?P<subject>.+) on (?:a )?(?P<background>\w+)(?: background)?")


def _read_subject(vocabulary: Vocabulary, prompt: str, negative: bool) -> tuple[str, list[str]]:
    """What is given for the prompt, and clauses on what is unknown in it."""
    words = plain_words(prompt)
    rest, background = _parts(vocabulary, words)
    subject = vocabulary.subject_of.get(without_articles(rest))
    unknown = []
    if subject is None and (rest or not negative):
        unknown.append(_unknown_subject(vocabulary, rest))
    if background is None and not negative:
        unknown.append(f"was given no background, which can be {', '.join(vocabulary.backgrounds)}")
    elif background is not None and background not in vocabulary.backgrounds:
        unknown.append(f"knows no '{_short(background)}' background, only {', '.join(vocabulary.backgrounds)}")
    if unknown or not words:
        return prompt, unknown
    written = _without_last_signs(prompt).lower().split()
    match = RIGHT.fullmatch(" ".join(words))
    if written == words and match and (match["subject"], match["background"]) == (subject, background):
        return prompt, []
    full = vocabulary.form.replace(SUBJECT, subject or "").replace(BACKGROUND, background or "")
    given = full if subject and background else subject or f"{background} background"
    return (prompt if given.split() == written else given), []


def _parts(vocabulary: Vocabulary, words: list[str]) -> tuple[list[str], str | None]:
    """The words of the subject, and the background: what stands between the last `on` and `background`, or the one word
    before it; None where none is named."""
    match = RIGHT.fullmatch(" ".join(words))
    if match and match["background"] in vocabulary.backgrounds:
        return _inside_articles(match["subject"].split()), match["background"]
    if "background" not in words:
        return _inside_articles(words), None
    end = len(words) - 1 - words[::-1].index("background")
    before, after = words[:end], words[end + 1 :]
    splits = []
    if "on" in before[-5:]:
        begin = len(before) - 1 - before[::-1].index("on")
        splits.append((before[:begin] + after, before[begin + 1 :]))
    if before:
        splits.append((before[:-1] + after, before[-1:]))
    readings = [(_inside_articles(rest), " ".join(_inside_articles(named))) for rest, named in splits]
    known = (r for r in readings if r[1] in vocabulary.backgrounds and without_articles(r[0]) in vocabulary.subject_of)
    rest, named = next(known, readings[0] if readings else (_inside_articles(after), ""))
    return rest, named or None


def _without_last_signs(text: str) -> str:
    """Signs after the last word are the tokenizer's token for the end, as is its padding: they change nothing."""
    end = len(text)
    while end and not text[end - 1].isalnum():
        end -= 1
    return text[:end]


def _inside_articles(words: list[str]) -> list[str]:
    """Without articles at either end."""
    begin, end = 0, len(words)
    while begin < end and words[begin] in ARTICLES:
        begin += 1
    while begin < end and words[end - 1] in ARTICLES:
        end -= 1
    return words[begin:end]


def _unknown_subject(vocabulary: Vocabulary, words: list[str]) -> str:
    if not words:
        return "was given no subject"
    never = _never_seen(vocabulary, words)
    what = f"has never seen: {_listed(never)}" if never else f"knows no '{_short(' '.join(words))}'"
    count = len(vocabulary.subjects)
    if near := nearest(words, vocabulary.subjects):
        return f"{what}; nearest of its {count} subjects: {', '.join(near)}"
    return f"{what}; none of its {count} subjects is near (`videoada models {vocabulary.model}` lists them)"


# ---- the shapes world ----------------------------------------------------------------------------------------------


def _read_scene(vocabulary: Vocabulary, prompt: str, negative: bool) -> tuple[str, list[str]]:
    """What is given for the prompt, and clauses on what is unknown in it."""
    words, count = plain_words(prompt), len(vocabulary.words)
    if never := _never_seen(vocabulary, words):
        near = dict.fromkeys(w for word in never[:MOST_NAMED] for w in nearest_words(word, sorted(vocabulary.words)))
        nearest_known = (
            f"nearest of its {count} words: {_listed(near)}" if near else f"none of its {count} words is near"
        )
        return prompt, [f"has never seen: {_listed(never)}; {nearest_known}"]
    # Measured on tiny-t2v, twelve scenes: it generates the same with and without articles, signs and `background`.
    bare = " ".join(without_articles(words))
    ended = re.sub(f" on ({'|'.join(vocabulary.backgrounds)})$", r"\g<0> background", bare)
    try:
        scene = str(parse(re.sub(r"(^|\band |\bon )", r"\1a ", ended)))
    except PromptError as error:
        return prompt, [] if negative else [f"knows no such scene: {_short(str(error))}"]
    return (prompt if words == read_words(prompt) else scene), []


# ---- text ----------------------------------------------------------------------------------------------------------


def _never_seen(vocabulary: Vocabulary, words: list[str]) -> list[str]:
    return [word for word in dict.fromkeys(words) if word not in vocabulary.words and word not in ARTICLES]


def _listed(words: Iterable[str]) -> str:
    every = [_short(word) for word in words]
    more = len(every) - MOST_NAMED
    return ", ".join(every[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _short(text: str) -> str:
    return text if len(text) <= MOST_LETTERS else f"{text[: MOST_LETTERS - 1]}…"
