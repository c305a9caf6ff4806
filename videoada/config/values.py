"""Values that are written in more than one way: shares of the steps, frame rates, LoRA files with a scale, codecs."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from videoada.config.frozen import one_of

CODECS = ("h264", "vp9", "av1", "ffv1")  # that films are written with
FRACTION = r"\s*\d+\s*/\s*\d+\s*"  # of a frame rate, as ffmpeg writes it
SLOWEST, FASTEST = 0.1, 240  # frames a second
PERCENT = r"\s*\d+(?:\.\d+)?\s*%\s*"
NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
WEIGHTS, PICKLES = ".safetensors", (".bin", ".pt", ".pth", ".ckpt", ".pkl")


def read_share(value: Any, field: ValidationInfo) -> Any:
    """A share from 0 to 1, also written in per cent: "10%" is 0.1. Raises ValueError for anything else."""
    if isinstance(value, str) and re.fullmatch(PERCENT, value):
        share = float(value.strip().removesuffix("%")) / 100
    else:
        try:
            share = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            share = math.nan
    if not 0 <= share <= 1:
        name = field.field_name
        raise ValueError(f"`{name}`: give a share of the steps as 10% or 0.1, from 0% to 100%, got {str(value)[:40]!r}")
    return round(share, 9)


def read_rate(value: Any, field: ValidationInfo) -> Any:
    """Frames a second, also written as a fraction: "24000/1001" is 23.976…; whole ones are ints, so that records and
    hashes say 8. Raises ValueError for anything else, and outside 0.1 to 240."""
    rate = math.nan
    try:
        if isinstance(value, str) and re.fullmatch(FRACTION, value):
            frames, seconds = value.split("/")
            rate = int(frames) / int(seconds)
        elif not isinstance(value, bool):
            rate = float(value)
    except (TypeError, ValueError, ArithmeticError):
        pass
    if not SLOWEST <= rate <= FASTEST:
        raise ValueError(
            f"`{field.field_name}`: give frames a second as 8, 23.976 or 24000/1001, from {SLOWEST:g} to {FASTEST:g}, "
            f"got {str(value)[:40]!r}"
        )
    return rate


def _as_written(rate: float) -> float:
    return int(rate) if rate.is_integer() else rate


def split_lora(text: str) -> tuple[str, float]:
    """The file and the scale of "FILE[:SCALE]"; 1 where none is named.

    A number after the last colon is the scale, so that names with colons work. Raises ValueError for a file that is no
    .safetensors.
    """
    name, scale = text, 1.0
    if found := re.fullmatch(rf"(.+):({NUMBER})", text, re.DOTALL):
        name, scale = found[1], float(found[2])
    if name.lower().endswith(PICKLES):
        raise ValueError(
            f"`lora`: {name[-80:]} is a pickle, which can run code when read: take the .safetensors file of the same "
            "LoRA, or convert a copy that you trust"
        )
    if not name.lower().endswith(WEIGHTS) or not math.isfinite(scale):
        raise ValueError(f"`lora`: give FILE{WEIGHTS}, or FILE{WEIGHTS}:SCALE, got '{text[-80:]}'")
    return name, scale


def _lora_names(value: Any) -> Any:
    """A tuple of "FILE[:SCALE]" from one, several or none."""
    names = () if value is None else tuple(value) if isinstance(value, (list, tuple)) else (value,)
    for name in names:
        if not isinstance(name, str):
            raise ValueError(f"`lora`: give the name of a {WEIGHTS} file, got {str(name)[:40]!r}")
        split_lora(name)
    return names


def _known_codec(value: str) -> str:
    return one_of("codec", value, CODECS)


Share = Annotated[float, BeforeValidator(read_share)]
Rate = Annotated[float, BeforeValidator(read_rate), Field(ge=SLOWEST, le=FASTEST), AfterValidator(_as_written)]
LoraNames = Annotated[tuple[str, ...], BeforeValidator(_lora_names)]
CodecName = Annotated[str, AfterValidator(_known_codec)]
