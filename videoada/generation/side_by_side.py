"""A video that shows the full run left, the skipped run right, and the steps of the latter below them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from videoada.generation.compare import Comparison
from videoada.media.video import Video

PANEL = 256  # pixels that the shorter side of each half has at least
MARGIN, LINE, STRIP = 8, 22, 14  # pixels
COMPUTED, SKIPPED, PAPER, INK = (46, 160, 67), (208, 215, 222), (255, 255, 255), (31, 35, 40)


def side_by_side(comparison: Comparison) -> Video:
    """The full run left, the skipped run right, and below them the steps that were computed and those skipped."""
    record = comparison.record
    scale = max(1, -(-PANEL // min(comparison.video.frames.shape[1:3])))
    left, right = (v.frames.repeat(scale, axis=1).repeat(scale, axis=2) for v in (comparison.full, comparison.video))
    num_frames, height, width, _ = left.shape
    canvas = np.empty((num_frames, height + 3 * MARGIN + LINE + STRIP, 2 * width + 3 * MARGIN, 3), np.uint8)
    canvas[:] = PAPER
    steps, in_full, fidelity = record.num_inference_steps, comparison.full_record, record.fidelity or {}
    quality = "identical" if fidelity.get("psnr") is None else f"{fidelity['psnr']:.1f} dB"
    _write(canvas, f"full {in_full.num_predictions}/{in_full.num_inference_steps}", MARGIN, LINE - 4)
    skipped = f"{record.num_predictions}/{steps}  {fidelity.get('speedup', 1):.2f}x  {quality}"
    _write(canvas, skipped, 2 * MARGIN + width, LINE - 4)
    top = LINE + MARGIN // 2
    canvas[:, top : top + height, MARGIN : MARGIN + width] = left
    canvas[:, top : top + height, 2 * MARGIN + width : 2 * MARGIN + 2 * width] = right
    bottom = top + height + MARGIN
    canvas[:, bottom : bottom + STRIP, MARGIN:-MARGIN] = step_strip(record.computed, STRIP, 2 * width + MARGIN)
    return Video(canvas, comparison.video.fps)


def step_strip(computed: Sequence[bool], height: int, width: int) -> NDArray[np.uint8]:
    """A picture (height, width, 3) of the steps from left to right: green where the network ran, grey where not."""
    edges = np.linspace(0, width, len(computed) + 1).round().astype(int)
    strip = np.empty((height, width, 3), np.uint8)
    strip[:] = PAPER
    for step, start, stop in zip(computed, edges, edges[1:], strict=False):
        gap = 1 if stop - start > 2 else 0
        strip[:, start : stop - gap] = COMPUTED if step else SKIPPED
    return strip


def _write(canvas: NDArray[np.uint8], text: str, x: int, y: int) -> None:
    """(F, H, W, 3) with the text written on every frame."""
    import cv2

    first = np.ascontiguousarray(canvas[0])
    cv2.putText(first, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.5, INK, 1, cv2.LINE_AA)
    canvas[:] = first
