"""File names for the videos of prompts: by id, by a slug, or as VBench looks for them; always inside one folder."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from videoada.files import FileNames, folded
from videoada.media.outputs import FORMATS

NAMINGS = ("id", "slug", "vbench")
MOST_BYTES = 255 - len(".json")  # of one name, with the longest ending that it gets
MOST_PATH = 1000
RESERVED = ("render", "summary", "prompt_file")  # .json, which the folder writes beside the records
SLUG_LETTERS = 60
VBENCH_LETTERS = 180  # of a prompt, in the names of VBench-2.0


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
    """`{prompt}-{sample}`, which VBench's loader looks for; None where no file can have that name.

    Of a prompt that is too long for a file's name, the first 180 characters, which VBench-2.0's loader looks for.
    """
    for words in (prompt, prompt[:VBENCH_LETTERS]):
        name = f"{words}-{sample}"
        if "/" in name or name.startswith(".") or _unfit(name):
            return None
        if len(name.encode()) <= MOST_BYTES:
            return name
    return None


class TakenNames:
    """The names of one folder's videos; two are different where its file system tells them apart.

    Without a folder, names that some file system takes for one are one.
    """

    def __init__(self, files: FileNames | None, ending: str) -> None:
        self.files = files
        self.longest = max(ending, ".json", key=len)
        self._taken: dict[str, dict[str, int]] = {}  # by what some file system may not tell apart: names, owners

    def problem(self, name: str) -> str | None:
        """Why no video can have that name here, None if one can."""
        return self.files.problem(f"{name}{self.longest}") if self.files else None

    def take(self, name: str, owner: int) -> int | None:
        """Give a name to a video; answers whose it is already, None if it was free."""
        alike = self._taken.setdefault(folded(name), {})
        if (before := self.owner(name)) is None:
            alike[name] = owner
        return before

    def owner(self, name: str) -> int | None:
        """Whose a name is, None if it is nobody's."""
        alike = self._taken.get(folded(name), {})
        if name in alike:
            return alike[name]
        return next((i for other, i in alike.items() if not (self.files and self.files.apart(other, name))), None)


def naming_notes(named: Iterable[tuple[str, int, str]], naming: str) -> list[str]:
    """What to know of the names `naming` gave, as lines; `named` holds each video's prompt, its entry's line, and its
    name."""
    if naming != "vbench":
        return []
    lines: dict[str, set[int]] = {}
    others: set[str] = set()
    for prompt, line, name in named:
        lines.setdefault(prompt, set()).add(line)
        if not name.startswith(prompt[:VBENCH_LETTERS]):
            others.add(prompt)
    notes = []
    if repeated := sum(len(found) - 1 for found in lines.values()):
        notes.append(
            f"entries that repeat the prompt of another: {repeated}; their videos take the next numbers of its name"
        )
    if others:
        notes.append(f"prompts that can't be names of files here: {len(others)}; their videos are named by slug, where "
                     f"VBench will not find them: '{min(others)[:60]}'")  # fmt: skip
    return notes


def _unfit(name: str) -> bool:
    """Whether it holds control characters, halves of characters, or what is a separator on Windows."""
    return "\\" in name or any(unicodedata.category(c) in ("Cc", "Cs") for c in name)
