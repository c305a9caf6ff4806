"""What the training scripts share: checkpoints to go on from, processes that share a batch, the clips."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from videoada.shapes import Scene, random_scene

SIZE, FRAMES, MAX_TOKENS = 64, 16, 40


class Training:
    """A module, its AdamW, its moving average and a log, saved together as safetensors and found again by name."""

    def __init__(
        self, run: Path, stage: str, model: nn.Module, lr: float, ema_decay: float, seed: int,
        weight_decay: float = 0.01,
    ):  # fmt: skip
        self.file, self.log_file = run / f"{stage}.safetensors", run / f"{stage}.jsonl"
        self.model, self.ema_decay, self.step, self.peak_lr = model, ema_decay, 0, lr
        self.optimizer = torch.optim.AdamW(
            model.parameters(), lr=lr, weight_decay=weight_decay, betas=(0.9, 0.98), fused=True
        )
        self.ema = {k: v.detach().clone() for k, v in model.state_dict().items()}
        self.seed, self.rank, self.world = seed, 0, 1
        if dist.is_initialized():
            self.rank, self.world = dist.get_rank(), dist.get_world_size()
        self.saved_at = time.monotonic()
        if self.file.exists():
            self._load(load_file(self.file))

    @property
    def rng(self) -> torch.Generator:
        """The randomness of this step in this process: a resumed run draws what an uninterrupted one would have."""
        return torch.Generator().manual_seed(self.seed * 10**9 + self.step * 64 + self.rank)

    def update(self, loss: Tensor, progress: float, warmup: int = 50) -> None:
        """One optimiser step at the learning rate of this progress (cosine to 2 %), then the moving average."""
        lr = self.peak_lr * min(1, (self.step + 1) / warmup) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.world > 1:
            gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
            flat = torch.cat([g.flatten() for g in gradients])
            dist.all_reduce(flat)
            torch._foreach_copy_(
                gradients,
                [
                    part.view_as(g) / self.world
                    for g, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True)
                ],
            )
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        decay = min(self.ema_decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            names = list(self.ema)
            state = self.model.state_dict()
            torch._foreach_lerp_([self.ema[n] for n in names], [state[n] for n in names], 1 - decay)

    def log(self, **values: object) -> None:
        if self.rank:
            return
        line = json.dumps({"step": self.step, **values})
        print(self.file.stem, line, flush=True)
        with self.log_file.open("a") as file:
            file.write(line + "\n")

    def save(self, every_seconds: float = 0) -> None:
        if self.rank or time.monotonic() - self.saved_at < every_seconds:
            return
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"ema.{k}": v for k, v in self.ema.items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": torch.as_tensor(v) for k, v in state.items()}
        tensors["step"] = torch.tensor(self.step)
        aside = self.file.with_suffix(".part")
        save_file({k: v.detach().contiguous().clone() for k, v in tensors.items()}, aside)
        aside.replace(self.file)
        self.saved_at = time.monotonic()

    def _load(self, tensors: dict[str, Tensor]) -> None:
        def under(prefix: str) -> dict[str, Tensor]:
            return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}

        self.model.load_state_dict(under("model."))
        self.ema = under("ema.")
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in under("optimizer.").items():
            index, key = name.split(".", 1)
            state.setdefault(int(index), {})[key] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
        self.step = int(tensors["step"])


def same_run(run: Path, **about: object) -> None:
    """Make the run's folder, or leave with a line where it is of something else: what it holds is gone on from."""
    run.mkdir(parents=True, exist_ok=True)
    path, now = run / "about.json", json.loads(json.dumps(about, default=str))
    before = json.loads(path.read_text()) if path.is_file() else now
    if changed := [name for name in now if name in before and before[name] != now[name]]:
        raise SystemExit(f"{run} is a run of another {changed[0].replace('_', ' ')}; name another folder with --run")
    path.write_text(json.dumps(now, indent=1) + "\n")


def split(requests: list[Any], count: int, held_out: int) -> tuple[list[Any], list[Any]]:
    """Up to `count` of a file's requests to learn from, and its last `held_out` to judge on."""
    if len(requests) < held_out + 2:
        raise SystemExit(
            f"the prompt file has {len(requests)} rows: too few to learn from and hold {held_out} out; give more rows "
            "or hold fewer out"
        )
    judged = {identity(r) for r in requests[-held_out:]}
    learnt = [r for r in requests[: len(requests) - held_out] if identity(r) not in judged]
    return learnt[:count], requests[-held_out:]


def identity(request: Any) -> tuple[str, int, str | None]:
    """What tells one row of a prompt file from another: prompt, seed and image."""
    return request.prompt, request.seed, None if request.image is None else str(request.image)


def as_it_is(path: Path | None) -> str | None:
    """A prompt file's name and hash, or a folder's and that of its names and sizes: what a run began with."""
    if path is None or not path.exists():
        return None
    names = [f"{p.relative_to(path)} {p.stat().st_size}" for p in sorted(path.rglob("*"))] if path.is_dir() else []
    content = "\n".join(names).encode() if path.is_dir() else path.read_bytes()
    return f"{path} {hashlib.sha256(content).hexdigest()[:16]}"


# ---- processes -----------------------------------------------------------------------------------------------------


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


# ---- clips ---------------------------------------------------------------------------------------------------------


def random_scenes(seed: int, count: int, two_object_share: float) -> list[Scene]:
    rng = np.random.default_rng(seed)
    return [random_scene(rng, 2 if rng.random() < two_object_share else 1) for _ in range(count)]


def to_tensor(frames: np.ndarray) -> Tensor:
    """(N, H, W, 3) uint8 → (N, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float() / 127.5 - 1


def to_uint8(frames: Tensor) -> np.ndarray:
    """(N, 3, H, W) in [-1, 1] → (N, H, W, 3) uint8."""
    return (frames.permute(0, 2, 3, 1) * 127.5 + 127.5).round().clamp(0, 255).byte().cpu().numpy()
