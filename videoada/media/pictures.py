"""Pictures as a viewer shows them: upright, in sRGB, on white where they are transparent."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from videoada.errors import OutputError, VideoAdaError
from videoada.failures import reading, said, wrong_with

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = {  # by Pillow's name; the endings are what files of it are called, which are read by what they hold
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg"),
    "WEBP": (".webp",),
    "AVIF": (".avif",),
    "HEIF": (".heic", ".heif"),
}
NAMES = "PNG, JPEG, WebP, AVIF or HEIC"
MOST_PIXELS = 89_478_485  # Pillow's own limit, above which it suspects a decompression bomb
PAPER = (255, 255, 255)  # what shows through transparent pixels
TRANSPARENT = "transparent pixels on white"  # in `info` of what `as_rgb` gives
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


def read_picture(
    path: str | Path, what: str = "the image", error: type[VideoAdaError] = OutputError, decode: bool = True
) -> Image:
    """The first picture of a file: RGB, turned as its EXIF says, in sRGB, on white where it is transparent.

    Without `decode` the header alone is read, and the picture comes as it is. Raises `error` for a file that is
    missing, no such picture, damaged, or above 89 million pixels.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    path = Path(path)
    with reading(path, what, error):
        formats = _formats(path, error)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                with Image.open(path, formats=formats) as image:
                    if image.width * image.height > MOST_PIXELS:
                        raise Image.DecompressionBombError
                    return as_rgb(ImageOps.exif_transpose(image)) if decode else image
        except (Image.DecompressionBombWarning, Image.DecompressionBombError):
            raise error(f"{what} {path} has more than {MOST_PIXELS:,} pixels; make it smaller") from None
        except UnidentifiedImageError:
            raise (said(path, "", what, error) if wrong_with(path) else error(f"{path} is no {NAMES} image")) from None


def _formats(path: Path, error: type[VideoAdaError]) -> tuple[str, ...]:
    """Pillow's names of the formats that can be read here. Raises `error` for HEIC without its extra."""
    known = tuple(name for name in FORMATS if name != "HEIF")
    if importlib.util.find_spec("pillow_heif"):
        import pillow_heif

        pillow_heif.register_heif_opener()
        return (*known, "HEIF")
    with path.open("rb") as file:
        start = file.read(12)
    if start[4:8] == b"ftyp" and start[8:12] in HEIC_BRANDS:
        raise error(f"{path} is a HEIC image, which needs pillow-heif: pip install 'videoada[heic]', or save it as PNG")
    return known


def as_rgb(image: Image) -> Image:
    """8-bit sRGB: transparency on white, grey of 16 bits scaled rather than clipped, colours by the ICC profile."""
    from PIL import Image

    profile = image.info.get("icc_profile")
    if image.mode.startswith("I"):  # PNG's 16-bit grey; convert("L") would clip it
        image = Image.fromarray((np.asarray(image).astype(np.uint32) // 257).clip(0, 255).astype(np.uint8))
    alpha = None
    if image.has_transparency_data:
        image = image.convert("LA" if image.mode == "LA" else "RGBA")
        alpha = image.getchannel("A")
        image = image.convert("L" if image.mode == "LA" else "RGB")
    image = to_srgb(image, profile)
    if alpha is None or alpha.getextrema()[0] == 255:
        return image.convert("RGB")
    image = Image.alpha_composite(Image.new("RGBA", image.size, PAPER), _with_alpha(image, alpha)).convert("RGB")
    image.info[TRANSPARENT] = True
    return image


def _with_alpha(image: Image, alpha: Image) -> Image:
    image = image.convert("RGB")
    image.putalpha(alpha)
    return image


def to_srgb(image: Image, profile: bytes | None) -> Image:
    """The colours that numbers of a profile stand for, in sRGB; the picture itself without a profile, with sRGB's own,
    or with one that is damaged or of another kind of picture, as browsers do."""
    from PIL import ImageCms

    if not profile:
        return image
    if image.mode in ("P", "1"):
        image = image.convert("RGB")
    with contextlib.suppress(ImageCms.PyCMSError, OSError, ValueError):
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if not ImageCms.getProfileDescription(own).strip().lower().startswith("srgb"):
            found = ImageCms.profileToProfile(
                image, own, ImageCms.createProfile("sRGB"), ImageCms.Intent.RELATIVE_COLORIMETRIC, outputMode="RGB"
            )
            return image if found is None else found
    return image
