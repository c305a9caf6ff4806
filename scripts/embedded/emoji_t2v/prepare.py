"""Animated .webp files as clips: loops of 24 frames, each frame the colours over white beside the alpha, as films."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import av
import numpy as np
from PIL import Image, UnidentifiedImageError

from emoji_t2v.packages import animations, name_of
from videoada.errors import ConfigError
from videoada.files import results_folder, write_text, written_aside

FPS, LOOP = 8, 24  # frames a second of a clip, and frames in all
BATCH = 64  # animations in memory at once
Names = dict[str, dict[str, object]]  # of the clips, by their animations' code points
Left = dict[str, list[str]]  # code points, by the reason why they are left out


def prepare(sources: Iterable[Path], clips: Path, size: int, processes: int) -> tuple[Names, Left]:
    """Make CLIPS/STEM.mp4 of each animation of tarballs or folders, and names.json beside the folder CLIPS.

    A clip that is there is kept, so a prepare that was killed goes on. Gives the names, and those left out.
    """
    results_folder(clips)
    names: Names = {}
    left: Left = {"too few frames": [], "no name": [], "not readable": []}
    found = itertools.chain.from_iterable(animations(source) for source in sources)
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        while batch := list(itertools.islice(found, BATCH)):
            todo = [(stem, content, name_of(stem)) for stem, content in batch]
            left["no name"] += [stem for stem, _, name in todo if name is None]
            todo = [each for each in todo if each[2] is not None]
            args = [(content, clips / f"{stem}.mp4", size) for stem, content, _ in todo]
            made = pool.map(make_clip, *zip(*args, strict=True)) if args and processes > 1 else (
                make_clip(*each) for each in args
            )  # fmt: skip
            for (stem, _, name), (frames, duration) in zip(todo, made, strict=True):
                if frames >= LOOP:
                    names[stem] = {"name": name, "frames": frames, "ms": duration}
                else:
                    left["too few frames" if frames else "not readable"].append(stem)
            print("prepared", len(names), flush=True)
    if not names:
        raise ConfigError(f"none of the animations makes a clip; left out: {left}")
    text = json.dumps(dict(sorted(names.items())), ensure_ascii=False, indent=1)
    write_text(clips.parent / "names.json", f"{text}\n")
    return names, left


def make_clip(content: bytes, path: Path, size: int) -> tuple[int, int]:
    """Write the clip of an animation unless it is there or too short. Gives the animation's frames, 0 for no animation
    that can be read, and the duration of a frame in milliseconds."""
    try:
        with Image.open(io.BytesIO(content), formats=["WEBP"]) as image:
            image.load()  # before it a frame's duration is not known
            total, duration = getattr(image, "n_frames", 1), int(image.info.get("duration", 0))
            if total < LOOP or path.is_file():
                return total, duration
            frames = np.stack(list(_frames(image, total, size)))  # (24, H, W, 4)
    except (UnidentifiedImageError, OSError, EOFError, ValueError, Image.DecompressionBombError):
        return 0, 0
    alpha = frames[..., 3:].astype(np.float32) / 255
    over_white = np.rint(frames[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
    write_film(np.concatenate([over_white, frames[..., 3:].repeat(3, -1)], 2), path)
    return total, duration


def _frames(image: Image.Image, total: int, size: int) -> Iterator[np.ndarray]:
    """LOOP of the animation's frames, evenly spaced, (H, W, 4) uint8."""
    chosen = {round(k * total / LOOP) for k in range(LOOP)}
    for k in range(total):
        image.seek(k)
        if k in chosen:
            yield np.asarray(image.convert("RGBA").resize((size, size), Image.Resampling.LANCZOS))


def write_film(frames: np.ndarray, path: Path) -> None:
    """Frames (F, H, W, 3) uint8 as H.264 4:4:4 of high quality; the file whole, or none."""
    with written_aside(path) as aside, av.open(str(aside), "w") as box:
        stream = box.add_stream("libx264", rate=FPS)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv444p"
        # with mbtree, x264's AVX-512 code gives other files from the same frames now and then
        stream.options = {"crf": "15", "preset": "medium", "threads": "1", "x264-params": "mbtree=0"}
        for frame in frames:
            box.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        box.mux(stream.encode())
