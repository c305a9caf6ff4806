"""DenoiserCalls: what each denoiser call of a step returned last, and whether a call is the same one again.

A call is known by its number within the step, by the network and by its rows. Where one of these changes (guidance
turned off midway, the second of two experts, another batch), what was held before says nothing of it.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from videoada.skipping import outputs
from videoada.skipping.outputs import Leaf
from videoada.skipping.rows import Rows

MOST_CALLS = 16  # within a step: beyond it the pipeline's steps are taken where nobody sees them


@dataclass
class HeldCall:
    """The rows of one call of a step, as last computed or approximated."""

    network: weakref.ref[Any]
    num_rows: int
    listed: bool  # the batch is a list of rows
    result: Any  # its structure
    leaves: list[Leaf]
    shares_rows: bool  # each leaf has a row for each of the batch, so that some rows can be computed alone

    @property
    def output(self) -> Tensor | None:
        """All rows, where they are one tensor."""
        leaf = self.leaves[0]
        return leaf if len(self.leaves) == 1 and isinstance(leaf, Tensor) else None

    @property
    def shape(self) -> tuple[int, ...]:
        first = self.leaves[0]
        return (len(first), *first[0].shape) if isinstance(first, list) else tuple(first.shape)

    def rebuilt(self) -> Any:
        return outputs.with_leaves(self.result, self.listed, [outputs.copied(leaf) for leaf in self.leaves])

    def put(self, rows: Rows, result: Any) -> None:
        """Rows of a call that was made for these alone; the leaves are new ones, as others may hold the old."""
        parts = outputs.leaves_of(result, self.listed)
        self.leaves = [outputs.copied(leaf) for leaf in self.leaves]
        for leaf, part in zip(self.leaves, parts, strict=True):
            outputs.put_rows(leaf, rows, part)


class DenoiserCalls:
    """Of one run: the calls of the present step are counted, those of the last one are held."""

    def __init__(self) -> None:
        self.held: dict[int, HeldCall] = {}
        self.in_step = 0  # calls since the last scheduler step
        self.before: int | None = None  # calls of the step before
        self.rows = 0  # of the present step's calls, together
        self.share = 1  # 2 for networks whose second half of channels never reaches the scheduler

    def begin(self, num_rows: int) -> int:
        """The number of this call within its step."""
        self.in_step, self.rows = self.in_step + 1, self.rows + num_rows
        return self.in_step - 1

    def fitting(self, call: int, network: Any, num_rows: int) -> HeldCall | None:
        held = self.held.get(call)
        return held if held is not None and held.network() is network and held.num_rows == num_rows else None

    def keep(self, call: int, network: Any, batch: tuple[int, bool], result: Any) -> HeldCall:
        num_rows, listed = batch
        # copies: pipelines write into an output, and compiled networks into that of the call before
        leaves = [outputs.copied(leaf) for leaf in outputs.leaves_of(result, listed)]
        rows_alike = all(len(leaf) == num_rows for leaf in leaves if not isinstance(leaf, Tensor) or leaf.ndim)
        structure = outputs.with_leaves(result, listed, leaves)
        shares_rows = rows_alike and outputs.is_tensors_alone(result)
        held = HeldCall(weakref.ref(network), num_rows, listed, structure, leaves, shares_rows)
        self.held[call] = held
        config = getattr(network, "config", None)
        ins, outs = (getattr(config, name, None) for name in ("in_channels", "out_channels"))
        self.share = 2 if ins and outs == 2 * ins else 1
        return held

    @property
    def changed(self) -> bool:
        """Whether the present step had another number of calls than the one before it: to ask at its end."""
        return self.before is not None and self.in_step != self.before

    def end_step(self) -> None:
        self.before, self.in_step, self.rows = self.in_step, 0, 0

    def forget(self) -> None:
        self.held.clear()
        self.before = None
