"""What leaving a UNet at each exit costs, counted on a copy that has neither weights nor memory."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from videoada.learned.exit_heads import ExitHeads, finest
from videoada.patching import replaced, unpatched

_KNOWN: WeakKeyDictionary[ExitHeads, dict[str, list[float]]] = WeakKeyDictionary()


def exit_costs(unet: Any, heads: ExitHeads, sample: Tensor, *args: Any, **kwargs: Any) -> list[float]:
    """`count_costs`, once for these heads and inputs of these shapes: counting takes as long as some calls."""
    tensors = {"sample": sample, **{str(i): x for i, x in enumerate(args)}, **kwargs}
    shapes = str(sorted((name, tuple(x.shape[1:])) for name, x in tensors.items() if isinstance(x, Tensor)))
    shapes += str(heads.asked)
    known = _KNOWN.setdefault(heads, {})
    if shapes not in known:
        known[shapes] = count_costs(unet, heads, sample, *args, **kwargs)
    return known[shapes]


def counting(unet: Any, heads: ExitHeads, *args: Any, **kwargs: Any) -> Callable[[], list[float]]:
    """`exit_costs` of a call, for later: of its tensors only the shapes are kept."""
    shadows = {name: _shadow(value) for name, value in kwargs.items()}
    return functools.partial(exit_costs, unet, heads, *map(_shadow, args), **shadows)


def count_costs(unet: Any, heads: ExitHeads, sample: Tensor, *args: Any, **kwargs: Any) -> list[float]:
    """Share of a full call's multiply-adds that leaving at each exit takes, for one row of latents like `sample`.

    What heads and uncertainties take is counted; the last share is of going through, above 1 by the uncertainties.
    Convolutions and matrix products count, by torch's FlopCounterMode.
    """
    from torch.utils.flop_counter import FlopCounterMode

    plain: Any = unpatched(type(unet))
    with torch.device("meta"):
        copy, own = plain.from_config(unet.config).eval(), ExitHeads(**heads.config)
    seen: list[tuple[int, Tensor]] = []  # multiply-adds so far and the features, at each exit
    kept: dict[str, Tensor] = {}
    frames = sample.shape[2]

    def watched(inherited: Callable[..., Any], block: Any, *args: Any, **kwargs: Any) -> Any:
        features = inherited(*args, **kwargs)
        kept["time"] = kwargs.get("temb", args[1] if len(args) > 1 else None)
        seen.append((counter.get_total_flops(), features))
        return features

    def first_down(inherited: Callable[..., Any], block: Any, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        result = inherited(hidden_states, *args, **kwargs)
        kept["fine"] = finest(result[1], hidden_states)
        return result

    with torch.no_grad(), FlopCounterMode(display=False) as counter, ExitStack() as stack:
        stack.enter_context(replaced(copy.down_blocks[0], "forward", first_down))
        for block in (copy.mid_block, *list(copy.up_blocks)[:-1]):
            stack.enter_context(replaced(block, "forward", watched))
        kwargs = {name: _shadow(value) for name, value in kwargs.items()} | {"return_dict": False}
        copy(_shadow(sample), torch.zeros(1, dtype=torch.long, device="meta"), *map(_shadow, args), **kwargs)
        total = counter.get_total_flops()
    costs, asked = [], 0
    for i, (before, features) in enumerate(seen):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            own.uncertainties[i](features, kept["time"], frames)
            asking = counter.get_total_flops()
            own.heads[i](features, kept["fine"], kept["time"], frames)
            leaving = counter.get_total_flops() - asking
        costs.append((before + asked + asking + leaving) / total)
        if i in heads.asked:  # what is carried on is predicted in any case
            asked += asking + (leaving if heads.horizon else 0)
    return [*costs, (total + asked) / total]


def _shadow(x: Any) -> Any:
    """One row of a batched tensor, without memory."""
    if not isinstance(x, Tensor):
        return x
    dtype = torch.float32 if x.is_floating_point() else x.dtype
    return torch.empty((1, *x.shape[1:]) if x.ndim else (), dtype=dtype, device="meta")
