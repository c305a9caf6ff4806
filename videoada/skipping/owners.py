"""Owners: which run decides for a denoiser or a scheduler. The run of a block comes before one that is enabled."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from videoada.errors import ConfigError


class Standing(Protocol):
    """What `enable` leaves on a pipeline: `paused` counts the blocks that decide instead."""

    run: Any
    paused: int
    closed: bool
    instead_of: Any  # what it replaces, or None


_BLOCKS: WeakKeyDictionary[Any, weakref.ref[Any]] = WeakKeyDictionary()  # runs, by denoiser and scheduler
_STANDING: WeakKeyDictionary[Any, weakref.ref[Any]] = WeakKeyDictionary()  # what is enabled, by the same
_LOCK = threading.RLock()  # reentrant: garbage collection may end what is enabled at any point


@contextmanager
def alone(items: Sequence[Any], run: Any) -> Iterator[None]:
    """For the length of the block the denoisers and schedulers `items` are those of `run`, whoever else holds them.

    What is enabled for them waits. Raises ConfigError where one of them is another block's already: two can't both
    decide which steps are computed.
    """
    with _LOCK:
        if any(item in _BLOCKS for item in items):
            raise ConfigError("skip_steps is on already for this pipeline; leave the outer block first")
        for item in items:
            _BLOCKS[item] = weakref.ref(run)  # which knows the scheduler
        waiting = {id(found): found for item in items if (found := _standing_of(item)) is not None}
        for standing in waiting.values():
            standing.paused += 1
    refs = [weakref.ref(item) for item in items]
    del items
    try:
        yield
    finally:
        with _LOCK:
            for ref in refs:
                if (item := ref()) is not None:
                    _BLOCKS.pop(item, None)
            for standing in waiting.values():
                standing.paused -= 1


@contextmanager
def enabled(items: Sequence[Any], standing: Standing) -> Iterator[None]:
    """For the length of the block `standing` decides for the denoisers and schedulers `items`, outside other blocks.

    It may take over from `standing.instead_of`, which has them again if this block ends first. Raises ConfigError where
    one of the items is in a `skip_steps` block, or enabled by way of another pipeline.
    """
    with _LOCK:
        if any(item in _BLOCKS for item in items):
            raise ConfigError("`enable` inside a skip_steps block of the same pipeline: leave the block first")
        before = [(weakref.ref(item), _standing_of(item)) for item in items]
        if any(other is not None and other is not standing.instead_of for _, other in before):
            raise ConfigError(
                "another pipeline that shares this one's denoiser or scheduler is enabled: `disable` that first"
            )
        own = weakref.ref(standing)
        for item in items:
            _STANDING[item] = own
    del items
    try:
        yield
    finally:
        with _LOCK:
            for ref, other in before:
                item = ref()
                if item is None or _STANDING.get(item) is not own:  # dead already where both are collected
                    continue
                del _STANDING[item]
                if other is not None and not other.closed:
                    _STANDING[item] = weakref.ref(other)


def run_of(item: Any) -> Any:
    """The run that decides for this denoiser or scheduler: that of a block, or what is enabled; None without one."""
    found = _BLOCKS.get(item)
    if found is not None:
        return found()
    standing = _standing_of(item)
    return None if standing is None else standing.run


def _standing_of(item: Any) -> Standing | None:
    found = _STANDING.get(item)
    return None if found is None else found()
