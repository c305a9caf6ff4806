"""Input images: formats, orientation, transparency, sizes, and files that are none."""

from __future__ import annotations

import contextlib
import struct
import zlib

import numpy as np
import pytest
from diffusers.pipelines.deprecated.i2vgen_xl.pipeline_i2vgen_xl import _center_crop_wide
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from videoada.errors import ImageError
from videoada.models.images import cover, fingerprint, read_image

PICTURE = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


@pytest.mark.parametrize("ending", ["png", "webp", "jpg"])
def test_formats(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    flat = np.full((20, 30, 3), (200, 40, 90), np.uint8)
    Image.fromarray(flat).save(path, **({"lossless": True} if ending == "webp" else {}))
    image = read_image(path)
    assert (image.mode, image.size) == ("RGB", (30, 20))
    assert np.abs(np.asarray(image).astype(int) - flat).max() <= (3 if ending == "jpg" else 0)


def test_a_photograph_taken_on_its_side_is_turned(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90° clockwise
    Image.fromarray(PICTURE).save(tmp_path / "a.png", exif=exif)
    assert (np.asarray(read_image(tmp_path / "a.png")) == np.rot90(PICTURE, -1)).all()


def test_transparency_is_white_and_grey_is_not_clipped(tmp_path):
    Image.fromarray(np.dstack([PICTURE, np.zeros((20, 30), np.uint8)])).save(tmp_path / "clear.png")
    assert (np.asarray(read_image(tmp_path / "clear.png")) == 255).all()
    Image.fromarray(PICTURE[..., 0]).save(tmp_path / "grey.png")
    assert (np.asarray(read_image(tmp_path / "grey.png")) == PICTURE[..., :1]).all()
    Image.fromarray(PICTURE[..., 0].astype(np.uint16) * 257).save(tmp_path / "grey16.png")
    assert (np.asarray(read_image(tmp_path / "grey16.png")) == PICTURE[..., :1]).all()
    palette = Image.fromarray(PICTURE).quantize(4)
    palette.save(tmp_path / "palette.png", transparency=0)
    clear = np.asarray(palette) == 0
    assert (np.asarray(read_image(tmp_path / "palette.png"))[clear] == 255).all()


def test_a_decompression_bomb_is_refused_undecoded(tmp_path):
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    body = b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    with pytest.raises(ImageError, match="pixels"):
        read_image(tmp_path / "bomb.png")


def test_what_is_no_image(tmp_path):
    with pytest.raises(ImageError, match="does not exist"):
        read_image(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(ImageError, match="no PNG, JPEG, WebP, AVIF or HEIC"):
        read_image(tmp_path / "text.png")
    Image.fromarray(PICTURE).save(tmp_path / "a.gif")
    with pytest.raises(ImageError, match="no PNG, JPEG, WebP, AVIF or HEIC"):
        read_image(tmp_path / "a.gif")
    Image.fromarray(PICTURE).save(tmp_path / "whole.png")
    data = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(ImageError, match="can't read"):
        read_image(tmp_path / "cut.png")
    with pytest.raises(ImageError, match="can't read"):
        read_image(tmp_path)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 300), st.sampled_from(["PNG", "JPEG", "WEBP"]))
def test_a_damaged_file_is_an_image_error_or_a_picture(tmp_path_factory, noise, at, kind):
    path = tmp_path_factory.mktemp("damaged") / "a.img"
    Image.fromarray(PICTURE).save(path, kind)
    data = path.read_bytes()
    path.write_bytes(data[:at] + noise + data[at + len(noise) :])
    with contextlib.suppress(ImageError):
        assert read_image(path).mode == "RGB"


@settings(max_examples=100, deadline=None)
@given(st.integers(8, 300), st.integers(8, 300), st.sampled_from([16, 64, 72]), st.sampled_from([16, 64, 104]))
def test_cover_is_the_pipelines_crop_to_the_pixel(width, height, to_width, to_height):
    rng = np.random.default_rng(width * 1000 + height)
    image = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
    mine = np.asarray(cover(image, to_width, to_height))
    scale = min(width / to_width, height / to_height)
    short = round(width // scale) < to_width or round(height // scale) < to_height
    if not short:  # where the pipeline rounds down, it leaves a black edge
        assert (mine == np.asarray(_center_crop_wide(image, (to_width, to_height)))).all()
    assert mine.shape == (to_height, to_width, 3)


def test_cover_leaves_no_black_edge_and_refuses_what_would_not_fit():
    white = Image.new("RGB", (1, 3), (255, 255, 255))
    for side in (24, 64, 72, 96):
        assert (np.asarray(cover(white, side, side)) == 255).all()
    with pytest.raises(ImageError, match="too narrow"):
        cover(Image.new("RGB", (1, 30_000)), 64, 64)


def test_a_fingerprint_tells_images_apart(tmp_path):
    Image.fromarray(PICTURE).save(tmp_path / "a.png")
    assert fingerprint(None) is None
    assert (
        fingerprint(str(tmp_path / "a.png"))
        != fingerprint(Image.fromarray(PICTURE))
        != fingerprint(Image.fromarray(255 - PICTURE))
    )
