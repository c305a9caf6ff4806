"""Damages to clips, and the sets of clips that scripts/experiments/metrics.py tries them on."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from videoada.shapes import random_scene, render

ROOT = Path(__file__).resolve().parents[2]
NUM_FRAMES = 16
HELD_OUT = 6_000_000  # seeds that no model was trained on begin here
Clip = np.ndarray  # (16, H, W, 3) uint8; where it is to be damaged also longer, its first 16 frames being undamaged


def as_bytes(values: np.ndarray) -> Clip:
    return np.clip(values, 0, 255).round().astype(np.uint8)


@dataclass(frozen=True)
class Damage:
    """`apply` makes 16 frames of a clip. `slow`: of one of 31 frames at half the speed, for twice that is as usual."""

    apply: Callable[[Clip, np.random.Generator], Clip]
    slow: bool = False


def of_first(damage: Callable[[Clip, np.random.Generator], Clip]) -> Damage:
    return Damage(lambda clip, rng: damage(clip[:NUM_FRAMES], rng))


NONE, SLOW = "none", "none, at half the speed"
DAMAGES = {
    NONE: of_first(lambda clip, rng: clip),
    "noise (σ 8)": of_first(lambda clip, rng: as_bytes(clip + rng.normal(0, 8, clip.shape))),
    "blur (σ 1.5)": of_first(lambda clip, rng: np.stack([cv2.GaussianBlur(frame, (0, 0), 1.5) for frame in clip])),
    "freeze": of_first(lambda clip, rng: clip[np.zeros(len(clip), int)]),
    "duplicate": of_first(lambda clip, rng: clip[np.arange(len(clip)) // 2 * 2]),
    "shuffle": of_first(lambda clip, rng: clip[rng.permutation(len(clip))]),
    "flicker": of_first(lambda clip, rng: as_bytes(clip * (1 + 0.1 * rng.standard_normal((len(clip), 1, 1, 1))))),
    "colour shift": of_first(lambda clip, rng: as_bytes(clip * np.array([1.15, 1.0, 0.85]))),
    SLOW: Damage(lambda clip, rng: clip[:NUM_FRAMES], slow=True),
    "speed ×2": Damage(lambda clip, rng: clip[::2], slow=True),
}


def baseline_of(name: str, names: list[str]) -> str:
    """Which of the undamaged sets a damage is compared with."""
    return SLOW if DAMAGES[name].slow and SLOW in names else NONE


def damaged(name: str, clips: list[Clip]) -> list[Clip]:
    """Each clip with its own random numbers."""
    return [DAMAGES[name].apply(clip, np.random.default_rng(i)) for i, clip in enumerate(clips)]


def undamaged(clips: list[Clip]) -> list[Clip]:
    return [clip[:NUM_FRAMES] for clip in clips]


# ---- sets of clips -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sets:
    """Two samples of one distribution: clips to damage, with their prompts, and others to measure them against."""

    prompts: list[str]
    clips: list[Clip]
    others: list[Clip]


def shapes(count: int, slow: bool) -> Sets:
    """Rendered scenes, whose path takes the clip's 16 frames, or 31 where they are slow."""

    def some(seed: int) -> tuple[list[str], list[Clip]]:
        rng = np.random.default_rng(seed)
        scenes = [random_scene(rng, 1 + (i % 4 == 3)) for i in range(count)]
        seeds = range(HELD_OUT + 1000 * seed, HELD_OUT + 1000 * seed + count)
        length = 2 * NUM_FRAMES - 1 if slow else NUM_FRAMES
        clips = [render(scene, seed=i, num_frames=length) for scene, i in zip(scenes, seeds, strict=True)]
        return [str(scene) for scene in scenes], clips

    prompts, clips = some(1)
    return Sets(prompts, clips, undamaged(some(2)[1]))


def emoji(folder: Path, count: int) -> Sets:
    """Loops of a prepared folder, each of its own emoji, on backgrounds: 31 frames, as loops go on for ever."""
    sys.path.append(str(ROOT / "scripts" / "embedded"))
    from emoji_t2v.clips import BACKGROUNDS, Clips

    from videoada.errors import ConfigError

    loaded = Clips.load(folder)
    if len(loaded) < 2 * count:
        raise ConfigError(f"{folder} holds {len(loaded)} clips: `clips` must be at most {len(loaded) // 2}")
    rng = np.random.default_rng(3)
    order = rng.permutation(len(loaded))[: 2 * count]
    made = []
    for index in order:
        frame = (int(rng.integers(loaded.loop)) + torch.arange(2 * NUM_FRAMES - 1)) % loaded.loop
        background = torch.full_like(frame, int(rng.integers(len(BACKGROUNDS))))
        x_TCHW = loaded.compose(torch.full_like(frame, int(index)), frame, background)
        made.append((x_TCHW.movedim(1, -1) * 127.5 + 127.5).round().clamp(0, 255).byte().numpy())
    names = [loaded.subjects[i] for i in order[:count]]
    return Sets(names, made[:count], undamaged(made[count:]))
