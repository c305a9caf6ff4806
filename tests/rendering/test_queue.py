"""A folder that is a queue: every job once, by its own settings, whatever is killed; shared with `videoada render`."""

from __future__ import annotations

import json
import os
import signal
import threading
import time

import pytest
from commandline import run
from conftest import PROMPTS
from PIL import Image

import videoada
from videoada import ConfigError, ImageError, ModelError, OutputError, PromptError, RenderQueue, work_on_queue
from videoada.config.settings import RunSettings
from videoada.media.metadata import read_metadata
from videoada.rendering.folder import HIDDEN
from videoada.rendering.queue import work
from videoada.rendering.status import read_status

pytestmark = pytest.mark.usefixtures("one_thread")
FEW = {"steps": 5, "num_frames": 2, "device": "cpu"}


def asked(prompt=PROMPTS[0], **fields):
    return RunSettings(**({"prompt": prompt} | FEW | fields))


def states(queue):
    return [entry.state for entry in queue.entries()]


def files(folder):
    """What a user sees in it."""
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and HIDDEN not in p.parts}


def sha256(settings):
    """Of the frames that `generate` makes of the settings of an entry."""
    settings = RunSettings(**settings)
    pipe = videoada.load_pipeline(settings.model, settings.loading())
    [(_, record)] = videoada.generate(pipe, settings.requests(), skip=settings.skip())
    return record.frames_sha256


