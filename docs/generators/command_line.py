"""The page of the command line: for each command its options, what they do, their defaults."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from videoada.cli import app

TOP = """# Command line

<!-- Written by docs/write_reference.py from the commands: edit those. -->

Every command answers to `--help`. Exit codes: 0 done, 1 something failed or did not pass a check, 2 an error in what
was asked for, 130 stopped by Ctrl-C. Most settings can also be given in a YAML file for `--config`, or in columns of a
prompt file: see [forms of input](input.md).
"""


def page() -> str:
    """The whole page."""
    root = typer.main.get_command(app)
    return "\n".join((TOP, *(section(name, command) for name, command in commands(root))))


def commands(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """Each command and its name, those of groups within groups with the group's before theirs, by name."""
    for name, command in sorted(group.commands.items()):
        if hasattr(command, "commands"):
            yield from commands(command, f"{before}{name} ")
        else:
            yield before + name, command


def section(name: str, command: Any) -> str:
    """A command's heading, what it does, and its options in tables, one for each panel of its help."""
    panels: dict[str, list[str]] = {}
    for parameter in command.params:
        if "--help" not in parameter.opts:
            panels.setdefault(getattr(parameter, "rich_help_panel", None) or "", []).append(row(parameter))
    parts = [f"## videoada {name}\n\n{command.help.strip().splitlines()[0]}\n"]
    for panel, rows in sorted(panels.items(), key=lambda item: item[0] != ""):  # the command's own options first
        title = f"**{panel}**\n\n" if panel else ""
        parts.append("\n".join((f"{title}| option | what | default |", "|---|---|---|", *rows, "")))
    return "\n".join(parts)


def row(parameter: Any) -> str:
    """One option or argument: its names, its help, its default in words."""
    default = getattr(parameter, "show_default", None)
    if not isinstance(default, str):
        default = "" if parameter.default in (None, False) else str(parameter.default)
    text = (getattr(parameter, "help", "") or "").replace("|", "\\|")
    names = (*parameter.opts, *parameter.secondary_opts)
    is_option = parameter.param_type_name == "option"
    shown = ", ".join(f"`{name}`" for name in names) if is_option else f"`{parameter.name.upper()}`"
    return f"| {shown} | {text} | {default} |"
