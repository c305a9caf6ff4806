"""LoRA weights (arXiv 2106.09685) added to a loaded pipeline: from .safetensors files, by diffusers' own loaders."""

from __future__ import annotations

import hashlib
import importlib.util
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from videoada.config.values import split_lora
from videoada.errors import ConfigError, ModelError
from videoada.failures import url_problem, wrong_with
from videoada.models.denoisers import denoisers_of, names_of_denoisers
from videoada.records.record import LoraWeights

CHUNK = 2**20  # bytes of a file read at once
LOW_RANK = re.compile(r"lora_[AB]\b|lora[_.](?:up|down)\b")  # in names of tensors, of diffusers, peft and kohya
SECOND = "transformer_2"
LOADED = re.compile(r"\.lora_[AB]\.")  # in names of a network's parameters


def check_lora(kind: type, names: Sequence[str]) -> None:
    """Before any weight is read. Raises ConfigError without peft, ModelError for a pipeline class without a loader of
    LoRA weights and for files that can't be read."""
    if not names:
        return
    if importlib.util.find_spec("peft") is None:
        raise ConfigError("`lora` needs peft: pip install 'videoada[lora]'")
    if not hasattr(kind, "load_lora_weights"):
        raise ModelError(f"{kind.__name__} takes no `lora`: diffusers has no loader of LoRA weights for it")
    for name in names:
        _tensors_in(Path(split_lora(name)[0]))


def add_lora(pipe: Any, names: Sequence[str]) -> tuple[LoraWeights, ...]:
    """Add the files' weights, each with its scale, and say what was added.

    Raises ModelError for a file that does not fit the pipeline's networks; a file of which only some tensors do is
    added as far as it goes, and `unused` says how many were not.
    """
    from videoada.models.sources import quiet

    _make_adaptable(pipe)
    added: list[LoraWeights] = []
    adapters: list[str] = []
    for i, name in enumerate(names):
        text, scale = split_lora(name)
        path, adapter = Path(text), f"lora{i}"
        tensors = _tensors_in(path)
        asked = sum(bool(LOW_RANK.search(tensor)) for tensor in tensors)
        second = any(tensor.startswith(f"{SECOND}.") for tensor in tensors)
        try:
            with quiet():
                folder = str(path.absolute().parent)  # with weight_name a file on this disk, whatever its name
                if not second or any(tensor.startswith("transformer.") for tensor in tensors):
                    pipe.load_lora_weights(folder, weight_name=path.name, adapter_name=adapter, local_files_only=True)
                if second:
                    _add_to_second(pipe, path, adapter)
        except Exception as error:  # diffusers and peft raise what they meet
            raise ModelError(f"`lora`: {path.name} does not fit this {type(pipe).__name__}: {_reason(error)}") from None
        found = sum(f".{adapter}." in f"{parameter}." for parameter in _added_to(pipe))
        if not found:
            raise ModelError(
                f"`lora`: {path.name} does not fit this {type(pipe).__name__}: none of its {asked} tensors is of one "
                "of its layers"
            )
        adapters.append(adapter)
        added.append(LoraWeights(file=path.name, sha256=file_hash(path), scale=scale, unused=max(asked - found, 0)))
    _scale(pipe, {adapter: weights.scale for adapter, weights in zip(adapters, added, strict=True)})
    return tuple(added)


def _add_to_second(pipe: Any, path: Path, adapter: str) -> None:
    """Add the tensors that a file has for the second of two transformers, as Wan 2.2's for its low-noise steps."""
    from safetensors.torch import load_file

    if getattr(pipe, SECOND, None) is None:
        return
    weights = {f"transformer.{name.removeprefix(f'{SECOND}.')}": tensor for name, tensor in load_file(path).items()
               if name.startswith(f"{SECOND}.")}  # fmt: skip
    pipe.load_lora_weights(weights, adapter_name=adapter, load_into_transformer_2=True)


def without_lora(pipe: Any) -> list[str]:
    """Names of the pipeline's denoisers that have no LoRA weights, where others have."""
    names = names_of_denoisers(pipe)
    have = {n for n in names if any(LOADED.search(f".{p}") for p, _ in getattr(pipe, n).named_parameters())}
    return [name for name in names if have and name not in have]


def _make_adaptable(pipe: Any) -> None:
    """Give denoisers what diffusers' loader calls: UNet3DConditionModel lacks it, whose pipelines have the loader."""
    from diffusers.loaders import PeftAdapterMixin

    for denoiser in denoisers_of(pipe):
        kind = type(denoiser)
        if not isinstance(denoiser, PeftAdapterMixin):
            denoiser.__class__ = type(kind.__name__, (kind, PeftAdapterMixin), {"__module__": kind.__module__})


def _scale(pipe: Any, scales: Mapping[str, float]) -> None:
    """Switch the adapters on together, each with its scale, in every network that has them."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for network in _networks(pipe):
        for layer in network.modules():
            own = [adapter for adapter in scales if isinstance(layer, BaseTunerLayer) and adapter in layer.scaling]
            if own:
                layer.set_adapter(own)
            for adapter in own:
                layer.set_scale(adapter, scales[adapter])


def lora_identity(names: Sequence[str]) -> list[str]:
    """For each file its name, scale and SHA-256: what shapes a video, wherever the files lie. Raises ModelError."""
    found = []
    for text, scale in map(split_lora, names):
        _tensors_in(Path(text))
        found.append(f"{Path(text).name}:{scale:g} {file_hash(Path(text))}")
    return found


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _tensors_in(path: Path) -> list[str]:
    """Names of the tensors in a LoRA file. Raises ModelError for a file that is none."""
    from safetensors import SafetensorError, safe_open

    if not path.exists() and not url_problem(path):
        raise ModelError(f"`lora`: there is no file {str(path)[-100:]!r}")
    if wrong := wrong_with(path):
        raise ModelError(f"`lora`: {wrong}")
    try:
        with safe_open(path, framework="np") as file:
            names = list(file.keys())
    except (OSError, SafetensorError) as error:
        why = getattr(error, "strerror", None) or f"it is no whole .safetensors file ({error})"
        raise ModelError(f"`lora`: can't read {path.name}: {why}") from None
    if not any(LOW_RANK.search(name) for name in names):
        raise ModelError(f"`lora`: {path.name} holds no LoRA weights: none of its {len(names)} tensors is named as one")
    return names


def _added_to(pipe: Any) -> list[str]:
    """Names of the LoRA parameters that the pipeline's networks have."""
    return [name for network in _networks(pipe) for name, _ in network.named_parameters() if LOADED.search(f".{name}")]


def _networks(pipe: Any) -> list[Any]:
    return [part for part in pipe.components.values() if hasattr(part, "named_parameters")]


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return next((line for line in lines if "size mismatch" in line), lines[0])[:200].replace("`", "'")
