"""load_pipeline(): an embedded model, a folder or a hub id, as an ordinary diffusers pipeline.

The only module that imports diffusers' pipelines.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from videoada.config.loading import LoadConfig
from videoada.config.run import DEFAULT_MODEL
from videoada.devices import find_device
from videoada.errors import ConfigError, ModelError, ResourceError, VideoAdaError
from videoada.models.catalogue import known_model
from videoada.models.lora import add_lora, check_lora
from videoada.models.placement import check_placement, place, quantization, ran_out_of_memory
from videoada.models.sources import absent_parts, describe, find_folder, pipeline_class, quiet, stored_in_bfloat16
from videoada.records.record import ModelInfo

_INFO: WeakKeyDictionary[Any, ModelInfo] = WeakKeyDictionary()
_LOADED: WeakKeyDictionary[Any, LoadConfig] = WeakKeyDictionary()


def load_pipeline(model: str = DEFAULT_MODEL, options: LoadConfig | None = None, **fields: Any) -> Any:
    """The diffusers pipeline of `model`: an embedded name, `modelscope-t2v`, `i2vgen-xl`, a hub id, or a folder.

    Give a LoadConfig or its fields: `load_pipeline("i2vgen-xl", device="cuda", offload="model")`. Weights are read
    from safetensors only. `lora` adds LoRA files to them: `load_pipeline(…, lora="style.safetensors:0.8")`.

    Raises ModelError when the model or a LoRA file can't be found or read, or do not fit, ConfigError for a device,
    dtype or option that is not there, ResourceError when it does not fit into memory.
    """
    if options is not None and fields:
        raise ConfigError("give a LoadConfig or its fields, not both")
    options = options or LoadConfig(**fields)
    torch_device = find_device(options.device)
    check_placement(options, torch_device.type)
    import diffusers

    folder = find_folder(model, options.revision, options.variant)
    check_lora(pipeline_class(folder), options.lora)
    torch_dtype = resolve_dtype(options.dtype, torch_device.type, model, folder)
    try:
        with quiet():
            pipe = diffusers.DiffusionPipeline.from_pretrained(
                folder, dtype=torch_dtype, use_safetensors=True, variant=options.variant,
                quantization_config=quantization(options, folder), **dict.fromkeys(absent_parts(folder)),
            )  # fmt: skip
            pipe.set_progress_bar_config(disable=True)
            lora = add_lora(pipe, options.lora) if options.lora else ()
            place(pipe, options, torch_device)
    except VideoAdaError:
        raise
    except Exception as error:  # a broken folder can break the loaders anywhere
        if ran_out_of_memory(error):
            raise ResourceError(
                f"'{model}' does not fit into memory; what needs less: `offload=model` or sequential (on a GPU), "
                "`dtype=float16`, `quantize=int8`"
            ) from None
        first = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
        raise ModelError(f"can't load '{model}': {first}") from None
    info = describe(model, folder, options.revision)
    _INFO[pipe], _LOADED[pipe] = info.model_copy(update={"lora": lora}), options
    return pipe


def resolve_dtype(dtype: str, device_type: str, model: str, folder: Path) -> Any:
    """The torch dtype of that name; for auto float32 on a CPU, elsewhere the catalogue's for the model, bfloat16 where
    the weights in its folder are, or float16."""
    import torch

    if dtype == "auto" and device_type != "cuda":
        dtype = "float32"
    elif dtype == "auto":
        known = known_model(model)
        dtype = known.dtype if known else "bfloat16" if stored_in_bfloat16(folder) else "float16"
    return getattr(torch, dtype)


def model_info(pipe: Any) -> ModelInfo:
    """What a record says of the model: from load_pipeline, or what a pipeline loaded elsewhere says of itself."""
    if pipe in _INFO:
        return _INFO[pipe]
    name = str(getattr(getattr(pipe, "config", None), "_name_or_path", "") or type(pipe).__name__)
    return ModelInfo(name=name, source=name)


def load_config(pipe: Any) -> LoadConfig | None:
    """How `load_pipeline` loaded it; None for a pipeline that was loaded elsewhere."""
    return _LOADED.get(pipe)


def copied(pipe: Any) -> Any:
    """A shallow copy that is known as the same model: what its texts are depends on it."""
    other = copy.copy(pipe)
    if pipe in _INFO:
        _INFO[other], _LOADED[other] = _INFO[pipe], _LOADED[pipe]
    return other
