"""Generated: one video by a method, and what it cost."""

from __future__ import annotations

from dataclasses import dataclass

from videoada.media.video import Video


@dataclass(frozen=True)
class Generated:
    """One video by a method: its frames, and what it cost in predictions, UNet rows, multiply-adds and seconds."""

    video: Video
    predictions: int
    rows: int
    macs_in_rows: float  # multiply-adds ÷ those of one full row
    seconds: float
    peak_memory_bytes: int | None
    computed: list[bool]
    denoising_seconds: float | None = None
