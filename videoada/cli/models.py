"""videoada models, videoada doctor."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from videoada.cli.app import app
from videoada.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from videoada.models.catalogue import KnownModel
    from videoada.models.vocabulary import Vocabulary

MARKS = {"ok": "[green]ok[/]      ", "optional": "[yellow]optional[/]", "missing": "[red]missing[/] "}


@app.command(
    epilog="Examples:\n\n  videoada models --json\n\n  videoada models emoji-t2v\n\n"
    "  videoada models emoji-t2v --search cat"
)
def models(
    name: Annotated[
        str | None,
        typer.Argument(help="Show this one: its settings, and which prompts it understands.", show_default=False),
    ] = None,
    search: Annotated[
        str | None,
        typer.Option(help="With NAME: list what has words that begin with these.", metavar="TEXT", show_default=False),
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="One JSON object a model on stdout.")] = False,
) -> None:
    """List the models that can be loaded by name: licence, what each needs, whether it is here already."""
    from videoada.models.catalogue import KNOWN, named_model

    if search is not None and name is None:
        raise ConfigError(f"`search={search}` needs the name of a model: videoada models NAME --search TEXT")
    if name is not None:
        _show(named_model(name), search, json_output)
        return
    if json_output:
        for model in KNOWN.values():
            print(json.dumps(_entry(model)))
        return
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    for model in KNOWN.values():
        _print_entry(console, model)
    console.print("Any diffusers folder or hub id of a video pipeline with safetensors weights loads as well.")
    console.print("`videoada models NAME` shows which prompts a model understands and its recommended settings.")


def _entry(model: KnownModel) -> dict[str, Any]:
    from videoada.models.catalogue import is_cached

    return asdict(model) | {"cached": is_cached(model)}


def _print_entry(console: Console, model: KnownModel) -> None:
    from videoada.models.catalogue import is_cached

    here = "embedded" if model.embedded else "downloaded" if is_cached(model) else "not downloaded"
    console.print(f"[bold]{model.name}[/]: {model.task}, {model.size}, {model.licence}, {here}")
    console.print(f"  needs {model.needs}")


def _show(model: KnownModel, search: str | None, json_output: bool) -> None:
    """One model: its entry, its recommended settings, and what it understands, all or what `search` finds of it."""
    from videoada.models.vocabulary import vocabulary_of

    vocabulary = vocabulary_of(model.name)
    if vocabulary is None and search is not None:
        raise ConfigError(f"{model.name} takes prompts of any words: it has no list for `search={search}`")
    shown = vocabulary.search(search) if vocabulary and search is not None else vocabulary
    if json_output:
        entry = _entry(model) | {"location": model.location}
        if vocabulary and shown:
            entry |= {"form": vocabulary.form, "example": vocabulary.example} | shown.listed()
        print(json.dumps(entry))
        return
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    _print_entry(console, model)
    console.print(f"  from {model.location}" + (", whose README.md describes it" if model.embedded else ""))
    size = f" --height {model.height} --width {model.width}" if model.height else ""
    console.print(
        f"  recommended: --steps {model.num_inference_steps} --guidance-scale {model.guidance_scale:g} "
        f"--num-frames {model.num_frames} --fps {model.fps}{size}"
    )
    console.print(f"  on a GPU: --dtype {model.dtype}, if nothing is said")
    if vocabulary is None or shown is None:
        console.print("  prompts: any text")
        return
    console.print(f"  prompts: {vocabulary.form}, such as: {vocabulary.example}", markup=False)
    _print_parts(console, vocabulary, shown, search)


def _print_parts(console: Console, vocabulary: Vocabulary, shown: Vocabulary, search: str | None) -> None:
    """What can be written for each word in capitals, in columns; only what was found, where something was sought."""
    from rich.columns import Columns

    for part, entries in shown.parts.items():
        if entries or search is None:
            count = len(vocabulary.parts[part])
            console.print(f"{part}: {count}" if search is None else f"{part}: {len(entries)} of {count}")
            console.print(Columns(entries, padding=(0, 2)), soft_wrap=False)
    if search is not None and not any(shown.parts.values()):
        near = vocabulary.near(search)
        console.print(
            f"nothing has words that begin with '{search}'; "
            + (f"nearest: {', '.join(near)}" if near else "nothing is near"),
            markup=False,
        )


@app.command(epilog="Example:\n\n  videoada doctor")
def doctor(
    json_output: Annotated[bool, typer.Option("--json", help="One JSON object a finding on stdout.")] = False,
) -> None:
    """Say what is installed, what works here, and what is missing; exit code 1 when something needed is missing."""
    from videoada.models.doctor import examine

    findings = examine()
    if json_output:
        for finding in findings:
            print(json.dumps(asdict(finding)))
    else:
        from rich.console import Console
        from rich.markup import escape

        console = Console(highlight=False, soft_wrap=True)
        for finding in findings:
            console.print(f"{MARKS[finding.state]} {finding.part:<24}{escape(finding.found)}")
            if finding.advice:
                console.print(f"          {escape(finding.advice)}", style="dim")
    if any(finding.state == "missing" for finding in findings):
        raise typer.Exit(1)
