"""What the training of the embedded models shares: processes that share a batch, how long to train, the clips."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from videoada.shapes import Scene, random_scene
from videoada.training.run import Training, read_tensors

SIZE, FRAMES, MAX_TOKENS = 64, 16, 40
say = functools.partial(print, flush=True)


@dataclass(frozen=True)
class Budget:
    """How long a stage trains: so many steps, or else so many seconds, of all its runs together."""

    steps: int
    seconds: float | None = None

    def progress(self, training: Training) -> float:
        """From 0 to 1, where the stage ends. By seconds, a run is not repeatable: how far it gets depends on time."""
        return training.step / self.steps if self.seconds is None else min(training.seconds / self.seconds, 1.0)


def autocast(device: torch.device) -> torch.autocast:
    """bfloat16 on a GPU; elsewhere nothing changes."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


def in_processes(rank: int, world: int, run: Path, train: Callable[..., None], *args: object) -> None:
    """`train(run, …)` in one of `world` processes that average their gradients, each on its share of the cores."""
    torch.set_num_threads(max(torch.get_num_threads() // world, 1) if world > 1 else torch.get_num_threads())
    if world > 1:
        store = dist.FileStore(str(run / "rendezvous"), world)
        dist.init_process_group("gloo", store=store, rank=rank, world_size=world)
    train(run, *args)


def launch(world: int, run: Path, train: Callable[..., None], *args: object) -> None:
    (run / "rendezvous").unlink(missing_ok=True)
    torch.multiprocessing.spawn(in_processes, (world, run, train, *args), nprocs=world)


def random_scenes(seed: int, count: int, two_object_share: float) -> list[Scene]:
    rng = np.random.default_rng(seed)
    return [random_scene(rng, 2 if rng.random() < two_object_share else 1) for _ in range(count)]


def to_uint8(frames: Tensor) -> np.ndarray:
    """(N, 3, H, W) in [-1, 1] → (N, H, W, 3) uint8."""
    return (frames.permute(0, 2, 3, 1) * 127.5 + 127.5).round().clamp(0, 255).byte().cpu().numpy()


def averaged(run: Path, stage: str) -> dict[str, Tensor]:
    """The averaged weights of a stage's last checkpoint."""
    return {k[4:]: v for k, v in read_tensors(run / f"{stage}.safetensors").items() if k.startswith("ema.")}
