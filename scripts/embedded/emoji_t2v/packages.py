"""The animated emoji of the npm packages @lobehub/fluent-emoji-anim-1 … -4 (MIT), read one by one, and their names."""

from __future__ import annotations

import base64
import hashlib
import re
import tarfile
import urllib.request
import zlib
from collections.abc import Iterator
from pathlib import Path

from videoada.errors import ConfigError, ModelError, ResourceError
from videoada.files import written_aside

VERSION = "1.0.0"
REGISTRY = "https://registry.npmjs.org/@lobehub"
PACKAGES = {  # name → SHA-512 of the tarball, as the registry's `dist.integrity` states it
    "fluent-emoji-anim-1": "/4m31vAuZEQ4aUJ5pxcOU5PVkuJya55GRxUZL7+zgLlxZXpzzE8jPqpDyhZICE3n47nS/Y9M5/vLdizi8201QA==",
    "fluent-emoji-anim-2": "S6yzf0RZXrQbXdxCWuHA9BAoLdBRk2flX+ne4TPGEH/qApwisCAKHoAAGjKSlTY3OVeZ9b7t/NEbmpjawnQYJA==",
    "fluent-emoji-anim-3": "UzRSUDMjdfdt9vER5bhjHkPqgc3EEgfGtYs6ndvizOTvQOxYQ57ow2RTkWSDZxwW30X4EYBi2eWTS7CXDDoFsg==",
    "fluent-emoji-anim-4": "IIkl5ztSd1HrzvIDt/uGsFoC1WODXRdYq5uROrnkyqi9DbToEcJ1nlY86PnoUXeFS9nBCnHfiYk3ouSEGThFmA==",
}
MEMBER = re.compile(r"package/assets/([0-9a-f]+(?:-[0-9a-f]+)*)\.webp")
STEM = re.compile(r"[0-9a-f]+(-[0-9a-f]+)*")
MOST_BYTES = 32 * 2**20  # of one animation
SKIN_TONES = frozenset({"1f3fb", "1f3fc", "1f3fd", "1f3fe", "1f3ff"})


def download(folder: Path) -> list[Path]:
    """The packages' tarballs in the folder, each downloaded (730 MB in all) unless it is there, and checked.

    Raises ModelError where one can't be fetched or is not the one that its hash names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, integrity in PACKAGES.items():
        file = folder / f"{name}-{VERSION}.tgz"
        if not file.is_file():
            url = f"{REGISTRY}/{name}/-/{file.name}"
            print("downloading", url, flush=True)
            with written_aside(file) as aside:
                try:
                    with urllib.request.urlopen(url, timeout=60) as answer, aside.open("wb") as opened:
                        while part := answer.read(2**20):
                            opened.write(part)
                except OSError as error:  # urllib's own errors are OSErrors, too
                    raise ModelError(f"can't fetch {url}: {error}; give a folder of .webp files, `--webp`") from None
        digest = hashlib.sha512()
        with file.open("rb") as opened:
            while part := opened.read(2**20):
                digest.update(part)
        if base64.b64encode(digest.digest()).decode() != integrity:
            raise ModelError(f"{file} is not version {VERSION} of {name}: its SHA-512 is another; remove it")
        files.append(file)
    return files


def animations(source: Path) -> Iterator[tuple[str, bytes]]:
    """Code points (`1f43c`, joined by hyphens) and bytes of each .webp file of a tarball or folder, without skin tones.

    A tarball is read, never unpacked: no path of its own is used. Raises ConfigError for a source that holds none.
    """
    found = False
    for stem, content in _of_tarball(source) if source.is_file() else _of_folder(source):
        found = True
        yield stem, content
    if not found:
        raise ConfigError(f"{source} holds no .webp files that are named by code points, such as 1f43c.webp")


def _of_tarball(source: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(source, "r:gz") as archive:
            for member in archive:
                name = MEMBER.fullmatch(member.name)
                if name and member.isfile() and not has_skin_tone(name[1]):
                    if member.size > MOST_BYTES:
                        raise ResourceError(f"{source}: {member.name} has {member.size} bytes, more than {MOST_BYTES}")
                    opened = archive.extractfile(member)
                    assert opened is not None  # it is a file
                    yield name[1], opened.read()
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise ModelError(f"can't read {source}: {error}; remove it, so that it is downloaded again") from None


def _of_folder(source: Path) -> Iterator[tuple[str, bytes]]:
    for file in sorted(source.glob("*.webp")):
        if STEM.fullmatch(file.stem) and not has_skin_tone(file.stem):
            if file.stat().st_size > MOST_BYTES:
                raise ResourceError(f"{file} has more than {MOST_BYTES} bytes")
            yield file.stem, file.read_bytes()


def has_skin_tone(stem: str) -> bool:
    return bool(SKIN_TONES & set(stem.split("-")))


def name_of(stem: str) -> str | None:
    """The English name of the emoji with these code points, None where it has none."""
    try:
        import emoji
    except ImportError:
        raise ConfigError("names of emoji come from the package `emoji`: pip install 'videoada[train]'") from None
    try:
        text = "".join(chr(int(code, 16)) for code in stem.split("-"))
    except (ValueError, OverflowError):
        return None
    for variant in (text, text.replace("\ufe0f", "")):
        if found := re.fullmatch(r":([^:]+):", emoji.demojize(variant)):
            return found[1].replace("_", " ").replace("-", " ")
    return None
