"""Films of all kinds against the frames that ffmpeg shows, through every reader."""

from __future__ import annotations

import struct
from fractions import Fraction

import av.logging
import numpy as np
import pytest
from films import EIGHT_BITS, ENCODERS, TURNED, VARIABLE, ffmpeg, film, shown
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from videoada.errors import OutputError, ResourceError
from videoada.media.clips import Sampling, read_clips
from videoada.media.films.film import Film, errors_of_ffmpeg
from videoada.media.films.rates import constant_rate, exact_rate, mean_rate
from videoada.media.reading import open_video
from videoada.media.video import Video
from videoada.models.source_videos import read_source_video

FEW = Sampling(2, 2)


@st.composite
def kinds(draw):
    """Rotation × edit list × bit depth × chroma × frame rate × container × truncation."""
    ending = draw(st.sampled_from(list(ENCODERS)))
    encoder = draw(st.sampled_from(ENCODERS[ending]))
    depth = draw(st.sampled_from(["", "10le"]))
    pixels = EIGHT_BITS.get(encoder) or f"yuv{draw(st.sampled_from(['420', '422', '444']))}p{depth}"
    if encoder == "libsvtav1":
        pixels = f"yuv420p{depth}"
    if encoder == "prores_ks":
        pixels = "yuv422p10le"
    rate = draw(st.sampled_from(["25", "24000/1001", "variable"]))
    if rate == "variable" and ending in (".avi", ".mpg", ".wmv", ".flv"):
        rate = "25"  # which these can't hold
    if ending == ".flv":
        pixels = "yuv420p"
    return {
        "ending": ending, "encoder": encoder, "pixels": pixels, "rate": rate,
        "size": draw(st.sampled_from(["64x48", "66x50", "48x64"])),
        "turned": draw(st.sampled_from(list(TURNED))),
        "start": draw(st.sampled_from([None, None, 0.2, 0.41])),
        "cut": draw(st.sampled_from([None, None, 0.5, 0.9, 0.999])),
    }  # fmt: skip


def make(folder, kind):
    filters = VARIABLE if kind["rate"] == "variable" else None
    rate = "25" if filters else kind["rate"]
    path = folder / f"film{kind['ending']}"
    film(path, kind["size"], rate=rate, encoder=kind["encoder"], pixels=kind["pixels"], filters=filters)
    if TURNED[kind["turned"]] or kind["start"]:
        again = folder / f"again{kind['ending']}"
        start = ("-ss", kind["start"]) if kind["start"] else ()
        ffmpeg(*TURNED[kind["turned"]], *start, "-i", path, "-c", "copy", again)  # trimmed without decoding
        path = again
    return path


def readers(path):
    """What each reader gives of a film's frames: all of them, or those of two clips with their numbers."""
    video = open_video(path)
    yield "open_video", None, np.stack([f for f in video.frames() if f is not None])
    yield "Video.read", None, Video.read(path).frames
    yield "read_clips", None, read_clips(path).clips[0]
    reading = read_clips(path, FEW)
    assert reading.total == video.num_frames
    yield "read_clips of two", FEW.indices(reading.total)[0], reading.clips[0]


def hold(path, kind):
    frames = Video.read(path).frames
    expected = shown(path, frames.shape[1:3])
    within = 0 if "10" not in kind["pixels"] else 1
    for name, indices, found in readers(path):
        wanted = expected if indices is None else expected[indices]
        assert found.shape == wanted.shape, (name, kind)
        assert np.abs(found.astype(int) - wanted).max() <= within, (name, kind)
    return len(expected)


def check_kind(folder, kind):
    path = make(folder, kind)
    count = hold(path, kind)
    if kind["rate"] != "variable" and kind["ending"] != ".wmv" and not kind["start"]:
        exact = Fraction(kind["rate"])
        assert Film(path).fps == 8  # not known before it is read
        assert Video.read(path).fps == pytest.approx(float(exact), rel=1e-4), kind
    if kind["cut"]:
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * kind["cut"])])
        found = {}
        for sampling in (Sampling(), FEW, Sampling(1)):
            try:
                found[sampling] = read_clips(path, sampling).total
            except OutputError as error:
                assert path.name in str(error)  # noqa: PT017
                found[sampling] = None
        assert len(set(found.values())) == 1, (found, kind)  # all readers alike
        if next(iter(found.values())) is not None:  # MPEG streams hold no length: then it's what ffmpeg shows
            assert kind["ending"] in (".ts", ".mpg", ".wmv"), (found, count, kind)
            hold(path, kind)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(kinds())
