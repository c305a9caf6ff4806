"""What a denoiser returned, whole: a tensor, or tensors in tuples, lists, dicts and output objects.

A leaf is either one tensor whose first dimension is the batch's, or a list of one tensor for each batch row: of
networks whose batch is a list (ZImage), here `listed`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias, Union

from torch import Tensor

from videoada.skipping.rows import Rows

Leaf: TypeAlias = Union[Tensor, list[Tensor]]  # noqa: UP007 (Tensor | … is no type in torch's stubs)


def leaves_of(result: Any, listed: bool) -> list[Leaf]:
    """The leaves of a denoiser's result, in order. Raises ValueError for one without a tensor."""
    found: list[Leaf] = []

    def collect(leaf: Leaf) -> Leaf:
        found.append(leaf)
        return leaf

    _mapped(result, listed, collect)
    if not found:
        raise ValueError("a denoiser's result without a tensor")
    return found


def with_leaves(result: Any, listed: bool, leaves: list[Leaf]) -> Any:
    """A result of the same structure with other leaves; what is no tensor stays."""
    others: Iterator[Leaf] = iter(leaves)
    return _mapped(result, listed, lambda leaf: next(others))


def first_tensor(result: Any) -> Tensor:
    """The prediction in what a denoiser returned: its first tensor."""
    leaf = leaves_of(result, listed=False)[0]
    assert isinstance(leaf, Tensor)
    return leaf


def is_tensors_alone(result: Any) -> bool:
    """Whether nothing else is in it, such as a key-value cache, which can't be cut into rows."""
    if isinstance(result, (list, tuple)):
        return all(is_tensors_alone(value) for value in result)
    if isinstance(result, dict):
        return all(is_tensors_alone(value) for value in result.values())
    if dataclasses.is_dataclass(result):
        return all(is_tensors_alone(getattr(result, f.name)) for f in dataclasses.fields(result))
    return result is None or isinstance(result, Tensor)


def copied(leaf: Leaf) -> Leaf:
    return [row.clone() for row in leaf] if isinstance(leaf, list) else leaf.clone()


def put_rows(leaf: Leaf, rows: Rows, part: Leaf) -> None:
    """Write the rows that were computed into a copied leaf; what `part` has beyond them only filled a size."""
    part = part[: len(rows.numbers)]
    if isinstance(leaf, Tensor):
        leaf[rows.on(leaf.device)] = part
        return
    for i, row in zip(rows.numbers, part, strict=True):
        leaf[i] = row


def _mapped(value: Any, listed: bool, function: Callable[[Leaf], Leaf]) -> Any:
    if isinstance(value, Tensor):
        return function(value)
    if listed and type(value) is list and value and all(isinstance(v, Tensor) for v in value):
        return function(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_mapped(v, listed, function) for v in value))
    if isinstance(value, (list, tuple)):
        return type(value)(_mapped(v, listed, function) for v in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return type(value)(**{name: _mapped(v, listed, function) for name, v in fields.items()})
    if isinstance(value, dict):
        return type(value)({name: _mapped(v, listed, function) for name, v in value.items()})
    return value
