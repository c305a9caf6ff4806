"""Posters: one frame, as a player shows it, whichever reader fetches it."""

from __future__ import annotations

import base64
import io
import sys

import numpy as np
import pytest
from films import TURNED, ffmpeg, film, shown
from PIL import Image

import videoada.media.posters
from videoada.errors import OutputError
from videoada.media.films.film import Film
from videoada.media.posters import poster, poster_frame
from videoada.media.video import Video


@pytest.fixture
def own(tmp_path):
    frames = np.zeros((9, 48, 64, 3), np.uint8)
    frames[np.arange(9), :, :, 0] = np.arange(0, 225, 25)[:, None, None]
    path = tmp_path / "12:30 %d.mp4"
    Video(frames, 8).encode(path, '{"videoada": "a record"}')
    return path


def test_decord_jumps_to_what_the_reader_of_films_gives(own, monkeypatch):
    pytest.importorskip("decord", reason="decord has no build for this processor")
    expected = list(Film(own).frames())[4]
    monkeypatch.setattr(videoada.media.posters, "Film", None)  # not even asked
    assert np.abs(poster_frame(own).astype(int) - expected).max() <= 3


def test_without_decord_the_reader_of_films_gives_it(own, monkeypatch):
    monkeypatch.setitem(sys.modules, "decord", None)
    np.testing.assert_array_equal(poster_frame(own), list(Film(own).frames())[4])


def test_a_film_of_others_is_turned(tmp_path):
    film(tmp_path / "plain.mp4")
    path = tmp_path / "turned.mp4"
    ffmpeg(*TURNED["90"], "-i", tmp_path / "plain.mp4", "-c", "copy", path)
    frames = shown(path, (64, 48))
    np.testing.assert_array_equal(poster_frame(path), frames[len(frames) // 2])


def test_a_poster_is_a_small_jpeg(own, tmp_path):
    Video(np.zeros((2, 400, 640, 3), np.uint8), 8).encode(large := tmp_path / "large.webm")
    for path, size in ((own, (64, 48)), (large, (320, 200))):
        head, data = poster(path).split(",")
        assert head == "data:image/jpeg;base64"
        assert Image.open(io.BytesIO(base64.b64decode(data))).size == size


def test_what_is_no_film_is_one_line(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no film")
    with pytest.raises(OutputError):
        poster(tmp_path / "a.mp4")
