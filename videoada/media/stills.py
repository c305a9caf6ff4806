"""Videos made of pictures: animations, folders of frames, and a picture alone, read as films are."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from videoada.errors import OutputError, counted
from videoada.failures import reading
from videoada.media.kinds import FRAME_ENDINGS, PICTURES, stray
from videoada.media.metadata import animation_metadata, number_in
from videoada.media.pictures import TRANSPARENT, as_rgb, read_picture

MOST_REPEATS = 10_000  # frames that one frame of an animation may stand for
MOST_UNFOLDED = 2**32  # bytes that repeats may unfold to
MOST_FPS = 1000
DEFAULT_FPS = 8
ON_WHITE = "its transparent pixels lie on white"
Frames = Iterator[NDArray[np.uint8] | None]


class Animation:
    """A GIF, WebP, APNG or AVIF file. Encoders join equal frames into one that lasts longer: these come back."""

    def __init__(self, path: Path) -> None:
        self.lossless = path.suffix.lower() in (".webp", ".png", ".apng")
        self.codec = path.suffix.lower().removeprefix(".").replace("apng", "png")
        self.path, self.fps, self.num_frames = path, float(DEFAULT_FPS), 0
        self.notes: list[str] = []

    def frames(self, wanted: Callable[[int], bool] | None = None) -> Frames:
        """As `Film.frames`."""
        from PIL import Image, ImageSequence

        with reading(self.path):
            counts, transparent, count = self._counts(), False, 0
            with Image.open(self.path) as image:
                for frame, repeats in zip(ImageSequence.Iterator(image), counts, strict=True):
                    picture = as_rgb(frame.copy())
                    transparent = transparent or TRANSPARENT in picture.info
                    pixels = np.asarray(picture)
                    for _ in range(repeats):
                        yield pixels if wanted is None or wanted(count) else None
                        count += 1
            self.num_frames, self.notes = count, [ON_WHITE] if transparent else []

    def expected(self) -> int:
        """How many frames there are."""
        with reading(self.path):
            return sum(self._counts())

    def _counts(self) -> list[int]:
        """How many frames each picture stands for; sets `fps`."""
        from PIL import Image, ImageSequence

        with Image.open(self.path) as image:  # not imageio: it tells the first frame's duration only
            size, gif = image.width * image.height * 3, image.format == "GIF"
            durations = [float(f.info.get("duration") or 0) for f in ImageSequence.Iterator(image) if f.load() or True]
        text = animation_metadata(self.path)
        shortest = min((d for d in durations if d), default=1000 / DEFAULT_FPS)
        fps = number_in(text, "fps", MOST_FPS) or 1000 / shortest
        self.fps = int(fps) if float(fps).is_integer() else fps
        unit = round(100 / fps) * 10 if gif else round(1000 / fps)
        counts = [min(max(round(duration / (unit or 10)), 1), MOST_REPEATS) for duration in durations]
        if sum(counts) > 2 * len(counts) and sum(counts) * size > MOST_UNFOLDED:
            raise ValueError(f"its {counted(len(counts), 'frame')} stand for {sum(counts)}, more than fit into memory")
        if len(counts) == 1:  # a clip that stands still becomes a picture, whose duration is not kept
            counts = [int(number_in(text, "num_frames", MOST_REPEATS) or counts[0])]
        return counts


class FrameFolder:
    """A folder of PNG, JPEG or WebP files, in the order of the numbers in their names; or one such file alone."""

    def __init__(self, path: Path) -> None:
        self.lossless, self.codec = True, "png"
        self.path, self.fps, self.num_frames = path, float(DEFAULT_FPS), 0
        self.notes: list[str] = []

    def frames(self, wanted: Callable[[int], bool] | None = None) -> Frames:
        """As `Film.frames`."""
        with reading(self.path):
            files = self.files()
            kinds = {file.suffix.lower().removeprefix(".").replace("jpg", "jpeg") for file in files}
            self.lossless, self.codec = kinds == {"png"}, "+".join(sorted(kinds))
            self.fps = number_in(animation_metadata(self.path), "fps", MOST_FPS) or DEFAULT_FPS
            size: tuple[int, int] | None = None
            transparent = False
            for i, file in enumerate(files):
                if wanted is not None and not wanted(i):
                    yield None
                    continue
                picture = read_picture(file, "the frame")
                transparent = transparent or TRANSPARENT in picture.info
                if (size := size or picture.size) != picture.size:
                    raise ValueError(
                        f"its pictures differ in size: {files[0].name} has {size[0]}×{size[1]}, {file.name} "
                        f"{picture.width}×{picture.height}"
                    )
                yield np.asarray(picture)
            self.num_frames, self.notes = len(files), [ON_WHITE] if transparent else []

    def expected(self) -> int:
        """How many frames there are."""
        with reading(self.path):
            return len(self.files())

    def files(self) -> list[Path]:
        """Its pictures. Raises OutputError where it holds anything else, or nothing."""
        if not self.path.is_dir():
            return [self.path]
        others = [f.name for f in self.path.iterdir() if not stray(f) and f.suffix.lower() not in FRAME_ENDINGS]
        files = frame_files(self.path)
        if others and files:
            raise OutputError(
                f"the folder {self.path} holds more than frames ({', '.join(PICTURES)}): move '{sorted(others)[0]}' "
                "elsewhere"
            )
        if not files:
            raise OutputError(f"the folder {self.path} holds no frames ({', '.join(PICTURES)})")
        return files


def frame_files(folder: Path) -> list[Path]:
    """The pictures of a folder in the order of the numbers in their names: frame_2 before frame_10."""

    def key(path: Path) -> list[tuple[int, str]]:
        return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"([0-9]+)", path.name)]

    return sorted((f for f in folder.iterdir() if f.suffix.lower() in FRAME_ENDINGS and not stray(f)), key=key)
