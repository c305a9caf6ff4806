"""What an embedded model understands, to search and to click."""

from __future__ import annotations

from typing import Any

from videoada.models.vocabulary import vocabulary_of

MOST_SHOWN = 48  # of a part's entries; the others are found by searching


def words_html(environment: Any, model: str, search: str) -> str:
    """The entries of a model's vocabulary that have words which begin with those of `search`, as HTML; empty for a
    model that takes any text."""
    vocabulary = vocabulary_of(model)
    if vocabulary is None:
        return ""
    shown = vocabulary.search(search) if search.strip() else vocabulary
    parts = [
        {"name": name, "entries": entries[:MOST_SHOWN], "more": max(0, len(entries) - MOST_SHOWN)}
        for name, entries in shown.parts.items() if entries
    ]  # fmt: skip
    near = vocabulary.near(search) if not parts else []
    text: str = environment.get_template("words.html").render(
        form=vocabulary.form, parts=parts, near=near, search=search.strip()
    )
    return text


def example_of(model: str) -> str:
    """A prompt that an embedded model was trained on, for a prompt that is still empty; "" for other models."""
    vocabulary = vocabulary_of(model)
    return "" if vocabulary is None else f"for example: {vocabulary.example}"


def prompt_with(model: str, prompt: str, part: str, entry: str) -> str:
    """The prompt with that entry of the model's vocabulary; as it is for what the model does not know."""
    vocabulary = vocabulary_of(model)
    if vocabulary is None or entry not in vocabulary.parts.get(part, ()):
        return prompt
    return vocabulary.with_entry(prompt, part, entry)
