"""Seeds: 0 to 2⁶⁴ − 1, or random for one that is picked; and those that are counted on from one."""

from __future__ import annotations

import re
import secrets
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from videoada.errors import ConfigError

LAST_SEED = 2**64 - 1
RANDOM: Literal["random"] = "random"
PICKED_BELOW = 2**32  # short enough to type again, and what plain diffusers tells apart


def read_seed(value: Any) -> Any:
    """A seed from a number or its text, or `RANDOM`. Raises ValueError for anything else."""
    if isinstance(value, str) and value.strip().lower() == RANDOM:
        return RANDOM
    number = value
    if (isinstance(value, str) and re.fullmatch(r"\s*[+-]?[0-9]{1,40}\s*", value)) or (
        isinstance(value, float) and value.is_integer()
    ):
        number = int(value)
    if isinstance(number, int) and not isinstance(number, bool) and 0 <= number <= LAST_SEED:
        return number
    random = "random picks one and keeps it in the record"
    asked = f"{random}, where -1 does in other tools" if number == -1 else f"or random, which picks one, got {value!r}"
    raise ValueError(f"`seed`: give a whole number from 0 to 2^64 - 1; {asked}"[:200])


def pick_seed() -> int:
    """A seed from the system's randomness, below 2³²."""
    return secrets.randbelow(PICKED_BELOW)


def seed_after(seed: int, count: int) -> int:
    """The seed `count` after `seed`. Raises ConfigError where it is beyond 2⁶⁴ − 1: nothing wraps around in silence."""
    if seed + count > LAST_SEED:
        raise ConfigError(f"`seed={seed}`: {count} after it is beyond 2^64 - 1, the last seed: give a smaller one")
    return seed + count


def _number(value: Any) -> Any:
    return pick_seed() if (seed := read_seed(value)) == RANDOM else seed


Seed = Annotated[int, BeforeValidator(_number)]  # random is picked where a configuration is made
SeedOrRandom = Annotated[int | Literal["random"], BeforeValidator(read_seed)]  # … or later, once for all that follows
