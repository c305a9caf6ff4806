"""A run of training: its folder, a checkpoint that it continues from, the requests to learn from and to judge on."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from videoada.config.frozen import one_of
from videoada.config.run import GenerationConfig
from videoada.errors import ConfigError, ModelError, PromptError, counted
from videoada.files import results_folder

Progress = Callable[[str], None]  # is given a line, whenever there is something to say
Identity = tuple[str, int, str | None]


class Training:
    """A module, its AdamW, its moving average and a log, saved together as safetensors and found again by name.

    With `torch.distributed` initialised, processes average their gradients and the first alone writes.
    """

    def __init__(
        self, run: Path, stage: str, model: nn.Module, lr: float, ema_decay: float, seed: int,
        weight_decay: float = 0.01, on_progress: Progress | None = None,
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
        self.saved_at, self.on_progress = time.monotonic(), on_progress
        self._began, self._before = time.monotonic(), 0.0
        if self.file.exists():
            self._load(read_tensors(self.file))

    @property
    def seconds(self) -> float:
        """Time spent in this training, earlier runs up to their last checkpoints included."""
        return self._before + time.monotonic() - self._began

    @property
    def rng(self) -> torch.Generator:
        """The randomness of this step in this process: a continued run gets what an uninterrupted one would have."""
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
        """A JSON line in the run's folder and to `on_progress`."""
        if self.rank:
            return
        line = json.dumps({"step": self.step, **values})
        if self.on_progress:
            self.on_progress(f"{self.file.stem} {line}")
        with self.log_file.open("a") as file:
            file.write(line + "\n")

    def save(self, every_seconds: float = 0) -> None:
        """Write the checkpoint, unless the last one is younger than `every_seconds`."""
        if self.rank or time.monotonic() - self.saved_at < every_seconds:
            return
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"ema.{k}": v for k, v in self.ema.items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": torch.as_tensor(v) for k, v in state.items()}
        tensors |= {"step": torch.tensor(self.step), "seconds": torch.tensor(self.seconds, dtype=torch.float64)}
        aside = self.file.with_suffix(".part")
        save_file({k: v.detach().contiguous().clone() for k, v in tensors.items()}, aside)
        aside.replace(self.file)
        self.saved_at = time.monotonic()

    def _load(self, tensors: dict[str, Tensor]) -> None:
        def under(prefix: str) -> dict[str, Tensor]:
            return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}

        self.model.load_state_dict(under("model."))
        self.ema = {name: value.to(self.ema[name].device) for name, value in under("ema.").items()}
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in under("optimizer.").items():
            index, key = name.split(".", 1)
            state.setdefault(int(index), {})[key] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
        self.step, self._before = int(tensors["step"]), float(tensors.get("seconds", 0.0))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file of the run. Raises ModelError where it can't be read."""
    try:
        return dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise ModelError(f"can't read {path}: {' '.join(str(error).split())[:200]}") from None


def stages_of(stage: str, all_stages: tuple[str, ...], more: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The stages to run, in order: those of `all`, or the one. Raises ConfigError for another name."""
    try:
        one_of("stage", stage, ("all", *all_stages, *more))
    except ValueError as error:
        raise ConfigError(str(error)) from None
    return all_stages if stage == "all" else (stage,)


def same_run(run: Path, **about: object) -> None:
    """Make the run's folder and note in it what it is about. Raises ConfigError where it is about something else: a
    run continues what its folder holds."""
    results_folder(run)
    path, now = run / "about.json", json.loads(json.dumps(about, default=str))
    try:
        before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else now
    except ValueError:
        raise ConfigError(f"{path} is not of a training run; name another run folder") from None
    if changed := [name for name in now if name in before and before[name] != now[name]]:
        raise ConfigError(f"{run} is a run with another {changed[0].replace('_', ' ')}; name another run folder")
    path.write_text(json.dumps({**before, **now}, indent=1) + "\n", encoding="utf-8")


def split(
    requests: list[GenerationConfig], count: int, held_out: int
) -> tuple[list[GenerationConfig], list[GenerationConfig]]:
    """Up to `count` of a file's requests to learn from, and its last `held_out` to judge on. Raises PromptError for
    too few."""
    if len(requests) < held_out + 2:
        raise PromptError(
            f"the prompt file has {counted(len(requests), 'row')}: too few to learn from and hold "
            f"{held_out} out; give more rows "
            "or hold fewer out"
        )
    judged = {identity(r) for r in requests[-held_out:]}
    learnt = [r for r in requests[: len(requests) - held_out] if identity(r) not in judged]
    return learnt[:count], requests[-held_out:]


def identity(request: GenerationConfig) -> Identity:
    """Prompt, seed and image: by these the entries of a prompt file differ."""
    return request.prompt, request.seed, None if request.image is None else str(request.image)


def contents(path: Path | None) -> str | None:
    """A prompt file's name and hash, or a folder's and the hash of its names and sizes: what a run began with."""
    if path is None or not path.exists():
        return None
    names = [f"{p.relative_to(path)} {p.stat().st_size}" for p in sorted(path.rglob("*"))] if path.is_dir() else []
    content = "\n".join(names).encode(errors="surrogateescape") if path.is_dir() else path.read_bytes()
    return f"{path} {hashlib.sha256(content).hexdigest()[:16]}"
