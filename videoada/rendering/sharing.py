"""Which GPU each worker process gets, and whether those that share one fit into its memory."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path

from videoada.config.loading import LoadConfig
from videoada.devices import find_device
from videoada.errors import ResourceError
from videoada.models.denoisers import DENOISERS
from videoada.models.sources import find_folder, weight_files

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
    shared = Counter(str(device) for d in devices_of(loading, workers) if (device := find_device(d)).type == "cuda")
    shared = Counter({device: count for device, count in shared.items() if count > 1})
    if not shared:
        return None
    import torch

    parts = weight_bytes(find_folder(model, loading.revision, loading.variant), loading)
    each = {"none": sum(parts.values()), "model": max(parts.values(), default=0)}.get(loading.offload, 0)
    said = []
    for device, count in shared.items():
        total = torch.cuda.get_device_properties(find_device(device)).total_memory
        if count * each > total:
            less = {"none": ", or `offload=model`", "model": ", or `offload=sequential`"}[loading.offload]
            raise ResourceError(
                f"{count} of {workers} `workers` share {device}, which has {_gib(total)}, and the weights of each take "
                f"{_gib(each)}: give at most {max(total // each, 1)} for each GPU{less}"
            )
        said.append(f"{count} of {workers} workers share {device}: weights of {_gib(count * each)} together and what "
                    f"generating takes, of its {_gib(total)}")  # fmt: skip
    return "; ".join(said)


def weight_bytes(folder: Path, loading: LoadConfig) -> dict[str, int]:
    """For each part of a model's folder, what its weights take on a GPU at least, loaded so; by the files' headers."""
    found: dict[str, int] = {}
    for part, files in weight_files(folder, loading.variant).items():
        size = 1 if loading.quantize != "none" and part in DENOISERS else ITEM_BYTES[loading.dtype]
        for file in files:
            with file.open("rb") as opened:
                header = json.loads(opened.read(int.from_bytes(opened.read(8), "little")))
            numbers = sum(math.prod(about["shape"]) for name, about in header.items() if name != "__metadata__")
            found[part] = found.get(part, 0) + numbers * size
    return found


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"
