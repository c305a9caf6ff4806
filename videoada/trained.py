"""Small trained parts as files: safetensors with what they are for. No pickle, and no part of another model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from videoada.errors import ModelError
from videoada.outputs import written_aside


def write_part(path: str | Path, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Tensors and JSON values in one file, whole or not at all."""
    from safetensors.torch import save_file

    metadata = {name: json.dumps(value) for name, value in about.items()}
    with written_aside(path) as aside:
        save_file({name: value.contiguous() for name, value in tensors.items()}, aside, metadata)


def read_part(path: str | Path, format: str, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `write_part` wrote with `about["format"]`. Raises ModelError, which names the `kind`, for anything else."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), "pt") as file:
            about = {name: json.loads(value) for name, value in (file.metadata() or {}).items()}
            names = list(file.keys())
            tensors = {name: file.get_tensor(name) for name in names}
    except (OSError, SafetensorError, ValueError) as error:
        raise ModelError(f"can't read {kind} from {path}: {' '.join(str(error).split())[:200]}") from None
    if about.get("format") != format:
        raise ModelError(f"{path} holds no {kind}")
    return tensors, about
