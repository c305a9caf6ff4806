"""The command line: each command is a thin shell over one public function. Only these modules print."""

from videoada.cli import benchmark, check, evaluate, generate, inspect, models, report
from videoada.cli.app import app, main

__all__ = ["app", "benchmark", "check", "evaluate", "generate", "inspect", "main", "models", "report"]
