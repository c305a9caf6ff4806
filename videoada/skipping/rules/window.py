"""Between which steps a rule may skip: counted from both ends, or as shares of how many there are."""

from __future__ import annotations

import math


def first_step(warmup_steps: int, skip_from: float | None, num_steps: int, least: int) -> int:
    """The first step that may be skipped, 0-based, at least `least`: after `warmup_steps`, or the first step i with
    i/num_steps ≥ `skip_from`, a share in [0, 1]."""
    return max(warmup_steps if skip_from is None else _steps_in(skip_from, num_steps), least)


def end_step(final_steps: int, skip_to: float | None, num_steps: int) -> int:
    """The first of the last steps that always compute: `final_steps` of them, or those with i/num_steps ≥ `skip_to`."""
    return num_steps - final_steps if skip_to is None else _steps_in(skip_to, num_steps)


def _steps_in(share: float, num_steps: int) -> int:
    """How many steps i = 0, 1, … have i/num_steps < share; 7 % of 100 are 7, whatever floating point makes of it."""
    return math.ceil(round(share * num_steps, 6))
