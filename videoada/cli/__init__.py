"""The command line: each command is a thin shell over one public function. Only these modules print."""

from videoada.cli import benchmark, generate, inspect, models
from videoada.cli.app import app, main

__all__ = ["app", "benchmark", "generate", "inspect", "main", "models"]
