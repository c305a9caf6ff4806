"""videoada render when something dies, fails, fills up or is stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from commandline import run
from PIL import Image
from processes import heed_interrupts
from prompt_files import OWN, PROMPTS, ROOT, here, names

import videoada.rendering.engines.processes
import videoada.rendering.render
from videoada.config.prompts import PromptEntry
from videoada.config.settings import RunSettings
from videoada.errors import OutputError, ResourceError
from videoada.media.video import Video
from videoada.records.record import RunRecord
from videoada.rendering.engines.processes import Processes
from videoada.rendering.folder import HIDDEN, RenderFolder
from videoada.rendering.jobs import plan_jobs
from videoada.rendering.locks import NameLocks
from videoada.rendering.render import render
from videoada.rendering.session import render_prompts
from videoada.rendering.worker import Outcome, Worker, WorkerPlan

# ---- kills -----------------------------------------------------------------------------------------------------------

pytestmark = pytest.mark.usefixtures("one_thread")
KILL_RENDER = str(ROOT / "scripts" / "experiments" / "kill_render.py")


@pytest.mark.slow
def test_killed_and_resumed(tmp_path):
    """The short form of scripts/experiments/kill_render.py; what follows is the same on a Ray cluster."""
    subprocess.run(
        [sys.executable, KILL_RENDER, "--videos", "4", "--steps", "5", "--kills", "2",
         "--wait", "3", "6", "--folder", str(tmp_path / "kills")], check=True, timeout=240,
    )  # fmt: skip


@pytest.mark.slow
def test_a_ray_node_is_killed(tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed")
    subprocess.run(
        [sys.executable, KILL_RENDER, "--engine", "ray", "--videos", "6", "--steps", "5",
         "--kills", "1", "--wait", "8", "9", "--folder", str(tmp_path / "kills")], check=True, timeout=240,
    )  # fmt: skip


def test_locks(tmp_path):
    first, second = (NameLocks(tmp_path / HIDDEN / "lock") for _ in range(2))
    assert first.acquire("a")
    assert not first.acquire("a")
    assert not second.acquire("a")
    assert second.acquire("b")
    code = (
        "import os, sys\nfrom videoada.rendering.locks import NameLocks\n"
        f"locks = NameLocks({str(tmp_path / HIDDEN / 'lock')!r})\n"
        "assert not locks.acquire('a') and locks.acquire('c')\nos.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == -9
    assert second.acquire("c")
    first.release("a")
    assert second.acquire("a")
    first.close()
    assert (tmp_path / HIDDEN / "lock").exists()
    second.close()
    assert not (tmp_path / HIDDEN).exists()


# ---- what goes wrong -------------------------------------------------------------------------------------------------


def jobs_of(count, tmp_path):
    folder = RenderFolder(tmp_path / "out")
    rows = [PromptEntry(i + 1, None, {"prompt": f"prompt {i}"}) for i in range(count)]
    return folder, plan_jobs(rows, RunSettings())


class Scripted:
    """An engine that fails and loses jobs as told: name → states, one for each try."""

    workers = 1

    def __init__(self, states):
        self.states, self.news, self.batches, self.killed = states, [], [], None

    def room(self):
        return 1 - bool(self.news)

    def submit(self, batch):
        self.batches.append([job.name for job in batch])
        for job in batch:
            state = self.states.get(job.name, ["drawn"]).pop(0) if self.states.get(job.name) else "drawn"
            self.news.append(Outcome(job.name, state.removeprefix("fatal "), "why", fatal=state.startswith("fatal")))

    def outcomes(self, wait):
        found, self.news = self.news, []
        return found

    def close(self, kill=False):
        self.killed = kill


def test_failures_are_tried_again_alone(tmp_path):
    folder, jobs = jobs_of(5, tmp_path)
    engine = Scripted({"0001": ["failed", "failed", "drawn"], "0003": ["lost", "lost", "lost", "drawn"]})
    progress = render(jobs, folder, engine, batch_size=5, max_retries=1)
    assert (progress.generated, progress.failed, progress.retried) == (5, {}, 5)
    assert engine.batches[0] == [job.name for job in jobs]
    assert all(len(batch) == 1 for batch in engine.batches[1:])
    engine = Scripted({"0001": ["failed"] * 9})
    progress = render(jobs, folder, engine, max_retries=2, continue_on_error=True)
    assert (progress.generated, progress.failed) == (4, {"0001": "why"})
    assert sum(batch == ["0001"] for batch in engine.batches) == 3
    for retries in (0, 3):
        engine = Scripted({"0001": ["failed"] * 9})
        progress = render(jobs, folder, engine, max_retries=retries)
        assert (progress.generated, list(progress.failed)) == (1, ["0001"])  # it stopped
    engine = Scripted({"0002": ["fatal failed"]})
    with pytest.raises(OutputError, match="why"):
        render(jobs, folder, engine, continue_on_error=True)
    assert engine.killed
    engine = Scripted({"0001": ["lost"] * 99})
    assert list(render(jobs, folder, engine, continue_on_error=True).failed) == ["0001"]


def test_what_another_draws_is_waited_for_and_taken_over(tmp_path, monkeypatch):
    monkeypatch.setattr(videoada.rendering.render, "PAUSE", 0.01)
    folder, jobs = jobs_of(2, tmp_path)
    other = NameLocks(tmp_path / "out" / HIDDEN / "lock")
    assert other.acquire("0001")
    engine = Scripted({"0001": ["busy", "drawn"]})
    looks = []

    def look(seconds):
        looks.append(seconds)
        if len(looks) == 3:
            other.close()  # it died

    monkeypatch.setattr(videoada.rendering.render.time, "sleep", look)
    progress = render(jobs, folder, engine)
    assert (progress.generated, len(looks)) == (2, 3)


@pytest.mark.slow
def test_a_row_that_kills_its_worker_ends_no_render(tmp_path, monkeypatch):
    """Real processes, whose worker is one that dies over some rows."""
    folder, jobs = jobs_of(4, tmp_path)
    plan = WorkerPlan(str(tmp_path / "out"), ".mp4", "tiny-t2v", RunSettings().loading())
    monkeypatch.setattr(videoada.rendering.engines.processes, "work", poisoned_work)
    engine = Processes(plan, 2)
    progress = render(jobs, folder, engine, continue_on_error=True)
    engine.close()
    assert list(progress.failed) == ["0002"]
    assert "signal 9" in progress.failed["0002"]
    assert progress.generated == 3
    monkeypatch.setattr(videoada.rendering.engines.processes, "work", dying_work)
    with pytest.raises(ResourceError, match="while loading the model"):
        render(jobs, folder, Processes(plan, 2))


def poisoned_work(connection, plan):
    connection.send(("ready", None))
    while (batch := connection.recv()) is not None:
        if batch[0].name == "0002":
            os.kill(os.getpid(), signal.SIGKILL)
        connection.send(("outcome", Outcome(batch[0].name, "drawn")))
        connection.send(("ready", None))


def dying_work(connection, plan):
    os.kill(os.getpid(), signal.SIGKILL)


def test_another_videos_name_is_no_ones_to_take(pipe, tmp_path):
    """Two commands with other prompts into one folder, both begun before the first record was there."""
    rows = [[PromptEntry(1, None, {"prompt": prompt})] for prompt in PROMPTS[:2]]
    first, second = (plan_jobs(each, RunSettings(steps=1, num_frames=2)) for each in rows)
    plan = WorkerPlan(str(tmp_path / "out"), ".mkv", "tiny-t2v", RunSettings().loading())
    worker = Worker(plan)
    worker.generate(first)
    assert [o.state for o in worker.outcomes(wait_for_all=True)] == ["drawn"]
    worker.generate(second)
    [outcome] = worker.outcomes(wait_for_all=True)
    assert (outcome.state, outcome.error) == ("failed", "another video has its name")
    assert worker.folder.done(first[0])
    worker.plan = replace(plan, overwrite=True)
    worker.generate(second)
    assert [o.state for o in worker.outcomes(wait_for_all=True)] == ["drawn"]
    worker.close()


def test_a_damaged_image_fails_alone(tmp_path, capsys):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    for name in ("a.png", "b.png"):
        Image.fromarray(noise).save(tmp_path / name)
    data = (tmp_path / "b.png").read_bytes()
    (tmp_path / "b.png").write_bytes(data[: len(data) // 2])
    path = tmp_path / "p.csv"
    path.write_text(f"prompt,image\n{PROMPTS[0]},b.png\n{PROMPTS[0]},a.png\n")
    flags = ["--model", "tiny-i2v", "--max-retries", "0", "--batch-size", "2"]
    code, summary, _ = here(capsys, path, tmp_path / "out", *flags, "--continue-on-error")
    assert (code, summary["drawn"], summary["failed"]) == (1, 1, 1)
    assert summary["failures"][0]["line"] == 2
    assert "b.png" in summary["failures"][0]["error"]
    assert names(tmp_path / "out") == {"0001.mp4", "0001.json", *OWN}
    assert "failed: 0000" in run(capsys, "status", str(tmp_path / "out"))[1]
    code, _, err = here(capsys, path, tmp_path / "text", "--model", "tiny-t2v")
    assert (code, "line 2: TextToVideoSDPipeline generates from text alone" in err) == (2, True)
    path.write_text(PROMPTS[0])
    code, _, err = here(capsys, path.rename(tmp_path / "p.txt"), tmp_path / "text", "--model", "tiny-i2v")
    assert (code, "line 1: I2VGenXLPipeline generates from an image" in err) == (2, True)


def test_a_full_disk_is_one_error(prompt_file, tmp_path, capsys):
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24k", "tmpfs", str(small)], capture_output=True).returncode:
        pytest.skip("this user can't mount a small tmpfs")
    try:
        code, _, err = here(capsys, prompt_file, small / "out", "--format", "mkv", "--continue-on-error")
        assert code == 2
        assert "No space left" in err
        assert err.count("\n") == 1
        for record in (small / "out").glob("0*.json"):
            assert Video.read(record.with_suffix(".mkv")).sha256() == RunRecord.from_file(record).frames_sha256
        assert not (small / "out" / HIDDEN).exists()
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_folders_that_cant_be_written_to(prompt_file, tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    for out in (tmp_path / "file", tmp_path / "file" / "out", tmp_path / ("x" * 300)):
        for flags in ([], ["--dry-run"]) if out.name[0] == "x" else ([],):
            code, _, err = here(capsys, prompt_file, out, *flags)
            assert (code, err.count("\n")) == (2, 1)
    if os.geteuid() == 0:  # root may write anywhere but there
        out = Path("/proc/videoada")
    else:
        out = tmp_path / "locked"
        out.mkdir(mode=0o500)
    assert here(capsys, prompt_file, out)[0] == 2


def test_nothing_is_left_of_a_command_that_drew_nothing(prompt_file, tmp_path, capsys):
    code, _, err = here(capsys, prompt_file, tmp_path / "a" / "out", "--model", str(tmp_path / "none"))
    assert (code, err.count("\n")) == (2, 1)
    assert not (tmp_path / "a" / "out").exists()


@pytest.mark.parametrize("flags", [[], pytest.param(["--workers", "2"], marks=pytest.mark.slow)])
def test_ctrl_c_leaves_whole_videos(prompt_file, tmp_path, flags):
    out = tmp_path / "out"
    run = subprocess.Popen(
        [sys.executable, "-m", "videoada", "render", str(prompt_file), "--out", str(out), "--steps", "9",
         "--format", "mkv", *flags],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, start_new_session=True,
        preexec_fn=heed_interrupts,
    )  # fmt: skip
    while run.poll() is None and not list(out.glob("*.json")):
        time.sleep(0.05)
    while run.poll() is None and not list(out.glob("0*.json")):
        time.sleep(0.05)
    os.killpg(run.pid, signal.SIGINT)
    err = run.communicate()[1].decode()
    assert run.returncode == 130, err
    assert "Traceback" not in err
    done = {path.stem for path in out.glob("0*.json")}
    videos = {f"{name}{end}" for name in done for end in (".mkv", ".json")}
    assert names(out) == videos | {"render.json", "manifest.jsonl"}


def test_a_video_whose_record_was_never_written_does_not_stay(prompt_file, tmp_path, monkeypatch):
    """As when a worker is killed between its video and its record."""
    out, aside = tmp_path / "out", RenderFolder.aside

    def killed(folder, name, ending):
        if (name, ending) == ("0001", ".json"):
            raise KeyboardInterrupt
        return aside(folder, name, ending)

    monkeypatch.setattr(RenderFolder, "aside", killed)
    with pytest.raises(KeyboardInterrupt):
        render_prompts(prompt_file, out, steps=2, format="gif", limit=2)
    assert names(out) == {"0000.gif", "0000.json", "render.json", "manifest.jsonl"}


def test_an_interrupt_touches_no_one_elses_file(prompt_file, tmp_path, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    (out / "0002.gif").write_bytes(b"another's")

    def interrupted(worker, batch):
        raise KeyboardInterrupt

    monkeypatch.setattr(Worker, "generate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        render_prompts(prompt_file, out, steps=2, format="gif")
    assert (out / "0002.gif").read_bytes() == b"another's"
