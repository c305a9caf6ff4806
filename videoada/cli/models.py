"""videoada models, videoada doctor."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from videoada.cli.app import app

MARKS = {"ok": "[green]ok[/]      ", "optional": "[yellow]optional[/]", "missing": "[red]missing[/] "}


@app.command(epilog="Example:\n\n  videoada models --json")
def models(
    json_output: Annotated[bool, typer.Option("--json", help="One JSON object a model on stdout.")] = False,
) -> None:
    """List the models that can be loaded by name: licence, what each needs, whether it is here already."""
    from videoada.models.catalogue import KNOWN, is_cached

    rows = [asdict(model) | {"cached": is_cached(model)} for model in KNOWN.values()]
    if json_output:
        for row in rows:
            print(json.dumps(row))
        return
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    for row in rows:
        here = "embedded" if row["embedded"] else "downloaded" if row["cached"] else "not downloaded"
        console.print(f"[bold]{row['name']}[/]: {row['task']}, {row['size']}, {row['licence']}, {here}")
        console.print(f"  needs {row['needs']}")
    console.print("Any diffusers folder or hub id of a text-to-video pipeline with safetensors weights loads as well.")


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
