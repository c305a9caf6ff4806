"""Which GPU each worker process gets, and whether those that share one fit into its memory."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path

from videoada.config.run import LoadConfig
from videoada.devices import find_device
from videoada.errors import ResourceError
from videoada.models.sources import find_folder

ITEM_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "auto": 2}  # of a weight on a GPU, where auto is float16


def devices_of(loading: LoadConfig, workers: int) -> list[str]:
    """The device of each of so many workers: GPUs are dealt out in turn, where no single one is named."""
    if loading.device not in ("auto", "cuda") or find_device(loading.device).type != "cuda":
        return [loading.device] * workers
    named = find_device(loading.device)  # VIDEOADA_DEVICE may name one
    if named.index is not None:
        return [str(named)] * workers
    import torch

    return [f"cuda:{i % torch.cuda.device_count()}" for i in range(workers)]


def check_sharing(model: str, loading: LoadConfig, workers: int) -> str | None:
    """What is to be said of workers that share a GPU; None where none do.

    Raises ResourceError where not even their weights would fit into it together.
    """
    shared = Counter(d for d in devices_of(loading, workers) if find_device(d).type == "cuda")
    device, count = max(shared.items(), key=lambda item: item[1], default=("", 0))
    if count < 2:
        return None
    import torch

    total = torch.cuda.get_device_properties(find_device(device)).total_memory
    parts = weight_bytes(find_folder(model, loading.revision, loading.variant), loading.dtype)
    each = {"none": sum(parts.values()), "model": max(parts.values(), default=0)}.get(loading.offload, 0)
    if count * each > total:
        raise ResourceError(
            f"{count} of {workers} `workers` share {device}, which has {_gib(total)}, and the weights of each take "
            f"{_gib(each)}: give at most {max(total // each, 1)} for each GPU, or `offload=model`"
        )
    return (
        f"{count} of {workers} workers share {device}: weights of {_gib(count * each)} together and what generating "
        f"takes, of its {_gib(total)}"
    )


def weight_bytes(folder: Path, dtype: str = "auto") -> dict[str, int]:
    """For each part of a model's folder, what its weights take in memory in that precision; by the files' headers."""
    found: dict[str, int] = {}
    for file in folder.glob("*/*.safetensors"):
        with file.open("rb") as opened:
            header = json.loads(opened.read(int.from_bytes(opened.read(8), "little")))
        numbers = sum(math.prod(about["shape"]) for name, about in header.items() if name != "__metadata__")
        found[file.parent.name] = found.get(file.parent.name, 0) + numbers * ITEM_BYTES[dtype]
    return found


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"
