"""Feature extractors: videos (B, T, C, H, W), uint8 or float in [0, 1], to features (B, D).

Each is an `nn.Module` with a `name`, the weights' SHA-256, `num_features`, and the frames and size it works at.
Resizing and normalising happen here in torch: the libraries' own processors may need torchvision, which not every
machine has.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from videoada.errors import ConfigError, MetricError, ModelError
from videoada.failures import wrong_with
from videoada.metrics.arguments import check_name, check_videos
from videoada.metrics.transnet import NAME as TRANSNET
from videoada.metrics.transnet import SIZE as TRANSNET_SIZE
from videoada.metrics.transnet import load_network
from videoada.metrics.weights import (
    IMAGENET,
    find_weights,
    first_line,
    hash_files,
    hash_state,
    load_model,
    normalisation,
)

EMBEDDED = "tiny-shapes-v1"
EMBEDDED_FOLDER = Path(__file__).parent.parent / "assets" / "tiny-features"
HUB = {"videomae": "MCG-NJU/videomae-base", "vjepa2": "facebook/vjepa2-vitl-fpc64-256"}
I3D_HUB = ("flateon/FVD-I3D-torchscript", "i3d_torchscript.pt")
JEDI, JEDI_SIZE, JEDI_FRAMES = "jedi", 224, 16  # of V-JEPA as JEDi takes it
NAMES = (EMBEDDED, TRANSNET, "i3d", *HUB)


class Extractor(nn.Module):
    """A network with what a result must say of it. `network` maps (B, T, C, S, S), normalised, to (B, D).

    `num_frames` is the number of frames that it takes (other clips give as many, evenly spaced), None for any from
    `min_frames` on. `size` is the side in pixels to which frames are resized, or height and width, None for the clip's
    own. `origin` holds the features of a grey video: sums about it do not cancel.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, name: str, network: Callable[[Tensor], Tensor], weights_sha256: str, *,
        size: int | tuple[int, int] | None,
        num_frames: int | None = None, min_frames: int = 1, mean: tuple[float, ...] = (0.0,) * 3,
        std: tuple[float, ...] = (1.0,) * 3, embedded: bool = False, i3d: bool = False,
    ):  # fmt: skip
        super().__init__()
        self.name, self.network, self.weights_sha256, self.embedded = name, network, weights_sha256, embedded
        self.size, self.num_frames, self.min_frames = size, num_frames, num_frames or min_frames
        self.i3d = i3d  # whose distance is what the field calls FVD
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)
        with torch.inference_mode():
            grey = torch.full((1, num_frames or max(min_frames, 16), 3, *(_height_and_width(size or 64))), 0.5)
            self.origin = self(grey)[0].double().clone()  # (D,)
        self.num_features = len(self.origin)

    def forward(self, videos: Tensor) -> Tensor:
        """Features (B, D), float32. Raises MetricError for no videos, and when a clip has too few frames."""
        check_videos(videos)
        frames = videos.shape[1]
        if frames < self.min_frames:
            raise MetricError(f"{self.name} needs clips of at least {self.min_frames} frames, got {frames}")
        if self.num_frames and frames != self.num_frames:
            chosen = torch.linspace(0, frames - 1, self.num_frames).round().long()
            videos = videos[:, chosen.to(videos.device)]
        flat = videos.flatten(0, 1).to(self.mean.device)
        flat = flat.float() / 255 if flat.dtype == torch.uint8 else flat.float()
        if self.size and tuple(flat.shape[-2:]) != (wanted := _height_and_width(self.size)):
            flat = nn.functional.interpolate(flat, wanted, mode="bilinear", antialias=True, align_corners=False).clamp(
                0, 1
            )
        flat = (flat - self.mean) / self.std
        return self.network(flat.unflatten(0, videos.shape[:2])).float()


def _height_and_width(size: int | tuple[int, int]) -> tuple[int, int]:
    return size if isinstance(size, tuple) else (size, size)


