"""Between which steps a rule may skip: counted from both ends, or as shares of how many there are."""

from __future__ import annotations

import math
from typing import Protocol

from videoada.errors import ConfigError, counted


def first_step(warmup_steps: int, skip_from: float | None, num_steps: int, least: int) -> int:
    """The first step that may be skipped, 0-based, at least `least`: after `warmup_steps`, or the first step i with
    i/num_steps ≥ `skip_from`, a share in [0, 1]."""
    return max(warmup_steps if skip_from is None else _steps_in(skip_from, num_steps), least)


def end_step(final_steps: int, skip_to: float | None, num_steps: int) -> int:
    """The first of the last steps that always compute: `final_steps` of them, or those with i/num_steps ≥ `skip_to`."""
    return num_steps - final_steps if skip_to is None else _steps_in(skip_to, num_steps)


class Budgeted(Protocol):
    """What a budget is given as."""

    num_predictions: int | None
    warmup_steps: int | None
    final_steps: int | None
    skip_from: float | None
    skip_to: float | None


def check_budget(asked: Budgeted, num_steps: int) -> None:
    """Raises ConfigError for `num_predictions` that a run of so many steps can't have; as many as steps it can."""
    count = asked.num_predictions
    if count is None or count == num_steps:
        return
    if count > num_steps:
        raise ConfigError(f"`num_predictions={count}` is more than the {counted(num_steps, 'step')} of the run")
    first = first_step(asked.warmup_steps or 1, asked.skip_from, num_steps, 3)
    least = min(first + num_steps - end_step(asked.final_steps or 0, asked.skip_to, num_steps) + 1, num_steps)
    if count < least:
        raise ConfigError(
            f"`num_predictions={count}` is too few for {counted(num_steps, 'step')}: it is {least} or more with the "
            "first and last steps that always compute"
        )


def _steps_in(share: float, num_steps: int) -> int:
    """How many steps i = 0, 1, … have i/num_steps < share; 7 % of 100 are 7, whatever floating point makes of it."""
    return math.ceil(round(share * num_steps, 6))
