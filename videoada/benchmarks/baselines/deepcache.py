"""DeepCache (Ma et al., CVPR 2024, arXiv 2312.00858) on the 3D UNets: deep features are computed at every n-th call.

Between those calls only the input layers, the last layer of the last up block and the output layers run, on the deep
features of the last full call: cache branch 0 of the paper's code, whose output is the same (a test holds it to that).
Here it is a baseline: it saves multiplications at each call, not calls.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from videoada.errors import ConfigError
from videoada.models.denoisers import is_compiled
from videoada.patching import replaced


class BlockCache:
    """The cache of DeepCache: the number of calls so far, and the deep modules' outputs at the last full call.

    `shallow_share` is what a shallow call multiplies ÷ what a full one does, convolutions and matrix products counted
    by torch's FlopCounterMode; None until both have run.
    """

    def __init__(self, interval: int):
        self.interval = interval
        self.calls = 0  # of the present run
        self.kept: dict[int, Any] = {}
        self.before: tuple[float, Any] | None = None  # timestep and shape of the last call
        self.flops: dict[bool, int] = {}

    @property
    def shallow(self) -> bool:
        return self.calls % self.interval != 0

    @property
    def shallow_share(self) -> float | None:
        return self.flops[True] / self.flops[False] if len(self.flops) == 2 else None

    def begin_call(self, sample: Any, timestep: Any) -> None:
        """Count a call; the same or a later timestep, or another shape, begins a new run."""
        now = float(timestep.flatten()[0] if hasattr(timestep, "flatten") else timestep), tuple(sample.shape)
        if self.before is None or now[0] >= self.before[0] or now[1] != self.before[1]:
            self.calls, self.kept = 0, {}
        else:
            self.calls += 1
        self.before = now


@contextmanager
def cached_blocks(unet: Any, interval: int) -> Iterator[BlockCache]:
    """The UNet with its deep blocks computed at every `interval`-th call, for the length of the block.

    Raises ConfigError for a network without down and up blocks, or one that is compiled, or for an interval below 1.
    """
    if interval < 1:
        raise ConfigError(f"the cache interval must be at least 1, got {interval}")
    if not hasattr(unet, "down_blocks") or not hasattr(unet, "up_blocks"):
        raise ConfigError(f"{type(unet).__name__} has no down and up blocks to cache")
    if is_compiled(unet):
        raise ConfigError("DeepCache replaces blocks of the UNet, which `compile` has frozen: leave one of them out")
    cache = BlockCache(interval)

    def forward(inherited: Callable[..., Any], unet: Any, sample: Any, timestep: Any, *args: Any, **kwargs: Any) -> Any:
        cache.begin_call(sample, timestep)
        if cache.shallow in cache.flops:
            return inherited(sample, timestep, *args, **kwargs)
        from torch.utils.flop_counter import FlopCounterMode

        with FlopCounterMode(display=False) as counter:
            result = inherited(sample, timestep, *args, **kwargs)
        cache.flops[cache.shallow] = counter.get_total_flops()
        return result

    def cached(index: int, inherited: Callable[..., Any], module: Any, *args: Any, **kwargs: Any) -> Any:
        if not cache.shallow or index not in cache.kept:  # early exit may have ended the full call before this module
            cache.kept[index] = inherited(*args, **kwargs)
        return cache.kept[index]

    with ExitStack() as stack:
        stack.enter_context(replaced(unet, "forward", forward))
        for i, module in enumerate(_deep_modules(unet)):
            stack.enter_context(replaced(module, "forward", functools.partial(cached, i)))
        yield cache


def _deep_modules(unet: Any) -> list[Any]:
    """All blocks but the last up block, and of that one all layers but the last."""
    *up_blocks, last = unet.up_blocks
    deep = [*unet.down_blocks, *([unet.mid_block] if unet.mid_block is not None else []), *up_blocks]
    for name in ("resnets", "temp_convs", "attentions", "temp_attentions"):
        deep += list(getattr(last, name, []))[:-1]
    return deep
