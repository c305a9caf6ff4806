"""Configurations that ship as data of the package, read by name: the same in a checkout and in an installed wheel."""

from __future__ import annotations

import functools
import os
from importlib.resources import files
from pathlib import Path
from typing import Any

from videoada.config.yamlfile import parse_yaml, read_yaml
from videoada.errors import ConfigError

DATA = files("videoada.config") / "data"
LEVELS = "quality"  # what the quality levels stand for: no configuration of a command


@functools.cache
def shipped_names() -> tuple[str, ...]:
    """Names of the data files without their ending, sorted."""
    return tuple(sorted(f.name.removesuffix(".yaml") for f in DATA.iterdir() if f.name.endswith(".yaml")))


def read_shipped(name: str) -> dict[str, Any]:
    """The keys and values of the data file of that name, one of `shipped_names()`."""
    return parse_yaml((DATA / f"{name}.yaml").read_text(encoding="utf-8"), f"{name}.yaml")


def read_configuration(path: str | Path) -> dict[str, Any]:
    """The keys and values of a YAML file, or of the shipped configuration of that name, such as `example`.

    A file wins. Raises ConfigError for what is neither.
    """
    named = Path(path).name == str(path)  # no folder part
    if not named or (os.path.exists(path) and not os.path.isdir(path)):
        return read_yaml(path)
    names = [name for name in shipped_names() if name != LEVELS]
    name = str(path).removesuffix(".yaml")
    if name not in names:
        raise ConfigError(f"there is no file {str(path)[:100]!r}; configurations that ship are {', '.join(names)}")
    return read_shipped(name)
