"""Which part of a pipeline is its denoiser, a UNet or a DiT (diffusion transformer): only this module knows names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from videoada.errors import ModelError

DENOISERS = ("unet", "transformer", "transformer_2")  # of diffusers' pipelines


def names_of_denoisers(pipe: Any) -> list[str]:
    """The attributes that hold the pipeline's denoisers, the first one first; an object that two name, once."""
    found = {id(part): name for name in reversed(DENOISERS) if (part := getattr(pipe, name, None)) is not None}
    return [name for name in DENOISERS if name in found.values()]


def names_in_folder(folder: str | Path) -> list[str]:
    """The denoisers that a model's `model_index.json` names; none where it can't be read."""
    try:
        index = json.loads((Path(folder) / "model_index.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [name for name in DENOISERS if isinstance(index, dict) and index.get(name, [None])[0] is not None]


def denoisers_of(pipe: Any) -> list[Any]:
    """All of the pipeline's denoisers: most have one, Wan 2.2 has two."""
    return [getattr(pipe, name) for name in names_of_denoisers(pipe)]


def denoiser_of(pipe: Any) -> Any:
    """The pipeline's denoiser, of two the first. Raises ModelError where there is none."""
    found = denoisers_of(pipe)
    if not found:
        raise ModelError(f"{type(pipe).__name__} has no denoiser: none of {', '.join(DENOISERS)}")
    return found[0]


def is_compiled(denoiser: Any) -> bool:
    """Whether torch.compile makes a graph for each shape that this denoiser is called with."""
    inside = "_orig_mod" in vars(denoiser).get("_modules", ())  # of torch.compile(network)
    return inside or getattr(denoiser, "_compiled_call_impl", None) is not None


def device_of(pipe: Any) -> Any:
    """The torch device that the pipeline computes on, which under offloading is not where its parts are."""
    return pipe._execution_device


def dtype_of(pipe: Any) -> Any:
    """The torch dtype of the denoiser. Raises ModelError where there is none."""
    return denoiser_of(pipe).dtype
