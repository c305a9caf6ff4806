"""Every field of every configuration, record and result with values of every kind: taken, or refused in words."""

from __future__ import annotations

import importlib
import pkgutil
from contextlib import suppress

import pytest
from pydantic import BaseModel, ValidationError

import videoada
from videoada.errors import ConfigError

STRANGE = [None, True, -1, 1e300, 10**12, float("nan"), "", "x" * 50, "\ud800", b"x", [], (), {}, [1, "a"], {"a": 1},
           [[1]], object()]  # fmt: skip


def models():
    for module in pkgutil.walk_packages(videoada.__path__, "videoada."):
        if not module.name.endswith("__main__"):
            with suppress(ModuleNotFoundError):  # of a package that only an extra installs
                importlib.import_module(module.name)
    waiting, found = [BaseModel], {}
    while waiting:
        waiting += (subclasses := waiting.pop().__subclasses__())
        found |= {model: None for model in subclasses if model.__module__.startswith("videoada.")}
    return sorted(found, key=lambda model: model.__name__)


def taken(model, value):
    """Whether it is. What is refused is refused by one of the two errors that callers know."""
    try:
        model.model_validate(value)
    except (ConfigError, ValidationError):
        return False
    except Exception as error:
        pytest.fail(f"{model.__name__} with {value!r} ended with {type(error).__name__}: {error}")
    return True


def test_every_field_takes_or_refuses_every_kind_of_value():
    answers = []
    for model in models():
        answers += [taken(model, value) for value in STRANGE]
        answers += [taken(model, {name: value}) for name in model.model_fields for value in STRANGE]
    assert 200 < sum(answers) < len(answers) - 1000
