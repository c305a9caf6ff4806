"""Input images: files as upright RGB in sRGB; what would not fit into memory is refused undecoded."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from videoada.config.run import is_hash
from videoada.errors import ImageError
from videoada.media.pictures import MOST_PIXELS, TRANSPARENT, read_picture

if TYPE_CHECKING:
    from PIL.Image import Image


def read_image(path: str | Path) -> Image:
    """The first picture of a PNG, JPEG, WebP or AVIF file, or with the extra `heic` of a HEIC one: RGB, turned as its
    EXIF says, in sRGB, on white where it is transparent.

    Raises ImageError for a file that is missing, no such picture, damaged, or above 89 million pixels.
    """
    return read_picture(path, "the image", ImageError)


def check_image(path: str | Path) -> None:
    """Raises ImageError, as `read_image` would, for what its first bytes show: the picture is not decoded."""
    read_picture(path, "the image", ImageError, decode=False)


def image_notes(image: str | Image | None) -> list[str]:
    """What of an image a model is not shown, a line each: its transparency, and all pictures but the first."""
    if not isinstance(image, str) or is_hash(image):
        return []
    notes = []
    try:
        picture = read_picture(image, "the image", ImageError, decode=False)
    except ImageError:  # it has gone since the model was shown it
        return []
    if (count := getattr(picture, "n_frames", 1)) > 1 and picture.format != "MPO":  # a photograph and its small copies
        notes.append(f"`image`: the first of its {count} pictures is shown to the model")
    if picture.has_transparency_data and TRANSPARENT in read_image(image).info:
        notes.append("`image`: its transparent pixels are shown to the model on white")
    return notes


def image_name(image: str | Image | None) -> str | None:
    """The path of an image, or what a picture in memory is called in a record."""
    return image if image is None or isinstance(image, str) else str(getattr(image, "filename", "") or "in memory")


def fingerprint(image: str | Image | None) -> str | None:
    """SHA-256 of an image's file, or of the pixels of a picture in memory."""
    if image is None:
        return None
    return hashlib.sha256(Path(image).read_bytes() if isinstance(image, str) else image.tobytes()).hexdigest()


def cover(image: Image, width: int, height: int) -> Image:
    """The image scaled by a box filter until it covers width × height, then cut to its centre.

    What I2VGenXLPipeline does with one image (its `_center_crop_wide`), to the pixel; but never a pixel short, where
    that rounds down to a black edge. Raises ImageError for an image so narrow that the scaled one would not fit.
    """
    from PIL import Image

    scale = min(image.width / width, image.height / height)
    size = max(width, int(image.width // scale)), max(height, int(image.height // scale))
    if size[0] * size[1] > MOST_PIXELS:
        raise ImageError(
            f"the image is too narrow ({image.width}×{image.height}) to fill {width}×{height}; cut it first"
        )
    image = image.resize(size, resample=Image.Resampling.BOX)
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return image.crop((left, top, left + width, top + height))
