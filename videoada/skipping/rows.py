"""Rows of a denoiser's batch: which belong to a prompt, and a call's arguments cut down to them.

With concatenated guidance a batch of B prompts is 2·B rows, [uncond 0 … B−1, cond 0 … B−1]: prompt i is rows i and
i + B.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

from videoada.errors import ConfigError

# Arguments that all rows share, whatever their first dimension happens to be: positions, scales, settings.
SHARED = re.compile(
    r"rope|rotary|freqs|scale_factor|sparse_params|num_frames|control_hidden_states_scale|skip_layers|guidance_blocks"
    r"|^(cross_|joint_)?attention_kwargs$|_shapes?$|shape_list$"
)
# What has rows all the same, in the settings of attention: boxes (GLIGEN) and image prompts (Flux).
IN_SETTINGS = ("gligen", "ip_adapter_image_embeds")
# Positions that some networks take once for all rows, with as many dimensions as that has, and others row by row.
SHARED_WITH_DIMENSIONS = {"img_ids": 2, "txt_ids": 2, "position_ids": 1} | dict.fromkeys(
    ("indices_latents", "indices_latents_clean", "indices_latents_history_2x", "indices_latents_history_4x"), 1
)
# Arguments that some pipelines repeat for each frame, row by row (AnimateDiff's prompt embeddings).
REPEATED = ("encoder_hidden_states",)
# Lists with one entry for each row (ZImage); other lists of tensors hold whole batches.
LISTED = ("x", "cap_feats", "siglip_feats", "image_noise_mask", "hidden_states", "sample")
# What carries state of the whole batch from call to call.
OF_THE_BATCH = ("kv_cache",)


class Rows:
    """Indices of batch rows: the host knows them, and each device gets them once, without a wait."""

    def __init__(self, numbers: Sequence[int]):
        self.numbers = list(numbers)
        self.known: dict[torch.device, Tensor] = {}

    def padded(self, num_rows: int) -> Rows:
        """These rows, the last one again and again up to a size that is compiled: a power of two, or all `num_rows`.

        So a batch's calls have at most ⌈log₂ rows⌉ + 1 shapes, whichever prompts skip, and batches of other sizes
        share all but the largest.
        """
        size = min(1 << (len(self.numbers) - 1).bit_length(), num_rows)
        return Rows(self.numbers + self.numbers[-1:] * (size - len(self.numbers)))

    def on(self, device: torch.device) -> Tensor:
        if device not in self.known:
            self.known[device] = torch.tensor(self.numbers).to(device, non_blocking=True)
        return self.known[device]


def rows_of(compute: Sequence[bool], num_rows: int, without_first_half: Collection[int] = ()) -> Rows:
    """Row indices, in order, of the prompts to compute; `num_rows` is a multiple of the number of prompts.

    Of prompts in `without_first_half` the rows of the first half, the unconditional one, are left out.
    """
    prompts = len(compute)
    chosen = [i for i, needed in enumerate(compute) if needed]
    halves = range(0, num_rows, prompts)
    return Rows([half + i for half in halves for i in chosen if half or i not in without_first_half])


_CALLED: ContextVar[tuple[Sequence[int], int] | None] = ContextVar("rows of a batch that a call is for", default=None)


@contextmanager
def called_for(rows: Sequence[int], num_rows: int) -> Iterator[None]:
    """Inside the block, `current_rows()` returns the batch rows that this denoiser call was cut down to."""
    token = _CALLED.set((rows, num_rows))
    try:
        yield
    finally:
        _CALLED.reset(token)


def current_rows(num_rows: int) -> tuple[list[int], int]:
    """(rows, size of the full batch) of the present denoiser call: all rows, where `called_for` did not cut it down."""
    called = _CALLED.get()
    return (list(range(num_rows)), num_rows) if called is None else (list(called[0]), called[1])


def batch_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[int, bool]:
    """Rows of the batch that a denoiser is called with, and whether they are a list: of its first argument, a tensor or
    a list of one tensor for each row. 0 where there is no such thing."""
    for value in (*args, *(kwargs[name] for name in ("hidden_states", "sample", "x") if name in kwargs)):
        if isinstance(value, Tensor) and value.ndim:
            return len(value), False
        if isinstance(value, list) and value and isinstance(value[0], Tensor):
            return len(value), True
    return next((len(value) for value in kwargs.values() if isinstance(value, Tensor) and value.ndim), 0), False


def names_of_arguments(denoiser: Any) -> tuple[str, ...]:
    """The names that a denoiser's positional arguments have, as far as its `forward` says."""
    forward = getattr(type(denoiser), "forward", None)
    try:
        parameters = list(inspect.signature(forward).parameters.values()) if forward else []
    except (TypeError, ValueError):
        parameters = []
    return tuple(p.name for p in parameters[1:] if p.kind is p.POSITIONAL_OR_KEYWORD)


