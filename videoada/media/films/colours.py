"""A film's frames as upright RGB: FFmpeg's own filters, with the graph that the ffmpeg command would make.

PyAV's `to_ndarray` takes another conversion, up to 125 levels off on films of more than 8 bits.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

PALETTE = "pal8"  # whose colours may be transparent, too
NEWER = 16  # kinds of side data that an FFmpeg may have and PyAV no name for


class ToRGB:
    """Frames of one stream to (H, W, 3) uint8: turned as their display matrix says, on white where transparent."""

    def __init__(self) -> None:
        self._key: Any = None
        self._graph: Any = None
        self._alpha = False
        self.transparent = False  # whether any pixel so far was not opaque

    def __call__(self, frame: Any) -> NDArray[np.uint8]:
        """`frame` is an `av.VideoFrame`."""
        # The matrix is a stream's own. PyAV's `side_data` makes a circle with the frame, which would stay until Python
        # looks for circles: it is asked for where something has changed.
        turned = getattr(frame, "rotation", 0)
        key = (frame.format.name, frame.width, frame.height, int(frame.colorspace), int(frame.color_range), turned)
        if key != self._key:
            self._graph, self._key = self._make(frame, display_matrix(frame)), key
        self._graph.push(frame)
        pixels: NDArray[np.uint8] = self._graph.pull().to_ndarray()
        return self._on_white(pixels) if self._alpha else pixels

    def _make(self, frame: Any, matrix: tuple[int, ...] | None) -> Any:
        """buffer → turning → the conversion that `format` brings in where it is needed: in this order ffmpeg's."""
        import av.filter

        self._alpha = frame.format.name == PALETTE or any(part.is_alpha for part in frame.format.components)
        graph = av.filter.Graph()
        last = graph.add(
            "buffer",
            f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}:time_base=1/1000:"
            f"colorspace={int(frame.colorspace)}:range={int(frame.color_range)}",
        )
        turns = turning(matrix) if matrix else []
        for name, value in (*turns, ("format", "rgba" if self._alpha else "rgb24"), ("buffersink", "")):
            following = graph.add(name, value) if value else graph.add(name)
            last.link_to(following)
            last = following
        graph.configure()
        return graph

    def _on_white(self, rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
        alpha = rgba[..., 3:].astype(np.uint16)
        if (alpha == 255).all():
            return np.ascontiguousarray(rgba[..., :3])
        self.transparent = True
        mixed: NDArray[np.uint8] = ((rgba[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
        return mixed


def display_matrix(frame: Any) -> tuple[int, ...] | None:
    """The nine numbers of a frame's display matrix (16.16 fixed point), None where it has none.

    PyAV lists no side data at all where it has no name for a kind among it, as for EXIF and the views of a stereo film:
    FFmpeg takes those kinds off the frame first.
    """
    try:
        found = frame.side_data
    except ValueError:
        found = _of_named_kinds(frame).side_data
    for data in found:
        if data.type.name == "DISPLAYMATRIX":
            return tuple(np.frombuffer(bytes(data), np.int32)[:9].tolist())
    return None


def _of_named_kinds(frame: Any) -> Any:
    """The frame without side data of kinds that PyAV has no name for."""
    import av.filter
    from av.sidedata.sidedata import Type

    graph = av.filter.Graph()
    last = graph.add("buffer", f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}:time_base=1/1000")
    kinds: Any = Type  # an enumeration of numbers
    newest = max(named.value for named in kinds)
    for kind in range(newest + 1, newest + NEWER):
        following = graph.add("sidedata", f"mode=delete:type={kind}")
        last.link_to(following)
        last = following
    last.link_to(graph.add("buffersink"))
    graph.configure()
    graph.push(frame)
    return graph.pull()


def turning(matrix: tuple[int, ...]) -> list[tuple[str, str]]:
    """FFmpeg's filters that show a frame as its display matrix says: `fftools/ffmpeg_filter.c`, `configure_input`."""
    m = [float(number) for number in matrix]
    scales = math.hypot(m[0], m[3]), math.hypot(m[1], m[4])
    if not all(scales):
        return []
    angle = math.degrees(math.atan2(m[1] / scales[1], m[0] / scales[0]))
    angle -= 360 * math.floor(angle / 360 + 0.9 / 360)
    if abs(angle - 90) < 1:
        return [("transpose", "cclock_flip" if m[3] > 0 else "clock")]
    if abs(angle - 180) < 1:
        return [(name, "") for name, number in (("hflip", m[0]), ("vflip", m[4])) if number < 0]
    if abs(angle - 270) < 1:
        return [("transpose", "clock_flip" if m[3] < 0 else "cclock")]
    if abs(angle) > 1:
        return [("rotate", f"{angle:f}*PI/180")]
    return [("vflip", "")] if m[4] < 0 else []
