"""The JSON text that a video carries inside: the run's record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from videoada.failures import reading
from videoada.media.films.film import opened
from videoada.media.kinds import kind_of
from videoada.media.outputs import FRAME_NAME

EXIF_DESCRIPTION = 0x010E  # ImageDescription
MOST_METADATA = 2**20  # characters that are read back: files come from anywhere


def read_metadata(path: str | Path) -> str | None:
    """The JSON text that `write` put into the file, or None. Raises OutputError when the file can't be read."""
    path = Path(path)
    with reading(path, "metadata"):
        if kind_of(path) != "film":
            text = animation_metadata(path)
        else:
            with opened(path) as container:
                text = next((v for k, v in container.metadata.items() if k.lower() == "comment"), None)
    return text if text and len(text) <= MOST_METADATA and text.lstrip().startswith("{") else None


def animation_metadata(path: Path) -> str | None:
    """The comment of an animation, a picture, or a folder's first picture, whatever it is."""
    from PIL import Image

    if path.is_dir():
        path = path / FRAME_NAME.format(0)
        if not path.is_file():
            return None
    with Image.open(path) as image:
        text = image.getexif().get(EXIF_DESCRIPTION) if image.format == "WEBP" else image.info.get("comment")
    return text.decode("utf-8", "replace") if isinstance(text, bytes) else text


def number_in(metadata: str | None, name: str, most: int) -> float | None:
    """A number above 0 and up to `most` in the metadata, or None: files come from anywhere."""
    try:
        value = flat_record(json.loads(metadata or "{}")).get(name)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, int | float) and type(value) is not bool and 0.01 <= value <= most else None


def flat_record(values: Any) -> dict[str, Any]:
    """A record's values with those of its request among them; {} for what is no record."""
    if not isinstance(values, dict):
        return {}
    request = values.get("request")
    return (request | values) if isinstance(request, dict) else values