def test_every_reader_gives_the_frames_that_ffmpeg_shows(tmp_path_factory, kind):
    check_kind(tmp_path_factory.mktemp("film"), kind)


@pytest.mark.slow
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(kinds())
def test_every_reader_gives_the_frames_that_ffmpeg_shows_of_many(tmp_path_factory, kind):
    check_kind(tmp_path_factory.mktemp("film"), kind)


def test_a_portrait_film_is_upright_whatever_is_read_of_it(tmp_path):
    """decord read long films, and gave those on their side."""
    film(tmp_path / "long.mp4", seconds=4)
    ffmpeg("-display_rotation", "90", "-i", tmp_path / "long.mp4", "-c", "copy", tmp_path / "portrait.mp4")
    clips = read_clips(tmp_path / "portrait.mp4", FEW).clips[0]
    assert clips.shape == (2, 64, 48, 3)
    frames = Video.read(tmp_path / "portrait.mp4").frames
    assert np.array_equal(clips, frames[FEW.indices(len(frames))[0]])
    assert np.array_equal(np.asarray(read_source_video(str(tmp_path / "portrait.mp4"), 1, 64, 48)[0]), frames[0])


def test_ten_bits_are_ffmpegs(tmp_path):
    """PyAV's own conversion is up to 125 levels off."""
    path = film(tmp_path / "ten.mp4", pixels="yuv420p10le")
    frames = Video.read(path).frames
    assert np.abs(frames.astype(int) - shown(path, (48, 64))).max() <= 1


