"""Videos of a folder, and clips cut from them: what evaluation and checking read.

A long film is not decoded whole: decord, where it is installed, jumps to the frames that are wanted, and PyAV decodes
up to the last of them. Both give the same frames.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from videoada.errors import OutputError
from videoada.media.decoding import count_frames, decode_film, unreadable
from videoada.media.video import Video

FILMS = (".mp4", ".mkv", ".webm", ".mov", ".avi", ".m4v")
ENDINGS = (*FILMS, ".gif", ".webp")
JUMP = 4  # decord pays where a film has this many times the frames that are wanted


@dataclass(frozen=True)
class Sampling:
    """Which frames of a video make a clip: `num_frames` (None: all), every `stride`-th, `clips_per_video` of them.

    Clips lie evenly in the video: one in its middle, two with equal gaps, and so on; so each run takes the same.
    """

    num_frames: int | None = None
    stride: int = 1
    clips_per_video: int = 1

    def indices(self, total: int) -> list[NDArray[np.int64]]:
        """Frame numbers of each clip. Raises OutputError for a video that is too short."""
        if self.num_frames is None:
            return [np.arange(0, total, self.stride)]
        span = (self.num_frames - 1) * self.stride + 1
        if total < span:
            raise OutputError(f"it has {total} frames, {span} are needed")
        room = total - span
        starts = [round(room * (i + 0.5) / self.clips_per_video) for i in range(self.clips_per_video)]
        if len(set(starts)) < len(starts):
            raise OutputError(f"its {total} frames have no room for {len(starts)} different clips of {span}")
        return [start + self.stride * np.arange(self.num_frames) for start in starts]


def find_videos(folder: str | Path) -> list[Path]:
    """Films, animations and folders of PNG frames in a folder, by name; without NAME-compare.ext beside NAME.ext.

    Raises OutputError when the folder does not exist or holds none.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise OutputError(f"there is no folder {folder}")
    videos = [
        path
        for path in sorted(folder.iterdir())
        if not path.name.startswith(".")
        and ((path.suffix.lower() in ENDINGS and path.is_file()) or (path.is_dir() and _holds_frames(path)))
    ]
    names = {path.name for path in videos}
    videos = [p for p in videos if not (p.stem.endswith("-compare") and p.name.replace("-compare", "") in names)]
    if not videos:
        raise OutputError(f"{folder} holds no videos ({', '.join(ENDINGS)}, or folders of PNG frames)")
    return videos


def _holds_frames(folder: Path) -> bool:
    """Whether it seems a video; other files in it are an error only when it is read."""
    return any(f.suffix.lower() == ".png" for f in folder.iterdir())


@dataclass(frozen=True)
class Reading:
    """The clips of one video, each (F, H, W, 3) uint8, how many frames it has, and all of them where it was decoded
    whole."""

    clips: list[NDArray[np.uint8]]
    total: int
    whole: NDArray[np.uint8] | None = None


def read_clips(path: str | Path, sampling: Sampling | None = None) -> Reading:
    """Cut clips from a video. Raises OutputError, naming the file and what is wrong with it."""
    path, sampling = Path(path), sampling or Sampling()
    try:
        if path.suffix.lower() not in FILMS or sampling.num_frames is None:
            frames = Video.read(path).frames
            if sampling == Sampling():  # the whole video as it is, without a copy
                return Reading([frames], len(frames), frames)
            return Reading([frames[chosen] for chosen in sampling.indices(len(frames))], len(frames), frames)
        total = count_frames(path)
        clips = sampling.indices(total)
        wanted = sorted({int(i) for chosen in clips for i in chosen})
        found = _pick(path, wanted, jump=total > JUMP * len(wanted))
        index_of = {index: i for i, index in enumerate(wanted)}
        return Reading([found[[index_of[int(i)] for i in chosen]] for chosen in clips], total)
    except OutputError as error:
        raise error if path.name in str(error) else OutputError(f"{path}: {error}") from None


def _pick(path: Path, wanted: Sequence[int], jump: bool) -> NDArray[np.uint8]:
    """The frames of these numbers, ascending."""
    if jump and importlib.util.find_spec("decord"):
        try:
            return pick_with_decord(path, wanted)
        except Exception:  # DECORDError and whatever else it meets: PyAV says what is wrong, or reads it
            pass
    return pick_with_av(path, wanted)


def pick_with_decord(path: Path, wanted: Sequence[int]) -> NDArray[np.uint8]:
    """Quick in long films; damage within one it repairs in silence, as FFmpeg does."""
    import decord

    reader = decord.VideoReader(str(path), num_threads=1)
    frames: NDArray[np.uint8] = reader.get_batch(list(wanted)).asnumpy()
    return frames


def pick_with_av(path: Path, wanted: Sequence[int]) -> NDArray[np.uint8]:
    """Raises OutputError when the film can't be decoded as far as the last frame."""
    needed, frames = set(wanted), []
    for i, (frame, _) in enumerate(decode_film(path)):
        if i in needed:
            frames.append(frame.to_ndarray(format="rgb24"))
        if i >= wanted[-1]:
            break
    if len(frames) < len(wanted):
        raise unreadable(path, f"only {len(frames)} of the {len(wanted)} frames that are needed can be decoded")
    if len({frame.shape for frame in frames}) > 1:
        raise unreadable(path, "its frames change their size")
    return np.stack(frames)
