"""Options made from the list of settings: None where not given, so that a configuration's value shows through."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from videoada.config.settings import RunSettings, kind_of, said_of

Config = Annotated[
    Path | None,
    typer.Option(
        help="A YAML file with any of the settings below, or the name of one that ships: example; flags win over it.",
        show_default=False,
    ),
]
JsonOutput = Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No bar and no summary.")]


def option(text: str, default: str | None = None, **extra: Any) -> Any:
    """An option that is None when not given; help states the default."""
    return typer.Option(help=text, show_default=default or False, **extra)


MatchSize = Annotated[str | None, option("Resize all frames to WIDTHxHEIGHT: sets of other sizes are refused.")]
MatchFps = Annotated[
    float | None, option("Take frames at this rate, not above any video's: sets of other rates are refused.")
]
AnyCodec = Annotated[
    bool, typer.Option("--any-codec", help="Also compare videos of different lossy codecs, whose loss then counts.")
]


def takes_settings(
    *,
    leave_out: Collection[str] = (),
    texts: Mapping[str, str] | None = None,
    defaults: Mapping[str, str] | None = None,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A decorator that gives a command an option for each setting, and its parameter `given` those that were given.

    `texts` and `defaults` are what a command says of a setting other than its own description and default.
    """
    names = [n for n, field in RunSettings.model_fields.items() if field.json_schema_extra and n not in leave_out]
    made = [_parameter(name, (texts or {}).get(name), (defaults or {}).get(name)) for name in names]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(command, include_extras=True)
        own = [
            parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
            for name, parameter in inspect.signature(command).parameters.items()
            if name != "given"
        ]

        @functools.wraps(command)
        def run(**values: Any) -> None:
            given = {name: values.pop(name) for name in names}
            command(given={name: value for name, value in given.items() if value not in (None, [])}, **values)

        parameters = [*own, *made]
        vars(run)["__signature__"] = inspect.Signature(parameters)  # what Typer reads
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return decorate


def flag_of(name: str) -> str:
    """The flag of a setting: `--guidance-scale`."""
    return f"--{name.replace('_', '-')}"


def _parameter(name: str, text: str | None, default: str | None) -> inspect.Parameter:
    said, kind = said_of(name), kind_of(name)
    flags = [] if kind is not bool or said["both"] else [flag_of(name)]  # else with --no-…
    made = typer.Option(
        *flags, help=text or RunSettings.model_fields[name].description, show_default=default or said["shown"] or False,
        rich_help_panel=said["panel"],
    )  # fmt: skip
    shown: Any = str if said["words"] else kind  # a number or a word
    shown = list[shown] if said["several"] else shown
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[shown | None, made]
    )
