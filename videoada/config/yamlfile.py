"""YAML files from anywhere, read safely: no aliases, no tags, no key twice, no more than a megabyte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from videoada.config.encodings import read_text
from videoada.errors import ConfigError
from videoada.failures import reading

MOST_BYTES = 2**20


class _PlainLoader(yaml.SafeLoader):
    """Safe YAML without aliases, which can make ten lines into gigabytes, and without duplicate keys."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not allowed")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [getattr(key, "value", None) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.YAMLError(f"the key '{str(key)[:60]}' stands twice")
        return super().construct_mapping(node, deep)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The keys and values of a YAML file. Raises ConfigError for what is no such file."""
    path = Path(path)
    with reading(path, "the configuration", ConfigError):
        if path.is_file() and path.stat().st_size > MOST_BYTES:
            raise ConfigError(f"{path} is too large for a configuration ({path.stat().st_size} bytes)")
    text = read_text(path, "the configuration", ConfigError)
    values = parse_yaml(text, str(path))
    if {"schema_version", "request"} <= values.keys():
        raise ConfigError(f"{path} is the record of a run, no configuration; repeat it with `--from-record`")
    return values


def parse_yaml(text: str, name: str) -> dict[str, Any]:
    """The keys and values of a YAML text; `name` is the file's, for messages. Raises ConfigError for no such text."""
    try:
        values = yaml.load(text, Loader=_PlainLoader)  # a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError, MemoryError) as error:
        why = str(error) if not isinstance(error, RecursionError) else "it is nested too deeply"
        why = " ".join(why.replace('in "<unicode string>", ', "").split())[:200]
        raise ConfigError(f"can't read the configuration {name}: {why}") from None
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ConfigError(f"{name} must hold 'key: value' lines, as `videoada generate --print-config` prints them")
    return values
