"""Preparing clips of emoji from animations, and composing them on backgrounds; prompts that ask for them."""

from __future__ import annotations

import io
import json
import tarfile

import numpy as np
import pytest
from emoji_animations import SIZE, stages

pytest.importorskip("emoji", reason="the extra `train` is not installed")

from emoji_t2v import packages
from emoji_t2v.clips import BACKGROUNDS, Clips, make_prompts, parse_prompt, subject_of

from videoada.errors import ConfigError, ModelError, OutputError
from videoada.media.video import Video


@pytest.fixture(scope="module")
def run(animations, tmp_path_factory):
    """A run folder with prepared clips."""
    folder = tmp_path_factory.mktemp("emoji") / "run"
    stages("prepare", "--run", folder, "--webp", animations, "--size", SIZE, "--processes", 1)
    return folder


@pytest.fixture(scope="module")
def clips(run):
    return Clips.load(run / "clips")


# ---- preparing -----------------------------------------------------------------------------------------------------


def test_prepare_makes_clips_of_what_moves_and_has_a_name(run, animations, capsys):
    names = json.loads((run / "names.json").read_text())
    assert {stem: (v["name"], v["frames"]) for stem, v in names.items()} == {
        "1f43c": ("panda", 30), "2600-fe0f": ("sun", 48), "2b50": ("star", 24)
    }  # fmt: skip
    assert json.loads((run / "left-out.json").read_text()) == {
        "too few frames": ["1f44b"], "no name": ["f0000"], "not readable": ["1f600"]
    }  # fmt: skip
    assert sorted(file.name for file in (run / "clips").iterdir()) == [f"{stem}.mp4" for stem in sorted(names)]
    video = Video.read(run / "clips" / "1f43c.mp4").frames.astype(int)
    assert video.shape == (24, SIZE, 2 * SIZE, 3)
    for k, frame in enumerate(video):  # frame k of the loop is frame round(30 k / 24) of the animation
        angle = 2 * np.pi * round(30 * k / 24) / 30
        x, y = (round((24 + 10 * f(angle)) * SIZE / 48) for f in (np.cos, np.sin))
        assert np.abs(frame[y, x] - (255, 0, 0)).max() < 16
        assert np.abs(frame[y, x + SIZE] - 255).max() < 8
        assert np.abs(frame[0, 0] - 255).max() < 8
        assert frame[0, SIZE:].max() < 8
    kept = (run / "clips" / "2b50.mp4").stat().st_mtime_ns
    (run / "clips" / "1f43c.mp4").unlink()
    capsys.readouterr()
    stages("prepare", "--run", run, "--webp", animations, "--size", SIZE, "--processes", 1)  # goes on
    assert (run / "clips" / "2b50.mp4").stat().st_mtime_ns == kept
    assert np.array_equal(Video.read(run / "clips" / "1f43c.mp4").frames, video)
    out = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert out == {"clips": 3, "left out": {"too few frames": 1, "no name": 1, "not readable": 1}}


def test_tarballs_are_read_and_never_unpacked(animations, tmp_path, monkeypatch):
    file = tmp_path / "fluent-emoji-anim-1-1.0.0.tgz"
    panda = (animations / "1f43c.webp").read_bytes()
    with tarfile.open(file, "w:gz") as archive:
        for name in ("package/assets/1f43c.webp", "package/../../2b50.webp", "/package/assets/2b50.webp",
                     "package/assets/1f44b-1f3fb.webp", "package/README.md"):  # fmt: skip
            member = tarfile.TarInfo(name)
            member.size = len(panda)
            archive.addfile(member, io.BytesIO(panda))
        link = tarfile.TarInfo("package/assets/1f600.webp")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    assert list(packages.animations(file)) == [("1f43c", panda)]
    monkeypatch.setattr(packages, "PACKAGES", {"fluent-emoji-anim-1": packages.PACKAGES["fluent-emoji-anim-1"]})
    with pytest.raises(ModelError, match="its SHA-512 is another"):
        packages.download(tmp_path)
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(ModelError, match="can't read"):
        list(packages.animations(file))
    monkeypatch.setattr(packages, "REGISTRY", (tmp_path / "registry").as_uri())
    file.unlink()
    with pytest.raises(ModelError, match="can't fetch"):
        packages.download(tmp_path)
    assert not list(tmp_path.iterdir())


def test_names_are_words():
    assert packages.name_of("1f55b") == "twelve o’clock"
    assert packages.name_of("1f600") == "grinning face"
    assert packages.name_of("110000") is None
    assert subject_of("twelve o’clock") == "twelve o clock"


# ---- clips ---------------------------------------------------------------------------------------------------------


def test_clips_are_composed_by_their_alpha(clips):
    """colour · alpha + background · (1 − alpha), of colours that are kept over white."""
    panda, sun = clips.stems.index("1f43c"), clips.stems.index("2600-fe0f")
    for index, colour in enumerate(BACKGROUNDS.values()):
        background = np.array(colour)
        frames = clips.video(panda, 20, index).frames.astype(int)
        assert frames.shape == (16, SIZE, SIZE, 3)
        assert np.abs(frames[:, 0, 0] - background).max() < 8
        center = frames[4][SIZE // 2, SIZE // 2 + 7]  # frame 0 of the loop: 20 + 4 = 24
        assert np.abs(center - (255, 0, 0)).max() < 16
        half = clips.video(sun, 0, index).frames[0].astype(int)[SIZE // 2, SIZE // 2 + 7]
        assert np.abs(half - (0.5 * np.array((250, 200, 0)) + 0.5 * background)).max() < 16


def test_prompts_are_the_same_every_time_and_spread_over_subjects():
    subjects = [f"thing {chr(97 + i)}" for i in range(10)]
    first = ["thing c on a white background", "something else"]
    prompts = make_prompts(subjects, 30, first)
    assert prompts[:2] == first
    assert prompts == make_prompts(subjects, 50, first)[:30]
    assert len(set(prompts)) == 30
    asked = [parse_prompt(prompt)[0] for prompt in prompts[2:]]
    assert sorted([*asked[:9], "thing c"]) == subjects
    assert sorted(asked[9:19]) == subjects
    with pytest.raises(ConfigError, match="fewer than 81"):
        make_prompts(subjects, 81)


@pytest.mark.parametrize("broken", ["no names", "other names", "shape"])
def test_what_are_no_clips_is_refused_in_a_line(broken, clips, tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    Video(np.zeros((24, 32, 32, 3), np.uint8)).write(folder / "1f43c.mp4")
    if broken != "no names":
        stem = "1f43c" if broken == "shape" else "2b50"
        (tmp_path / "names.json").write_text(json.dumps({stem: {"name": "panda"}}))
    with pytest.raises((ConfigError, OutputError)) as caught:
        Clips.load(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)
