"""merged(): settings of a configuration or a record with those that are given over them; whose fault an error is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from videoada.config.goals import GOALS, WAY_FIELDS
from videoada.config.run import NAMED_BY, SHARES
from videoada.config.settings import RunSettings
from videoada.errors import ConfigError


def merged(values: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """`values` updated with `given`, less what only the replaced policy, step policy or model used.

    A goal replaces the other goals; the rest of what `values` say of skipping stays where the policy stays the same.
    """
    values = dict(values)
    if given.keys() & {"policy", "every", "mask", *GOALS}:
        same = policy_of(values) == policy_of(given)
        for name in GOALS if same else WAY_FIELDS + GOALS:
            values.pop(name, None)
    elif "predictor" in given:
        values.pop("damping", None)
    for share, steps in SHARES.items():  # each in place of the other
        for one, other in ((share, steps), (steps, share)):
            if one in given:
                values.pop(other, None)
    if given.get("steps", "auto") != "auto" and "step_policy" not in given:
        values.pop("step_policy", None)  # which chooses the number of steps itself
    if given.get("model", values.get("model")) != values.get("model"):  # they were of the other model
        for name in ("revision", "variant", "lora", "calibration"):
            values.pop(name, None)
    return values | given


def policy_of(values: dict[str, Any]) -> str:
    """The policy that settings name, or that follows from those that are given."""
    if values.get("policy") is not None:
        return str(values["policy"])
    return next((policy for field, policy in NAMED_BY.items() if values.get(field) is not None), "error-controlled")


@contextmanager
def blaming(path: str | Path | None, values: Mapping[str, Any]) -> Iterator[None]:
    """A ConfigError inside the block names the configuration's file where its `values` alone raise it, too."""
    try:
        yield
    except ConfigError as error:
        if path is not None and str(error) in problems_of(values):
            raise ConfigError(of_file(path, error)) from None
        raise


def of_file(path: str | Path, error: ConfigError) -> str:
    """What is wrong with a file's values: nobody gave them as parameters, so that the names are not marked as such."""
    return f"{path}: {str(error).replace('`', '')}"


def problems_of(values: Mapping[str, Any]) -> list[str]:
    """What is wrong with settings by themselves, whatever the prompt."""
    found: list[str] = []
    settings: list[RunSettings] = []
    steps: tuple[Callable[[], object], ...] = (
        lambda: settings.append(RunSettings(**({"prompt": "-"} | dict(values)))),
        lambda: settings[0].skip(), lambda: settings[0].requests(), lambda: settings[0].loading(),
    )  # fmt: skip
    for step in steps:
        try:
            step()
        except ConfigError as error:
            found.append(str(error))
        if not settings:
            break
    return found
