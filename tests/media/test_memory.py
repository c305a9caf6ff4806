"""Memory that does not grow with the film."""

from __future__ import annotations

import gc
import subprocess
import sys

import av
import pytest
from films import film

from videoada.media.reading import open_video

CODE = """
import sys
import av, cv2, numpy, scipy, torch, torchmetrics
import videoada.cli.check, videoada.cli.evaluate, videoada.evaluation.evaluate, videoada.metrics.coherence
from videoada.cli import main

def kept(what):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(what)) / 1024

before = kept("VmRSS")
try:
    main(sys.argv[1:])
except SystemExit as left:
    assert left.code in (0, 1), left.code
print(kept("VmHWM") - before)
"""


def peak(*args):
    """MiB above the import that a command peaks at."""
    done = subprocess.run([sys.executable, "-c", CODE, *map(str, args)], capture_output=True, text=True)
    assert not done.returncode, done.stderr[-500:]
    return float(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_check_and_evaluate_hold_a_few_frames(tmp_path):
    """30 frames of 640×480 are 28 MB; with all that is measured between them they took eight times that."""
    (tmp_path / "set").mkdir()
    short, long = (
        film(tmp_path / "set" / f"{n}.mp4", "640x480", rate="10", seconds=n / 10, pixels="yuv420p") for n in (10, 30)
    )
    first, second = peak("check", short, "--json"), peak("check", long, "--json")
    assert second < 400
    assert second < first + 60, (first, second)
    assert peak("evaluate", "--generated", tmp_path / "set", "--metrics", "coherence", "--workers", 1, "--json") < 400


def test_no_frame_waits_for_the_garbage_collector(tmp_path):
    """PyAV's side data makes a circle with its frame."""
    video = open_video(film(tmp_path / "a.mp4", seconds=2))
    gc.collect()
    gc.disable()
    try:
        kept = sum(1 for _ in video.frames())
        alive = sum(isinstance(thing, av.VideoFrame) for thing in gc.get_objects())
    finally:
        gc.enable()
    assert kept == 50
    assert alive < 5


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_check_of_ten_minutes(tmp_path):
    path = film(tmp_path / "long.mp4", "640x480", rate="5", seconds=600, pixels="yuv420p")
    assert peak("check", path, "--json") < 400
