"""Small trained parts as files: safetensors with what they are for. No pickle, and no part of another model."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from videoada.errors import ModelError
from videoada.failures import wrong_with
from videoada.files import written_aside
from videoada.models.catalogue import ASSETS
from videoada.models.pipelines import model_info

Part = TypeVar("Part")


def write_part(path: str | Path, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Tensors and JSON values in one file, whole or not at all."""
    from safetensors.torch import save_file

    metadata = {name: json.dumps(value) for name, value in about.items()}
    with written_aside(path) as aside:
        save_file({name: value.contiguous() for name, value in tensors.items()}, aside, metadata)


def read_part(path: str | Path, format: str, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `write_part` wrote with `about["format"]`. Raises ModelError, which names the `kind`, for anything else."""
    from safetensors import SafetensorError, safe_open

    if wrong := wrong_with(path):
        raise ModelError(f"can't read {kind}: {wrong}")
    try:
        with safe_open(str(path), "pt") as file:
            about = {name: json.loads(value) for name, value in (file.metadata() or {}).items()}
            names = list(file.keys())
            tensors = {name: file.get_tensor(name) for name in names}
    except (OSError, SafetensorError, ValueError, RecursionError) as error:
        why = " ".join(str(error).split())[:150]
        raise ModelError(f"can't read {kind} from {path}: it is no whole .safetensors file ({why})") from None
    if about.get("format") != format:
        raise ModelError(f"{path} does not hold {kind}")
    return tensors, about


PROBED = 32  # parameters of a network of which one value is noted


def trained_for(pipe: Any, module: nn.Module) -> dict[str, Any]:
    """What a part's file says of the network that it was trained on, to recognise that network."""
    info = model_info(pipe)
    return {"name": info.name, "weights_sha256": info.weights_sha256, "class": type(module).__name__,
            "probe": _probe(module)}  # fmt: skip


def _probe(module: nn.Module) -> list[float] | None:
    """A value of some parameters; None for a network whose weights are elsewhere or in other units."""
    chosen = sorted(module.named_parameters())[:PROBED]
    if any(p.device.type == "meta" or not p.is_floating_point() for _, p in chosen):
        return None
    return [round(float(p.detach().flatten()[0]), 6) for _, p in chosen]


def check_trained_for(about: dict[str, Any], module: nn.Module, weights_sha256: str | None, what: str) -> None:
    """Raises ModelError where `about`, made by `trained_for`, describes another network than `module`.

    By the weights' hash where both sides know it, else by the class and by values, as half precision keeps them.
    """
    known = about.get("weights_sha256")
    probe: list[float] = about.get("probe") or []
    if known and weights_sha256:
        same = known == weights_sha256
    else:
        same = about.get("class") in (None, type(module).__name__)
        here = _probe(module) if probe else None
        if same and here is not None:
            same = len(here) == len(probe) and all(
                math.isclose(a, b, rel_tol=0.02, abs_tol=1e-4) for a, b in zip(probe, here, strict=True)
            )
    if not same:
        raise ModelError(f"{what} of another model ({about.get('name')}); train it again for the one here")


@dataclass(frozen=True)
class TrainedPart:
    """A kind of trained part, and where its files are: shipped for the embedded models, trained for others."""

    kind: str  # in messages: "exit heads are"
    folder: str  # of the package's assets
    command: str  # that trains one
    option: str  # the parameter that names a file of one's own, as messages show it
    kept: WeakKeyDictionary[Any, dict[str, Any]] = field(default_factory=WeakKeyDictionary)

    def file(self, name: str, path: str | Path | None = None) -> Path:
        """The file at `path`, or the one shipped for the model of that name. Raises ModelError where none is."""
        named = Path(name).name == name  # else a folder or a hub id: what lies beside it is not ours
        found = Path(path) if path is not None else ASSETS / self.folder / f"{name}.safetensors"
        if path is None and not (named and found.is_file()):
            raise ModelError(
                f"no {self.kind} shipped for '{name}': train with `{self.command} all --model {name} "
                f"--prompts FILE --out FILE.safetensors`, and name the file with {self.option}"
            )
        if wrong := wrong_with(found) or (f"{found} is a folder, not a file" if found.is_dir() else None):
            raise ModelError(f"{self.option}: {wrong}")
        return found

    def find(self, pipe: Any, owner: Any, path: str | Path | None, load: Callable[[Path], Part]) -> Part:
        """What `load` makes of the file, once for each `owner`: the network that it belongs to."""
        file = self.file(model_info(pipe).name, path)
        known: dict[str, Part] = self.kept.setdefault(owner, {})
        stat = file.stat()
        key = f"{file} {stat.st_mtime_ns} {stat.st_size}"  # a file that was replaced is read again
        if key not in known:
            known[key] = load(file)
        return known[key]

    def sha256(self, pipe: Any, path: str | Path | None = None) -> str:
        """Of the file's bytes. Raises ModelError where there is none."""
        try:
            return hashlib.sha256(self.file(model_info(pipe).name, path).read_bytes()).hexdigest()
        except OSError as error:
            raise ModelError(f"can't read {path}: {error.strerror}") from None


EXIT_HEADS = TrainedPart("exit heads are", "early_exit", "videoada train exits", "`exit_heads`")
STEP_POLICY = TrainedPart("step policy is", "step_count", "videoada train steps", "`step_policy`")