def select_rows(
    args: tuple[Any, ...], kwargs: dict[str, Any], rows: Rows, num_rows: int, names: Sequence[str] = ()
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A denoiser call's arguments for `rows` alone: cuts tensors whose first dimension is the batch's, in dicts too.

    `names` are those of the positional arguments.
    """
    called = [*names, *[""] * len(args)][: len(args)]
    cut = {name: _select(value, rows, num_rows, name) for name, value in kwargs.items()}
    return tuple(_select(value, rows, num_rows, name) for name, value in zip(called, args, strict=True)), cut


def can_be_cut(kwargs: dict[str, Any]) -> bool:
    """Whether a call with these arguments can be made for some of its rows."""
    return all(kwargs.get(name) is None for name in OF_THE_BATCH)


def _select(value: Any, rows: Rows, num_rows: int, name: str) -> Any:
    if SHARED.search(name):
        inside = [k for k in IN_SETTINGS if k in value] if isinstance(value, dict) else []
        return value | {k: _select(value[k], rows, num_rows, k) for k in inside} if inside else value
    if isinstance(value, Tensor):
        if not value.ndim or SHARED_WITH_DIMENSIONS.get(name) == value.ndim:
            return value
        if len(value) == num_rows:
            return value.index_select(0, rows.on(value.device))
        if name in REPEATED and len(value) % num_rows == 0:
            return value.unflatten(0, (num_rows, -1)).index_select(0, rows.on(value.device)).flatten(0, 1)
        return value
    if isinstance(value, dict):
        return {k: _select(v, rows, num_rows, k if isinstance(k, str) else "") for k, v in value.items()}
    if type(value) is list and name in LISTED and len(value) == num_rows:
        return [value[i] for i in rows.numbers]
    if isinstance(value, (list, tuple)) and any(isinstance(v, Tensor) for v in value):
        return type(value)(_select(v, rows, num_rows, "") for v in value)
    return value


def count_prompts(num_rows: int, output: Sequence[int], given: Sequence[int], share: int = 1) -> int:
    """How many prompts a network's batch is of, by the leading dimensions of its `output` and of what the scheduler is
    `given`, both shapes: that is one row for each prompt, or one for each frame of each prompt.

    `share` is 2 for a network of which half of the channels never gets there (a learned variance). Raises ConfigError
    where the rows are no multiple of the prompts.
    """
    prompts = given[0] if given else 0
    if len(output) == 5 and len(given) == 4:  # (B, C, F, h, w) or (B, F, C, h, w) given as (B·F, C, h, w)
        folded = [
            frames for frames, channels in ((output[2], output[1]), (output[1], output[2]))
            if prompts % frames == 0 and channels == share * given[1]
        ]  # fmt: skip
        prompts = prompts // folded[0] if folded else prompts
    if not prompts or num_rows % prompts:
        raise ConfigError(
            f"the network is called with {num_rows} rows and the scheduler with {prompts} prompts: skipping can't tell "
            "which rows belong to which prompt; `policy=none` passes everything through"
        )
    return prompts
