"""What exit heads learn from: calls of a network along stretches of runs, kept in files, and pairs of them.

A file holds a batch of prompts: `deep_0` … (calls, rows · frames, C, h, w), `fine`, `time`, `output`, for each call its
`window` (the stretch) and `timestep`, and `final`, the latents at the end of the run. Rows are those without text, then
those of the prompts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from videoada.config.run import GenerationConfig
from videoada.errors import ConfigError, ModelError
from videoada.models.call import call_pipeline
from videoada.models.schedulers import scheduler_of
from videoada.skipping.skip_steps import skip_steps
from videoada.training.config import ExitTraining
from videoada.training.exit_losses import Features, joined, watched
from videoada.training.run import read_tensors
from videoada.training.videos import captioned, encoded, noised_calls


def collect_videos(
    pipe: Any, batch: list[GenerationConfig], first: int, folder: Path, config: ExitTraining
) -> dict[str, Tensor]:
    """The tensors of a file, of a folder's videos under noise, one noise for each stretch.

    Raises ModelError for an image-to-video model.
    """
    if hasattr(pipe, "image_encoder"):
        raise ModelError("a folder of videos teaches text-to-video models only; give a prompt file")
    paths = {(request.prompt, request.seed): path for path, request in captioned(folder)}
    latents = torch.stack([encoded(pipe, paths[r.prompt, r.seed], r.num_frames) for r in batch])
    with scheduler_of(pipe, "ddim"):
        pipe.scheduler.set_timesteps(config.steps)
        timesteps = [int(t) for t in pipe.scheduler.timesteps]
    kept = {
        window: noised_calls(pipe, latents, [r.prompt for r in batch], [timesteps[i] for i in steps], first + window)
        for window, steps in enumerate(windows(first, config))
    }
    parts = [(w, t, f) for w, found in kept.items() for t, f in found]
    return as_tensors(parts, latents.transpose(1, 2).flatten(1).half().cpu())


def collect_batch(pipe: Any, batch: list[GenerationConfig], first: int, config: ExitTraining) -> dict[str, Tensor]:
    """The tensors of a file, of a full run of the batch: its `first` prompt's index says which stretches are kept."""
    kept: list[tuple[int, int, Features]] = []
    stretches, final = windows(first, config), torch.empty(0)

    def on_latents(step: int, latents: Tensor) -> None:
        nonlocal final
        final, features = latents.half().cpu(), calls.pop()
        for window, steps in enumerate(stretches):
            if step in steps:
                kept.append((window, int(pipe.scheduler.timesteps[step]), features.to(torch.float16, "cpu")))

    with scheduler_of(pipe, "ddim"), watched(pipe.unet) as calls, skip_steps(pipe, "none", on_latents=on_latents):
        call_pipeline(pipe, batch)
    return as_tensors(sorted(kept, key=lambda part: part[0]), final)


def windows(first: int, config: ExitTraining) -> list[range]:
    """Stretches of `window` steps, as many as make `keep` of the run; the first steps as often as the others."""
    rng, length = np.random.default_rng(first), min(config.window, config.steps)
    starts = rng.integers(-length // 2, config.steps - length // 2, max(1, round(config.keep * config.steps / length)))
    return [range(start, start + length) for start in starts.clip(0, config.steps - length)]


def as_tensors(parts: list[tuple[int, int, Features]], final: Tensor) -> dict[str, Tensor]:
    """Of (window, timestep, features) of each call: tensors whose first dimension is the call."""
    found = [features for _, _, features in parts]
    stacked = {f"deep_{i}": torch.stack([f.deep[i] for f in found]) for i in range(len(found[0].deep))}
    stacked |= {name: torch.stack([getattr(f, name) for f in found]) for name in ("fine", "time", "output")}
    numbers = {"window": [w for w, _, _ in parts], "timestep": [t for _, t, _ in parts]}
    return stacked | {name: torch.tensor(values) for name, values in numbers.items()} | {"final": final}


class Calls:
    """All that was kept, mapped from its files and read where it is needed; `pairs` gives some of it.

    Raises ConfigError where the run's folder holds nothing of it, ModelError for a file that can't be read.
    """

    def __init__(self, run: Path):
        self.parts = [read_tensors(path) for path in sorted(run.glob("calls-*.safetensors"))]
        if not self.parts:
            raise ConfigError(f"{run} holds no calls; run the stage collect first")

    def pairs(self, count: int, rng: torch.Generator) -> tuple[Features, Features, Tensor]:
        """Calls of as many prompts, both guidance halves; earlier ones of the same stretches; timesteps between."""
        now: list[Features] = []
        since: list[Features] = []
        between = []
        for _ in range(count):
            part = self.parts[_pick(len(self.parts), rng)]
            prompts = part["output"].shape[1] // 2
            window, prompt = part["window"][_pick(len(part["window"]), rng)], _pick(prompts, rng)
            indices = (part["window"] == window).nonzero()[:, 0]
            later = 1 + _pick(len(indices) - 1, rng)
            earlier = _pick(later, rng)
            for of, index in ((now, indices[later]), (since, indices[earlier])):
                of.append(self._features(part, int(index), [prompt, prompt + prompts]))
            between.append(float(part["timestep"][indices[earlier]] - part["timestep"][indices[later]]))
        return *(_halves_together(found, count) for found in (now, since)), torch.tensor(between).repeat(2)

    def _features(self, part: dict[str, Tensor], call: int, rows: list[int]) -> Features:
        deep = [part[name][call] for name in sorted(n for n in part if n.startswith("deep_"))]
        of_batch = Features(deep, part["fine"][call], part["time"][call], part["output"][call])
        return of_batch.rows(rows).to(torch.float32)


def _pick(count: int, rng: torch.Generator) -> int:
    return int(torch.randint(count, (), generator=rng))


def _halves_together(found: list[Features], count: int) -> Features:
    """[u, c], [u, c], … as the rows [u, u, …, c, c, …]."""
    return joined(found).rows([*range(0, 2 * count, 2), *range(1, 2 * count, 2)])
