"""generate_events(): what happens, in order, with generate's own frames; closed, it ends and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest
import torch
from conftest import PROMPTS

import videoada
from videoada import ConfigError, GenerationConfig, Preview, RunStarted, StepTaken, VideoDone
from videoada.metrics import paired_fidelity

pytestmark = pytest.mark.usefixtures("one_thread")
ASKED = {"prompt": PROMPTS[0], "num_inference_steps": 16, "num_frames": 4, "seed": 3}


def letters(events, index=0):
    found = {}
    for event in events:
        if isinstance(event, StepTaken) and event.index == index:
            found[event.step] = {"computed": "C", "skipped": "S", "taken again": "R"}[event.state]
    return "".join(found[step] for step in sorted(found))


@pytest.mark.parametrize("how", [{"quality": "fast"}, {"policy": "every-n", "every": 3}, {"policy": "none"}])
def test_the_events_of_a_run_are_those_of_its_record_and_its_frames_are_generates(pipe, how):
    [(video, record)] = videoada.generate(pipe, **ASKED, **how)
    events = list(videoada.generate_events(pipe, **ASKED, **how))
    assert events[0] == RunStarted(0, PROMPTS[0], 16)
    assert isinstance(events[-1], VideoDone)
    assert events[-1].record.frames_sha256 == record.frames_sha256
    assert (events[-1].video.frames == video.frames).all()
    taken = [event for event in events if isinstance(event, StepTaken) and event.state != "taken again"]
    assert [event.step for event in taken] == list(range(16))
    assert [event.state == "computed" for event in taken] == record.computed
    assert taken[-1].predictions == record.num_predictions == letters(events).count("C")
    again = record.taken_again or [False] * 16
    assert [letter == "R" for letter in letters(events)] == again
    assert any(again) == (how.get("quality") == "fast")
    assert not any(a and c for a, c in zip(again, record.computed, strict=True))
    previews = [event for event in events if isinstance(event, Preview)]
    assert [event.step for event in previews] == [3, 6, 9, 12]
    frame = previews[-1].frame
    assert (frame.shape, frame.dtype) == (video.frames.shape[1:], video.frames.dtype)
    assert paired_fidelity(frame[None], video.frames[2:3]).psnr > 25


def test_a_step_is_taken_again_after_the_prediction_that_says_how(pipe):
    events = [e for e in videoada.generate_events(pipe, **ASKED, quality="fast", previews=0) if hasattr(e, "step")]
    for i, event in enumerate(events):
        if event.state == "taken again":
            assert event.step < max(e.step for e in events[: i + 1] + events[i + 1 : i + 9])
            assert any(e.step == event.step and e.state == "skipped" for e in events[:i])
            assert next(e for e in events[i:] if e.state != "taken again").state == "computed"


def test_a_batch_is_reported_video_by_video(pipe):
    requests = [GenerationConfig(**ASKED | {"prompt": prompt, "seed": i}) for i, prompt in enumerate(PROMPTS[:3])]
    expected = videoada.generate(pipe, requests, batch_size=2)
    events = list(videoada.generate_events(pipe, requests, batch_size=2, previews=1))
    assert [event.index for event in events if isinstance(event, RunStarted)] == [0, 1, 2]
    done = {event.index: event.record for event in events if isinstance(event, VideoDone)}
    for i, (_, record) in enumerate(expected):
        assert done[i].frames_sha256 == record.frames_sha256
        assert [letter == "C" for letter in letters(events, i)] == record.computed
    assert sorted(event.index for event in events if isinstance(event, Preview)) == [0, 1, 2]


def test_a_video_autoencoder_gives_previews_too():
    wan = videoada.load_pipeline("tiny-wan", device="cpu")
    events = list(videoada.generate_events(wan, prompt=PROMPTS[0], num_inference_steps=8, num_frames=9, previews=2))
    *_, last = [event for event in events if isinstance(event, Preview)]
    video = events[-1].video
    assert last.frame.shape == video.frames.shape[1:]
    assert max(paired_fidelity(last.frame[None], frame[None]).psnr for frame in video.frames) > 15


def test_closed_it_ends_at_its_step_and_leaves_the_pipeline_as_it_was(pipe):
    [(_, before)] = videoada.generate(pipe, **ASKED, quality="fast")
    kinds, calls = [type(part) for part in (pipe, pipe.unet, pipe.scheduler)], []
    handle = pipe.unet.register_forward_hook(lambda *_: calls.append(1))
    try:
        events = videoada.generate_events(pipe, **ASKED, quality="fast")
        for event in events:
            assert torch.is_grad_enabled()  # the pipeline's call turns it off, in its own thread
            if isinstance(event, StepTaken) and event.step == 4:
                break
        events.close()
        assert len(calls) == 5
        with pytest.raises(StopIteration):
            next(events)
    finally:
        handle.remove()
    assert [type(part) for part in (pipe, pipe.unet, pipe.scheduler)] == kinds
    assert not [thread for thread in threading.enumerate() if thread.name == "videoada-events"]
    [(_, after)] = videoada.generate(pipe, **ASKED, quality="fast")
    assert after.frames_sha256 == before.frames_sha256


def test_what_goes_wrong_is_raised_where_the_events_are_asked_for(pipe):
    with pytest.raises(ConfigError, match="unknown key 'tolerence'"):
        next(videoada.generate_events(pipe, **ASKED, tolerence=1))

    def fail(*_):
        raise RuntimeError("boom")

    events = videoada.generate_events(pipe, **ASKED)
    assert isinstance(next(events), RunStarted)
    handle = pipe.unet.register_forward_hook(fail)
    try:
        with pytest.raises(RuntimeError, match="boom"):
            next(events)
    finally:
        handle.remove()
    assert [type(event) for event in videoada.generate_events(pipe, **ASKED, previews=0)][-1] is VideoDone


def test_generate_calls_with_the_same_events_and_without_previews(pipe):
    requests = [GenerationConfig(**ASKED | {"prompt": prompt, "seed": i}) for i, prompt in enumerate(PROMPTS[:2])]
    called: list[videoada.StepTaken] = []
    videoada.generate(pipe, requests, batch_size=2, on_event=called.append)
    events = [e for e in videoada.generate_events(pipe, requests, batch_size=2) if not isinstance(e, Preview)]
    assert [e for e in called if not isinstance(e, VideoDone)] == [e for e in events if not isinstance(e, VideoDone)]
    assert [(type(e), e.index) for e in called] == [(type(e), e.index) for e in events]
    compared: list[videoada.StepTaken] = []
    videoada.compare(pipe, requests, batch_size=1, on_event=compared.append)
    assert [e.index for e in compared if isinstance(e, VideoDone)] == [0, 0, 1, 1]
    assert [(e.index, e.prompt) for e in compared if isinstance(e, RunStarted)][1:3] == [
        (0, PROMPTS[0]),
        (1, PROMPTS[1]),
    ]
    compared.clear()
    videoada.compare(pipe, requests, batch_size=2, on_event=compared.append)
    assert sum(isinstance(e, VideoDone) for e in compared) == 4
    assert sum(isinstance(e, StepTaken) and e.state == "computed" for e in compared[-40:]) >= 32  # in full


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_has_its_events(tmp_path):
    """OpenMP's threads of its parent are not there, and must not be waited for."""
    script = f"""
import os, torch, videoada
torch.set_num_threads(2)
pipe = videoada.load_pipeline("tiny-t2v", device="cpu")
torch.rand(2000, 1000).sin().sum()
if (child := os.fork()) == 0:
    torch.set_num_threads(1)
    events = videoada.generate_events(pipe, prompt={PROMPTS[0]!r}, num_inference_steps=4, num_frames=2, previews=0)
    os._exit(0 if isinstance(list(events)[-1], videoada.VideoDone) else 1)
raise SystemExit(os.waitpid(child, 0)[1])
"""
    assert subprocess.run([sys.executable, "-c", script], timeout=120, check=False).returncode == 0
