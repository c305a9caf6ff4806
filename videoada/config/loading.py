"""How a model is loaded: where it comes from, where its parts live, how it computes."""

from __future__ import annotations

import re

from pydantic import field_validator

from videoada.config.frozen import FrozenConfig, one_of
from videoada.config.values import LoraNames


class LoadConfig(FrozenConfig):
    """Where a model comes from, where its parts live, and how it computes.

    `device` is `auto` (CUDA or Apple's MPS where there is one), `cpu`, `cuda`, `cuda:N` or `mps`; `dtype` is `auto`
    (float32, but on CUDA the catalogue's for the model, bfloat16 for weights stored in it, else float16). `offload`
    keeps in the device's memory one part of the pipeline (`model`) or one layer (`sequential`) at a time. `quantize`
    holds the denoiser's linear layers in 8 bits; its convolutions stay as they are. `lora` names .safetensors files of
    LoRA weights that are added, each as FILE or FILE:SCALE.
    """

    revision: str | None = None
    variant: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    offload: str = "none"
    vae_slicing: bool = False
    vae_tiling: bool = False
    compile: bool = False
    channels_last: bool = False
    quantize: str = "none"
    lora: LoraNames = ()

    @field_validator("dtype")
    @classmethod
    def _known_dtype(cls, value: str) -> str:
        return one_of("dtype", value, ("auto", "float32", "float16", "bfloat16"))

    @field_validator("offload")
    @classmethod
    def _known_offload(cls, value: str) -> str:
        return one_of("offload", value, ("none", "model", "sequential"))

    @field_validator("quantize")
    @classmethod
    def _known_quantization(cls, value: str) -> str:
        return one_of("quantization", value, ("none", "int8"))

    @field_validator("variant", "revision")
    @classmethod
    def _plain_name(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[\w][\w./-]*", value):
            raise ValueError(f"'{value[:60]}' is no name of a branch, tag, commit or variant")
        return value
