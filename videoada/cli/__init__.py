"""The command line: each command is a thin shell over one public function. Only these modules print."""

from videoada.cli import (
    analyse,
    benchmark,
    calibrate,
    check,
    evaluate,
    generate,
    inspect,
    models,
    render,
    report,
    status,
    train,
    ui,
    verdict,
    work,
)
from videoada.cli.app import app, main

__all__ = [
    "analyse",
    "app",
    "benchmark",
    "calibrate",
    "check",
    "evaluate",
    "generate",
    "inspect",
    "main",
    "models",
    "render",
    "report",
    "status",
    "train",
    "ui",
    "verdict",
    "work",
]
