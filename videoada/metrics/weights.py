"""transformers models from folders or the hub, as extractors of features read them, and hashes of weights."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from videoada.errors import ModelError

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def find_weights(source: str) -> Path:
    """The folder itself, or a hub id's snapshot with its configuration and safetensors weights."""
    if Path(source).is_dir():
        return Path(source)
    if Path(source).exists():
        raise ModelError(f"{source} is a file: name the folder that holds a model's config.json and model.safetensors")
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", source):
        raise ModelError(f"there is no folder {source[:200]}, and it is no hub id owner/name")
    from huggingface_hub import snapshot_download

    try:
        with _quiet():
            return Path(snapshot_download(source, allow_patterns=["*.json", "*.safetensors"]))
    except Exception as error:  # the network can fail in any library below
        raise ModelError(
            f"can't fetch the model '{source}', and there is no folder of that name: {first_line(error)}; give the "
            "path of a folder that holds its config.json and model.safetensors, or set HF_HOME to a cache that has it"
        ) from None


def load_model(folder: Path, kinds: tuple[str, ...], what: str) -> tuple[Any, dict[str, Any]]:
    """A transformers model of one of these types with its configuration's values. Raises ModelError of one line."""
    import transformers

    try:
        values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        kind = values["model_type"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise ModelError(f"{folder} is no transformers model: it has no config.json with a model_type") from None
    if kind not in kinds:
        raise ModelError(f"{folder} holds a '{kind}', which is no {what} model known here: {', '.join(kinds)}")
    if not list(folder.glob("*.safetensors")):
        raise ModelError(f"{folder} has no weights: no *.safetensors file is in it (pickles are not read)")
    try:
        with _quiet():
            model, info = transformers.AutoModel.from_pretrained(
                folder, use_safetensors=True, trust_remote_code=False, local_files_only=True, dtype=torch.float32,
                output_loading_info=True,
            )  # fmt: skip
    except Exception as error:  # OSError, ValueError, safetensors' own and more
        raise ModelError(f"can't load the model in {folder}: {first_line(error)}") from None
    if kind == "videomae":
        info["missing_keys"] = _with_biases(model, folder, info["missing_keys"])
    if missing := sorted(key for key in info["missing_keys"] if not key.startswith("pooler.")):  # poolers are not used
        raise ModelError(f"the weights in {folder} lack {len(missing)} parts of a '{kind}', first {missing[0]}")
    return model.eval().requires_grad_(False), values


def _with_biases(model: Any, folder: Path, missing: Iterable[str]) -> set[str]:
    """The keys that are still missing once attention's biases are filled in. Some versions of transformers 5 look for
    query.bias, key.bias and value.bias where VideoMAE's weights have q_bias and v_bias, and no bias of the keys."""
    from safetensors import safe_open

    left, parameters = set(missing), dict(model.named_parameters())
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "pt") as weights:
            names = set(weights.keys())
            for key in sorted(left):
                before, _, part = key.rpartition(".attention.")
                own = {"query.bias": "q_bias", "value.bias": "v_bias", "key.bias": "q_bias"}.get(part)
                stored = {n for n in names if own and n.endswith(f"{before}.attention.{own}")}
                if stored:
                    value = weights.get_tensor(min(stored, key=len))
                    parameters[key].data.copy_(torch.zeros_like(value) if part == "key.bias" else value)
                    left.discard(key)
    return left


def normalisation(folder: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The folder's processor's, or ImageNet's where it has none."""
    try:
        values = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))
        return tuple(map(float, values["image_mean"])), tuple(map(float, values["image_std"]))
    except (OSError, ValueError, KeyError, TypeError):
        return IMAGENET


def hash_files(files: list[Path]) -> str:
    """SHA-256 over the files, in the order given."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            while part := opened.read(2**20):
                digest.update(part)
    return digest.hexdigest()


def hash_state(module: nn.Module) -> str:
    """SHA-256 over a module's parameters and buffers, by name."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode() + value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def first_line(error: BaseException) -> str:
    """Of its message, or its type's name: never empty."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' loading bar and notices."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
