"""Prepared clips in memory, composed on backgrounds: what is trained on, measured against and used as reference set."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from videoada.errors import ConfigError, OutputError
from videoada.files import results_folder
from videoada.media.video import Video

BACKGROUNDS = {
    "white": (255, 255, 255), "black": (12, 12, 12), "gray": (128, 128, 128), "navy": (20, 28, 90),
    "teal": (20, 130, 130), "pink": (250, 170, 200), "orange": (245, 150, 60), "green": (70, 160, 80),
}  # fmt: skip
NUM_FRAMES = 16  # of a training clip, from anywhere in a loop
PROMPT = re.compile(r"(.+) on an? (\w+) background")


@dataclass(frozen=True)
class Clips:
    """`colours` (N, L, H, W, 3) uint8 over white and `alpha` (N, L, H, W) uint8 of N loops of L frames."""

    stems: list[str]
    subjects: list[str]
    colours: Tensor
    alpha: Tensor

    @classmethod
    def load(cls, folder: Path) -> Clips:
        """Raises ConfigError where the folder holds no prepared clips, OutputError where one can't be read."""
        names = folder.parent / "names.json"
        try:
            known = {stem: about["name"] for stem, about in json.loads(names.read_text(encoding="utf-8")).items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise ConfigError(f"{names} does not name the clips of {folder}; `prepare` makes both") from None
        files = sorted(file for file in folder.glob("*.mp4") if file.stem in known)
        if not files:
            raise ConfigError(f"{folder} holds no clip that {names} names; `prepare` makes both")
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            halves = list(pool.map(_read, files))
        if len(shapes := {colours.shape for colours, _ in halves}) > 1:
            raise OutputError(f"clips of {folder} differ in shape: {sorted(shapes)}")
        colours, alpha = (torch.from_numpy(np.stack(part)) for part in zip(*halves, strict=True))
        return cls([file.stem for file in files], [subject_of(known[file.stem]) for file in files], colours, alpha)

    def __len__(self) -> int:
        return len(self.stems)

    def to(self, device: str | torch.device) -> Clips:
        return Clips(self.stems, self.subjects, self.colours.to(device), self.alpha.to(device))

    def sha256(self) -> str:
        """Of the names and first frames: enough to know the clips again."""
        names = "\n".join(self.stems).encode()
        return hashlib.sha256(names + self.colours[:, 0].cpu().numpy().tobytes()).hexdigest()

    @property
    def loop(self) -> int:
        return self.colours.shape[1]

    def compose(self, clip: Tensor, frame: Tensor, background: Tensor) -> Tensor:
        """Frames (*S, 3, H, W) in [−1, 1] for indices of shape S: loops' frames over backgrounds."""
        clear = 1 - self.alpha[clip, frame].float()[..., None] / 255
        plain = torch.tensor(list(BACKGROUNDS.values()), dtype=torch.float32, device=clear.device)
        x = self.colours[clip, frame].float() + (plain[background][..., None, None, :] - 255) * clear
        return (x.clamp(0, 255) / 127.5 - 1).movedim(-1, -3)

    def window(self, start: Tensor) -> Tensor:
        """Indices (*S, 16) of a training clip's frames from each start: loops are closed."""
        return (start[..., None] + torch.arange(NUM_FRAMES, device=start.device)) % self.loop

    def video(self, clip: int, start: int, background: int) -> Video:
        """A training clip as a video, uint8."""
        device = self.alpha.device
        frame = self.window(torch.tensor(start, device=device))
        x = self.compose(torch.full_like(frame, clip), frame, torch.full_like(frame, background))
        return Video((x.movedim(1, -1) * 127.5 + 127.5).round().clamp(0, 255).byte().cpu().numpy(), fps=8)


def _read(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Colours (L, H, W, 3) and alpha (L, H, W) of a film that holds both side by side."""
    frames = Video.read(file).frames
    size = frames.shape[1]
    if frames.shape[2] != 2 * size:
        raise OutputError(f"{file} is no clip of `prepare`: it is not twice as wide as high")
    return frames[:, :, :size], frames[:, :, size:].mean(-1).astype(np.uint8)


# ---- prompts -------------------------------------------------------------------------------------------------------


def subject_of(name: str) -> str:
    """A name as prompts say it: lower-case words."""
    return " ".join(re.findall(r"[a-z]+", name.lower()))


def prompt_of(subject: str, background: str) -> str:
    return f"{subject} on a {background} background"


def parse_prompt(prompt: str) -> tuple[str, str] | None:
    """Subject and background of a prompt, None for one of another form."""
    found = PROMPT.fullmatch(prompt.strip())
    return (subject_of(found[1]), found[2]) if found and found[2] in BACKGROUNDS else None


def make_prompts(subjects: Sequence[str], count: int, first: Sequence[str] = (), seed: int = 0) -> list[str]:
    """`count` prompts: the first ones as they are, then others, none twice, and no subject twice while others wait."""
    rng, chosen, seen = np.random.default_rng(seed), list(first)[:count], set(first)
    used = [parsed[0] for prompt in chosen if (parsed := parse_prompt(prompt))]
    if count > len(subjects) * len(BACKGROUNDS):
        raise ConfigError(f"`count`: {len(subjects)} subjects on {len(BACKGROUNDS)} backgrounds are fewer than {count}")
    while len(chosen) < count:
        for i in rng.permutation(len(subjects)):
            others = [p for name in BACKGROUNDS if (p := prompt_of(subjects[i], name)) not in seen]
            if len(chosen) < count and others and subjects[i] not in used:
                chosen.append(others[rng.integers(len(others))])
                seen.add(chosen[-1])
        used = []
    return chosen


# ---- sets of videos ------------------------------------------------------------------------------------------------


def write_reference(clips: Clips, folder: Path, seed: int = 0) -> int:
    """Write each clip on one background from one start, lossless; what is there is kept. Gives the number of videos."""
    rng = np.random.default_rng(seed)
    backgrounds, starts = rng.permutation(len(clips)) % len(BACKGROUNDS), rng.integers(clips.loop, size=len(clips))
    rows = [(f"{clips.stems[i]}.mkv", i, int(starts[i]), int(backgrounds[i])) for i in range(len(clips))]
    return _write(clips, folder, rows)


def write_matching(clips: Clips, prompts: Sequence[str], folder: Path, seed: int = 1) -> int:
    """Write the clip that each prompt asks for, from a start of its own: what a perfect model would generate.

    Prompts of other subjects are left out. Gives the number of videos.
    """
    rng, rows = np.random.default_rng(seed), []
    for i, prompt in enumerate(prompts):
        start, parsed = int(rng.integers(clips.loop)), parse_prompt(prompt)
        if parsed and parsed[0] in clips.subjects:
            clip = clips.subjects.index(parsed[0])
            rows.append((f"{i:04d}.mkv", clip, start, list(BACKGROUNDS).index(parsed[1])))
    return _write(clips, folder, rows)


def _write(clips: Clips, folder: Path, rows: list[tuple[str, int, int, int]]) -> int:
    results_folder(folder)
    for name, clip, start, background in rows:
        if not (folder / name).is_file():
            clips.video(clip, start, background).write(folder / name)
    return len(rows)