def wait(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture
def queue(tmp_path):
    queue = RenderQueue(tmp_path / "videos")
    yield queue
    queue.close()


def test_what_repeats_another_video_is_known_before_it_is_made(queue, tmp_path):
    first, other = queue.add([asked(), asked(seed=1)])
    assert queue.repeated([first, other]) == []
    [again] = queue.add([asked()])
    assert queue.repeated([other, again]) == [again]
    queue.stop(first)
    assert queue.repeated([again]) == []
    both = queue.add([asked(seed=2), asked(seed=2)])
    assert queue.repeated(both) == both[1:]
    queue.delete(both[0])  # in another browser
    assert queue.repeated(both) == []


def test_each_job_has_its_own_model_settings_and_seed_and_can_be_used_again(queue, monkeypatch):
    image = queue.path.parent / "upload.png"
    Image.new("RGB", (64, 64), "red").save(image)
    ids = queue.add([
        asked(quality="fast", seed="random", num_videos=2),
        asked(model="tiny-i2v", image=str(image), mask="11101"),
        asked(model="tiny-wan", num_frames=5, policy="none"),
    ])  # fmt: skip
    image.unlink()  # an upload goes with its page
    assert [entry.id for entry in queue.entries()] == ids
    assert states(queue) == ["waiting"] * 4
    assert all((e.steps, e.video, e.record, e.preview) == ("", None, None, None) for e in queue.entries())
    said, seen, write = [], [], work.Live.write

    def written(live, now=False):
        if now:
            seen.append(live.loading)
        write(live, now)

    monkeypatch.setattr(work.Live, "write", written)
    work_on_queue(queue.path, until_empty=True, on_message=said.append)
    assert seen == [True, False, True, True]  # the second needs the model that is there
    assert [line for line in said if line.startswith("loading")] == [
        f"loading {model} …" for model in ("tiny-t2v", "tiny-i2v", "tiny-wan")
    ]
    entries = queue.entries()
    assert states(queue) == ["done"] * 4
    assert [entry.model for entry in entries] == ["tiny-t2v", "tiny-t2v", "tiny-i2v", "tiny-wan"]
    assert entries[1].settings["seed"] == entries[0].settings["seed"] + 1
    assert entries[2].steps[:3] == "CCC"
    assert entries[2].steps[3] != "C"
    assert entries[3].steps == "CCCCC"
    for entry in entries:
        assert entry.video.is_file()
        assert entry.record == json.loads(entry.video.with_suffix(".json").read_text())
        assert (entry.num_steps, entry.predictions) == (5, entry.record["num_predictions"])
        assert sha256(entry.settings) == entry.record["frames_sha256"]
        kept = read_metadata(entry.video)  # downloaded with the video, it names no folder of this machine
        assert json.loads(kept)["frames_sha256"] == entry.record["frames_sha256"]
        assert str(queue.path.parent) not in kept + json.dumps(entry.record)
    [again] = queue.add([RunSettings(**entries[2].settings)])
    assert again == f"{ids[2]}-2"
    assert queue.entry(again).settings["image"] != entries[2].settings["image"]


@pytest.mark.parametrize(
    ("fields", "error", "problem"),
    [
        ({"prompt": None}, ConfigError, "there is no prompt"),
        ({"prompt": "  "}, ConfigError, "the prompt is empty"),
        ({"quality": "best"}, ConfigError, "unknown quality"),
        ({"model": "tiny-t2"}, ModelError, "unknown model 'tiny-t2'"),
        ({"model": "tiny-i2v"}, ConfigError, "give it an `image`"),
        ({"model": "tiny-i2v", "image": "/nowhere/x.png"}, ImageError, "no such file|does not exist|is no file"),
        ({"codec": "ffv1"}, ConfigError, "`codec=ffv1`"),
        ({"mask": "101"}, ConfigError, "the mask has 3 entries"),
    ],
)
def test_what_can_not_be_met_is_said_at_once_and_nothing_is_added(queue, fields, error, problem):
    with pytest.raises(error, match=problem) as raised:
        queue.add([asked(), asked(**fields)])
    assert "\n" not in str(raised.value)
    assert queue.entries() == []


def test_prompts_and_ids_stay_inside_the_folder(queue, tmp_path):
    hostile = ["../../etc/passwd", "<script>alert(1)</script>", "/", "..", "a\x00b", "%2e%2e%2fx", "🟥" * 300]
    ids = queue.add([asked(prompt) for prompt in hostile if "\x00" not in prompt])
    for id in ids:
        assert (queue.path / f"{id}.mp4").resolve().parent == queue.path.resolve()
        assert not set(id) & set('/\\<>".%')
    (tmp_path / "mine.mp4").write_bytes(b"mine")
    (tmp_path / "mine.json").write_text('{"job_sha256": "x"}')
    for id in ("../mine", str(tmp_path / "mine"), "no-such", "", ".", "..", f"{HIDDEN}/lock", "a\x00b", "x" * 5000):
        for call in (queue.entry, queue.stop, queue.again, queue.delete, queue.compare):
            with pytest.raises(PromptError, match="there is no video"):
                call(id)
    assert (tmp_path / "mine.mp4").read_bytes() == b"mine"
    [job, *_] = (queue.path / HIDDEN / "queue/jobs").iterdir()  # somebody writes a job that would leave the folder
    job.write_text(json.dumps(json.loads(job.read_text()) | {"id": "../mine"}))
    assert "../mine" not in [entry.id for entry in queue.entries()]


@pytest.mark.slow
def test_killed_in_the_second_of_three_it_goes_on_and_makes_none_twice(tmp_path):
    queue = RenderQueue(tmp_path / "videos")
    ids = queue.add([asked(), asked(model="tiny-wan", num_frames=9, steps=50, policy="none"), asked(PROMPTS[1])])
    worker = videoada.start_worker(queue.path)
    assert videoada.start_worker(queue.path) is None  # also while the first still imports
    wait(lambda: len(queue.entry(ids[1]).steps) > 2)
    now = queue.entry(ids[1])
    assert (now.state, now.num_steps, set(now.steps), now.loading) == ("running", 50, {"C"}, False)
    assert now.seconds_left > 0
    assert states(queue) == ["done", "running", "waiting"]
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    assert states(queue) == ["done", "waiting", "waiting"]
    before = {name: (queue.path / name).stat().st_mtime_ns for name in files(queue.path)}
    assert set(before) == {f"{ids[0]}.mp4", f"{ids[0]}.json"}
    queue.close()
    work_on_queue(tmp_path / "videos", until_empty=True)
    queue = RenderQueue(tmp_path / "videos")
    assert [(e.id, e.state) for e in queue.entries()] == [(id, "done") for id in ids]
    assert files(queue.path) == {"manifest.jsonl", *(f"{id}{ending}" for id in ids for ending in (".mp4", ".json"))}
    assert {name: (queue.path / name).stat().st_mtime_ns for name in before} == before
    for entry in queue.entries():
        assert sha256(entry.settings) == entry.record["frames_sha256"]
    assert {p.name for p in (queue.path / HIDDEN).iterdir()} <= {"lock", "queue"}
    queue.close()


def test_stopped_midway_and_wanted_again(queue):
    first, second, third = queue.add([asked(steps=12), asked(seed=1), asked(seed=2)])
    queue.stop(third)

    def stop_first(event_of=work.Live.heed):
        def heed(live, event):
            event_of(live, event)
            if len(live.letters) == 4:
                queue.stop(live.job.id)

        return heed

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(work.Live, "heed", stop_first())
        work_on_queue(queue.path, until_empty=True)
    assert [queue.entry(id).state for id in (first, second, third)] == ["stopped"] * 3
    assert [queue.entry(id).steps for id in (first, third)] == ["CCCC", ""]
    assert files(queue.path) == set()
    with pytest.raises(PromptError):
        queue.again("nobody")
    queue.again(second)
    queue.again(first)  # waits behind it now
    assert [job.id for job in queue.waiting()] == [second, first]
    with pytest.raises(ConfigError, match="is waiting: only what stopped or failed"):
        queue.again(first)
    work_on_queue(queue.path, until_empty=True)
    assert [queue.entry(id).state for id in (first, second, third)] == ["done", "done", "stopped"]
    queue.stop(first)
    assert queue.entry(first).state == "done"
    assert sha256(queue.entry(first).settings) == queue.entry(first).record["frames_sha256"]


def test_a_full_run_is_kept_beside_its_video(queue):
    [id] = queue.add([asked(quality="fast", steps=12)])
    queue.compare(id)
    assert queue.entry(id).full.state == "waiting"
    work_on_queue(queue.path, until_empty=True)
    queue.compare(id)  # nothing more to do
    [entry] = queue.entries()
    full = entry.full
    assert (full.state, full.full_of, full.steps) == ("done", id, "C" * 12)
    assert full == queue.entry(full.id)
    assert full.settings["seed"] == entry.settings["seed"]
    assert "R" in entry.steps
    assert full.record["skip"]["policy"] == "none"
    assert sha256(full.settings) == full.record["frames_sha256"]
    assert files(queue.path) == {f"{id}.mp4", f"{id}.json", "manifest.jsonl"}
    assert len((queue.path / "manifest.jsonl").read_text().splitlines()) == 1
    with pytest.raises(ConfigError, match="is a full run itself"):
        queue.compare(full.id)
    queue.delete(full.id)
    assert queue.entry(id).full is None
    assert not full.video.exists()
    queue.compare(id)
    queue.delete(id)
    assert queue.entries() == []
    assert files(queue.path) == {"manifest.jsonl"}
    assert (queue.path / "manifest.jsonl").read_text() == ""
    assert not [p for p in (queue.path / HIDDEN / "queue").rglob("*") if p.is_file()]


def test_render_and_queue_share_a_folder_and_status_sees_both(queue, tmp_path, capsys):
    [mine] = queue.add([asked(steps=6)])
    (tmp_path / "p.txt").write_text("\n".join(PROMPTS[1:3]))
    render = ["render", str(tmp_path / "p.txt"), "--out", str(queue.path), "--steps", "5", "--num-frames", "2"]
    code, _, err = run(capsys, *render)
    assert code == 0, err
    assert [(e.id, e.state) for e in queue.entries()] == [(mine, "waiting"), ("0000", "done"), ("0001", "done")]
    code, out, _ = run(capsys, "status", str(queue.path))
    assert code == 0
    assert "there: 2 of 3 videos" in out
    assert "queue: 1 waiting" in out
    [broken] = queue.add([asked(seed=9)])
    job = queue.job(broken)
    queue.put(job.changed(settings=job.settings | {"model": "gone/away"}))
    work_on_queue(queue.path, until_empty=True)
    found = json.loads(run(capsys, "status", str(queue.path), "--json")[1])
    assert (found["done"], found["videos"]) == (3, 4)
    assert {s: found["queue"][s] for s in ("waiting", "running", "failed", "done")} == {
        "waiting": 0, "running": 0, "failed": 1, "done": 3,
    }  # fmt: skip
    assert len(found["failures"]) == 1
    assert broken in found["failures"][0]
    assert queue.entry(broken).error
    assert "\n" not in queue.entry(broken).error
    entry = queue.entry("0001")
    assert (entry.prompt, entry.model) == (PROMPTS[2], "tiny-t2v")
    assert sha256(entry.settings) == entry.record["frames_sha256"]
    names = {row["file"] for row in map(json.loads, (queue.path / "manifest.jsonl").read_text().splitlines())}
    assert names == {f"{mine}.mp4", "0000.mp4", "0001.mp4"}
    # the same names with other settings are another video's, other names are not
    code, _, err = run(capsys, *render, "--seed", "5")
    assert (code, "holds videos of other settings" in err) == (2, True)
    (tmp_path / "q.jsonl").write_text(json.dumps({"prompt": PROMPTS[3], "id": "other/name"}))
    other = ["render", str(tmp_path / "q.jsonl"), *render[2:], "--seed", "5", "--format", "webm"]
    assert run(capsys, *other)[0] == 0
    code, out, _ = run(capsys, *render, "--json")
    assert (code, json.loads(out)["there"]) == (0, 2)
    assert queue.entry("other/name").video.suffix == ".webm"
    queue.delete("other/name")
    assert not [p for p in queue.path.rglob("name.*") if HIDDEN not in p.parts]


def test_there_is_one_worker_and_it_takes_what_is_added_meanwhile(queue):
    assert queue.folder.locks.acquire("worker")
    said = []
    work_on_queue(queue.path, until_empty=True, on_message=said.append)
    assert said == [f"another worker is at work on {queue.path}"]
    assert videoada.start_worker(queue.path) is None
    queue.folder.locks.release("worker")
    assert not queue.at_work()
    thread = threading.Thread(target=work_on_queue, args=(queue.path,), kwargs={"idle_seconds": 1})
    thread.start()
    wait(queue.at_work)
    ids = [queue.add([asked(seed=i)])[0] for i in range(2)]
    thread.join()
    assert [queue.entry(id).state for id in ids] == ["done", "done"]
    assert not queue.at_work()


def test_a_job_that_kills_its_workers_is_given_up_and_one_that_fails_does_not_hold_up_the_next(queue, monkeypatch):
    killer, broken, fine = queue.add([asked(), asked(seed=1), asked(seed=2)])
    job = queue.job(killer)
    queue.put(job.changed(begun=5))
    events = work.generate_events

    def fail(pipe, requests, **fields):
        if requests[0].seed == 1:
            raise videoada.ResourceError("memory ran out while generating; what needs less: fewer `num_frames`")
        return events(pipe, requests, **fields)

    monkeypatch.setattr(work, "generate_events", fail)
    work_on_queue(queue.path, until_empty=True)
    assert [queue.entry(id).state for id in (killer, broken, fine)] == ["failed", "failed", "done"]
    assert queue.entry(killer).error == "its worker died 5 times while it was generated"
    assert queue.entry(broken).error.startswith("memory ran out while generating")
    queue.again(killer)
    work_on_queue(queue.path, until_empty=True)
    assert queue.entry(killer).state == "done"


def test_deleted_it_is_gone_also_where_a_worker_has_just_taken_it_or_generates_it(queue, monkeypatch):
    first, second, third = queue.add([asked(seed=i) for i in range(3)])
    set_begun, heed = work._Worker._set, work.Live.heed

    def delete_first(worker, job, **values):
        if job.id == first:
            queue.delete(first)
        set_begun(worker, job, **values)

    def delete_second(live, event):
        heed(live, event)
        if live.job.id == second and len(live.letters) == 2:
            other = RenderQueue(queue.path)
            assert (other.entry(second).state, other.at_work()) == ("running", True)
            other.delete(second)
            assert [entry.id for entry in other.entries()] == [third]
            other.close()

    with monkeypatch.context() as patched:
        patched.setattr(work._Worker, "_set", delete_first)
        patched.setattr(work.Live, "heed", delete_second)
        work_on_queue(queue.path, until_empty=True)
    assert [(entry.id, entry.state) for entry in queue.entries()] == [(third, "done")]
    assert [path.stem for path in queue.path.glob("*.mp4")] == [third]
    assert len(list((queue.path / HIDDEN / "queue/jobs").iterdir())) == 1
    assert not list((queue.path / HIDDEN / "queue/previews").iterdir())


def test_interrupted_its_job_waits_again(queue, monkeypatch):
    [id] = queue.add([asked()])

    def interrupt(live, event):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(work.Live, "heed", interrupt)
        with pytest.raises(KeyboardInterrupt):
            work_on_queue(queue.path, until_empty=True)
    assert (queue.entry(id).state, queue.job(id).begun, queue.at_work()) == ("waiting", 0, False)


def test_five_hundred_videos_are_listed_fast(queue):
    [id] = queue.add([asked()])
    work_on_queue(queue.path, until_empty=True)
    text = (queue.path / f"{id}.json").read_text()
    for i in range(500):
        (queue.path / f"v{i}.json").write_text(text)
        (queue.path / f"v{i}.mp4").touch()
    assert len(queue.entries()) == 501
    began = time.process_time()
    assert len(queue.entries()) == 501
    assert time.process_time() - began < 0.5  # 0.02 s where nothing else runs


def test_a_folder_that_can_not_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="is a file"):
        RenderQueue(tmp_path / "file")
    with pytest.raises(PromptError, match="no folder of `videoada render`"):
        read_status(tmp_path)


def test_the_command_works_a_queue_off(queue, capsys):
    [id] = queue.add([asked()])
    code, out, err = run(capsys, "work", str(queue.path), "--until-empty")
    assert (code, out, f"done: {id}" in err) == (0, "", True)
    assert queue.entry(id).state == "done"
