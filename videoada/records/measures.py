"""What a record says by name, checked: records come from anywhere, and a page or a table is made of what they hold."""

from __future__ import annotations

from types import NoneType
from typing import Any

FIDELITY = ("psnr", "psnr_worst_frame", "ssim", "identical")
COHERENCE = ("failed", "passed")
LISTS = {"failed": str, "latent_error": float}  # of what; the latter is plotted as a line, which has no gaps
TRUTHS = ("identical", "passed")
EXITS = {"threshold": float, "num_exits": int, "macs": float}


def check_measures(values: dict[str, Any] | None, needed: tuple[str, ...] = ()) -> None:
    """Measures by name: truth values and lists under the names that have them; under all others numbers or None, or
    truth values, as measures by a user's own name may be.

    Raises ValueError for others, and for a name of `needed` that is missing.
    """
    if values is None:
        return
    if missing := [name for name in needed if name not in values]:
        raise ValueError(f"{missing[0]} is missing")
    for name, value in values.items():
        if name in LISTS:
            fits = isinstance(value, list) and all(_is_a(LISTS[name], part) for part in value)
        else:
            fits = isinstance(value, (bool,) if name in TRUTHS else (int, float, NoneType))
        if not fits:
            raise ValueError(f"{name} can't be {str(value)[:40]}")


def check_recorded_fidelity(values: dict[str, Any] | None) -> None:
    """A record's `fidelity`. Raises ValueError for one that lacks a number, unless the videos are identical."""
    check_measures(values, FIDELITY)
    if values and not values["identical"] and None in (values[name] for name in FIDELITY):
        raise ValueError("a fidelity without its numbers")


def check_recorded_coherence(values: dict[str, Any] | None) -> None:
    """A video's `coherence`. Raises ValueError for one in which a check failed that has no number."""
    if values is None:
        return
    check_measures(values, COHERENCE)
    if unmeasured := [name for name in values["failed"] if not _is_a(float, values.get(name))]:
        raise ValueError(f"a failed check without its number: {unmeasured[0][:40]}")


def check_recorded_exits(values: dict[str, Any] | None, num_steps: int) -> None:
    """A record's `early_exit`. Raises ValueError for one without its numbers, or of another number of steps."""
    if values is None:
        return
    for name, kind in EXITS.items():
        if not _is_a(kind, values.get(name)):
            raise ValueError(f"early_exit: {name} is missing, or no number")
    steps, last = values.get("steps"), values["num_exits"]
    if last < 1 or not isinstance(steps, list) or len(steps) != num_steps:
        raise ValueError("early_exit: the steps do not add up")
    if not all(exit is None or (_is_a(int, exit) and 0 <= exit <= last) for exit in steps):
        raise ValueError("early_exit: a step left at none of the exits")


def _is_a(kind: type, value: Any) -> bool:
    """As JSON means it: an integer is a number too, a truth value is none."""
    return isinstance(value, (int, float) if kind is float else kind) and not isinstance(value, bool)
