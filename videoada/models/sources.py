"""From a model's name to a folder with everything in it: embedded, on disk, cached, or downloaded from the hub."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
import logging
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit
from urllib.request import getproxies

import yaml

from videoada.errors import ModelError
from videoada.models.arguments import generates_videos
from videoada.models.catalogue import KNOWN, did_you_mean, known_model
from videoada.models.denoisers import DENOISERS
from videoada.records.record import ModelInfo

HASHED_BYTES = 256 * 2**20  # weights above this size are not read a second time only to name them
MOST_HEADER = 100 * 2**20  # bytes, as safetensors has it
PIECE = re.compile(r"-\d+-of-\d+")  # in the names of weights in several files
UNSAFE = (".bin", ".ckpt", ".pt", ".pth")  # pickles


def find_folder(model: str, revision: str | None = None, variant: str | None = None) -> Path:
    """The folder of an embedded model, of a diffusers folder, or of a hub id's snapshot, checked to be loadable.

    Raises ModelError of one line that says what was sought, and where a copy could be put.
    """
    known = known_model(model)
    source = known.location if known else model
    if Path(source).is_dir():
        folder = Path(source)
    elif not Path(source).exists() and re.fullmatch(r"[\w.-]+/[\w.-]+", source):
        folder = _snapshot(source, revision, variant)
    elif Path(source).exists():
        raise ModelError(f"`model`: {model} is a file: name the folder of a diffusers model, or a hub id owner/name")
    elif "/" in source:
        raise ModelError(f"`model`: there is no folder {model[:200]}, and it is no hub id owner/name")
    else:
        raise ModelError(
            f"unknown model '{model}'; {did_you_mean(model)}choose {', '.join(KNOWN)}, a diffusers folder or a hub id "
            "owner/name"
        )
    check_folder(folder, variant)
    return folder


def describe(model: str, folder: Path, revision: str | None = None) -> ModelInfo:
    """What a record says of the weights in that folder; of a snapshot, the commit."""
    known = known_model(model)
    embedded = bool(known and known.embedded)
    return ModelInfo(
        name=model,
        source="embedded" if embedded else known.source if known else model,
        revision=folder.name if folder.parent.name == "snapshots" else revision,
        weights_sha256=_weights_hash(folder),
        licence=known.licence if known else _card_licence(folder),
        embedded=embedded,
    )


# ---- the hub -------------------------------------------------------------------------------------------------------


def hub_answers() -> bool:
    """Whether the hub's host takes a connection, asked once before huggingface_hub, which asks for half a minute where
    there is no network. True behind a proxy, which alone knows; False where HF_HUB_OFFLINE says so."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE or getproxies():
        return not constants.HF_HUB_OFFLINE
    host = urlsplit(constants.ENDPOINT)
    try:
        socket.create_connection((host.hostname or "", host.port or (80 if host.scheme == "http" else 443)), 5).close()
    except OSError:
        return False
    return True


def _snapshot(source: str, revision: str | None, variant: str | None) -> Path:
    """The local snapshot of a hub id, downloaded where the hub can be reached."""
    from huggingface_hub import constants, errors, hf_hub_download

    sought = f"model_index.json of '{source}'" + (f" at revision '{revision}'" if revision else "")
    here = f"or set HF_HOME to a cache that has it (now {os.path.dirname(constants.HF_HUB_CACHE)})"
    try:
        with quiet():
            index = hf_hub_download(source, "model_index.json", revision=revision, local_files_only=not hub_answers())
    except errors.GatedRepoError:
        raise ModelError(f"'{source}' asks you to accept its terms: do so on its page, then `hf auth login`") from None
    except errors.RepositoryNotFoundError:
        raise ModelError(f"the hub has no '{source}' that you may read; check the name, or `hf auth login`") from None
    except errors.RevisionNotFoundError:
        raise ModelError(f"'{source}' has no revision '{revision}'") from None
    except errors.LocalEntryNotFoundError:
        raise ModelError(
            f"the hub can't be reached, {sought} is not in the cache, and there is no folder of that name; copy the "
            f"model's folder here and give its path as `model`, {here}"
        ) from None
    except errors.EntryNotFoundError:
        raise ModelError(f"'{source}' is no diffusers model: it has no model_index.json") from None
    except Exception as error:  # the network can fail in any library below
        raise ModelError(
            f"can't fetch {sought}: {_first_line(error)}; copy the model's folder here and give its path as `model`, "
            f"{here}"
        ) from None
    import diffusers

    folder = Path(index).parent
    try:
        check_folder(folder, variant)  # all here: no question to the hub
    except ModelError:
        failed = ""
        try:
            with quiet():
                fetched = diffusers.DiffusionPipeline.download(
                    source,
                    revision=revision,
                    variant=variant,
                    use_safetensors=True,
                    local_files_only=not hub_answers(),
                )
            folder = Path(fetched)
        except Exception as error:
            failed = f" ({_first_line(error)})"
        try:
            check_folder(folder, variant)
        except ModelError as missing:
            raise ModelError(f"'{source}' could not be downloaded whole: {missing}{failed}; {here}") from None
    return folder


# ---- folders -------------------------------------------------------------------------------------------------------


def check_folder(folder: Path, variant: str | None = None) -> None:
    """Raises ModelError for a folder that is no diffusers pipeline for videos, or lacks safetensors weights."""
    index = _index(folder)
    pipeline_class(folder)
    for part, what in index.items():
        if not part.startswith("_") and isinstance(what, list) and all(what):
            _check_part(folder, part, variant)


