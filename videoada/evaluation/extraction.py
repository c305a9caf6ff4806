"""Clips of both sides through the extractor, in batches."""

from __future__ import annotations

import contextlib
import ctypes
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from videoada.errors import ConfigError, ModelError, counted
from videoada.evaluation.measuring import Taken
from videoada.evaluation.pairing import VideoSet
from videoada.failures import is_out_of_memory, out_of_memory
from videoada.metrics.features import Extractor, load_extractor
from videoada.models.vae_features import PREFIX, load_vae_extractor


def find_extractor(name: str, device: str) -> Extractor:
    """An extractor by any name: those of `load_extractor`, or `vae:MODEL`. Raises ModelError and ConfigError."""
    if name.startswith(PREFIX):
        return load_vae_extractor(name.removeprefix(PREFIX), device)
    return load_extractor(name, device)


class Batches:
    """Clips of one side, gathered and put through the extractor together: their shape is one, which was checked."""

    def __init__(self, network: nn.Module | None, batch_size: int):
        self.network, self.batch_size, self.done = network, batch_size, 0
        self.waiting: dict[int, tuple[VideoSet, list[tuple[int, NDArray[np.uint8]]]]] = {}

    def add(self, side: VideoSet, path: Path, taken: Taken) -> None:
        """What was taken of a side's video: its clips go through the extractor, the rest is put down."""
        side.note(path, taken.fps, taken.lossless, taken.codec, taken.notes)
        for i, size in enumerate(taken.sizes):
            index = len(side.owners)
            side.owners.append(path)
            side.sizes.add(size)
            if self.network is None or taken.clips is None:
                continue
            clip = taken.clips[i]
            side.features.append(torch.empty(0))  # at its index, so that features keep the videos' order
            group = self.waiting.setdefault(id(side), (side, []))[1]
            group.append((index, clip))
            if len(group) == self.batch_size:
                self._extract(*self.waiting.pop(id(side)))

    def flush(self) -> None:
        for side, group in self.waiting.values():
            self._extract(side, group)
        self.waiting = {}

    @torch.inference_mode()
    def _extract(self, side: VideoSet, group: list[tuple[int, NDArray[np.uint8]]]) -> None:
        assert self.network is not None
        videos = torch.from_numpy(np.stack([clip for _, clip in group])).permute(0, 1, 4, 2, 3)
        try:
            found = self.network(videos).float().cpu()
        except ValueError as error:  # clips that the extractor does not take
            raise ConfigError(
                f"{error}; leave the distances of sets out of `metrics`, or use another extractor"
            ) from None
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                clips = f"{counted(len(group), 'clip')} of {counted(videos.shape[1], 'frame')}"
                what = f"{clips} of {videos.shape[4]}×{videos.shape[3]}"
                raise out_of_memory(
                    f"the extractor looked at {what}", "give a smaller `batch_size`, or clips with `num_frames`"
                ) from None
            raise ModelError(f"the extractor failed: {str(error).strip().splitlines()[0][:200]}") from None
        if found.ndim != 2 or len(found) != len(group):
            raise ConfigError(f"the extractor must give (B, D), got {tuple(found.shape)} for {len(group)} videos")
        for (index, _), features in zip(group, found, strict=True):
            side.features[index] = features[None].clone()
        self.done += 1
        if self.done % 8 == 0:
            return_memory()


def return_memory() -> None:
    """Give freed memory back to the system where the C library keeps it: frames come from threads, whose heaps grow."""
    with contextlib.suppress(AttributeError, OSError, TypeError):  # glibc alone has this
        ctypes.CDLL(None).malloc_trim(0)
