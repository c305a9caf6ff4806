"""Files of every format: frames, metadata, wholeness."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from videoada.errors import OutputError
from videoada.files import written_aside
from videoada.media.metadata import read_metadata
from videoada.media.outputs import check_output, record_path
from videoada.media.video import Video

RNG = np.random.default_rng(0)
FRAMES = RNG.integers(0, 256, (6, 34, 48, 3), dtype=np.uint8)
FRAMES[2] = FRAMES[3] = FRAMES[1]  # encoders join equal frames
METADATA = json.dumps(
    {"prompt": "ein rotes Ü × 日本 <&>", "seed": 3, "fps": 8, "num_frames": 6, "long": "y" * 3000}, ensure_ascii=False
)
NAMES = ("clip.mp4", "clip.mkv", "clip.gif", "clip.webp", "clip")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("still", [False, True])
def test_frames_and_metadata_come_back(name, still, tmp_path):
    frames = np.repeat(FRAMES[:1], 6, axis=0) if still else FRAMES
    Video(frames, 8).write(tmp_path / name, METADATA)
    back = Video.read(tmp_path / name)
    assert back.frames.shape == frames.shape
    assert back.fps == 8
    assert json.loads(read_metadata(tmp_path / name)) == json.loads(METADATA)
    if name in ("clip.mkv", "clip.webp", "clip"):
        assert (back.frames == frames).all()
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", NAMES)
def test_no_metadata_means_none(name, tmp_path):
    Video(FRAMES, 8).write(tmp_path / name)
    assert read_metadata(tmp_path / name) is None
    assert len(Video.read(tmp_path / name).frames) == 6


def test_prompt_and_seed_stand_under_their_own_names(tmp_path):
    import av

    for name in ("a.mp4", "a.mkv"):
        Video(FRAMES).write(tmp_path / name, METADATA)
        with av.open(str(tmp_path / name)) as container:
            tags = {k.lower(): v for k, v in container.metadata.items()}
        assert (tags["prompt"], tags["seed"]) == ("ein rotes Ü × 日本 <&>", "3")


def test_the_same_frames_give_the_same_mp4(tmp_path):
    """x264's mbtree did not, with torch in the process: seen in about a third of the files."""
    frames = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)).repeat_interleave(8, 2)
    frames = (frames.repeat_interleave(8, 3) * 255).byte().permute(0, 2, 3, 1).numpy()
    decoded = set()
    for _ in range(20):
        torch.nn.functional.conv2d(torch.randn(1, 4, 64, 64), torch.randn(8, 4, 3, 3))
        Video(frames).write(tmp_path / "a.mp4")
        decoded.add(Video.read(tmp_path / "a.mp4").frames.tobytes())
    assert len(decoded) == 1


def test_a_folder_of_frames_is_replaced_whole_and_nothing_else_is(tmp_path):
    Video(FRAMES).write(tmp_path / "frames")
    Video(FRAMES[:2]).write(tmp_path / "frames")
    assert len(list((tmp_path / "frames").iterdir())) == 2
    (tmp_path / "frames" / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="no folder of frames"):
        Video(FRAMES).write(tmp_path / "frames")
    assert len(list((tmp_path / "frames").iterdir())) == 3


@pytest.mark.parametrize("name", ["a.mp4", "a.gif", "a.webp", "empty.mkv", "a.png"])
def test_what_is_no_video(name, tmp_path):
    (tmp_path / name).write_bytes(b"" if name.startswith("empty") else b"not really \0 a video")
    with pytest.raises(OutputError):
        Video.read(tmp_path / name)
    with pytest.raises(OutputError):
        read_metadata(tmp_path / name)


def test_hostile_metadata_is_left_alone(tmp_path):
    Video(FRAMES).write(tmp_path / "a.gif", json.dumps({"fps": -3, "num_frames": 10**12}))
    assert len(Video.read(tmp_path / "a.gif").frames) == 6
    Video(FRAMES[:1]).write(tmp_path / "b.webp", json.dumps({"fps": 8, "num_frames": 10**12}))
    assert len(Video.read(tmp_path / "b.webp").frames) == 1


@pytest.mark.parametrize(
    ("name", "record"), [("a.mp4", "a.json"), ("a.b.webp", "a.b.json"), ("a", "a.json"), ("a.v2", "a.v2.json")]
)
def test_the_record_lies_beside(name, record, tmp_path):
    assert record_path(tmp_path / name).name == record


@pytest.mark.parametrize("name", ["", "x" * 300 + ".mp4", "a\0b.mp4", "clip.avi", "no/folder/a.mp4"])
def test_names_that_can_not_be_written(name, tmp_path):
    with pytest.raises(OutputError):
        check_output(tmp_path / name if name else "")


def test_a_record_that_can_not_be_written_stops_before_the_video(tmp_path):
    (tmp_path / "a.json").mkdir()
    with pytest.raises(OutputError, match="record goes there"):
        check_output(tmp_path / "a.mp4")


def test_an_interrupted_write_leaves_nothing(tmp_path):
    def interrupted(make):
        with written_aside(tmp_path / "x") as aside:
            make(aside)
            raise KeyboardInterrupt

    for make in (lambda aside: aside.write_text("half"), lambda aside: aside.mkdir()):
        with pytest.raises(KeyboardInterrupt):
            interrupted(make)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="limits the file size as a full disk would")
@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.webp", "a.gif", "frames"])
def test_a_disk_that_fills_up(name, tmp_path):
    code = (
        "import resource, signal, sys, numpy as np\n"
        "from videoada.media.video import Video\nfrom videoada.errors import OutputError\n"
        "frames = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), dtype=np.uint8)\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nresource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
        "try: Video(frames).write(sys.argv[1])\nexcept OutputError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / name)], capture_output=True, text=True)
    assert "can't write" in done.stdout, done.stderr
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(["mkv", "webp", ""]), st.integers(1, 5), st.integers(8, 40), st.integers(8, 40), st.integers(1, 60)
)
def test_lossless_formats_keep_every_pixel(ending, num_frames, height, width, fps):
    import tempfile
    from pathlib import Path

    frames = np.random.default_rng(height).integers(0, 256, (num_frames, height, width, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / (f"v.{ending}" if ending else "v")
        Video(frames, fps).write(path, json.dumps({"fps": fps, "num_frames": num_frames}))
        back = Video.read(path)
    assert (back.frames == frames).all()
    assert back.fps == fps
