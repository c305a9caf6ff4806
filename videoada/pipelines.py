"""load_pipeline(): an embedded model, a folder or a hub id, as an ordinary diffusers pipeline.

The only module that imports diffusers' pipelines and schedulers.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import inspect
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from videoada.catalogue import DEFAULT_MODEL, KNOWN, known_model
from videoada.config import SCHEDULERS, one_of
from videoada.errors import ConfigError, ModelError
from videoada.records import ModelInfo
from videoada.shapes import WORDS

HASHED_BYTES = 256 * 2**20  # weights above this size are not read a second time only to name them

_SCHEDULERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ddim": ("DDIMScheduler", {}),
    "dpm++": ("DPMSolverMultistepScheduler", {}),
    "dpm++-sde": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler-a": ("EulerAncestralDiscreteScheduler", {}),
}
_INFO: WeakKeyDictionary[Any, ModelInfo] = WeakKeyDictionary()


def load_pipeline(
    model: str = DEFAULT_MODEL, *, device: str = "auto", dtype: str = "auto", revision: str | None = None
) -> Any:
    """The diffusers pipeline of `model`: `tiny-t2v`, `modelscope-t2v`, a hub id, or a diffusers folder.

    `device` is `auto` (CUDA where there is one), `cpu`, `cuda`, …; `dtype` is `auto` (float16 on CUDA, else float32),
    `float32`, `float16` or `bfloat16`. Weights are read from safetensors only.

    Raises ModelError when the model can't be found or read, ConfigError for a device or dtype that is not there.
    """
    torch_device, torch_dtype = resolve_device(device, dtype)
    import diffusers

    known = known_model(model)
    source = known.location if known else model
    folder = Path(source) if Path(source).is_dir() else None
    if folder:
        check_folder(folder)
    elif not re.fullmatch(r"[\w.-]+/[\w.-]+", source):
        near = difflib.get_close_matches(model, KNOWN, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise ModelError(
            f"unknown model '{model}'; {hint}choose {', '.join(KNOWN)}, a diffusers folder or a hub id owner/name"
        )
    try:
        with _quiet():
            pipe = diffusers.DiffusionPipeline.from_pretrained(
                source, dtype=torch_dtype, use_safetensors=True, revision=revision
            )
    except Exception as error:  # a broken folder can break the loaders anywhere
        first = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
        raise ModelError(f"can't load '{model}': {first}") from None
    pipe.set_progress_bar_config(disable=True)
    _INFO[pipe] = ModelInfo(
        name=model,
        source="embedded" if known and known.embedded else source,
        revision=revision,
        weights_sha256=_weights_hash(folder) if folder else None,
        licence=known.licence if known else None,
        embedded=bool(known and known.embedded),
    )
    return pipe.to(torch_device)


def check_folder(folder: Path) -> None:
    """Raises ModelError for a folder that is no diffusers pipeline, or one that draws no videos."""
    import diffusers

    try:
        index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{folder} is not a diffusers folder: it has no model_index.json") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"can't read {folder / 'model_index.json'}: {error}") from None
    name = index.get("_class_name") if isinstance(index, dict) else None
    with _quiet():  # importing some pipelines warns
        kind = getattr(diffusers, str(name), None)
    if not isinstance(kind, type) or "num_frames" not in inspect.signature(kind.__call__).parameters:
        raise ModelError(f"{folder} holds a {name}, which does not draw videos; a TextToVideoSDPipeline does")


def resolve_device(device: str = "auto", dtype: str = "auto") -> tuple[Any, Any]:
    """The torch device and dtype for their names. Raises ConfigError for what is unknown or not there."""
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch_device = torch.device(device)
    except RuntimeError:
        raise ConfigError(f"unknown device '{device}'; use auto, cpu, cuda or cuda:N") from None
    if torch_device.type == "cuda" and (torch_device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"device '{device}' is not there: torch sees {torch.cuda.device_count()} CUDA devices; use --device cpu"
        )
    if dtype == "auto":
        dtype = "float16" if torch_device.type == "cuda" else "float32"
    try:
        return torch_device, getattr(torch, one_of("dtype", dtype, ("float32", "float16", "bfloat16")))
    except ValueError as error:
        raise ConfigError(str(error)) from None


def model_info(pipe: Any) -> ModelInfo:
    """What a record says of the model: from load_pipeline, or what a pipeline loaded elsewhere tells of itself."""
    if pipe in _INFO:
        return _INFO[pipe]
    name = str(getattr(pipe.config, "_name_or_path", "") or type(pipe).__name__)
    return ModelInfo(name=name, source=name)


def make_scheduler(name: str, like: Any) -> Any:
    """The scheduler of that name with the configuration of `like`; nothing changes but what the name implies."""
    import diffusers

    class_name, changes = _SCHEDULERS[one_of("scheduler", name, SCHEDULERS)]
    with _quiet():
        return getattr(diffusers, class_name).from_config(like.config, **changes)


@contextlib.contextmanager
def scheduler_of(pipe: Any, name: str) -> Iterator[Any]:
    """The pipeline with that scheduler for the length of the block."""
    before = pipe.scheduler
    pipe.scheduler = make_scheduler(name, before)
    try:
        yield pipe.scheduler
    finally:
        pipe.scheduler = before


def unknown_words(pipe: Any, text: str) -> list[str]:
    """Words that an embedded model has never seen, in order; none for other models."""
    if not model_info(pipe).embedded:
        return []
    return [w for w in dict.fromkeys(re.findall(r"[^\s.,;:!?]+", text.lower())) if w not in WORDS]


def _weights_hash(folder: Path) -> str | None:
    """SHA-256 over the denoiser's weight files, in the order of their names."""
    files = sorted(f for part in ("unet", "transformer") for f in (folder / part).glob("*.safetensors"))
    if not files or sum(f.stat().st_size for f in files) > HASHED_BYTES:
        return None
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the loaders' bars and notices; errors still reach us as exceptions."""
    import diffusers
    import transformers

    loggers = [logging.getLogger(name) for name in ("diffusers", "transformers")]
    levels = [logger.level for logger in loggers]
    bars = diffusers.utils.logging.is_progress_bar_enabled(), transformers.utils.logging.is_progress_bar_enabled()
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        for module, enabled in zip((diffusers, transformers), bars, strict=True):
            if enabled:
                module.utils.logging.enable_progress_bar()
