"""Make the README's animation: for six prompts the full run beside the skipped one, each with its step strip beneath.

    python scripts/embedded/draw_animation.py --output samples/emoji.webp

Real output of the embedded model emoji-t2v at the shipped defaults; takes some eight minutes on 2 CPU cores, two where
`--full` names the folder of a benchmark's full runs (OUTPUT/runs/emoji-t2v/full-ddim) of the same file.
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
from videoada.metrics import paired_fidelity

GAP, LINE, STRIP, COLUMNS = 6, 15, 7, 3
MOST_BYTES = 1_500_000
INK = (40, 40, 40)


def write(canvas: NDArray[np.uint8], text: str, x: int, y: int) -> None:
    cv2.putText(canvas, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.36, INK, 1, cv2.LINE_AA)


def cell(full: NDArray[np.uint8], video: videoada.Video, record: videoada.RunRecord) -> NDArray[np.uint8]:
    """(F, height, width, 3): both videos of a prompt, its words above, predictions and strips beneath."""
    fast, psnr = video.frames, paired_fidelity(video.frames, full).psnr
    frames, height, width, _ = full.shape
    canvas = np.full((frames, LINE + height + LINE + STRIP + GAP, 2 * width + GAP, 3), 255, np.uint8)
    canvas[:, LINE : LINE + height, :width] = full
    canvas[:, LINE : LINE + height, width + GAP :] = fast
    below, steps, still = LINE + height, record.num_inference_steps, canvas[0]
    write(still, record.request.prompt.removesuffix(" background").replace(" on a ", ", "), 1, LINE - 4)
    write(still, f"full: {steps} calls", 1, below + LINE - 4)
    quality = "identical" if psnr is None else f"{psnr:.0f} dB"
    write(still, f"{record.num_predictions} calls, {quality}", width + GAP + 1, below + LINE - 4)
    still[below + LINE : below + LINE + STRIP, :width] = step_strip([True] * steps, STRIP, width)
    still[below + LINE : below + LINE + STRIP, width + GAP :] = step_strip(record.computed, STRIP, width)
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
    parser.add_argument("--lines", default="6,10,11,12,17,20", help="which prompts of the file, from 1")
    parser.add_argument("--steps", type=int, help="the model's own if left out")
    parser.add_argument("--full", type=Path, help="a folder with 000.mkv …, the full runs of the file's prompts")
    parser.add_argument("--output", type=Path, default=Path("samples/emoji.webp"))
    args = parser.parse_args()
    requests = read_requests(args.prompts, num_inference_steps=args.steps)
    pipe = videoada.load_pipeline(args.model, device="cpu")
    cells = []
    for index in (int(line) - 1 for line in args.lines.split(",")):
        [(video, record)] = videoada.generate(pipe, [requests[index]])
        if args.full:
            full = videoada.Video.read(args.full / f"{index:03d}.mkv")
        else:
            [(full, _)] = videoada.generate(pipe, [requests[index]], policy="none")
        print(f"{requests[index].prompt}: {record.num_predictions} predictions", flush=True)
        cells.append(cell(full.frames, video, record))
    frames = grid(cells)
    for quality in (90, 80, 70, 60, 50):
        content = iio.imwrite("<bytes>", frames, extension=".webp", duration=1000 // video.fps, loop=0, quality=quality)
        if len(content) <= MOST_BYTES:
            break
    args.output.write_bytes(content)
    print(f"{args.output}: {len(content)} bytes, {frames.shape[2]}×{frames.shape[1]}")


if __name__ == "__main__":
    main()
