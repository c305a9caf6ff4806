"""An extension of griffe, which mkdocstrings reads code with: the fields of configurations and dataclasses as a table.

Fields say what they are in their type, their limits and the comment behind them; without this each would be a heading
with nothing below it.
"""

from __future__ import annotations

import ast
import html
from typing import Any

import griffe

LIMITS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


class Fields(griffe.Extension):
    """Adds the table to the docstring of each class that has annotated fields without docstrings."""

    def on_class_members(self, *, cls: griffe.Class, **_: Any) -> None:
        fields = [
            member
            for name, member in cls.members.items()
            if member.is_attribute and member.annotation and not name.startswith("_") and not member.docstring
            and "property" not in member.labels
        ]  # fmt: skip
        if not fields or cls.docstring is None:
            return
        rows = ["", "", "| field | type | default | what |", "|---|---|---|---|", *(row(field) for field in fields)]
        cls.docstring.value += "\n".join(rows)


def row(field: Any) -> str:
    """A field's row: its name, type, default, limits and comment."""
    value = ast.parse(str(field.value), mode="eval").body if field.value is not None else None
    default, said = value, []
    if isinstance(value, ast.Call) and getattr(value.func, "id", "") in ("Field", "field"):
        given = {keyword.arg: keyword.value for keyword in value.keywords}
        default = given.get("default") or (value.args[0] if value.args else None)
        if "default_factory" in given:
            default = ast.Call(given["default_factory"], [], [])
        said += [f"{sign} {ast.unparse(given[name])}" for name, sign in LIMITS.items() if name in given]
        if "description" in given:
            said.append(str(ast.literal_eval(given["description"])))
    if comment := comment_of(field):
        said.append(comment)
    shown = "" if default is None else code(ast.unparse(default))
    return f"| `{field.name}` | {code(str(field.annotation))} | {shown} | {'; '.join(said)} |"


def code(text: str) -> str:
    """Text as code in a table's cell, where a bar would end the cell."""
    return f"<code>{html.escape(text)}</code>".replace("|", "&#124;").replace("\n", " ")


def comment_of(field: Any) -> str:
    """The comment at the end of the field's line, if there is one."""
    line = field.lines_collection[field.filepath][field.endlineno - 1]
    _, found, comment = line.partition("  # ")
    return comment.strip() if found and not comment.startswith("fmt:") else ""
