"""Small frozen models without unknown keys; what does not fit is a ConfigError of one line."""

from __future__ import annotations

import difflib
import os
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from videoada.config.wanted import problem_of
from videoada.errors import ConfigError

MOST_LISTED = 20  # options: more of them make no line


class FrozenConfig(BaseModel):
    """Unchangeable, without unknown keys; what does not fit is a ConfigError of one line."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def __init__(self, **values: Any) -> None:
        for name, value in values.items():
            if name != "prompt" and isinstance(value, str | os.PathLike) and not is_text(os.fspath(value)):
                raise ConfigError(f"`{name}`: {value!a} holds bytes that are not UTF-8, as records are: rename it")
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigError(_first_line(error, type(self))) from None

    @classmethod
    def values_given(cls, values: Any) -> dict[str, Any] | None:
        """What raw `values` give, those that are None left out; None where they are no mapping, which pydantic then
        refuses for its kind."""
        return {k: v for k, v in dict(values).items() if v is not None} if isinstance(values, (dict, cls)) else None


def is_text(value: str | bytes) -> bool:
    """Whether a name or text can be written as UTF-8: those of a file system may hold any bytes."""
    return isinstance(value, str) and (value.isprintable() or not any("\ud800" <= c <= "\udfff" for c in value))


def one_of(kind: str, value: str, options: tuple[str, ...]) -> str:
    """`value`, or a ValueError that names the nearest option."""
    if value in options:
        return value
    near = difflib.get_close_matches(value, options, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    raise ValueError(f"unknown {kind} '{value}'; {hint}choose from {', '.join(options)}")


def unknown_key(name: str, options: tuple[str, ...]) -> str:
    """What is said of a key that is none of `options`: the nearest of them; all, if few, where none is near."""
    near = difflib.get_close_matches(name[:60], options, n=3, cutoff=0.5 if len(options) <= MOST_LISTED else 0)
    hint = f"the nearest are {', '.join(near)}" if near else f"choose from {', '.join(options)}"
    return f"unknown key '{name[:60]}'; {hint}"


def _first_line(error: ValidationError, model: type[BaseModel]) -> str:
    first = error.errors()[0]
    if first["type"] == "extra_forbidden":
        return unknown_key(str(first["loc"][0]), tuple(model.model_fields))
    where, what = problem_of(error, model)
    return what if first["type"] == "value_error" else f"`{where[0] if where else ''}`: {what}"
