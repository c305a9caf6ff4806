"""The judge: reads a clip back by fixed rules alone, no network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from videoada.shapes.grammar import BACKGROUNDS, COLOURS, SHAPES, Scene, ShapeObject
from videoada.shapes.renderer import coverage

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
    palette = np.asarray([*COLOURS.values(), *BACKGROUNDS.values()], np.float32)
    # Nearest by |p|² − 2·x·p, of integers below 2²⁴: exact in float32
    label = np.argmin(np.square(palette).sum(-1) - 2 * (clip.astype(np.float32) @ palette.T), axis=-1)  # (F, H, W)
    names = [*COLOURS, *BACKGROUNDS]
    counts = np.bincount(label.ravel(), minlength=len(names))
    background = names[len(COLOURS) + int(np.argmax(counts[len(COLOURS) :]))]

    tracks: list[_Track] = []
    smallest = MIN_AREA * min(label.shape[1:]) ** 2
    for colour_index, colour in enumerate(COLOURS):
        bg, fg = (np.asarray(v, np.float32) for v in (BACKGROUNDS[background], COLOURS[colour]))
        masks = label == colour_index
        for f in np.flatnonzero(masks.sum((1, 2)) >= smallest):
            alpha = np.clip((clip[f] - bg) @ (fg - bg) / np.square(fg - bg).sum(), 0, 1)
            for region in _regions(masks[f], alpha):
                _follow(tracks, colour, int(f), *region)
    kept = [t for t in tracks if len(t.frames) >= 0.6 * len(clip)]
    kept.sort(key=lambda t: -float(np.mean(t.area)))
    return Scene(tuple(ShapeObject(t.colour, _shape(t), _motion(t, len(clip))) for t in kept), background)


def agreement(wanted: Scene, found: Scene) -> dict[str, bool]:
    """Does each attribute read back, all objects of a scene taken together, in whatever order?"""
    result = {"background": wanted.background == found.background}
    for name in ("colour", "shape", "motion"):
        a, b = ([str(getattr(item, name)) for item in scene.objects] for scene in (wanted, found))
        result[name] = sorted(a) == sorted(b)
    return result


def _regions(mask: NDArray[Any], alpha: NDArray[Any]) -> Iterator[Any]:
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
