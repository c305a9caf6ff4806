"""A mask in any form that people give it: 0/1 text, a JSON list, a file that holds one, a run record."""

from __future__ import annotations

import json
from pathlib import Path

from videoada.errors import ConfigError


def read_mask(text: str) -> tuple[bool, ...]:
    """0/1 for each step, from '1,1,0', '110', a JSON list, a file that holds one, or a run record's `computed`."""
    source = text
    try:
        if Path(text).is_file():
            text = Path(text).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):  # not a path at all, or not text
        pass
    try:
        values = json.loads(text) if text.lstrip()[:1] in ("[", "{") else [c for c in text if c not in ", \n\r\t"]
    except (ValueError, RecursionError):
        values = None
    if isinstance(values, dict):
        values = values.get("computed")
    if not values or not isinstance(values, list) or any(str(v) not in ("0", "1", "True", "False") for v in values):
        raise ConfigError(
            f"can't read a mask from '{source[:60]}': give 0/1 for each step, a file with them, or a record"
        )
    return tuple(str(v) in ("1", "True") for v in values)
