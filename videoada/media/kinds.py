"""What counts as a film, an animation, a picture and a folder of frames: one list, for named files and for folders.

A folder is searched by its files' endings; what a named file is, its first bytes say.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

Kind = Literal["film", "animation", "picture", "frames"]

FILMS = {  # by container; FFmpeg decodes what is inside
    "MPEG-4": (".mp4", ".m4v"),
    "QuickTime": (".mov", ".qt"),
    "3GPP": (".3gp", ".3g2"),
    "Matroska": (".mkv", ".mk3d"),
    "WebM": (".webm",),
    "AVI": (".avi", ".divx"),
    "MPEG programme stream": (".mpg", ".mpeg", ".m2v", ".vob"),
    "MPEG transport stream": (".ts", ".m2ts", ".mts"),
    "Windows Media": (".wmv", ".asf"),
    "Flash Video": (".flv", ".f4v"),
    "Ogg": (".ogv",),
    "MXF": (".mxf",),
    "YUV4MPEG": (".y4m",),
    "RealMedia": (".rm", ".rmvb"),
    "IVF": (".ivf",),
    "bare streams": (".h264", ".264", ".h265", ".265", ".hevc", ".obu", ".mjpeg", ".mjpg"),
}
ANIMATIONS = {"GIF": (".gif",), "WebP": (".webp",), "APNG": (".apng",)}
PICTURES = {"PNG": (".png",), "JPEG": (".jpg", ".jpeg"), "WebP": (".webp",)}  # as frames of a folder
FILM_ENDINGS = tuple(ending for endings in FILMS.values() for ending in endings)
VIDEO_ENDINGS = (*FILM_ENDINGS, *(ending for endings in ANIMATIONS.values() for ending in endings))
FRAME_ENDINGS = tuple(ending for endings in PICTURES.values() for ending in endings)
SIGNATURE = 64  # bytes that say what a file is
PNG, JPEG = b"\x89PNG\r\n", b"\xff\xd8\xff"
STILLS, SEQUENCES = (b"avif", b"heic", b"heix", b"heim", b"heis", b"mif1"), (b"avis", b"hevc", b"hevx", b"msf1")


def kind_of(path: Path) -> Kind:
    """What a file or folder is, by its first bytes; a film where they are no picture's. Raises OSError."""
    if path.is_dir():
        return "frames"
    with path.open("rb") as file:
        start = file.read(SIGNATURE)
    if start.startswith(b"GIF8") or (start[:4] == b"RIFF" and start[8:12] == b"WEBP"):
        return "animation"
    if start.startswith(PNG):
        return "animation" if b"acTL" in start else "picture"
    if start[4:8] == b"ftyp" and start[8:12] in (*STILLS, *SEQUENCES):  # AVIF and HEIC
        return "animation" if start[8:12] == b"avis" else "picture"
    frames_one_by_one = path.suffix.lower() in FILMS["bare streams"]  # Motion JPEG begins as a picture does
    return "picture" if start.startswith(JPEG) and not frames_one_by_one else "film"


def stray(path: Path) -> bool:
    """A hidden file, or one that a desktop left."""
    return path.name.startswith(".") or path.name.lower() in ("thumbs.db", "desktop.ini")


def is_frame_folder(path: Path) -> bool:
    """A folder that holds pictures and nothing else (or nothing at all); what desktops leave in folders aside.

    WebP files are pictures of it where they stand still: animated ones are videos.
    """
    if not path.is_dir():
        return False
    files = [f for f in path.iterdir() if not stray(f)]
    if not all(f.suffix.lower() in FRAME_ENDINGS and f.is_file() for f in files):
        return False
    return not any(f.suffix.lower() == ".webp" and is_animated(f) for f in files[:1])


def is_animated(path: Path) -> bool:
    """Whether a WebP file holds more than one picture, as its header says."""
    with path.open("rb") as file:
        start = file.read(21)
    return start[8:16] == b"WEBPVP8X" and len(start) > 20 and bool(start[20] & 0x02)


def forms() -> list[tuple[str, str, tuple[str, ...]]]:
    """(kind, name, endings) of every form that is read, for the page that lists them."""
    rows = [("film", name, endings) for name, endings in FILMS.items()]
    rows += [("animation", name, endings) for name, endings in ANIMATIONS.items()]
    return rows + [("frame of a folder", name, endings) for name, endings in PICTURES.items()]
