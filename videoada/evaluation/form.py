"""The form of a video: what others must have in common with it to be compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from videoada.errors import counted

LOSSLESS = "lossless"
RATE_TOLERANCE = 0.005  # 29.97 and 30 frames a second are one rate


@dataclass(frozen=True)
class Form:
    """A video's frames as they are measured: `size` (width, height), `num_frames` of a clip, `fps`, and its `codec`,
    "lossless" for each that keeps every pixel."""

    size: tuple[int, int]
    num_frames: int
    fps: float
    codec: str

    def differs(self, other: Form, part: str) -> bool:
        """Whether one of PARTS is another: rates by more than RATE_TOLERANCE."""
        if part == "fps":
            return abs(self.fps - other.fps) > RATE_TOLERANCE * max(self.fps, other.fps)
        return bool(getattr(self, part) != getattr(other, part))

    def shown(self, part: str) -> str:
        """One of PARTS in words."""
        width, height = self.size
        rate = f"{self.fps:.6g} frames a second"
        codec = "a lossless codec" if self.codec == LOSSLESS else f"the lossy codec {self.codec}"
        return {"size": f"{width}×{height} pixels", "num_frames": counted(self.num_frames, "frame"), "fps": rate,
                "codec": codec}[part]  # fmt: skip


def form_of(about: dict[str, Any]) -> Form | None:
    """Of what a file of statistics says of its videos; None where it does not, as those of older versions."""
    values = about.get("form")
    try:
        width, height = (int(side) for side in values["size"])  # type: ignore[index]
        return Form((width, height), int(values["num_frames"]), float(values["fps"]), str(values["codec"])[:80])  # type: ignore[index]
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
