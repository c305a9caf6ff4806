"""What exit heads learn from: calls of a network along stretches of runs, kept in files, and pairs of them.

A file holds a batch of prompts: `deep_0` … (calls, rows · frames, C, h, w), `fine`, `time`, `output`, for each call its
`window` (the stretch) and `timestep`, and `final`, the latents at the end of the run. Rows are those without text, then
those of the prompts.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from training_videos import captioned, encoded, noised_calls

from videoada.config.run import GenerationConfig
from videoada.models.call import draw_batch
from videoada.models.pipelines import scheduler_of
from videoada.skipping.skip_steps import skip_steps
from videoada.training.exit_losses import Features, joined, watched


def collect_videos(pipe: Any, batch: list[GenerationConfig], first: int, args: argparse.Namespace) -> dict[str, Tensor]:
    """The same of videos under noise, one noise for each."""
    if hasattr(pipe, "image_encoder"):
        raise SystemExit("a folder of videos teaches text-to-video models only; give a prompt file")
    paths = {(request.prompt, request.seed): path for path, request in captioned(args.prompts)}
    latents = torch.stack([encoded(pipe, paths[r.prompt, r.seed], r.num_frames) for r in batch])
    with scheduler_of(pipe, "ddim"):
        pipe.scheduler.set_timesteps(args.steps)
        timesteps = [int(t) for t in pipe.scheduler.timesteps]
    kept = {
        window: noised_calls(pipe, latents, [r.prompt for r in batch], [timesteps[i] for i in steps], first + window)
        for window, steps in enumerate(windows(first, args))
    }
    parts = [(w, t, f) for w, found in kept.items() for t, f in found]
    return as_tensors(parts, latents.transpose(1, 2).flatten(1).half().cpu())


def collect_batch(pipe: Any, batch: list[GenerationConfig], first: int, args: argparse.Namespace) -> dict[str, Tensor]:
    """What the exits see at some stretches of the run, what the network answered, and the final latents."""
    kept: list[tuple[int, int, Features]] = []
    stretches, final = windows(first, args), torch.empty(0)

    def on_latents(step: int, latents: Tensor) -> None:
        nonlocal final
        final, features = latents.half().cpu(), calls.pop()
        for window, steps in enumerate(stretches):
            if step in steps:
                kept.append((window, int(pipe.scheduler.timesteps[step]), features.to(torch.float16, "cpu")))

    with scheduler_of(pipe, "ddim"), watched(pipe.unet) as calls, skip_steps(pipe, "none", on_latents=on_latents):
        draw_batch(pipe, batch)
    return as_tensors(sorted(kept, key=lambda part: part[0]), final)


def windows(first: int, args: argparse.Namespace) -> list[range]:
    """Stretches of `--window` steps, as many as make `--keep` of the run; the first steps as often as the others."""
    rng, length = np.random.default_rng(first), min(args.window, args.steps)
    starts = rng.integers(-length // 2, args.steps - length // 2, max(1, round(args.keep * args.steps / length)))
    return [range(start, start + length) for start in starts.clip(0, args.steps - length)]


def as_tensors(parts: list[tuple[int, int, Features]], final: Tensor) -> dict[str, Tensor]:
    """Of (window, timestep, features) of each call: tensors whose first dimension is the call."""
    found = [features for _, _, features in parts]
    stacked = {f"deep_{i}": torch.stack([f.deep[i] for f in found]) for i in range(len(found[0].deep))}
    stacked |= {name: torch.stack([getattr(f, name) for f in found]) for name in ("fine", "time", "output")}
    numbers = {"window": [w for w, _, _ in parts], "timestep": [t for _, t, _ in parts]}
    return stacked | {name: torch.tensor(values) for name, values in numbers.items()} | {"final": final}


class Calls:
    """All that was kept, mapped from its files and read where it is needed; `pairs` gives some of it."""

    def __init__(self, run: Path):
        self.parts = [load_file(path) for path in sorted(run.glob("calls-*.safetensors"))]
        if not self.parts:
            raise SystemExit(f"{run} holds no calls; run `collect` first")

    def pairs(self, count: int, rng: torch.Generator) -> tuple[Features, Features, Tensor]:
        """Calls of as many prompts, both guidance halves; earlier ones of the same stretches; timesteps between."""
        now, since, between = [], [], []
        for _ in range(count):
            part = self.parts[_pick(len(self.parts), rng)]
            prompts = part["output"].shape[1] // 2
            window, prompt = part["window"][_pick(len(part["window"]), rng)], _pick(prompts, rng)
            places = (part["window"] == window).nonzero()[:, 0]
            later = 1 + _pick(len(places) - 1, rng)
            earlier = _pick(later, rng)
            for of, place in ((now, places[later]), (since, places[earlier])):
                of.append(self._features(part, int(place), [prompt, prompt + prompts]))
            between.append(float(part["timestep"][places[earlier]] - part["timestep"][places[later]]))
        return *(_halves_together(found, count) for found in (now, since)), torch.tensor(between).repeat(2)

    def _features(self, part: dict[str, Tensor], call: int, rows: list[int]) -> Features:
        deep = [part[name][call] for name in sorted(n for n in part if n.startswith("deep_"))]
        whole = Features(deep, part["fine"][call], part["time"][call], part["output"][call])
        return whole.rows(rows).to(torch.float32)


def _pick(count: int, rng: torch.Generator) -> int:
    return int(torch.randint(count, (), generator=rng))


def _halves_together(found: list[Features], count: int) -> Features:
    """[u, c], [u, c], … as the rows [u, u, …, c, c, …]."""
    return joined(found).rows([*range(0, 2 * count, 2), *range(1, 2 * count, 2)])
