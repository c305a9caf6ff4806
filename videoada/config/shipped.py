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


@functools.cache
def shipped_names() -> tuple[str, ...]:
    """Names of the data files without their ending, sorted."""
    return tuple(sorted(f.name.removesuffix(".yaml") for f in DATA.iterdir() if f.name.endswith(".yaml")))


def read_shipped(name: str) -> dict[str, Any]:
    """The keys and values of the data file of that name, one of `shipped_names()`."""
    return parse_yaml((DATA / f"{name}.yaml").read_text(encoding="utf-8"), f"{name}.yaml")


# By what they are for: settings of a run, and limits of `videoada check` and of
# `videoada verdict`. What the quality levels are is for neither.
LIMITS = ("coherence",)
VERDICT = ("verdict",)
RUNS = tuple(name for name in shipped_names() if name not in (*LIMITS, *VERDICT, "quality"))


def read_configuration(path: str | Path, names: tuple[str, ...] = RUNS) -> dict[str, Any]:
    """The keys and values of a YAML file, or of the shipped configuration of that name, one of `names`.

    A file wins. Raises ConfigError for what is neither.
    """
    named = Path(path).name == str(path)  # no folder part
    if not named or (os.path.exists(path) and not os.path.isdir(path)):
        return read_yaml(path)
    name = str(path).removesuffix(".yaml")
    if name not in names:
        raise ConfigError(f"there is no file {str(path)[:100]!r}; configurations that ship are {', '.join(names)}")
    return read_shipped(name)