def describe(extractor: nn.Module) -> dict[str, Any]:
    """What every result carries: name, the weights' hash, features, frames and size; also of a user's own module."""
    size = getattr(extractor, "size", None)
    return {
        "name": getattr(extractor, "name", type(extractor).__name__),
        "weights_sha256": getattr(extractor, "weights_sha256", None) or hash_state(extractor),
        "num_features": getattr(extractor, "num_features", None),
        "num_frames": getattr(extractor, "num_frames", None),
        "size": list(size) if isinstance(size, tuple) else size,  # as it is read again from JSON
        "normalisation": [
            [round(float(v), 6) for v in getattr(extractor, name).flatten()]
            for name in ("mean", "std")
            if isinstance(extractor, Extractor)
        ],
        "embedded": bool(getattr(extractor, "embedded", False)),
        "i3d": isinstance(extractor, Extractor) and extractor.i3d,
    }


def load_extractor(name: str = EMBEDDED, device: str | torch.device = "cpu") -> Extractor:
    """By name: `tiny-shapes-v1` (embedded), `transnetv2` (extra `films`), `i3d` (from the hub) or `i3d:FILE`,
    `jedi:FILE`, `videomae`, `vjepa2`, or any transformers video model by hub id or folder. Weights are safetensors, but
    for I3D and JEDi's V-JEPA, TorchScript files, and TransNetV2, whose tensors alone are read.

    `vae:MODEL` is loaded by `videoada.models.vae_features.load_vae_extractor`: measurements know no diffusers. Raises
    ModelError of one line.
    """
    name = check_name(name, "an extractor")
    if name == EMBEDDED:
        extractor = _transformers_extractor(EMBEDDED, EMBEDDED_FOLDER, embedded=True)
    elif name == TRANSNET:
        network, digest = load_network()
        extractor = Extractor(TRANSNET, network, digest, size=TRANSNET_SIZE)
    elif name == "i3d" or name.startswith("i3d:"):
        extractor = _i3d(Path(name[4:]) if name.startswith("i3d:") else _i3d_file())
    elif name.startswith(f"{JEDI}:"):
        extractor = _jedi(Path(name.removeprefix(f"{JEDI}:")))
    elif Path(name).is_file() and Path(name).suffix in (".pt", ".jit", ".torchscript"):
        extractor = _i3d(Path(name))
    elif name in HUB or Path(name).is_dir() or re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        extractor = _transformers_extractor(name, find_weights(HUB.get(name, name)))
    elif name.startswith("vae:"):
        raise ModelError(
            f"'{name[:80]}' comes with a model: use load_vae_extractor of videoada.models.vae_features, or `extractor` "
            "of an evaluation"
        )
    elif "/" in name or Path(name).exists():
        raise ModelError(wrong_with(name) or f"`extractor`: {name} is a file: name a folder, or i3d:{name}")
    else:
        near = difflib.get_close_matches(name, NAMES, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise ModelError(
            f"unknown extractor '{name[:80]}'; {hint}choose {', '.join(NAMES)}, i3d:FILE, jedi:FILE, vae:MODEL, or a "
            "transformers video model by hub id or folder"
        )
    return on_device(extractor, device)


def on_device(extractor: Extractor, device: str | torch.device) -> Extractor:
    """The extractor, moved there. Raises ConfigError of one line."""
    try:
        extractor.to(device)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise ConfigError(f"can't use the device '{str(device)[:40]}': {first_line(error)}") from None
    return extractor


# ---- I3D -----------------------------------------------------------------------------------------------------------


def _i3d_file() -> Path:
    from huggingface_hub import hf_hub_download

    source, file = I3D_HUB
    try:
        return Path(hf_hub_download(source, file))
    except Exception as error:  # the network can fail in any library below
        raise ModelError(
            f"can't fetch {file} of '{source}': {first_line(error)}; with a copy of the file give `extractor=i3d:FILE`"
        ) from None


def _i3d(file: Path) -> Extractor:
    """StyleGAN-V's TorchScript I3D: 400 Kinetics logits; with its own flags set, it resizes and rescales 0…255."""
    source = f"{I3D_HUB[1]} of the hub's '{I3D_HUB[0]}'"
    network = _torchscript(file, "I3D", f"it is {source}", f"get {source} again")

    class I3D(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, x_BTCHW: Tensor) -> Tensor:
            x_BCTHW = 255 * x_BTCHW.transpose(1, 2)
            return self.network(x_BCTHW, rescale=True, resize=True, return_features=True)

    try:
        return Extractor("i3d", I3D(), hash_files([file]), size=None, min_frames=10, i3d=True)
    except Exception as error:
        raise ModelError(f"{file} is no I3D as StyleGAN-V exports it: {first_line(error)}") from None


# ---- V-JEPA of JEDi ------------------------------------------------------------------------------------------------


def _jedi(file: Path) -> Extractor:
    """V-JEPA as JEDi takes it, exported as TorchScript: (B, 3, 16, 224, 224), normalised as ImageNet, to features
    (B, D), those of the attentive pooler that was trained on SSv2; or to tokens (B, N, D), of which the mean is taken,
    as JEDi's code does without a pooler.
    """
    network = _torchscript(file, "V-JEPA", "export the network with torch.jit.trace", "export it again")

    class VJEPA(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, x_BTCHW: Tensor) -> Tensor:
            found: Tensor = self.network(x_BTCHW.transpose(1, 2))
            return found.mean(1) if found.ndim == 3 else found

    mean, std = IMAGENET
    try:
        return Extractor(
            JEDI, VJEPA(), hash_files([file]), size=JEDI_SIZE, num_frames=JEDI_FRAMES, mean=mean, std=std
        )  # fmt: skip
    except Exception as error:
        raise ModelError(
            f"{file} is no V-JEPA that maps (B, 3, {JEDI_FRAMES}, {JEDI_SIZE}, {JEDI_SIZE}) to features (B, D): "
            f"{first_line(error)}"
        ) from None


def _torchscript(file: Path, what: str, source: str, remedy: str) -> Any:
    """The network of a TorchScript file, on the CPU. Raises ModelError of one line."""
    if not file.is_file():
        wrong = wrong_with(file) or f"{file} is a folder, not a file"
        raise ModelError(f"can't read {what}: {wrong}; {source}")
    try:
        return torch.jit.load(str(file), map_location="cpu").eval()
    except Exception:  # RuntimeError mostly, but also whatever the archive's reader meets
        raise ModelError(f"{file} is no TorchScript file, or is damaged: {remedy}") from None


# ---- transformers --------------------------------------------------------------------------------------------------


def _pool_mean(model: Any, x_BTCHW: Tensor) -> Tensor:
    return model(pixel_values=x_BTCHW).last_hidden_state.mean(1)


def _pool_first(model: Any, x_BTCHW: Tensor) -> Tensor:
    return model(pixel_values=x_BTCHW).last_hidden_state[:, 0]


def _vjepa2(model: Any, x_BTCHW: Tensor) -> Tensor:
    return model.get_vision_features(x_BTCHW).mean(1)


POOLING = {"videomae": _pool_mean, "vjepa2": _vjepa2, "timesformer": _pool_first, "vivit": _pool_first}


class _Pooled(nn.Module):
    def __init__(self, model: nn.Module, pool: Callable[[Any, Tensor], Tensor]):
        super().__init__()
        self.model, self.pool = model, pool

    def forward(self, x_BTCHW: Tensor) -> Tensor:
        return self.pool(self.model, x_BTCHW)


def _transformers_extractor(name: str, folder: Path, embedded: bool = False) -> Extractor:
    model, values = load_model(folder, tuple(POOLING), "video")
    kind, size = values["model_type"], values.get("image_size", values.get("crop_size", 224))
    mean, std = normalisation(folder)
    shown = name if embedded or name in HUB or not Path(name).is_dir() else Path(name).name
    return Extractor(
        f"./{shown}" if shown in ("i3d", JEDI, EMBEDDED, TRANSNET) and not embedded else shown,  # those names are taken
        _Pooled(model, POOLING[kind]),
        hash_files(sorted(folder.glob("*.safetensors"))),
        size=int(size[0] if isinstance(size, list) else size),
        num_frames=None if kind == "vjepa2" else int(model.config.num_frames),
        min_frames=getattr(model.config, "tubelet_size", 1) if kind == "vjepa2" else 1,
        mean=mean,
        std=std,
        embedded=embedded,
    )
