"""Text files in the encodings that programs write: UTF-8 and UTF-16, with a byte-order mark or without, and UTF-32."""

from __future__ import annotations

import codecs
from pathlib import Path

from videoada.errors import VideoAdaError
from videoada.failures import reading, wrong_with

MARKS = (  # the longest first: UTF-32's mark begins as that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"), (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"),
)  # fmt: skip
SHOWN = {"utf-32-le": "UTF-32", "utf-32-be": "UTF-32", "utf-8": "UTF-8", "utf-16-le": "UTF-16", "utf-16-be": "UTF-16"}
ZEROS = 0.3  # share of zero bytes at every other position that makes unmarked bytes UTF-16


def read_text(path: Path, what: str, error: type[VideoAdaError]) -> str:
    """The text of a file, its line ends as \\n and its byte-order mark gone. Raises `error` for what is no such text.

    `what` the file should hold, as "prompts". UTF-16 without a mark is known by its zero bytes, as far as its letters
    are mostly Latin.
    """
    with reading(path, what, error):
        if wrong := wrong_with(path):
            raise error(wrong)
        data = path.read_bytes()
        text = decoded(data)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def decoded(data: bytes) -> str:
    """The text that bytes stand for. Raises ValueError, which says the line, for bytes in another encoding."""
    marked = [(mark, name) for mark, name in MARKS if data.startswith(mark)]
    for mark, name in marked:
        try:
            return data[len(mark) :].decode(name)
        except UnicodeDecodeError as problem:
            if (mark, name) == marked[-1]:
                line = data[: problem.start].count(b"\n") + 1
                raise ValueError(f"its {SHOWN[name]} text is damaged or cut off at line {line}: get it again") from None
    for first, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        zeros, others = data[first::2].count(0), data[1 - first :: 2].count(0)
        if zeros > ZEROS * len(data) / 2 and not others and len(data) % 2 == 0:
            return data.decode(name)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as problem:
        line, byte = data[: problem.start].count(b"\n") + 1, data[problem.start]
        raise ValueError(
            f"line {line} is neither UTF-8 nor UTF-16 text (byte 0x{byte:02x}): save it again as UTF-8"
        ) from None
