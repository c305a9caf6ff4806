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


# ---- profiles, AVIF, HEIC ------------------------------------------------------------------------------------------

# Display P3's primaries and white point as a matrix profile with sRGB's curve, made by hand: what phones write.
P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
TO_SRGB = np.array([[1.2249, -0.2247, 0.0], [-0.0420, 1.0419, 0.0], [-0.0197, -0.0786, 1.0979]])


def display_p3():
    def fixed(*numbers):
        return struct.pack(f">{len(numbers)}i", *(round(n * 65536) for n in numbers))

    curve = b"para" + bytes(4) + struct.pack(">HH", 3, 0) + fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    tags = {b"desc": b"desc" + bytes(4) + struct.pack(">I", 11) + b"Display P3\0" + bytes(78)}
    tags |= {b"wtpt": b"XYZ " + bytes(4) + fixed(0.9642, 1.0, 0.8249), b"cprt": b"text" + bytes(4) + b"none\0"}
    tags |= {name: b"XYZ " + bytes(4) + fixed(*xyz) for name, xyz in zip((b"rXYZ", b"gXYZ", b"bXYZ"), P3, strict=True)}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    table, body, at = b"", b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        data += bytes(-len(data) % 4)
        table += struct.pack(">4sII", name, at + len(body), len(data))
        body += data
    header = struct.pack(">I4sI4s4s4s12s4s", at + len(body), b"\0" * 4, 0x02400000, b"mntr", b"RGB ", b"XYZ ",
                         bytes(12), b"acsp") + bytes(28) + fixed(0.9642, 1.0, 0.8249) + bytes(48)  # fmt: skip
    return header + struct.pack(">I", len(tags)) + table + body


def as_srgb(p3):
    """Display P3 to sRGB by the definitions of both."""
    x = p3 / 255
    linear = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4) @ TO_SRGB.T
    linear = linear.clip(0, 1)
    return np.rint(255 * np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055))


@pytest.mark.parametrize("ending", ["png", "webp", "jpg", "avif"])
def test_a_photograph_in_display_p3_keeps_its_colours(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    colour = np.array([200, 100, 60])
    picture = Image.fromarray(np.full((32, 32, 3), colour, np.uint8))
    picture.save(path, icc_profile=display_p3(), **({"lossless": True} if ending == "webp" else {"quality": 100}))
    found = np.asarray(read_image(path)).astype(int)
    assert np.abs(found - as_srgb(colour)).max() <= (2 if ending in ("png", "webp") else 5)
    assert np.abs(found - colour).max() > 10


def test_a_profile_with_transparency_and_one_that_is_damaged(tmp_path):
    clear = np.full((8, 8, 4), (200, 100, 60, 128), np.uint8)
    Image.fromarray(clear).save(tmp_path / "a.png", icc_profile=display_p3())
    expected = (as_srgb(clear[..., :3]) * 128 + 255 * 127) / 255
    assert np.abs(np.asarray(read_image(tmp_path / "a.png")) - expected).max() <= 2
    Image.fromarray(PICTURE).save(tmp_path / "b.png", icc_profile=b"no profile" * 30)
    assert (np.asarray(read_image(tmp_path / "b.png")) == PICTURE).all()


def test_avif_and_heic(tmp_path, monkeypatch):
    flat = Image.new("RGB", (32, 24), (200, 40, 90))
    flat.save(tmp_path / "a.avif", quality=100)
    assert np.abs(np.asarray(read_image(tmp_path / "a.avif")).astype(int) - (200, 40, 90)).max() <= 4
    import pillow_heif

    pillow_heif.from_pillow(flat).save(tmp_path / "a.heic", quality=100)
    assert np.abs(np.asarray(read_image(tmp_path / "a.heic")).astype(int) - (200, 40, 90)).max() <= 6
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImageError, match=r"videoada\[heic\]"):
        read_image(tmp_path / "a.heic")


def test_pointers_and_empty_files_are_named(tmp_path):
    (tmp_path / "a.png").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\n")
    (tmp_path / "b.png").touch()
    with pytest.raises(ImageError, match="Git LFS pointer"):
        read_image(tmp_path / "a.png")
    with pytest.raises(ImageError, match="is empty"):
        read_image(tmp_path / "b.png")
