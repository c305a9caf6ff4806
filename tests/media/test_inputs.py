"""Whatever people name as a video: read as meant, or refused in one line that says what it is and what to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from commandline import command
from films import ffmpeg, film
from PIL import Image

from videoada.errors import ConfigError, OutputError, ResourceError
from videoada.failures import is_out_of_memory, reading
from videoada.media.clips import Sampling, read_clips
from videoada.media.finding import find_videos, search_videos
from videoada.media.kinds import FRAME_ENDINGS, VIDEO_ENDINGS, is_frame_folder
from videoada.media.metadata import read_metadata
from videoada.media.outputs import CODECS, FILM_FORMATS, Encoding
from videoada.media.video import Video

FRAMES = np.random.default_rng(0).integers(0, 255, (9, 32, 48, 3), dtype=np.uint8)
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


def spoil(path, kind):
    match kind:
        case "missing":
            pass
        case "empty":
            path.touch()
        case "pointer":
            path.write_text(POINTER)
        case "broken link":
            path.symlink_to(path.with_name("gone.mp4"))
        case "sound":
            ffmpeg("-f", "lavfi", "-i", "sine=d=1", "-c:a", "aac", path)
        case "cover":
            cover = path.with_name("cover.png")
            Image.fromarray(FRAMES[0]).save(cover)
            ffmpeg("-f", "lavfi", "-i", "sine=d=1", "-i", cover, "-map", "0", "-map", "1", "-c:a", "aac", "-c:v", "png",
                   "-disposition:v:0", "attached_pic", path)  # fmt: skip
        case "page":
            path.write_text("<!DOCTYPE html><html><body>404</body></html>")
        case "pipe":
            os.mkfifo(path)
        case "playlist":
            path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n")
        case "list":
            film(path.with_name("a.mp4"))
            path.write_text("ffconcat version 1.0\nfile a.mp4\n")
        case "archive":
            path.write_bytes(b"PK\x03\x04" + bytes(range(256)) * 4)
        case "drawing":
            path.write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
        case "half":
            path.write_bytes(film(path.with_name("a.mp4")).read_bytes()[:3000])
        case "text":
            path.write_text("not a film at all\n" * 50)
        case "sizes":
            for name, size in (("a.mp4", "64x48"), ("b.mp4", "96x64")):
                film(path.with_name(name), size, encoder="mjpeg", pixels="yuvj420p")
            path.with_name("list.txt").write_text("file a.mp4\nfile b.mp4\n")
            ffmpeg("-f", "concat", "-i", path.with_name("list.txt"), "-c", "copy", path)


WRONG = {
    "missing": "does not exist", "empty": "is empty (0 bytes)", "pointer": "is a Git LFS pointer",
    "broken link": "is a broken link", "sound": "holds sound alone, no film", "cover": "a cover picture alone, no film",
    "page": "is a web page", "pipe": "is no file but a device, pipe or socket", "playlist": "can't read a video",
    "text": "can't read a video", "list": "it is a list that names other files",
    "archive": "is of no form that is known",
    "drawing": "is a web page or XML text", "half": "it is cut off: 3,000 of",
    "sizes": "its frames change their size, from 64×48 to 96×64",
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
def test_each_wrong_input_has_its_own_words(kind, tmp_path):
    path = tmp_path / "film.mp4"
    spoil(path, kind)
    for sampling in (Sampling(), Sampling(2)):
        with pytest.raises(OutputError) as caught:
            read_clips(path, sampling)
        message = str(caught.value)
        assert WRONG[kind] in message
        assert str(path) in message
        assert "Errno" not in message
        assert "tuple index" not in message
        assert "Invalid data" not in message
        assert "\n" not in message


def test_the_command_line_says_the_same(tmp_path):
    spoil(tmp_path / "sound.mp4", "sound")
    spoil(tmp_path / "pointer.mp4", "pointer")
    film(tmp_path / "good.mp4")
    done = command("check", tmp_path, code=1)
    assert "sound.mp4 holds sound alone" in done.stderr
    assert "git lfs pull" in done.stderr
    assert done.stderr.count("error: ") == 2
    result = command("evaluate", "--generated", tmp_path, "--metrics", "coherence", code=2)
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["12:30.mp4", "scene:2.mkv", "http:clip.webm", "a b%03d'.mov", "c:d.gif", "e:f.webp",
                                  "g:h", "file:x.mp4"])  # fmt: skip
def test_any_name_of_a_file_is_written_and_read(name, tmp_path, monkeypatch):
    """A name with a colon was taken for a URL."""
    monkeypatch.chdir(tmp_path)
    Video(FRAMES).write(name, '{"seed": 3}')
    assert len(Video.read(name).frames) == 9
    assert "seed" in read_metadata(name)
    command("check", name, code=1)  # noise hangs together in nothing


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_folders_of_frames_of_every_form(form, tmp_path):
    ending = {"PNG": ".png", "JPEG": ".JPG", "WEBP": ".webp"}[form]
    (tmp_path / "set" / "clip").mkdir(parents=True)
    options = {"quality": 100, "subsampling": 0} if form == "JPEG" else {"lossless": True} if form == "WEBP" else {}
    for i, frame in enumerate(FRAMES):
        Image.fromarray(frame).save(tmp_path / "set" / "clip" / f"f{i + 5}{ending}", form, **options)
    assert is_frame_folder(tmp_path / "set" / "clip")
    assert find_videos(tmp_path / "set") == [tmp_path / "set" / "clip"]
    frames = Video.read(tmp_path / "set" / "clip").frames
    assert np.abs(frames.astype(int) - FRAMES).max() <= (0 if form != "JPEG" else 12)


def test_a_folder_of_animations_is_no_folder_of_frames(tmp_path):
    for i in range(2):
        Video(FRAMES).write(tmp_path / f"{i}.webp")
    assert not is_frame_folder(tmp_path)
    assert len(find_videos(tmp_path)) == 2


@pytest.mark.parametrize("name", ["a.png", "a.apng", "a.avif", "a.webp", "a.gif"])
def test_every_frame_of_an_animation_is_read(name, tmp_path):
    """Of animated PNG and AVIF files the first frame alone was."""
    frames = np.repeat(np.repeat(FRAMES[:4, :8, :8], 4, 1), 4, 2)
    first, *others = map(Image.fromarray, frames)
    options = {"PNG": {}, "AVIF": {"quality": 100, "subsampling": "4:4:4"}, "WEBP": {"lossless": True}, "GIF": {}}
    form = "PNG" if "png" in name else name[2:].upper()
    first.save(tmp_path / name, form, save_all=True, append_images=others, duration=100, **options[form])
    found = read_clips(tmp_path / name)
    assert found.total == 4
    assert found.fps == 10
    assert np.abs(found.clips[0].astype(int) - frames).max() <= (0 if found.lossless else 60)
    assert found.lossless == (form in ("PNG", "WEBP"))
    first.save(tmp_path / f"still{name}", form)
    assert read_clips(tmp_path / f"still{name}").total == 1


def test_motion_jpeg_is_no_picture(tmp_path):
    path = film(tmp_path / "a.mjpeg", encoder="mjpeg", pixels="yuvj420p")
    assert len(Video.read(path).frames) == 20
    assert find_videos(tmp_path) == [path]


def test_frames_of_other_sizes_are_named(tmp_path):
    for i, side in enumerate((32, 32, 40)):
        Image.new("RGB", (side, 32)).save(tmp_path / f"{i}.png")
    with pytest.raises(OutputError, match=r"0\.png has 32×32, 2\.png 40×32"):
        Video.read(tmp_path)


def test_hidden_colour_under_transparency_is_not_measured(tmp_path):
    clear = np.dstack([FRAMES[0], np.zeros((32, 48), np.uint8)])
    (tmp_path / "clip").mkdir()
    for i in range(2):
        Image.fromarray(clear).save(tmp_path / "clip" / f"{i}.png")
    Image.fromarray(clear).save(tmp_path / "a.webp", save_all=True, append_images=[Image.fromarray(clear)],
                                lossless=True, exact=True, duration=100)  # fmt: skip
    for path in (tmp_path / "clip", tmp_path / "a.webp"):
        found = read_clips(path)
        assert (found.clips[0] == 255).all()
        assert found.notes == ["its transparent pixels lie on white"]


def test_class_folders_are_read_with_recursive_and_said_without(tmp_path):
    for name in ("Apple/a.mp4", "Apple/deep/b.mkv", "Pear/a.mp4", "top.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Video(FRAMES).write(tmp_path / name)
    (tmp_path / "notes.pdf").write_bytes(b"%PDF")
    (tmp_path / "top.json").write_text("{}")
    found = search_videos(tmp_path)
    assert [p.name for p in found.videos] == ["top.mp4"]
    assert len(found.not_read) == 2
    assert "Apple and 1 more" in found.not_read[0]
    assert "notes.pdf" in found.not_read[1]
    assert len(find_videos(tmp_path, recursive=True)) == 4
    done = command("evaluate", "--generated", tmp_path, "--metrics", "coherence", "--json", code=0)
    assert any("recursive" in line for line in json.loads(done.stdout)["not_used"])
    done = command("evaluate", "--generated", tmp_path, "--recursive", "--metrics", "coherence", "--json", code=0)
    names = [row["video"] for row in json.loads(done.stdout)["videos"]]
    assert sorted(names) == ["Apple/a.mp4", "Apple/deep/b.mkv", "Pear/a.mp4", "top.mp4"]
    assert "--recursive" in command("check", tmp_path, code=1).stderr


def test_what_is_read_by_name_is_found_in_a_folder(tmp_path):
    """`.mpg`, `.ts`, `.wmv`, `.flv`, `.3gp` beside `.mp4` were left out."""
    names = [f"a{ending}" for ending in VIDEO_ENDINGS]
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    assert sorted(p.name for p in find_videos(tmp_path)) == sorted(names)
    assert not set(FRAME_ENDINGS) - {".webp"} & set(VIDEO_ENDINGS)


@pytest.mark.parametrize("ending", FILM_FORMATS)
def test_every_codec_of_every_format(ending, tmp_path):
    still = np.repeat(np.kron(FRAMES[:1], np.ones((1, 2, 2, 1), np.uint8)), 4, axis=0)
    sizes = {}
    for codec in CODECS:
        if codec not in FILM_FORMATS[ending]:
            with pytest.raises(ConfigError, match="goes with"):
                Encoding(codec).check(ending)
            continue
        path = tmp_path / f"{codec}{ending}"
        Video(still).write(path, encoding=Encoding(codec))
        assert Video.read(path).frames.shape == still.shape
        sizes[codec] = path.stat().st_size
        if codec != "ffv1":
            Video(still).write(tmp_path / f"small{ending}", encoding=Encoding(codec, 50))
            assert (tmp_path / f"small{ending}").stat().st_size < sizes[codec]
    assert read_clips(tmp_path / f"{FILM_FORMATS[ending][0]}{ending}").lossless == (ending == ".mkv")


@pytest.mark.parametrize(("args", "message"), [
    (("--output", "a.mkv", "--crf", 20), "no quality to choose"), (("--output", "a.gif", "--crf", 20), "leave it out"),
    (("--output", "a.mp4", "--crf", 52), "0 (best) to 51"), (("--output", "a.webm", "--codec", "h264"), "--codec h264"),
    (("--output", "a.mp4", "--codec", "x264"), "did you mean"), (("--fps", 0), "fps"),
])  # fmt: skip
def test_a_quality_that_does_not_fit_is_a_line(args, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = command("generate", "--prompt", "a red circle growing on a navy background", *args, code=2)
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_generate_with_a_codec_a_quality_and_a_fraction(tmp_path):
    done = command("generate", "--prompt", "a red circle growing on a navy background", "--steps", 2, "--fps", 23.976,
                   "--codec", "av1", "--crf", 40, "--output", tmp_path / "a.webm", "--json", code=0)  # fmt: skip
    assert json.loads(done.stdout)["request"]["fps"] == 23.976
    assert Video.read(tmp_path / "a.webm").fps == pytest.approx(24000 / 1001)


# ---- memory --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [MemoryError(), OSError(12, "Cannot allocate memory"),
                                   RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
                                   RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")])  # fmt: skip
def test_running_out_of_memory_is_no_damaged_film(error, tmp_path):
    film(tmp_path / "a.mp4")
    assert is_out_of_memory(error)
    with pytest.raises(ResourceError, match="memory ran out"), reading(tmp_path / "a.mp4"):
        raise error
    with pytest.raises(OutputError, match="can't read"), reading(tmp_path / "a.mp4"):
        raise RuntimeError("something else")


def limited(path, megabytes, what):
    code = (
        "import resource, sys\nfrom videoada.media.reading import open_video\nfrom videoada.media.video import Video\n"
        "from videoada.errors import VideoAdaError\nimport numpy, av, av.filter\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "limit = used + int(sys.argv[2]) * 2**20\nresource.setrlimit(resource.RLIMIT_AS, (limit, limit))\n"
        f"try: {what}\nexcept VideoAdaError as error: print(type(error).__name__, error)\nelse: print('read')\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path), str(megabytes)], capture_output=True, text=True)
    assert not done.returncode, done.stderr[-500:]
    return done.stdout


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits memory as Linux does")
def test_a_film_larger_than_memory_is_read_frame_by_frame_and_else_refused(tmp_path):
    path = film(tmp_path / "large.mp4", "640x480", seconds=12)  # 276 MB of frames
    assert limited(path, 200, "sum(1 for _ in open_video(sys.argv[1]).frames())") == "read\n"
    said = limited(path, 200, "Video.read(sys.argv[1])")
    assert said.startswith("ResourceError memory ran out while reading"), said
    assert "large.mp4" in said


def test_check_says_in_json_what_is_not_read_and_why(tmp_path):
    film(tmp_path / "good.mp4")
    (tmp_path / "bad.mp4").touch()
    (tmp_path / "notes.pdf").write_bytes(b"%PDF")
    done = command("check", tmp_path, "--json", code=1)
    bad, good = map(json.loads, done.stdout.splitlines())
    assert (bad["video"], good["video"]) == (str(tmp_path / "bad.mp4"), str(tmp_path / "good.mp4"))
    assert bad["error"] == f"{tmp_path / 'bad.mp4'} is empty (0 bytes): get it again"
    assert "error" not in good
    assert bad["not_used"] == good["not_used"]
    assert "notes.pdf" in good["not_used"][0]
    assert json.loads(command("check", tmp_path / "good.mp4", "--json", code=1).stdout)["not_used"] == []


def test_av1_is_written_without_its_encoders_words(tmp_path):
    code = ("import sys, numpy as np\nfrom videoada.media.outputs import Encoding\n"
            "from videoada.media.video import Video\n"
            "Video(np.zeros((3, 64, 64, 3), np.uint8)).write(sys.argv[1], encoding=Encoding('av1'))")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "a.mp4"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", [".", "..", "/"])
def test_a_folder_without_a_name_holds_no_record(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = command("inspect", name, code=2)
    assert "no run record" in done.stderr
    assert done.stderr.count("\n") == 1