def pipeline_class(folder: Path) -> type:
    """The class of the pipeline in a diffusers folder, without its weights.

    Raises ModelError for a folder without a pipeline, or with one that diffusers does not know or that generates no
    videos.
    """
    import diffusers

    name = _index(folder).get("_class_name")
    with quiet():  # importing some pipelines warns
        kind = getattr(diffusers, name, None) if isinstance(name, str) else None
    if not isinstance(kind, type):
        raise ModelError(f"{folder} holds a {name}, which diffusers {diffusers.__version__} does not know")
    if not issubclass(kind, diffusers.DiffusionPipeline) or not generates_videos(kind):
        raise ModelError(f"{folder} holds a {name}, which does not generate videos; use a video pipeline of diffusers")
    return kind


def absent_parts(folder: Path) -> list[str]:
    """The parts that a folder says it has not; diffusers' loader wants some of them given as None."""
    parameters = inspect.signature(cast(Any, pipeline_class(folder)).__init__).parameters
    return [part for part, what in _index(folder).items() if what == [None, None] and part in parameters]


def _index(folder: Path) -> dict[str, Any]:
    """What the folder's model_index.json says. Raises ModelError where it can't be read, or holds no object."""
    try:
        index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{folder} is not a diffusers folder: it has no model_index.json") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"can't read {folder / 'model_index.json'}: {_first_line(error)}") from None
    return index if isinstance(index, dict) else {}


def _check_part(folder: Path, part: str, variant: str | None) -> None:
    """One component: there, and where it has weights, in safetensors of the variant."""
    if not (folder / part).is_dir():
        raise ModelError(f"{folder} lacks {part}/, which its model_index.json names")
    files = {file.name for file in (folder / part).iterdir()}
    if "config.json" not in files or files & {"preprocessor_config.json", "tokenizer_config.json"}:
        return  # a scheduler, a tokenizer or an image processor has no weights
    variants = {_variant(name) for name in files if name.endswith(".safetensors")}
    if variant in variants or (variant and None in variants):  # diffusers takes plain weights where a part has no other
        return
    where = folder / part
    if variants:
        names = " or ".join(sorted(str(v) for v in variants if v)) or "no variant"
        raise ModelError(
            f"{where} has weights of {names} only"
            + (f"; give `variant={min(variants, key=str)}`" if not variant else "")
        )
    if unsafe := sorted(n for n in files if n.endswith(UNSAFE)):
        raise ModelError(
            f"{where} has its weights only as {unsafe[0]}, a pickle, which can run code when read; convert a copy that "
            "you trust: DiffusionPipeline.from_pretrained(DIR, use_safetensors=False).save_pretrained(NEW_DIR)"
        )
    raise ModelError(f"{where} has no weights: no *.safetensors file is in it")


def weight_files(folder: Path, variant: str | None = None) -> dict[str, list[Path]]:
    """For each part that a checked folder's model_index.json names, the safetensors files that are read for it: those
    of the variant, else the plain ones; not those of one piece beside the same in pieces."""
    found = {}
    for part, what in _index(folder).items():
        files = sorted((folder / part).glob("*.safetensors")) if isinstance(what, list) and all(what) else []
        chosen = [f for f in files if _variant(f.name) == variant] or [f for f in files if not _variant(f.name)]
        single = [f for f in chosen if not PIECE.search(f.name)]
        if chosen:
            found[part] = single or chosen
    return found


def _variant(name: str) -> str | None:
    """NAME.safetensors and NAME-00001-of-00002.safetensors: None; NAME.fp16.safetensors, NAME.fp16-00001-of-…: fp16."""
    return PIECE.sub("", name).removesuffix(".safetensors").partition(".")[2] or None


def _card_licence(folder: Path) -> str | None:
    """`license:` in the front matter of the folder's README.md."""
    try:
        text = (folder / "README.md").read_text(encoding="utf-8")[:20_000]
        _, front, _ = text.split("---\n", 2)
        licence = yaml.safe_load(front)["license"]
    except Exception:  # a card is for people; whatever is wrong with it is no reason to stop
        return None
    return licence[:80] if isinstance(licence, str) else None


def _weights_hash(folder: Path) -> str | None:
    """SHA-256 over the denoiser's weight files, in the order of their names."""
    files = sorted(f for part in DENOISERS for f in (folder / part).glob("*.safetensors"))
    if not files or sum(f.stat().st_size for f in files) > HASHED_BYTES:
        return None
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def stored_in_bfloat16(folder: Path) -> bool:
    """Whether the denoiser's weights in a folder are bfloat16, by the headers of their files."""
    for file in sorted(f for part in DENOISERS for f in (folder / part).glob("*.safetensors")):
        try:
            with file.open("rb") as opened:  # the header's length, then JSON
                header = json.loads(opened.read(min(int.from_bytes(opened.read(8), "little"), MOST_HEADER)))
        except (OSError, ValueError):
            return False  # the loader says what is wrong with it
        dtypes = {tensor["dtype"] for name, tensor in header.items() if name != "__metadata__"}
        if dtypes & {"BF16", "F16", "F32"}:
            return "BF16" in dtypes
    return False


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the loaders' bars and notices; errors still reach us as exceptions."""
    import diffusers
    import transformers

    loggers = [logging.getLogger(name) for name in ("diffusers", "transformers", "huggingface_hub")]
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
