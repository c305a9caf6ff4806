"""Devices: which one a name means, and waiting for one, its peak memory and its random state, whatever its kind.

A GPU that nothing has used yet is asleep: some of torch's questions wake it or fail, so it is asked nothing.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from videoada.errors import ConfigError

VARIABLE = "VIDEOADA_DEVICE"  # of the environment: what `auto` means
NAMES = "auto, cpu, cuda, cuda:N or mps"
PROCESS = os.getpid()  # another one in a fork


def find_device(name: str = "auto") -> torch.device:
    """The torch device of a name; of `auto`, what VIDEOADA_DEVICE says, else CUDA, else Apple's MPS, else the CPU.

    Raises ConfigError for a name that is unknown, and for a device that is not there.
    """
    said = f"{f'{VARIABLE}: ' if name == 'auto' else ''}device '{said_by(name)}'"
    name = said_by(name)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if has_mps() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"unknown {said}; use {NAMES}") from None
    if device.type not in ("cpu", "cuda", "mps"):  # torch knows more, `meta` among them, on which nothing is computed
        raise ConfigError(f"unknown {said}; use {NAMES}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"{said} is not there: torch sees {torch.cuda.device_count()} CUDA devices; use `device=cpu`")
    if device.type == "mps" and not has_mps():
        raise ConfigError(f"{said} is not there: torch finds no Apple GPU; use `device=cpu`")
    return device


def said_by(name: str) -> str:
    """The name itself; for `auto` what VIDEOADA_DEVICE says, `auto` where it says nothing."""
    return os.environ.get(VARIABLE) or "auto" if name == "auto" else name


def has_mps() -> bool:
    """Whether torch can use an Apple GPU."""
    return bool(torch.backends.mps.is_available())


def is_gpu(device: torch.device) -> bool:
    """Whether work is queued on it, and its memory is worth saving."""
    return device.type in ("cuda", "mps")


def synchronize(device: torch.device) -> None:
    """Wait until that device, which need not be the current one, has done what was queued."""
    if device.type == "cuda" and torch.cuda.is_initialized():
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def reset_peak_memory(device: torch.device) -> None:
    """Let `peak_memory` begin again from here, where the device can."""
    if device.type == "cuda" and torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> int | None:
    """Peak memory in bytes: of a CUDA device since the reset, of the process so far on a CPU. None where torch keeps
    no peak (MPS, Windows)."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device)) if torch.cuda.is_initialized() else 0
    if device.type == "mps":
        return None
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


def random_state(device: torch.device) -> Tensor:
    """The state of torch's own generator for that device, on the CPU."""
    state: Tensor = _module_of(device).get_rng_state(*_index_of(device))
    return state


def set_random_state(state: Tensor, device: torch.device) -> None:
    """Put back what `random_state` gave."""
    _module_of(device).set_rng_state(state, *_index_of(device))


def in_double(tensor: Tensor) -> Tensor:
    """The same numbers in float64; on the CPU where the device has none (MPS)."""
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).double()


def _module_of(device: torch.device) -> Any:
    return {"cuda": torch.cuda, "mps": torch.mps}.get(device.type, torch)


def _index_of(device: torch.device) -> tuple[torch.device, ...]:
    return (device,) if device.type == "cuda" else ()


def release_openmp_threads() -> None:
    """Let go of the threads that OpenMP keeps for this one; the next parallel work of this thread starts others.

    GNU's OpenMP counts those that only wait, too: with more of them than processors, all go to sleep between two
    operations, and a second thread that computes takes up to twice the time. Does nothing where torch brings another,
    and in a forked process, where the library would wait for threads of its parent for ever.
    """
    if os.getpid() == PROCESS and (pause := _openmp_pause()) is not None:
        pause(1)  # omp_pause_soft


@functools.cache
def _openmp_pause() -> Callable[[int], int] | None:
    """`omp_pause_resource_all` of OpenMP 5.0, in the library of torch."""
    folder = Path(torch.__file__).parent
    for path in [*folder.glob("lib/libgomp*.so*"), *folder.parent.glob("torch.libs/libgomp*.so*")]:
        try:
            pause: Callable[[int], int] = ctypes.CDLL(str(path)).omp_pause_resource_all
        except (OSError, AttributeError):
            continue
        return pause
    return None
