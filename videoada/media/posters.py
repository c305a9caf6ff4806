"""The picture a player shows before it plays: one frame of a film, fetched without decoding the others.

decord jumps to a frame. It gives what the reader of films gives where nothing has to be turned or brought down to 8
bits, which is so for the films that this package writes; of others `Film` reads the frame (its docstring says what
decord would get wrong). A poster is looked at and never measured.
"""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from videoada.media.films.film import Film
from videoada.media.metadata import read_metadata

QUALITY = 80  # of the JPEG
BROWSERS = (".mp4", ".mov")  # what decord 0.6 can index of what is written here


def poster_frame(path: str | Path, own: bool | None = None) -> NDArray[np.uint8]:
    """The middle frame of a film, (H, W, 3) uint8. `own` says whether this package wrote it; None looks.

    Raises OutputError for a film that can't be read.
    """
    path = Path(path)
    own = bool(read_metadata(path)) if own is None else own
    if own and path.suffix.lower() in BROWSERS and (frame := _jumped_to(path)) is not None:
        return frame
    film = Film(path)
    middle = film.expected() // 2
    found: NDArray[np.uint8] | None = None
    for frame in film.frames(lambda i: i <= middle):
        found = frame if frame is not None else found
    assert found is not None  # a film without frames is an error
    return found


def poster(path: str | Path, longest: int = 320, own: bool | None = None) -> str:
    """`poster_frame` as a JPEG in a data URL, at most `longest` pixels wide and high. Raises OutputError."""
    picture = Image.fromarray(poster_frame(path, own))
    picture.thumbnail((longest, longest))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


def _jumped_to(path: Path) -> NDArray[np.uint8] | None:
    """The middle frame by decord; None where it is not installed (it has no build for ARM) or can't read the film."""
    try:
        import decord
    except ImportError:
        return None
    try:
        with path.open("rb") as file:  # a name could be taken for a URL
            reader: Any = decord.VideoReader(file, num_threads=1)
            frame: NDArray[np.uint8] = reader[len(reader) // 2].asnumpy()
    except (decord.DECORDError, RuntimeError, IndexError, OSError):
        return None
    return frame
