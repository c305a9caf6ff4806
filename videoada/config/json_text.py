"""JSON read member by member, each with its line; keys that stand twice and numbers without end are refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

SPACE = re.compile(r"[^ \t\n\r]")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError(f"the key '{str(twice(key for key, _ in pairs))[:40]}' stands twice")
    return values


def twice(names: Iterable[str]) -> str | None:
    """The first name that comes a second time."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


DECODER = json.JSONDecoder(object_pairs_hook=_unique)


def parsed(text: str) -> Any:
    """The value that a text is. Raises ValueError, with the reason, for a text that is none."""
    try:
        return DECODER.decode(text.strip())
    except (ValueError, RecursionError) as problem:
        raise ValueError(reason_of(problem)) from None


def reason_of(problem: Exception) -> str:
    """What is wrong with JSON, in one line."""
    if isinstance(problem, RecursionError):
        return "it is nested too deeply"
    if isinstance(problem, json.JSONDecodeError):
        return f"it is no JSON: {problem.msg}"
    if "digits" in str(problem):
        return "it holds a number of too many digits"
    return str(problem)


class JsonText:
    """A JSON text and the lines of what is in it. `error(line, reason)` makes what is raised for what is no JSON."""

    def __init__(self, text: str, error: Callable[[int, str], Exception]) -> None:
        self.text, self.error = text, error
        self.end = 0  # after the container that `members` went through last
        self._line, self._counted = 1, 0
        self._last = text.rstrip().count("\n") + 1

    def line_of(self, at: int) -> int:
        """The line of a character, from 1."""
        if at < self._counted:
            self._line, self._counted = 1, 0
        self._line += self.text.count("\n", self._counted, at)
        self._counted = at
        return self._line

    def after_space(self, at: int) -> int:
        """The index of the next character that is no white space; the text's length where there is none."""
        found = SPACE.search(self.text, at)
        return found.start() if found else len(self.text)

    def value(self, at: int) -> tuple[Any, int]:
        """The value that begins there, and the index after it."""
        try:
            return DECODER.raw_decode(self.text, at)
        except (ValueError, RecursionError) as problem:
            line = min(getattr(problem, "lineno", None) or self.line_of(at), self._last)
            raise self.error(line, reason_of(problem)) from None

    def members(self, at: int) -> Iterator[tuple[int, str | None, Any, int]]:
        """(line, key, value, index of the value) of each member of the list or object that begins there; a list's keys
        are None. A comma after the last is let pass."""
        closing, begun, line_begun = "]" if self.text[at] == "[" else "}", at, self.line_of(at)
        at = self.after_space(at + 1)
        while self.text[at : at + 1] != closing:
            line, key = self.line_of(at), None
            if closing == "}":
                key, at = self._key(at)
            value, end = self.value(at)
            yield line, key, value, at
            at = self.after_space(end)
            if self.text[at : at + 1] == ",":
                at = self.after_space(at + 1)
            elif self.text[at : at + 1] != closing:
                what = "list" if self.text[begun] == "[" else "object"
                if at == len(self.text):
                    raise self.error(self._last, f"the {what} that begins in line {line_begun} is not closed: the file "
                                                 "is cut off")  # fmt: skip
                raise self.error(self.line_of(at), f"a comma is missing before '{self.text[at : at + 20]}'")
        self.end = at + 1

    def check_end(self, what: str, at: int | None = None) -> None:
        """Raises where something comes after the end."""
        at = self.after_space(self.end if at is None else at)
        if rest := self.text[at:].strip():
            raise self.error(self.line_of(at), f"after {what} comes '{rest[:20]}'")

    def _key(self, at: int) -> tuple[str, int]:
        key, end = self.value(at)
        end = self.after_space(end)
        if not isinstance(key, str) or self.text[end : end + 1] != ":":
            raise self.error(min(self.line_of(end), self._last), "it is no JSON: an object holds 'key: value' pairs")
        return key, self.after_space(end + 1)
