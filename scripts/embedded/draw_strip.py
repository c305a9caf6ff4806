"""Make the README's picture: frames of a full run, of the run with skipping, and their difference, with the step strip.

    python scripts/embedded/draw_strip.py --output samples/strip.png

Real output of the embedded model at the shipped defaults.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import imageio.v3 as iio
import numpy as np
from numpy.typing import NDArray

import videoada
from videoada.metrics import paired_fidelity

SCALE, LABEL, SHOWN = 2, 22, (0, 3, 6, 9, 12, 15)


def row(frames: NDArray[np.uint8], text: str) -> NDArray[np.uint8]:
    """A label over the shown frames, enlarged."""
    picture = np.concatenate([np.pad(frames[i], ((1, 1), (1, 1), (0, 0)), constant_values=255) for i in SHOWN], axis=1)
    picture = np.repeat(np.repeat(picture, SCALE, axis=0), SCALE, axis=1)
    return np.concatenate([label(text, picture.shape[1]), picture])


def label(text: str, width: int) -> NDArray[np.uint8]:
    canvas = np.full((LABEL, width, 3), 255, np.uint8)
    cv2.putText(canvas, text, (4, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (30, 30, 30), 1, cv2.LINE_AA)
    return canvas


def step_strip(computed: list[bool], width: int) -> NDArray[np.uint8]:
    """One cell a step: dark where the network was called, light where it was not."""
    edges = np.linspace(4, width - 4, len(computed) + 1).astype(int)
    canvas = np.full((18, width, 3), 255, np.uint8)
    for left, right, step in zip(edges[:-1], edges[1:], computed, strict=True):
        canvas[2:16, left + 1 : right] = (40, 110, 60) if step else (215, 225, 218)
    return canvas


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompt", default="a blue square moving left slowly on a gray background")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("samples/strip.png"))
    args = parser.parse_args()
    pipe = videoada.load_pipeline("tiny-t2v", device="cpu")
    skips = (videoada.SkipConfig(policy="none"), videoada.SkipConfig())
    (full, _), (fast, record) = (
        videoada.generate(pipe, prompt=args.prompt, seed=args.seed, skip=skip)[0] for skip in skips
    )
    psnr = paired_fidelity(fast.frames, full.frames).psnr
    difference = np.clip(8 * np.abs(fast.frames.astype(int) - full.frames), 0, 255).astype(np.uint8)
    steps = record.num_inference_steps
    rows = [
        row(full.frames, f'"{args.prompt}", full run: {steps} predictions'),
        row(
            fast.frames, f"videoada: {record.num_predictions} predictions, {psnr:.1f} dB PSNR (embedded model tiny-t2v)"
        ),
        row(difference, "difference, eight times enlarged"),
    ]
    width = rows[0].shape[1]
    rows += [label("steps computed (dark) and skipped (light)", width), step_strip(record.computed, width)]
    iio.imwrite(args.output, np.concatenate(rows))
    print(f"{args.output}: {record.num_predictions} of {steps} predictions, {psnr:.2f} dB")


if __name__ == "__main__":
    main()
