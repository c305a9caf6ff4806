"""Make the README's animation: for six prompts the full run beside the skipped one, each with its step strip beneath.

    python scripts/embedded/draw_animation.py --output samples/emoji.webp

Real output of the embedded model emoji-t2v at the shipped defaults; takes some eight minutes on 2 CPU cores.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
import imageio.v3 as iio
import numpy as np
from numpy.typing import NDArray

import videoada
from videoada.config.prompts import read_requests
from videoada.generation.side_by_side import step_strip

GAP, LINE, STRIP, COLUMNS = 6, 15, 7, 3
MOST_BYTES = 1_500_000
INK = (40, 40, 40)


def write(canvas: NDArray[np.uint8], text: str, x: int, y: int) -> None:
    cv2.putText(canvas, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.36, INK, 1, cv2.LINE_AA)


def cell(comparison: videoada.Comparison) -> NDArray[np.uint8]:
    """(F, height, width, 3): both videos of a prompt, its words above, predictions and strips beneath."""
    full, fast = comparison.full.frames, comparison.video.frames
    frames, height, width, _ = full.shape
    canvas = np.full((frames, LINE + height + LINE + STRIP + GAP, 2 * width + GAP, 3), 255, np.uint8)
    canvas[:, LINE : LINE + height, :width] = full
    canvas[:, LINE : LINE + height, width + GAP :] = fast
    below, fidelity = LINE + height, comparison.record.fidelity or {}
    still = canvas[0]
    write(still, comparison.record.request.prompt.removesuffix(" background").replace(" on a ", ", "), 1, LINE - 4)
    write(still, f"full: {comparison.full_record.num_predictions} calls", 1, below + LINE - 4)
    quality = f"{fidelity['psnr']:.0f} dB" if fidelity.get("psnr") is not None else "identical"
    write(still, f"{comparison.record.num_predictions} calls, {quality}", width + GAP + 1, below + LINE - 4)
    still[below + LINE : below + LINE + STRIP, :width] = step_strip(comparison.full_record.computed, STRIP, width)
    still[below + LINE : below + LINE + STRIP, width + GAP :] = step_strip(comparison.record.computed, STRIP, width)
    canvas[1:, :LINE], canvas[1:, below:] = still[:LINE], still[below:]
    return canvas


def grid(cells: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """(F, height, width, 3): cells in rows of COLUMNS, white between them."""
    padded = [np.pad(each, ((0, 0), (GAP, GAP), (GAP, GAP), (0, 0)), constant_values=255) for each in cells]
    rows = [np.concatenate(padded[i : i + COLUMNS], axis=2) for i in range(0, len(padded), COLUMNS)]
    return np.concatenate(rows, axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="emoji-t2v")
    parser.add_argument("--prompts", type=Path, default=Path("samples/prompts_emoji.txt"))
    parser.add_argument("--lines", default="2,4,6,8,12,32", help="which prompts of the file, from 1")
    parser.add_argument("--steps", type=int, help="the model's own if left out")
    parser.add_argument("--output", type=Path, default=Path("samples/emoji.webp"))
    args = parser.parse_args()
    requests = read_requests(args.prompts, num_inference_steps=args.steps)
    chosen = [requests[int(line) - 1] for line in args.lines.split(",")]
    pipe = videoada.load_pipeline(args.model, device="cpu")
    compared = []
    for request in chosen:
        [comparison] = videoada.compare(pipe, [request])
        print(f"{request.prompt}: {comparison.record.num_predictions} predictions", flush=True)
        compared.append(comparison)
    frames = grid([cell(comparison) for comparison in compared])
    for quality in (90, 80, 70, 60, 50):
        content = iio.imwrite(
            "<bytes>", frames, extension=".webp", duration=1000 // compared[0].video.fps, loop=0, quality=quality
        )
        if len(content) <= MOST_BYTES:
            break
    args.output.write_bytes(content)
    print(f"{args.output}: {len(content)} bytes, {frames.shape[2]}×{frames.shape[1]}")


if __name__ == "__main__":
    main()
