"""Whether a film's file ends before its container says: what FFmpeg reads in silence up to the end that is there.

MPEG streams (.ts, .mpg) hold no length: only a packet cut in two shows there.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

EBML, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
TS_PACKET = 188


def cut_off(path: Path) -> str | None:
    """What is missing of an MPEG-4, Matroska, AVI, Flash or transport stream file; None where nothing is, or where it
    can't be known. Raises OSError."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(12)
        if start[:4] == EBML:
            end = _matroska_end(file)
        elif start[:4] == b"RIFF" and start[8:12] == b"AVI ":
            end = _riff_end(file, size)
        elif start[:3] == b"FLV":
            end = _flash_end(file, size)
        elif start[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"styp", b"pnot"):
            end = _boxes_end(file, size)
        elif start[:1] == b"G" and _at(file, TS_PACKET, 1) == b"G" and _at(file, 2 * TS_PACKET, 1) == b"G":
            end = -(-size // TS_PACKET) * TS_PACKET
        else:
            return None
    return None if end is None or end <= size else f"it is cut off: {size:,} of {end:,} bytes are there"


def _at(file: BinaryIO, position: int, count: int) -> bytes:
    file.seek(position)
    return file.read(count)


def _boxes_end(file: BinaryIO, size: int) -> int | None:
    """Where the last box of an MPEG-4 or QuickTime file ends (ISO/IEC 14496-12)."""
    position = 0
    while position + 8 <= size:
        length, kind = struct.unpack(">I4s", _at(file, position, 8))
        if length == 1:
            wide = _at(file, position + 8, 8)
            length = struct.unpack(">Q", wide)[0] if len(wide) == 8 else 16
        if length == 0 or (not kind.isalnum() and not kind.strip(b"\xa9 -_").isalnum()):
            return size  # to the end of the file; or bytes after the last box
        if length < 8:
            return size
        position += length
    return position if position > size else size


def _matroska_end(file: BinaryIO) -> int | None:
    """Where the segment ends; None for a live stream, whose length is not known."""
    file.seek(len(EBML))
    header, _ = _number(file)
    if header is None:
        return None
    file.seek(header, 1)
    if file.read(4) != SEGMENT:
        return None
    length, _ = _number(file)
    return None if length is None else file.tell() + length


def _number(file: BinaryIO) -> tuple[int | None, int]:
    """An EBML number of variable length (RFC 8794, section 4), and its bytes; None where it says unknown."""
    first = file.read(1)
    if not first or not first[0]:
        return None, 0
    count = 9 - first[0].bit_length()
    rest = file.read(count - 1)
    value = int.from_bytes(bytes([first[0] & ((1 << (8 - count)) - 1)]) + rest, "big")
    return (None if value == (1 << (7 * count)) - 1 else value), count


def _riff_end(file: BinaryIO, size: int) -> int | None:
    """Where the last RIFF chunk of an AVI file ends; large files have several."""
    position = 0
    while position + 8 <= size:
        kind, length = struct.unpack("<4sI", _at(file, position, 8))
        if kind != b"RIFF" or length in (0, 0xFFFFFFFF):
            return position
        position += 8 + length + length % 2
    return position - (position == size + 1)


def _flash_end(file: BinaryIO, size: int) -> int | None:
    """Where the last tag of a Flash Video ends."""
    header = _at(file, 5, 4)
    position = int.from_bytes(header, "big") + 4
    while position < size:
        head = _at(file, position, 11)
        if len(head) < 11:
            return position + 15
        position += 11 + int.from_bytes(head[1:4], "big") + 4
    return position
