"""Films made by the ffmpeg command (PyPI's imageio-ffmpeg brings one), and the frames that it shows of a film."""

from __future__ import annotations

import subprocess

import imageio_ffmpeg
import numpy as np

ENCODERS = {  # for each container, with what it takes
    ".mp4": ("libx264", "libsvtav1", "libvpx-vp9"), ".mov": ("libx264", "prores_ks"), ".webm": ("libvpx-vp9",),
    ".mkv": ("libx264", "ffv1", "mjpeg"), ".avi": ("mpeg4",), ".ts": ("libx264", "mpeg2video"), ".flv": ("libx264",),
    ".mpg": ("mpeg2video",), ".wmv": ("wmv2",), ".3gp": ("libx264",),
}  # fmt: skip
EIGHT_BITS = {"mjpeg": "yuvj420p", "mpeg4": "yuv420p", "mpeg2video": "yuv420p", "wmv2": "yuv420p"}
VARIABLE = "select='not(mod(n,3))+lt(n,9)'"
TURNED = {
    "upright": (), "90": ("-display_rotation", "90"), "180": ("-display_rotation", "180"),
    "270": ("-display_rotation", "-90"), "mirrored": ("-display_hflip",),
    "90 mirrored": ("-display_rotation", "90", "-display_hflip"), "upside down": ("-display_vflip",),
}  # fmt: skip


def ffmpeg(*args, check=True):
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-loglevel", "error", "-nostdin", "-y", *map(str, args)]
    done = subprocess.run(command, capture_output=True, check=False)
    assert not check or done.returncode == 0, done.stderr.decode()[-500:]
    return done.stdout


def shown(path, shape, pixels="rgb24"):
    """The frames (F, H, W, C) of `shape` (H, W) that ffmpeg shows, those of a variable rate as they are."""
    data = ffmpeg("-i", path, "-map", "0:v:0", "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", pixels, "-",
                  check=False)  # fmt: skip
    return np.frombuffer(data, np.uint8).reshape(-1, *shape, 4 if pixels == "rgba" else 3)


def film(path, size="64x48", seconds=0.8, rate="25", encoder="libx264", pixels=None, filters=None, options=()):
    """A moving test pattern."""
    source = f"testsrc2=s={size}:r={rate}:d={seconds}"
    chosen = ("-vf", filters, "-fps_mode", "vfr") if filters else ()
    rest = ("-crf", "30", "-b:v", "0", "-deadline", "realtime") if encoder == "libvpx-vp9" else ()
    rest = ("-x265-params", "log-level=error") if encoder == "libx265" else rest
    coloured = ("-pix_fmt", pixels) if pixels else ()
    ffmpeg("-f", "lavfi", "-i", source, *chosen, *coloured, "-c:v", encoder, "-g", "8", *rest, *options, path)
    return path
