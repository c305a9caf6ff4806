"""The renderer: a scene drawn anti-aliased, from signed distances."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from videoada.shapes.grammar import BACKGROUNDS, COLOURS, Scene, ShapeObject, parse

TRAVEL = {"slowly": 0.18, "": 0.31, "quickly": 0.44}  # path of the centre over the clip
GROWTH = {"slowly": 1.35, "": 1.7, "quickly": 2.2}  # last radius ÷ first radius, or its inverse
BOUNCES = {"slowly": 1, "": 2, "quickly": 3}  # arcs over the clip
BOUNCE_HEIGHT = 0.3
# Shapes of "radius" r; their bounding boxes' halves in units of r. The triangle points up.
HALF_EXTENT = {"circle": (1.0, 1.0), "square": (0.9, 0.9), "triangle": (1.126, 0.975)}


def render(
    prompt: str | Scene, seed: int = 0, size: int | tuple[int, int] = 64, num_frames: int = 16
) -> NDArray[np.uint8]:
    """Draw a clip, (F, H, W, 3) uint8. `size` is a side or (height, width); the seed chooses positions and radii."""
    scene = parse(prompt) if isinstance(prompt, str) else prompt
    height, width = (size, size) if isinstance(size, int) else size
    short = min(height, width)
    time = np.linspace(0.0, 1.0, num_frames)
    paths = _layout(scene, np.random.default_rng(seed), width / short, height / short, time)

    y_H, x_W = (np.arange(height) + 0.5) / short, (np.arange(width) + 0.5) / short
    frames = np.broadcast_to(_float32(BACKGROUNDS[scene.background]), (num_frames, height, width, 3)).copy()
    for item, (x_F, y_F, r_F) in zip(scene.objects, paths, strict=True):
        alpha = coverage(item.shape, x_W - x_F[:, None], y_H - y_F[:, None], r_F, 1.0 / short)[..., None]
        frames += alpha * (_float32(COLOURS[item.colour or ""]) - frames)
    return np.rint(frames).astype(np.uint8)


def _float32(values: Any) -> NDArray[np.float32]:
    return np.asarray(values, dtype=np.float32)


def coverage(
    shape: str | None, dx_FW: NDArray[Any], dy_FH: NDArray[Any], radius_F: NDArray[Any], pixel: float
) -> NDArray[np.float32]:
    """Share of each pixel that the shape covers, (F, H, W) in [0, 1], from the signed distance to its edge."""
    dx, dy = dx_FW[:, None, :].astype(np.float32), dy_FH[:, :, None].astype(np.float32)
    r = radius_F[:, None, None].astype(np.float32)
    if shape == "circle":
        distance = np.sqrt(dx * dx + dy * dy) - r
    elif shape == "square":
        distance = np.maximum(np.abs(dx), np.abs(dy)) - 0.9 * r
    else:  # circumradius 1.3 r, its box centred on the origin
        slanted = np.float32(np.sqrt(0.75)) * np.abs(dx) - 0.5 * (dy + 0.975 * r)
        distance = np.maximum(slanted, dy - 0.975 * r)
    return _float32(np.clip(0.5 - distance / np.float32(pixel), 0.0, 1.0))


def _layout(
    scene: Scene, rng: np.random.Generator, width: float, height: float, time: NDArray[Any]
) -> list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]:
    """Paths (x, y, r over time) inside the frame: of up to 60, the first whose objects keep apart, or the best."""
    radii = {1: (0.2, 0.27), 2: (0.17, 0.2)}.get(len(scene.objects), (0.12, 0.15))
    best, best_gap = [], -np.inf
    for _ in range(60):
        paths = [_path(item, rng, rng.uniform(*radii), width, height, time) for item in scene.objects]
        gap = min(
            (
                float(np.min(np.hypot(a[0] - b[0], a[1] - b[1]) - 1.1 * (a[2] + b[2])))
                for i, a in enumerate(paths)
                for b in paths[:i]
            ),
            default=0.0,
        )
        if gap > best_gap:
            best, best_gap = paths, gap
        if gap >= 0:
            break
    return best


def _path(
    item: ShapeObject, rng: np.random.Generator, radius: float, width: float, height: float, time: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    zero = np.zeros_like(time)
    dx, dy, r = zero, zero, zero + radius
    travel = TRAVEL[item.speed] * time
    match item.motion:
        case "moving right":
            dx = travel
        case "moving left":
            dx = -travel
        case "moving down":
            dy = travel
        case "moving up":
            dy = -travel
        case "growing":
            r = radius * GROWTH[item.speed] ** (time - 1)
        case "shrinking":
            r = radius * GROWTH[item.speed] ** (-time)
        case "bouncing":
            dy = -BOUNCE_HEIGHT * np.abs(np.sin(np.pi * BOUNCES[item.speed] * time))
    half_w, half_h = (extent * float(r.max()) for extent in HALF_EXTENT[item.shape or ""])

    def start(low: float, high: float) -> float:
        return float(rng.uniform(low, high)) if high > low else (low + high) / 2

    x = start(half_w - float(dx.min()), width - half_w - float(dx.max())) + dx
    y = start(half_h - float(dy.min()), height - half_h - float(dy.max())) + dy
    return x, y, r
