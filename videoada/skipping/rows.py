"""Rows of a denoiser's batch: which belong to a prompt, and a call's arguments cut down to them.

With concatenated guidance a batch of B prompts is 2·B rows, [uncond 0 … B−1, cond 0 … B−1]: prompt i is rows i and
i + B.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

# Arguments that all rows share, whatever their first dimension happens to be.
SHARED = ("image_rotary_emb", "cross_attention_kwargs", "attention_kwargs", "joint_attention_kwargs", "num_frames")
# Arguments that some pipelines repeat for each frame, row by row (AnimateDiff's prompt embeddings).
REPEATED = ("encoder_hidden_states",)


def rows_of(
    compute: Sequence[bool], num_rows: int, device: torch.device, without_first_half: Collection[int] = ()
) -> Tensor:
    """Row indices, in order, of the prompts to compute; `num_rows` is a multiple of the number of prompts.

    Of prompts in `without_first_half` the rows of the first half, the unconditional one, are left out.
    """
    prompts = len(compute)
    chosen = [i for i, needed in enumerate(compute) if needed]
    halves = range(0, num_rows, prompts)
    rows = torch.tensor([half + i for half in halves for i in chosen if half or i not in without_first_half])
    return rows.to(device, non_blocking=True)  # no second synchronisation of this step


_CALLED: ContextVar[tuple[Tensor, int] | None] = ContextVar("rows of a batch that a call is for", default=None)


@contextmanager
def called_for(rows: Tensor, num_rows: int) -> Iterator[None]:
    """Inside the block, `current_rows()` returns the batch rows that this denoiser call was cut down to."""
    token = _CALLED.set((rows, num_rows))
    try:
        yield
    finally:
        _CALLED.reset(token)


def current_rows(num_rows: int) -> tuple[list[int], int]:
    """(rows, size of the full batch) of the present denoiser call: all rows, where `called_for` did not cut it down."""
    called = _CALLED.get()
    return (list(range(num_rows)), num_rows) if called is None else (called[0].tolist(), called[1])


def select_rows(
    args: tuple[Any, ...], kwargs: dict[str, Any], rows: Tensor, num_rows: int
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A denoiser call's arguments for `rows` alone: cuts tensors whose first dimension is the batch's, in dicts too."""
    cut = {
        name: value if name in SHARED else _select(value, rows, num_rows, repeated=name in REPEATED)
        for name, value in kwargs.items()
    }
    return tuple(_select(value, rows, num_rows) for value in args), cut


def _select(value: Any, rows: Tensor, num_rows: int, repeated: bool = False) -> Any:
    if isinstance(value, Tensor):
        if value.ndim and len(value) == num_rows:
            return value.index_select(0, rows.to(value.device))
        if repeated and value.ndim and len(value) % num_rows == 0:
            return value.unflatten(0, (num_rows, -1)).index_select(0, rows.to(value.device)).flatten(0, 1)
        return value
    if isinstance(value, dict):
        return {k: _select(v, rows, num_rows) for k, v in value.items()}
    if isinstance(value, (list, tuple)) and any(isinstance(v, Tensor) for v in value):
        return type(value)(_select(v, rows, num_rows) for v in value)
    return value


def take_output(result: Any) -> tuple[Tensor, Callable[[Tensor], Any]]:
    """The prediction in what a denoiser returned (a tensor, a tuple or an output object), and how to wrap another."""
    if isinstance(result, Tensor):
        return result, lambda tensor: tensor
    if isinstance(result, tuple):
        return result[0], lambda tensor: (tensor,)
    kind = type(result)
    return result.sample, lambda tensor: kind(sample=tensor)
