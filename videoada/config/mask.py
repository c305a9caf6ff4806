"""A mask in any form that people give it: 0/1 text, a JSON list, a file that holds one, a run record."""

from __future__ import annotations

import json
from pathlib import Path

from videoada.config.encodings import read_text
from videoada.errors import ConfigError
from videoada.failures import wrong_with


def read_mask(text: str) -> tuple[bool, ...]:
    """0/1 for each step, from '1,1,0', '110', a JSON list, a file that holds one, or a run record's `computed`."""
    source = text
    try:
        is_file = Path(text).is_file()
    except (OSError, ValueError):  # not a path at all
        is_file = False
    if is_file:
        text = read_text(Path(text), "a mask", ConfigError).strip()
    try:
        values = json.loads(text) if text.lstrip()[:1] in ("[", "{") else [c for c in text if c not in ", \n\r\t"]
    except (ValueError, RecursionError):
        values = None
    if isinstance(values, dict):
        values = values.get("computed")
    if not values or not isinstance(values, list) or any(str(v) not in ("0", "1", "True", "False") for v in values):
        shown = source if is_file or len(source) <= 60 else f"{source[:60]}…"
        wrong = None if is_file or not source else wrong_with(source) or f"{source} is a folder"
        why = f"; {wrong[:200]}" if wrong else ""
        raise ConfigError(
            f"can't read a mask from '{shown}': give 0/1 for each step, a file with them, or a record{why}"
        )
    return tuple(str(v) in ("1", "True") for v in values)
