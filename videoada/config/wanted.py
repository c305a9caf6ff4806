"""What a field takes, in words of ours: "a whole number from 8 to 16384". The same for options, columns and keys."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

BELOW, ABOVE = ("ge", "gt"), ("le", "lt")
WANTED = {
    "string": "text, in quotes where it looks like a number", "bool": "true or false", "dict": "keys with values",
    "list": "a list", "tuple": "a list", "path": "the name of a file or folder",
}  # fmt: skip


def problem_of(error: ValidationError, model: type[BaseModel] | None = None) -> tuple[tuple[str, ...], str]:
    """Where the first value that does not fit stands, as keys from the outside in, and what is wrong in one line."""
    first = error.errors()[0]
    where = tuple(str(part) for part in first["loc"])
    if first["type"] in ("value_error", "assertion_error"):
        return where, first["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if first["type"] == "missing":
        return where, "it is missing"
    if first["type"] == "extra_forbidden":
        return where, "it is not known here"
    if first["type"] == "json_invalid":
        return where, f"it is no JSON ({first['msg'].removeprefix('Invalid JSON: ')})"
    field = model.model_fields.get(where[0]) if model and where else None
    limits = _limits_of(field) | dict(first.get("ctx") or {})
    integer = first["type"].startswith("int") or (field is not None and int in _kinds(field.annotation))
    return where, f"give {_wanted(first['type'], first['msg'], limits, integer)}, got {reprlib.repr(first['input'])}"


def number_wanted(limits: Mapping[str, Any], integer: bool = False) -> str:
    """ "a number from 0 to 1", "a whole number, 1 or more": what `limits` (ge, gt, le, lt) leave."""
    kind = "a whole number" if integer else "a number"
    low, high = (next((limits[n] for n in names if limits.get(n) is not None), None) for names in (BELOW, ABOVE))
    above, below = limits.get("gt") is not None, limits.get("lt") is not None
    if low is not None and high is not None:
        until = "to below" if below else "up to" if above else "to"
        return f"{kind} {'above' if above else 'from'} {low:.12g} {until} {high:.12g}"
    said = [] if low is None else [f"above {low:.12g}" if above else f"{low:.12g} or more"]
    said += [] if high is None else [f"below {high:.12g}" if below else f"{high:.12g} or less"]
    return f"{kind}{', ' * bool(said)}{' and '.join(said)}"


def _wanted(kind: str, message: str, limits: Mapping[str, Any], integer: bool) -> str:
    if kind.startswith(("int", "float", "finite", "greater", "less")):
        return number_wanted(limits, integer)
    if kind == "literal_error":
        return str(limits["expected"])
    known = WANTED.get(kind.split("_")[0])
    return known or message.removeprefix("Input should be ").replace("a valid ", "a ")


def _limits_of(field: Any) -> dict[str, Any]:
    found = {}
    for part in field.metadata if field is not None else ():
        for name in (*BELOW, *ABOVE):
            limit = getattr(part, name, None)
            if limit is not None and math.isfinite(limit):
                found[name] = limit
    return found


def _kinds(annotation: Any) -> set[Any]:
    parts = get_args(annotation)
    return {annotation}.union(*(_kinds(part) for part in parts)) if parts else {annotation}
