"""Input images: PNG, JPEG and WebP files as upright RGB; what would not fit into memory is refused undecoded."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from videoada.errors import ImageError

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG", "WEBP")
MOST_PIXELS = 89_478_485  # Pillow's own limit, above which it suspects a decompression bomb
PAPER = (255, 255, 255)  # what shows through transparent pixels


def read_image(path: str | Path) -> Image:
    """The first picture of a PNG, JPEG or WebP file: RGB, turned as its EXIF says, on white where it is transparent.

    Raises ImageError for a file that is missing, no such picture, damaged, or above 89 million pixels.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    path = Path(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                return as_rgb(ImageOps.exif_transpose(image))
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise ImageError(f"the image {path} has more than {MOST_PIXELS:,} pixels; make it smaller") from None
    except FileNotFoundError:
        raise ImageError(f"the image {path} does not exist") from None
    except UnidentifiedImageError:
        raise ImageError(f"{path} is no PNG, JPEG or WebP image") from None
    except Exception as error:  # a damaged file can break a decoder anywhere
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200] or type(error).__name__
        raise ImageError(f"can't read the image {path}: {reason}") from None


def check_image(path: str | Path) -> None:
    """Raises ImageError, as `read_image` would, for what its first bytes show: the picture is not decoded."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                raise ImageError(f"the image {path} has more than {MOST_PIXELS:,} pixels; make it smaller")
    except (FileNotFoundError, NotADirectoryError):
        raise ImageError(f"the image {path} does not exist") from None
    except UnidentifiedImageError:
        raise ImageError(f"{path} is no PNG, JPEG or WebP image") from None
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise ImageError(f"can't read the image {str(path)[:200]}: {error}") from None


def image_name(image: str | Image | None) -> str | None:
    """The path of an image, or what a picture in memory is called in a record."""
    return image if image is None or isinstance(image, str) else str(getattr(image, "filename", "") or "in memory")


def fingerprint(image: str | Image | None) -> str | None:
    """SHA-256 of an image's file, or of the pixels of a picture in memory."""
    if image is None:
        return None
    return hashlib.sha256(Path(image).read_bytes() if isinstance(image, str) else image.tobytes()).hexdigest()


def as_rgb(image: Image) -> Image:
    """8-bit RGB: transparency on white, grey of 16 bits scaled rather than clipped."""
    from PIL import Image

    if image.mode.startswith("I"):  # PNG's 16-bit grey; convert("L") would clip it
        image = Image.fromarray((np.asarray(image).astype(np.uint32) // 257).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, PAPER), image)
    return image.convert("RGB")


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
