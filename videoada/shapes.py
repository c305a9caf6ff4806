"""The captioned shapes world: a grammar, a renderer and a judge that uses no network.

It teaches the embedded models and tests them: `render` draws what a prompt says, `measure` reads colour, shape,
motion and background back from any clip by fixed rules, so a generated clip can be held against its prompt.

Lengths are in units of the frame's shorter side, time runs from 0 (first frame) to 1 (last frame), y points down.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from videoada.errors import PromptError

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (220, 40, 40),
    "green": (40, 180, 60),
    "blue": (50, 100, 240),
    "yellow": (240, 215, 50),
    "white": (245, 245, 245),
    "purple": (160, 60, 200),
}
BACKGROUNDS: dict[str, tuple[int, int, int]] = {
    "black": (12, 12, 12),
    "gray": (120, 120, 120),
    "navy": (15, 20, 85),
    "brown": (110, 65, 30),
}
SHAPES = ("circle", "square", "triangle")
MOTIONS = (
    "moving right",
    "moving left",
    "moving up",
    "moving down",
    "standing still",
    "growing",
    "shrinking",
    "bouncing",
)
SPEEDS = ("slowly", "", "quickly")
MAX_OBJECTS = 4
WORDS = tuple(
    sorted({*COLOURS, *BACKGROUNDS, *SHAPES, *SPEEDS[::2], *" ".join(MOTIONS).split(), "a", "and", "on", "background"})
)

TRAVEL = {"slowly": 0.18, "": 0.31, "quickly": 0.44}  # path of the centre over the clip
GROWTH = {"slowly": 1.35, "": 1.7, "quickly": 2.2}  # last radius ÷ first radius, or its inverse
BOUNCES = {"slowly": 1, "": 2, "quickly": 3}  # arcs over the clip
BOUNCE_HEIGHT = 0.3
# Shapes of "radius" r; their bounding boxes' halves in units of r. The triangle points up.
HALF_EXTENT = {"circle": (1.0, 1.0), "square": (0.9, 0.9), "triangle": (1.126, 0.975)}


@dataclass(frozen=True)
class ShapeObject:
    """One object of a prompt. A measured one may hold None where the rules could not tell."""

    colour: str | None
    shape: str | None
    motion: str | None
    speed: str = ""

    def __str__(self) -> str:
        return " ".join(filter(None, ("a", self.colour, self.shape, self.motion, self.speed)))


@dataclass(frozen=True)
class Scene:
    objects: tuple[ShapeObject, ...]
    background: str

    def __str__(self) -> str:
        return f"{' and '.join(map(str, self.objects))} on a {self.background} background"


_OBJECT = re.compile(rf"an? ({'|'.join(COLOURS)}) ({'|'.join(SHAPES)}) ({'|'.join(MOTIONS)})(?: (slowly|quickly))?")


def parse(prompt: str) -> Scene:
    """Read a prompt of the grammar. Raises PromptError, saying which part does not fit."""
    text = " ".join(prompt.lower().split()).rstrip(".")
    head, separator, tail = text.rpartition(" on a ")
    background = tail.removesuffix(" background")
    if not separator or background == tail or background not in BACKGROUNDS:
        raise PromptError(f"prompt must end in 'on a {'|'.join(BACKGROUNDS)} background': {prompt!r}")
    objects = []
    for part in head.split(" and "):
        match = _OBJECT.fullmatch(part)
        if not match or (match[3] == "standing still" and match[4]):
            raise PromptError(f"not 'a COLOUR SHAPE MOTION [slowly|quickly]': {part!r}")
        objects.append(ShapeObject(match[1], match[2], match[3], match[4] or ""))
    if len(objects) > MAX_OBJECTS:
        raise PromptError(f"{len(objects)} objects; the shapes world holds 1 to {MAX_OBJECTS}")
    return Scene(tuple(objects), background)


def random_scene(rng: np.random.Generator, num_objects: int = 1) -> Scene:
    """A scene whose every attribute is drawn uniformly."""

    def pick(options: Any) -> str:
        return str(options[int(rng.integers(len(options)))])

    objects = []
    for _ in range(num_objects):
        motion = pick(MOTIONS)
        speed = "" if motion == "standing still" else pick(SPEEDS)
        objects.append(ShapeObject(pick(tuple(COLOURS)), pick(SHAPES), motion, speed))
    return Scene(tuple(objects), pick(tuple(BACKGROUNDS)))


def render(
    prompt: str | Scene, seed: int = 0, size: int | tuple[int, int] = 64, num_frames: int = 16
) -> NDArray[np.uint8]:
    """Draw a clip, (F, H, W, 3) uint8. `size` is a side or (height, width); the seed chooses places and radii."""
    scene = parse(prompt) if isinstance(prompt, str) else prompt
    height, width = (size, size) if isinstance(size, int) else size
    short = min(height, width)
    time = np.linspace(0.0, 1.0, num_frames)
    paths = _layout(scene, np.random.default_rng(seed), width / short, height / short, time)

    y_H, x_W = (np.arange(height) + 0.5) / short, (np.arange(width) + 0.5) / short
    frames = np.broadcast_to(np.float32(BACKGROUNDS[scene.background]), (num_frames, height, width, 3)).copy()
    for item, (x_F, y_F, r_F) in zip(scene.objects, paths, strict=True):
        alpha = coverage(item.shape, x_W - x_F[:, None], y_H - y_F[:, None], r_F, 1.0 / short)[..., None]
        frames += alpha * (np.float32(COLOURS[item.colour or ""]) - frames)
    return np.rint(frames).astype(np.uint8)


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
    return np.clip(0.5 - distance / np.float32(pixel), 0.0, 1.0)


def _layout(
    scene: Scene, rng: np.random.Generator, width: float, height: float, time: NDArray[Any]
) -> list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]:
    """Paths (x, y, r over time) inside the frame: of up to 60 drawn, the first whose objects keep apart, or the best."""
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


# ---- the judge ----------------------------------------------------------------------------------------------------

MIN_AREA = 0.012  # of the squared short side; smaller specks are noise
MIN_SHAPE_IOU = 0.7  # below it a blob has no shape


@dataclass
class _Track:
    colour: str
    frames: list[int]
    centre: list[tuple[float, float]]  # x, y in short sides
    area: list[float]  # in squared short sides
    shape_iou: list[tuple[float, float, float]]  # one for each of SHAPES


def measure(video: NDArray[Any]) -> Scene:
    """Read a clip (F, H, W, 3) back into a scene, by rules alone; objects ordered by area, largest first.

    uint8, or float in [0, 1]. Each pixel goes to the nearest of the ten colours; connected regions of an object
    colour are followed over the frames; the shape is the template of equal area and centre that overlaps most;
    the motion is what changed most against its threshold. What the rules can't tell is None.
    """
    clip = np.asarray(video)
    if clip.ndim != 4 or clip.shape[-1] != 3:
        raise ValueError(f"measure needs a clip of shape (frames, height, width, 3), got {clip.shape}")
    if clip.dtype != np.uint8:
        clip = np.rint(np.clip(clip, 0, 1) * 255).astype(np.uint8)
    palette = np.float32([*COLOURS.values(), *BACKGROUNDS.values()])
    label = np.argmin(((clip[..., None, :].astype(np.float32) - palette) ** 2).sum(-1), axis=-1)  # (F, H, W)
    names = [*COLOURS, *BACKGROUNDS]
    counts = np.bincount(label.ravel(), minlength=len(names))
    background = names[len(COLOURS) + int(np.argmax(counts[len(COLOURS) :]))]

    tracks: list[_Track] = []
    for colour_index, colour in enumerate(COLOURS):
        bg, fg = np.float32(BACKGROUNDS[background]), np.float32(COLOURS[colour])
        for f, frame in enumerate(clip):
            alpha = np.clip((frame - bg) @ (fg - bg) / np.square(fg - bg).sum(), 0, 1)
            for region in _regions(label[f] == colour_index, alpha):
                _follow(tracks, colour, f, *region)
    kept = [t for t in tracks if len(t.frames) >= 0.6 * len(clip)]
    kept.sort(key=lambda t: -float(np.mean(t.area)))
    return Scene(tuple(ShapeObject(t.colour, _shape(t), _motion(t, len(clip))) for t in kept), background)


def _regions(mask: NDArray[Any], alpha: NDArray[Any]) -> Any:
    """Each connected region of a colour: centre, area, and its overlap with the three shapes."""
    short = min(mask.shape)
    count, regions, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    for index in range(1, count):
        if stats[index, cv2.CC_STAT_AREA] < MIN_AREA * short**2:
            continue
        near = cv2.dilate((regions == index).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        weight = np.where(near & ((regions == index) | (regions == 0)), alpha, 0.0)  # soft edge, this region only
        area = float(weight.sum()) / short**2
        y_H, x_W = (np.arange(mask.shape[0]) + 0.5) / short, (np.arange(mask.shape[1]) + 0.5) / short
        x = float((weight.sum(0) * x_W).sum() / weight.sum())
        y = float((weight.sum(1) * y_H).sum() / weight.sum())
        overlaps = []
        for shape, unit_area, drop in zip(SHAPES, (np.pi, 3.24, 2.195), (0.0, 0.0, 0.325), strict=True):
            r = np.sqrt(area / unit_area)  # a triangle's centroid lies 0.325 r under the middle of its box
            template = coverage(shape, (x_W - x)[None], (y_H - y + drop * r)[None], np.array([r]), 1 / short)[0]
            overlaps.append(float(np.minimum(template, weight).sum() / np.maximum(template, weight).sum()))
        yield (x, y), area, tuple(overlaps)


def _follow(
    tracks: list[_Track], colour: str, frame: int, centre: tuple[float, float], area: float, overlaps: Any
) -> None:
    """Append a region to the nearest open track of its colour, or begin a new one."""
    open_tracks = [t for t in tracks if t.colour == colour and frame - 3 <= t.frames[-1] < frame]
    nearest = min(open_tracks, key=lambda t: float(np.hypot(*np.subtract(t.centre[-1], centre))), default=None)
    if nearest is None or np.hypot(*np.subtract(nearest.centre[-1], centre)) > 0.25:
        nearest = _Track(colour, [], [], [], [])
        tracks.append(nearest)
    nearest.frames.append(frame)
    nearest.centre.append(centre)
    nearest.area.append(area)
    nearest.shape_iou.append(overlaps)


def _shape(track: _Track) -> str | None:
    overlap = np.mean(track.shape_iou, axis=0)
    return SHAPES[int(np.argmax(overlap))] if overlap.max() >= MIN_SHAPE_IOU else None


def _motion(track: _Track, num_frames: int) -> str | None:
    """The change that is largest against its threshold: net travel, vertical to and fro, or size."""
    if len(track.frames) < 3:
        return None
    path = np.array(track.centre)
    smooth = (path[:-2] + path[1:-1] + path[2:]) / 3 if len(path) >= 8 else path
    dx, dy = path[-2:].mean(0) - path[:2].mean(0)
    to_and_fro = np.abs(np.diff(smooth[:, 1])).sum() - abs(smooth[-1, 1] - smooth[0, 1])
    growth = 0.5 * np.log(np.mean(track.area[-2:]) / np.mean(track.area[:2]))
    scores = {
        "standing still": 1.0,
        "bouncing": to_and_fro / 0.16,
        "growing": growth / 0.14,
        "shrinking": -growth / 0.14,
        "moving right": dx / 0.08,
        "moving left": -dx / 0.08,
        "moving down": dy / 0.08,
        "moving up": -dy / 0.08,
    }
    return max(scores, key=lambda name: scores[name])
