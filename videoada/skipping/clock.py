"""Clock: the seconds inside a `skip_steps` block, split into the network's and those of skipping itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from videoada.devices import synchronize
from videoada.models.denoisers import is_compiled
from videoada.patching import unpatched
from videoada.skipping.trace import StepTrace

_CALLED: set[tuple[Any, ...]] = set()  # kinds of networks and the shapes that they were called with in this process


class Clock:
    """Adds to a trace's `own_seconds` and `denoiser_seconds`; on a GPU, exact only where the trace synchronizes."""

    def __init__(self, trace: StepTrace):
        self.trace = trace

    def timed(self, method: Callable[..., Any], of_denoiser: bool = False) -> Callable[..., Any]:
        """`method`, whose own time (all but the inherited call's) adds to the trace."""

        def measured(inherited: Callable[..., Any], item: Any, *args: Any, **kwargs: Any) -> Any:
            inside = 0.0

            def outside(*args: Any, **kwargs: Any) -> Any:
                nonlocal inside
                device = _device_of(args, kwargs)
                self._synchronize(device)  # what was queued before is not the call's
                began = time.perf_counter()
                result = inherited(*args, **kwargs)
                self._synchronize(device)
                seconds = time.perf_counter() - began
                inside += seconds
                if of_denoiser and _is_first(item, args, kwargs):
                    self.trace.first_call_seconds += seconds
                return result

            began = time.perf_counter()
            result = method(outside, item, *args, **kwargs)
            self.trace.own_seconds += time.perf_counter() - began - inside
            if of_denoiser:
                self.trace.denoiser_seconds += inside
            return result

        return measured

    @contextmanager
    def own(self) -> Iterator[None]:
        """The inherited calls in this block count as skipping's own time all the same."""
        began = time.perf_counter()
        yield
        self.trace.own_seconds += time.perf_counter() - began

    @contextmanager
    def callers(self) -> Iterator[None]:
        """This block, inside a timed method, is the caller's time."""
        began = time.perf_counter()
        yield
        self.trace.own_seconds -= time.perf_counter() - began

    def _synchronize(self, device: torch.device | None) -> None:
        if self.trace.synchronize and device is not None:
            synchronize(device)


def _is_first(network: Any, values: tuple[Any, ...], named: dict[str, Any]) -> bool:
    """Whether nothing like it was called with such shapes in this process: then kernels are chosen, plans are made,
    and what is compiled is compiled, all of which later calls find done."""
    shapes = tuple((v.shape, v.dtype, v.device) for v in (*values, *named.values()) if isinstance(v, torch.Tensor))
    parameters = getattr(network, "parameters", None)
    first = next(iter(parameters()), None) if callable(parameters) else None
    key = unpatched(type(network)), first is not None and first.shape, is_compiled(network), shapes
    if key in _CALLED:
        return False
    _CALLED.add(key)
    return True


def _device_of(values: tuple[Any, ...], named: dict[str, Any]) -> torch.device | None:
    """The GPU that a call's tensors are on, which need not be the current one."""
    devices = (value.device for value in (*values, *named.values()) if isinstance(value, torch.Tensor))
    return next((device for device in devices if device.type != "cpu"), None)
