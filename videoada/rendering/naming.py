"""File names for the videos of prompts: by id, by a slug, or as VBench looks for them; always inside one folder."""

from __future__ import annotations

import re
import unicodedata

from videoada.media.outputs import FORMATS

NAMINGS = ("id", "slug", "vbench")
MOST_BYTES = 255 - len(".json")  # of one name, with the longest ending that it gets
MOST_PATH = 1000
RESERVED = ("render", "summary", "prompt_file")  # .json, which the folder writes beside the records
SLUG_LETTERS = 60


def check_id(text: str) -> str:
    """An id as a path inside the output folder; `category/0001` names a folder and a file in it.

    An ending that names a video format falls away. Raises ValueError for what could leave the folder, or is no name.
    """
    text = re.sub(rf"({'|'.join(map(re.escape, FORMATS))})+$", "", text, flags=re.IGNORECASE)
    if len(text.encode()) > MOST_PATH:
        raise ValueError(f"the id '{text[:20]}…' is too long for a path ({len(text.encode())} bytes)")
    if text in RESERVED:
        raise ValueError(f"the id '{text}' is the name of a file that the output folder has itself")
    for part in text.split("/"):
        if part in ("", ".", ".."):
            raise ValueError(f"the id '{text[:60]}' is no name inside the output folder")
        if part.startswith(".") or _unfit(part):
            raise ValueError(f"the id {text[:60]!r} holds a character that file names can't, or begins with a dot")
        if len(part.encode()) > MOST_BYTES - len("-0000"):
            raise ValueError(f"the id '{part[:20]}…' is too long for a file name ({len(part.encode())} bytes)")
    return text


def slug(prompt: str, identity: str) -> str:
    """The prompt's words in small letters and a hash that keeps like ones apart: `a-red-circle-moving-1f2e3d4c`."""
    words = re.findall(r"[^\W_]+", unicodedata.normalize("NFKC", prompt).lower())
    text = "-".join(words)[:SLUG_LETTERS].rstrip("-")
    while len(text.encode()) > 200:
        text = text[:-1]
    return f"{text}-{identity[:8]}" if text else identity[:8]


def vbench_name(prompt: str, sample: int) -> str | None:
    """`{prompt}-{sample}`, which VBench's loader looks for; None where no file can have that name."""
    name = f"{prompt}-{sample}"
    if "/" in name or name.startswith(".") or _unfit(name):
        return None
    return name if len(name.encode()) <= MOST_BYTES else None


def same_file(name: str) -> str:
    """Equal for names that some file system takes for one: letters' case and composition aside."""
    return unicodedata.normalize("NFC", name).casefold()


def _unfit(name: str) -> bool:
    """Whether it holds control characters, halves of characters, or what is a separator on Windows."""
    return "\\" in name or any(unicodedata.category(c) in ("Cc", "Cs") for c in name)
