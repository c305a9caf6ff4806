"""The application, its one-line errors and its exit codes.

People's output goes to stderr; with --json, stdout holds one JSON object a line and nothing else.
"""

from __future__ import annotations

import functools
import os
import re
import sys
from typing import Annotated, Any

import typer

from videoada.errors import VideoAdaError

# Typer carries a click of its own in newer versions; this is the base of its usage errors in any version.
_UsageProblem: type[Exception] = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")

app = typer.Typer(
    name="videoada",
    help="Video diffusion with fewer noise predictions, decided for each prompt at each step.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _version(wanted: bool) -> None:
    if wanted:
        from videoada import __version__

        print(f"videoada {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None: ...


@functools.cache
def command_tree() -> Any:
    """All commands as they are parsed: to build them takes a tenth of a second, and an error asks for them again."""
    return typer.main.get_command(app)


# Where a flag is not its parameter's name with hyphens.
FLAGS = {"num_inference_steps": "--steps", "save_statistics": "--save-stats"}


def as_flags(message: str) -> str:
    """A library's message with the flags of the parameters that it names: `` `every=1` `` becomes `--every 1`."""

    known = _parameters()

    def flag(found: re.Match[str]) -> str:
        name, value = found[1], found[2]
        if name not in known:  # a word of another library
            return found[0]
        shown = FLAGS.get(name, f"--{name.replace('_', '-')}")
        if value == "False":
            return f"--no-{shown.removeprefix('--')}"
        return shown if value in (None, "True") else f"{shown} {value}"

    return re.sub(r"`([a-z][a-z_0-9]*)(?:=([^`\s]+))?`", flag, message)


def _parameters() -> set[str]:
    """Names of the options of all commands, and of the parameters that have another name there."""
    names, groups = set(FLAGS), [command_tree()]
    while groups:
        command: Any = groups.pop()
        names |= {str(parameter.name) for parameter in command.params}
        groups += getattr(command, "commands", {}).values()
    return names


def _of_usage(error: Any) -> str:
    """What is wrong with an option, in one line; newer versions of Typer leave its value to pydantic."""
    from pydantic import ValidationError

    from videoada.config.wanted import problem_of

    if isinstance(cause := error.__cause__, ValidationError) and getattr(error, "param", None):
        names = [*error.param.opts, *error.param.secondary_opts]
        name = next((name for name in names if name.startswith("--")), str(error.param.name).upper())
        return f"{name}: {problem_of(cause)[1]}"
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    return " ".join(message.split())


def main(args: list[str] | None = None) -> None:
    """Run the command line: one-line errors, the contract's exit codes."""
    code = 0
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a redirected stream may know fewer characters than prompts have
            stream.reconfigure(encoding="utf-8", errors="replace")
    try:
        code = command_tree()(args=args, prog_name="videoada", standalone_mode=False) or 0
        if code == 130:  # Typer may answer Ctrl-C itself
            raise KeyboardInterrupt
    except VideoAdaError as error:
        print(f"error: {as_flags(' '.join(str(error).split()))}", file=sys.stderr)
        code = 2
    except _UsageProblem as error:
        print(f"error: {_of_usage(error)} (see --help)", file=sys.stderr)
        code = 2
    except (KeyboardInterrupt, typer.Abort):
        print("interrupted; nothing half-written was left", file=sys.stderr)
        code = 130
    except BrokenPipeError:  # whoever read stdout has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code)