def test_an_edit_list_ends_where_it_says(tmp_path):
    data = bytearray(film(tmp_path / "a.mp4", seconds=2).read_bytes())
    at = data.find(b"elst") + 12
    struct.pack_into(">I", data, at, struct.unpack_from(">I", data, at)[0] // 2)
    (tmp_path / "a.mp4").write_bytes(data)
    assert len(Video.read(tmp_path / "a.mp4").frames) == read_clips(tmp_path / "a.mp4", FEW).total == 25


def test_hidden_packets_and_leading_pictures_are_no_frames(tmp_path):
    """A film with open groups of pictures, cut without decoding: packets that need others which are gone."""
    path = film(tmp_path / "open.mp4", seconds=3, encoder="libx265", pixels="yuv420p",
                options=("-x265-params", "open-gop=1:keyint=20:bframes=3:log-level=error"))  # fmt: skip
    for ending in (".mp4", ".mkv"):
        ffmpeg("-ss", "1.9", "-i", path, "-c", "copy", tmp_path / f"cut{ending}")
        hold(tmp_path / f"cut{ending}", {"pixels": ""})


@pytest.mark.parametrize(("encoder", "pixels", "ending"), [
    ("prores_ks", "yuva444p10le", ".mov"), ("qtrle", "argb", ".mov"), ("ffv1", "bgra", ".mkv"), ("png", "rgba", ".mov"),
    ("libvpx-vp9", "yuva420p", ".webm"),
])  # fmt: skip
def test_transparency_lies_on_white_and_is_said(encoder, pixels, ending, tmp_path):
    source = "testsrc2=s=64x48:r=25:d=0.2,format=yuva444p,geq=lum='lum(X,Y)':cb='cb(X,Y)':cr='cr(X,Y)':a='X*4'"
    path = tmp_path / f"clear{ending}"
    ffmpeg("-f", "lavfi", "-i", source, "-pix_fmt", pixels, "-c:v", encoder, path)
    reading = read_clips(path)
    assert reading.notes == ["its transparent pixels lie on white"]
    assert reading.clips[0][:, :, 0].min() == 255  # nothing of the colour under full transparency
    if encoder != "libvpx-vp9":  # whose transparency ffmpeg's own decoder leaves out
        rgba = shown(path, (48, 64), "rgba").astype(int)
        expected = np.rint((rgba[..., :3] * rgba[..., 3:] + 255 * (255 - rgba[..., 3:])) / 255)
        assert np.abs(reading.clips[0] - expected).max() <= 1


def test_a_variable_rate_is_said_and_measured(tmp_path):
    reading = read_clips(film(tmp_path / "vfr.mp4", seconds=2, filters=VARIABLE))
    assert "frame rate varies" in reading.notes[0]
    assert 8 < reading.fps < 25
    assert not read_clips(film(tmp_path / "cfr.mkv", rate="24000/1001")).notes


@pytest.mark.parametrize("fps", [8, 23.976, 29.97, 59.94, 12.5, 7.3, 30000 / 1001])
@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.webm", "a.mkv"])
def test_frame_rates_are_fractions_both_ways(fps, name, tmp_path):
    frames = np.random.default_rng(0).integers(0, 255, (9, 32, 32, 3), dtype=np.uint8)
    Video(frames, fps).write(tmp_path / name)
    back = Video.read(tmp_path / name).fps
    assert exact_rate(back) == exact_rate(fps)
    assert type(back) is int or not float(back).is_integer()


def test_rates_of_times():
    assert exact_rate(23.98) == exact_rate(23.976) == Fraction(24000, 1001)
    assert exact_rate(8.0) == 8
    times = [round(i * 1001 / 24) for i in range(200)]  # milliseconds, as in Matroska
    assert constant_rate(times, Fraction(1, 1000), []) == Fraction(24000, 1001)
    assert constant_rate([0, 40, 80, 160], Fraction(1, 1000), [Fraction(25)]) is None
    assert constant_rate([0, 20, 60, 100], Fraction(1, 1000), [Fraction(25)]) == 25  # its first frame is trimmed
    assert mean_rate([], Fraction(1)) == 8


def test_every_message_of_ffmpeg_counts(tmp_path):
    """PyAV keeps a message back that equals the last: of two films with the same damage, the second was read."""
    level = av.logging.get_level()
    try:
        for heard in (av.logging.WARNING, None, av.logging.PANIC):  # as somebody else in this process may have it
            av.logging.set_level(heard)
            av.logging.set_skip_repeated(True)
            for _ in range(3):
                with errors_of_ffmpeg() as found:
                    av.logging.log(av.logging.WARNING, "part", "no error")
                    av.logging.log(av.logging.ERROR, "part", "the same\n")
                assert found == [("part", "the same")]
    finally:
        av.logging.set_level(level)


def test_what_is_damaged_is_refused_every_time(tmp_path):
    data = film(tmp_path / "whole.mp4", "48x32", 0.3, pixels="yuv420p").read_bytes()
    for at in range(data.index(b"moov"), len(data), 2):
        spoiled = bytearray(data)
        spoiled[at] ^= 0x5A
        (tmp_path / "film.mp4").write_bytes(spoiled)
        found = []
        for _ in range(2):
            try:
                found.append(Video.read(tmp_path / "film.mp4").sha256())
            except (OutputError, ResourceError):  # it may name sizes that no memory holds
                found.append(None)
        assert found[0] == found[1], at


@pytest.mark.parametrize("orientation", range(1, 9))
def test_frames_with_exif_are_turned_and_mirrored(orientation, tmp_path):
    """PyAV has no name for EXIF beside a frame, and so gave no display matrix either."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = Image.fromarray(
        np.kron(np.random.default_rng(0).integers(0, 255, (4, 6, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
    )
    picture.save(tmp_path / "a.jpg", exif=exif, quality=95, subsampling=0)
    ffmpeg("-i", tmp_path / "a.jpg", "-c", "copy", tmp_path / "a.mov")
    [frame] = Video.read(tmp_path / "a.mov").frames
    upright = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "a.jpg")).convert("RGB"))
    assert frame.shape == upright.shape
    assert np.abs(frame.astype(int) - upright).max() < 8


@pytest.mark.parametrize(("name", "options", "note"), [
    ("wide.mp4", ("-vf", "setsar=2"), "its pixels are 2:1, not square: they are taken as they are"),
    ("hdr.mkv", ("-c:v", "libx265", "-pix_fmt", "yuv420p10le", "-x265-params", "log-level=error:transfer=smpte2084"),
     "its colours are HDR (PQ): they are taken without tone mapping"),
    ("two.mkv", ("-filter_complex", "[0:v]split[a][b];[b]scale=32:24[c]", "-map", "[a]", "-map", "[c]"),
     "it holds 2 films, of which the one of 64×48 is read"),
])  # fmt: skip
def test_what_a_player_would_make_more_of_is_said(name, options, note, tmp_path):
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=0.4", *options, tmp_path / name)
    assert read_clips(tmp_path / name).notes == [note]
