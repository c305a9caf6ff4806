"""What a browser sent: pictures to begin a video with, and prompt files. Bounded, checked as any other, known by id."""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videoada.config.prompts import read_prompts
from videoada.errors import ConfigError, PromptError, VideoAdaError
from videoada.files import written_aside
from videoada.models.images import read_image

MOST_BYTES = 32 * 2**20  # of a picture or a prompt file
MOST_FILES = 16  # prompt files that are kept in memory
MOST_PICTURES = 64  # that are kept on the disk; the queue copies what its videos need


@dataclass(frozen=True)
class PromptList:
    """A prompt file: its name, and for each entry the settings that it names. `not_used` is what nothing reads."""

    name: str
    entries: tuple[Mapping[str, Any], ...]
    not_used: tuple[str, ...]


class Uploads:
    """The pictures and prompt files of a page, by id; pictures lie in `folder`, which goes with the server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pictures: dict[str, tuple[Path, str]] = {}
        self.lists: dict[str, PromptList] = {}

    def add_picture(self, name: str, data: bytes) -> str:
        """Keep a picture's file and return its id. Raises ImageError for what is no picture."""
        path = self.folder / f"{hashlib.sha256(data).hexdigest()}{_ending(name)}"
        with written_aside(path) as aside:
            aside.write_bytes(data)
            _naming(read_image, aside, name)
        id = self.know(path, name)
        own = [known for known, (kept, _) in self.pictures.items() if kept.parent == self.folder]
        for known in own[:-MOST_PICTURES]:
            self.pictures.pop(known)[0].unlink(missing_ok=True)
        return id

    def know(self, path: Path, name: str | None = None) -> str:
        """The id of a picture that is on this machine."""
        id = hashlib.sha256(str(path).encode()).hexdigest()[:32]
        self.pictures[id] = path, name or path.name
        return id

    def add_prompts(self, name: str, data: bytes) -> str:
        """Read a prompt file and return its id. Raises PromptError with the line of what can't be read, and for an
        entry with a file of its own, which did not come with it."""
        with tempfile.TemporaryDirectory() as aside:
            path = Path(aside) / f"prompts{_ending(name)}"
            path.write_bytes(data)
            found = _naming(read_prompts, path, name)
        for entry in found.entries:
            if given := entry.fields.keys() & {"image", "video"}:
                raise PromptError(
                    f"{name}, line {entry.line}: its {min(given)} did not come with the file: `videoada render` takes "
                    "prompt files that name others"
                )
        id = hashlib.sha256(name.encode() + data).hexdigest()[:32]
        self.lists[id] = PromptList(name, tuple(entry.fields for entry in found.entries), tuple(found.not_used))
        while len(self.lists) > MOST_FILES:
            self.lists.pop(next(iter(self.lists)))
        return id

    def prompts(self, id: str) -> PromptList:
        """The prompt file of that id. Raises ConfigError for one that the server no longer has."""
        if id not in self.lists:
            raise ConfigError("the prompt file is no longer here: choose it again")
        return self.lists[id]


def _ending(name: str) -> str:
    """The ending of a name from elsewhere, if it is a plain one."""
    found = re.search(r"\.[A-Za-z0-9]{1,8}$", name)
    return found.group().lower() if found else ""


def _naming(read: Any, path: Path, name: str) -> Any:
    """What `read` makes of the file; its errors name the file as its owner does."""
    try:
        return read(path)
    except VideoAdaError as error:
        raise type(error)(str(error).replace(str(path), name).replace(path.name, name)) from None
