"""Animations for the recipe of emoji-t2v, its command line in this process, and sizes at which a stage is quick."""

from __future__ import annotations

import sys

import numpy as np
from conftest import ROOT
from PIL import Image, ImageDraw

sys.path += [str(ROOT / "scripts" / "embedded"), str(ROOT / "scripts" / "experiments")]

SIZE = 32
SMALL = [
    "--device", "cpu", "--vae-channels", "8,8,8,16", "--unet-channels", "16,16,16", "--text-width", "16", "--vae-steps",
    "20", "--frames-steps", "20", "--clips-steps", "20", "--vae-batch", "4", "--frames-batch", "4", "--clips-batch",
    "1", "--sheet", "0",
]  # fmt: skip


def animation(path, num_frames, shape, colour):
    """A shape that goes round in a circle, on a clear canvas."""
    frames = []
    for k in range(num_frames):
        image = Image.new("RGBA", (48, 48), (0, 0, 0, 0))
        x, y = 24 + 10 * np.cos(2 * np.pi * k / num_frames), 24 + 10 * np.sin(2 * np.pi * k / num_frames)
        canvas = ImageDraw.Draw(image)
        (canvas.ellipse if shape == "circle" else canvas.rectangle)((x - 9, y - 9, x + 9, y + 9), fill=colour)
        frames.append(image)
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=40, loop=0, lossless=True)


def make_animations(folder):
    """Three that become clips, and one for each reason to leave an animation out."""
    animation(folder / "1f43c.webp", 30, "circle", (255, 0, 0, 255))
    animation(folder / "2b50.webp", 24, "square", (0, 0, 255, 255))
    animation(folder / "2600-fe0f.webp", 48, "circle", (250, 200, 0, 128))
    animation(folder / "1f44b-1f3fb.webp", 24, "square", (9, 9, 9, 255))  # a skin tone
    animation(folder / "1f44b.webp", 10, "square", (9, 9, 9, 255))  # too few frames
    animation(folder / "f0000.webp", 24, "square", (9, 9, 9, 255))  # a code point without a name
    (folder / "1f600.webp").write_bytes(b"RIFF\0\0\0\0WEBP broken")
    return folder


def stages(*args):
    """train_emoji.py with these arguments."""
    import train_emoji

    train_emoji.main([*map(str, args)])
