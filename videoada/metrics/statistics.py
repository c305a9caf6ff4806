"""Features of a set of videos, kept in a safetensors file with what they were made with."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from videoada.errors import OutputError
from videoada.failures import wrong_with
from videoada.files import written_aside
from videoada.metrics.arguments import check_features

KEY = "videoada"
MOST_NUMBERS = 2**31  # of a file that is read


@dataclass(frozen=True)
class VideoStatistics:
    """`features` (N, D) float32 of a set; `about` says of which: extractor, sampling, videos, folder."""

    features: Tensor
    about: dict[str, Any]

    def save(self, path: str | Path) -> None:
        """Write the file whole, or none. Raises OutputError, also for fewer than two clips, MetricError for
        what are no features."""
        if isinstance(self.features, Tensor) and len(self.features) < 2:
            raise OutputError("statistics need the features of two clips or more")
        check_features(self.features, "the set's")
        from safetensors.torch import save_file

        features, about = self.features.float().contiguous().cpu(), json.dumps(self.about)
        with written_aside(path) as aside:
            save_file({"features": features}, aside, {KEY: about, "sha256": _digest(features, about)})

    @classmethod
    def load(cls, path: str | Path) -> VideoStatistics:
        """Raises OutputError, saying what is wrong, for a file that is missing, damaged, or of something else."""
        from safetensors import SafetensorError, safe_open

        path = Path(path)
        if wrong := wrong_with(path) or (f"{path} is a folder, not a file" if path.is_dir() else None):
            raise OutputError(f"can't read statistics: {wrong}")
        try:
            with safe_open(str(path), framework="pt") as file:
                text, digest = ((file.metadata() or {})[name] for name in (KEY, "sha256"))
                about = json.loads(text)
                shape = file.get_slice("features").get_shape()
                if len(shape) != 2 or shape[0] < 2 or not 0 < shape[0] * shape[1] < MOST_NUMBERS:
                    raise ValueError(f"features of shape {shape}")
                features = file.get_tensor("features")
            if features.dtype != torch.float32 or not features.isfinite().all():
                raise ValueError("features that are not finite float32 numbers")
            if _digest(features, text) != digest:
                raise ValueError("it is damaged: its checksum is another")
            if type(about.get("videos") if isinstance(about, dict) else None) is not int:
                raise ValueError("no number of videos")
            if not isinstance(about, dict) or not isinstance(about.get("extractor"), dict):
                raise ValueError("no word of the extractor")
        except KeyError as error:
            raise OutputError(f"{path} holds no statistics of videoada: {error} is missing") from None
        except SafetensorError:
            raise OutputError(f"can't read statistics from {path}: it is no whole .safetensors file") from None
        except Exception as error:  # OSError, ValueError, RecursionError
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise OutputError(f"can't read statistics from {path}: {reason}") from None
        return cls(features, about)


def _digest(features: Tensor, about: str) -> str:
    return hashlib.sha256(about.encode() + features.numpy().tobytes()).hexdigest()
