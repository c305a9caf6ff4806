"""Where a pipeline's parts live and how they compute: offloading, VAE slices and tiles, compilation, 8-bit weights."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch

from videoada.config.loading import LoadConfig
from videoada.devices import is_gpu
from videoada.errors import ConfigError
from videoada.failures import NO_MEMORY
from videoada.models.denoisers import denoisers_of, device_of, is_compiled, names_in_folder

MOST_GRAPHS = 64  # of one network in one process


def check_placement(options: LoadConfig, device_type: str) -> None:
    """Raises ConfigError for options that this machine, or their combination, can't have; before anything is read."""
    if options.offload == "sequential" and device_type == "cpu":
        raise ConfigError("`offload=sequential` needs a GPU to bring layers to; use `offload=model` or none on a CPU")
    if options.quantize != "none":
        if importlib.util.find_spec("torchao") is None:
            raise ConfigError("`quantize=int8` needs torchao: pip install 'videoada[quantize]'")
        if options.offload == "sequential":
            raise ConfigError("`quantize=int8` can't be offloaded layer by layer; use `offload=model` or none")


def quantization(options: LoadConfig, folder: str | Path) -> Any:
    """diffusers' configuration that keeps the linear layers of the denoisers in a model's folder in 8 bits, or None.

    Attention and feed-forward layers are linear; the convolutions, most of a 3D UNet's weights, stay as they are.
    """
    if options.quantize == "none":
        return None
    from diffusers import PipelineQuantizationConfig, TorchAoConfig
    from torchao.quantization import Int8WeightOnlyConfig

    names = names_in_folder(folder)
    return PipelineQuantizationConfig(quant_mapping={name: TorchAoConfig(Int8WeightOnlyConfig()) for name in names})


def place(pipe: Any, options: LoadConfig, device: torch.device) -> None:
    """Put a loaded pipeline onto its device in the way of `options`."""
    if options.vae_slicing:
        pipe.vae.enable_slicing()
    if options.vae_tiling:
        pipe.vae.enable_tiling()
    if options.channels_last:
        for module in (module for denoiser in denoisers_of(pipe) for module in denoiser.modules()):
            if isinstance(module, torch.nn.Conv2d):
                module.to(memory_format=torch.channels_last)
            elif isinstance(module, torch.nn.Conv3d):
                module.to(memory_format=torch.channels_last_3d)
    if options.compile:
        for denoiser in denoisers_of(pipe):
            compile_denoiser(denoiser)
    if options.offload == "model":
        pipe.enable_model_cpu_offload(device=device)
    elif options.offload == "sequential":
        pipe.enable_sequential_cpu_offload(device=device)
    else:
        pipe.to(device)


def compile_denoiser(denoiser: Any) -> None:
    """Compile it at its next calls: a graph for each shape, of which there are few, as skipping pads rows to few.

    Few may still be more than the eight that torch compiles by itself, beyond which it would go on uncompiled: several
    batch sizes and video sizes in one process, with and without the unconditional half.
    """
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, MOST_GRAPHS)
    denoiser.compile(dynamic=False)


def has_first_costs(pipe: Any) -> bool:
    """Whether the first network call of a size takes much longer than the next: on a GPU, or compiled."""
    return is_gpu(device_of(pipe)) or any(is_compiled(denoiser) for denoiser in denoisers_of(pipe))


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether torch, on any device, or Python had no memory left."""
    said = str(error).lower()
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(text in said for text in NO_MEMORY)
