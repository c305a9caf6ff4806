"""How alike the frames of a clip are to an image model: VBench's subject and background consistency, CLIP's.

The features come from a model of one's own choice (DINO for subjects, CLIP for backgrounds and frame consistency), by
hub id or folder; nothing is fetched unless one is named.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from videoada.metrics.arguments import check_clip, check_features, check_name
from videoada.metrics.weights import find_weights, load_model, normalisation

FrameFeatures = Callable[[NDArray[np.uint8]], Tensor]  # (F, H, W, 3) uint8 → (F, D)


def frame_consistency(features: Tensor) -> dict[str, float | None]:
    """From the features (F, D) of a clip's frames; None for a single frame.

    `consistency` is VBench's (subject with DINO features, background with CLIP's): the mean over t > 1 of
    (max(0, cos(f_{t−1}, f_t)) + max(0, cos(f_1, f_t))) / 2. `adjacent_cosine` and `all_pairs_cosine` are the two
    measures in use under the name of CLIP frame consistency. Raises MetricError for other shapes.
    """
    features = check_features(features, "frames'", 1)
    if len(features) < 2:
        return {"consistency": None, "adjacent_cosine": None, "all_pairs_cosine": None}
    unit = nn.functional.normalize(features.double(), dim=1)
    count = len(unit)
    adjacent, first = (unit[1:] * unit[:-1]).sum(1), unit[1:] @ unit[0]
    every = unit.sum(0).square().sum()  # over all pairs, a frame with itself among them: no matrix of F × F
    return {
        "consistency": float((adjacent.clamp_min(0) + first.clamp_min(0)).mean() / 2),
        "adjacent_cosine": float(adjacent.mean()),
        "all_pairs_cosine": float((every - unit.square().sum()) / (count * (count - 1))),
    }


def _image_embeds(model: Any, x_FCHW: Tensor) -> Tensor:
    return model.get_image_features(pixel_values=x_FCHW)


def _class_token(model: Any, x_FCHW: Tensor) -> Tensor:
    return model(pixel_values=x_FCHW).last_hidden_state[:, 0]


POOLING = {"clip": _image_embeds, "vit": _class_token, "dinov2": _class_token, "dinov3_vit": _class_token}


def load_frame_features(name: str) -> FrameFeatures:
    """Features of single frames from a transformers image model (CLIP, ViT and DINO, DINOv2), by hub id or folder.

    Frames are resized to the model's square and normalised with its numbers. Raises ModelError of one line.
    """
    name = check_name(name, "a model of frames")
    folder = find_weights(name)
    model, values = load_model(folder, tuple(POOLING), "image")
    vision = values.get("vision_config") or values
    size = int(vision.get("image_size", 224))
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in normalisation(Path(folder)))
    pool = POOLING[values["model_type"]]

    @torch.inference_mode()
    def features(frames: NDArray[np.uint8]) -> Tensor:
        x_FCHW = torch.from_numpy(check_clip(frames).copy()).permute(0, 3, 1, 2).float() / 255
        x_FCHW = nn.functional.interpolate(
            x_FCHW, (size, size), mode="bilinear", antialias=True, align_corners=False
        ).clamp(0, 1)
        found = pool(model, (x_FCHW - mean) / std)
        return found if isinstance(found, Tensor) else found.pooler_output  # newer transformers wrap CLIP's features

    typed: FrameFeatures = features  # which the decorator leaves untyped
    return typed
