"""A GPU by a stand-in: tensors that say they are on `cuda`, and a mode that counts when the host waits for them."""

from __future__ import annotations

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

# What reads a tensor's numbers, or how many there will be, on the host.
READING = {
    "item", "tolist", "numpy", "nonzero", "__bool__", "__float__", "__int__", "__index__", "__array__", "__contains__",
    "equal", "allclose",
}  # fmt: skip


class OnGpu(torch.Tensor):
    """A tensor of the CPU that says it is on a GPU."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @property
    def device(self):
        return torch.device("cuda", 0)

    @property
    def is_cuda(self):
        return True


def plain(value):
    return value.as_subclass(torch.Tensor) if isinstance(value, OnGpu) else value


def on_gpu(value):
    return value.as_subclass(OnGpu) if isinstance(value, torch.Tensor) else value


def is_gpu(value):
    return str(value).startswith("cuda") if isinstance(value, (str, torch.device)) else False


class PretendedGpu(TorchFunctionMode):
    """Counts in `waits` what would make the host wait: numbers read, and copies that are not asked to be in the
    background. Results of what is on the GPU are on the GPU."""

    def __init__(self):
        super().__init__()
        self.waits = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs, name = dict(kwargs or {}), getattr(function, "__name__", "")
        if name == "__get__" or function is torch.device:
            return function(*args, **kwargs)
        values = (*args, *kwargs.values())
        flat = [x for value in values for x in (value if isinstance(value, (list, tuple)) else [value])]
        there = any(isinstance(x, OnGpu) for x in flat)
        goes = [x for x in flat if isinstance(x, (str, torch.device))]
        arrives, leaves = any(map(is_gpu, goes)), there and (name == "cpu" or "cpu" in map(str, goes))
        looked_up = name == "__getitem__" and any(isinstance(x, OnGpu) and not x.ndim for x in flat[1:])
        if (there and name in READING) or (leaves and not kwargs.get("non_blocking")) or looked_up:
            self.waits.append(name)
        args, kwargs = tree_map(plain, args), tree_map(plain, kwargs)
        if arrives:
            args = tuple(torch.device("cpu") if is_gpu(x) else x for x in args)
            kwargs = {k: torch.device("cpu") if is_gpu(x) else x for k, x in kwargs.items()}
        result = function(*args, **kwargs)
        if name in ("data_ptr", "size", "numel", "dim", "stride") or leaves:
            return result
        if looked_up and not isinstance(flat[0], OnGpu):  # a table on the CPU
            return result
        return tree_map(on_gpu, result) if there or arrives else result


class Items(TorchDispatchMode):
    """How often a number of any tensor was read alone, also by torch itself."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **(kwargs or {}))
