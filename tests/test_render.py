"""videoada render and status on the embedded model: resumed, shared, killed, refused; by the real command line."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_cli import run

import videoada.engines.processes
import videoada.render
from videoada.engines.processes import Processes
from videoada.errors import OutputError, ResourceError
from videoada.folder import HIDDEN, RenderFolder
from videoada.jobs import plan_jobs
from videoada.locks import NameLocks, place
from videoada.metrics import paired_fidelity
from videoada.prompts import PromptRow, read_rows
from videoada.records import RunRecord
from videoada.render import render
from videoada.settings import RunSettings
from videoada.video import Video
from videoada.worker import Outcome, Worker, WorkerPlan

ROOT = Path(__file__).resolve().parent.parent
PROMPTS = (ROOT / "samples" / "prompts.txt").read_text().splitlines()[:6]
FEW = ["--steps", "5", "--num-frames", "4", "--quiet", "--json"]
OWN = {"render.json", "manifest.jsonl", "summary.json"}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    path = tmp_path_factory.mktemp("prompts") / "p.txt"
    path.write_text("\n".join(PROMPTS))
    return path


@pytest.fixture(scope="module")
def alone(prompts, tmp_path_factory):
    """What one process draws, one prompt at a time."""
    out = tmp_path_factory.mktemp("alone") / "out"
    command(prompts, out, "--format", "mkv")
    return out


def command(prompts, out, *flags, check=True):
    """In a process of its own, with one thread."""
    done = subprocess.run(
        [sys.executable, "-m", "videoada", "render", str(prompts), "--out", str(out), *FEW, *flags],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, check=check, capture_output=True, text=True,
    )  # fmt: skip
    return json.loads(done.stdout) if check else done


def here(capsys, prompts, out, *flags):
    code, text, err = run(capsys, "render", str(prompts), "--out", str(out), *FEW, *flags)
    return code, json.loads(text) if text else None, err


def names(out):
    return {str(path.relative_to(out)) for path in Path(out).rglob("*")}


def contents(out):
    return {path: path.read_bytes() for path in Path(out).rglob("*") if path.is_file()}


def hashes(out):
    return {path.stem: RunRecord.from_file(path).frames_sha256 for path in Path(out).glob("0*.json")}


def whole(count, ending=".mkv"):
    return {f"{i:04d}{end}" for i in range(count) for end in (ending, ".json")} | OWN


# ---- drawing and resuming --------------------------------------------------------------------------------------------


def test_a_file_is_rendered_whole(alone, capsys):
    assert names(alone) == whole(6)
    records = {path.stem: RunRecord.from_file(path) for path in alone.glob("0*.json")}
    assert [records[f"{i:04d}"].prompt for i in range(6)] == PROMPTS
    for name, record in records.items():
        assert Video.read(alone / f"{name}.mkv").sha256() == record.frames_sha256
    manifest = [json.loads(line) for line in (alone / "manifest.jsonl").read_text().splitlines()]
    assert [row["file"] for row in manifest] == [f"{i:04d}.mkv" for i in range(6)]
    summary = json.loads((alone / "summary.json").read_text())
    assert (summary["drawn"], summary["failed"]) == (6, 0)
    assert summary["unet_rows"] == sum(record.unet_rows for record in records.values())
    code, out, _ = run(capsys, "status", str(alone), "--json")
    assert code == 0
    assert (json.loads(out)["done"], json.loads(out)["at_work"]) == (6, [])
    assert "6 of 6 videos are there" in run(capsys, "status", str(alone))[1]


def test_only_what_is_missing_is_drawn(alone, prompts, tmp_path, capsys):
    out = tmp_path / "out"
    shutil.copytree(alone, out)
    (out / "0001.json").unlink()
    (out / "0004.mkv").unlink()
    (out / "manifest.jsonl").unlink()
    left = out / HIDDEN / f"{place('0002'):016x}-0123abcd.mkv"
    left.parent.mkdir()
    left.write_bytes(b"half a video")
    (out / HIDDEN / "run-0123abcd.json").write_text('{"videos": 9, "drawn": 1, "updated": 0, "pid": 1, "host": "x"}')
    code, summary, _ = here(capsys, prompts, out, "--format", "mkv")
    assert (code, summary["drawn"], summary["there"]) == (0, 2, 4)
    assert names(out) == whole(6)
    assert hashes(out) == hashes(alone)
    assert here(capsys, prompts, out, "--format", "mkv")[1]["drawn"] == 0


def test_other_settings_are_refused(alone, prompts, tmp_path, capsys):
    out = tmp_path / "out"
    shutil.copytree(alone, out)
    before = contents(out)
    for flags, what in (
        (["--format", "mkv", "--quality", "fast"], "quality"), ([], "format mkv"),
        (["--format", "mkv", "--naming", "vbench"], "naming id"),
        (["--format", "mkv", "--naming", "slug"], "naming id"), (["--format", "mkv", "--seed", "4"], "seed not given"),
    ):  # fmt: skip
        code, _, err = here(capsys, prompts, out, *flags)
        assert (code, what in err) == (2, True), err
        assert contents(out) == before
    other = tmp_path / "q.txt"
    other.write_text(f"{PROMPTS[1]}\n{PROMPTS[0]}\n")
    code, _, err = here(capsys, other, out, "--format", "mkv")
    assert code == 2
    assert "is of another prompt or other settings than line 1" in err
    code, summary, _ = here(capsys, prompts, out, "--format", "mkv", "--seed", "4", "--overwrite", "--limit", "2")
    assert (code, summary["drawn"]) == (0, 2)
    assert hashes(out)["0000"] != hashes(alone)["0000"]
    assert hashes(out)["0005"] == hashes(alone)["0005"]


def test_batches_change_nothing_but_rounding(alone, prompts, tmp_path, capsys):
    out = tmp_path / "out"
    assert here(capsys, prompts, out, "--format", "mkv", "--batch-size", "4")[0] == 0
    for i in range(6):
        one, other = (RunRecord.from_file(folder / f"{i:04d}.json") for folder in (out, alone))
        assert one.computed == other.computed
        frames = [Video.read(folder / f"{i:04d}.mkv").frames for folder in (out, alone)]
        fidelity = paired_fidelity(*frames, flow=False)
        assert fidelity.psnr is None or fidelity.psnr >= 60


def test_workers_and_shards_change_nothing(alone, prompts, tmp_path):
    out = tmp_path / "out"
    first = command(prompts, out, "--format", "mkv", "--shard", "2/3")
    second = command(prompts, out, "--format", "mkv", "--workers", "2")
    assert (first["drawn"], second["drawn"], second["there"]) == (2, 4, 2)
    assert names(out) == whole(6)
    assert hashes(out) == hashes(alone)


def test_two_commands_share_the_work(alone, prompts, tmp_path):
    out = tmp_path / "out"
    with ThreadPoolExecutor(2) as pool:
        parts = [pool.submit(command, prompts, out, "--format", "mkv") for _ in range(2)]
        summaries = [part.result() for part in parts]
    assert sum(summary["drawn"] for summary in summaries) == 6  # none twice
    assert all(summary["done"] == 6 for summary in summaries)
    assert names(out) == whole(6)
    assert hashes(out) == hashes(alone)


def test_accelerate_launch_shares_the_work(alone, prompts, tmp_path):
    out = tmp_path / "out"
    launch = [
        sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "--num_machines", "1",
        "--mixed_precision", "no", "--dynamo_backend", "no", "-m",
    ]  # fmt: skip
    subprocess.run(
        [*launch, "videoada", "render", str(prompts), "--out", str(out), *FEW, "--format", "mkv"], check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True,
    )  # fmt: skip
    assert names(out) == whole(6)
    assert hashes(out) == hashes(alone)


# ---- kills -----------------------------------------------------------------------------------------------------------


def test_killed_and_resumed(tmp_path):
    """The short form of scripts/kill_render.py."""
    subprocess.run(
        [sys.executable, str(ROOT / "scripts/kill_render.py"), "--videos", "6", "--steps", "5", "--kills", "3",
         "--wait", "3", "7", "--folder", str(tmp_path / "kills")], check=True, timeout=240,
    )  # fmt: skip


def test_a_ray_node_is_killed(tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed")
    subprocess.run(
        [sys.executable, str(ROOT / "scripts/kill_render.py"), "--engine", "ray", "--videos", "6", "--steps", "5",
         "--kills", "1", "--wait", "8", "9", "--folder", str(tmp_path / "kills")], check=True, timeout=240,
    )  # fmt: skip


def test_locks(tmp_path):
    first, second = (NameLocks(tmp_path / HIDDEN / "lock") for _ in range(2))
    assert first.acquire("a")
    assert not first.acquire("a")
    assert not second.acquire("a")
    assert second.acquire("b")
    code = (
        "import os, sys\nfrom videoada.locks import NameLocks\n"
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
    rows = [PromptRow(i + 1, None, {"prompt": f"prompt {i}"}) for i in range(count)]
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
    assert (progress.drawn, progress.failed, progress.retried) == (5, {}, 5)
    assert engine.batches[0] == [job.name for job in jobs]
    assert all(len(batch) == 1 for batch in engine.batches[1:])
    engine = Scripted({"0001": ["failed"] * 9})
    progress = render(jobs, folder, engine, max_retries=2, continue_on_error=True)
    assert (progress.drawn, progress.failed) == (4, {"0001": "why"})
    assert sum(batch == ["0001"] for batch in engine.batches) == 3
    for retries in (0, 3):
        engine = Scripted({"0001": ["failed"] * 9})
        progress = render(jobs, folder, engine, max_retries=retries)
        assert (progress.drawn, list(progress.failed)) == (1, ["0001"])  # it stopped
    engine = Scripted({"0002": ["fatal failed"]})
    with pytest.raises(OutputError, match="why"):
        render(jobs, folder, engine, continue_on_error=True)
    assert engine.killed
    engine = Scripted({"0001": ["lost"] * 99})
    assert list(render(jobs, folder, engine, continue_on_error=True).failed) == ["0001"]


def test_what_another_draws_is_waited_for_and_taken_over(tmp_path, monkeypatch):
    monkeypatch.setattr(videoada.render, "PAUSE", 0.01)
    folder, jobs = jobs_of(2, tmp_path)
    other = NameLocks(tmp_path / "out" / HIDDEN / "lock")
    assert other.acquire("0001")
    engine = Scripted({"0001": ["busy", "drawn"]})
    looks = []

    def look(seconds):
        looks.append(seconds)
        if len(looks) == 3:
            other.close()  # it died

    monkeypatch.setattr(videoada.render.time, "sleep", look)
    progress = render(jobs, folder, engine)
    assert (progress.drawn, len(looks)) == (2, 3)


def test_a_row_that_kills_its_worker_ends_no_render(tmp_path, monkeypatch):
    """Real processes, whose worker is one that dies over some rows."""
    folder, jobs = jobs_of(4, tmp_path)
    plan = WorkerPlan(str(tmp_path / "out"), ".mp4", "tiny-t2v", RunSettings().loading())
    monkeypatch.setattr(videoada.engines.processes, "work", poisoned_work)
    engine = Processes(plan, 2)
    progress = render(jobs, folder, engine, continue_on_error=True)
    engine.close()
    assert list(progress.failed) == ["0002"]
    assert "signal 9" in progress.failed["0002"]
    assert progress.drawn == 3
    monkeypatch.setattr(videoada.engines.processes, "work", dying_work)
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
    rows = [[PromptRow(1, None, {"prompt": prompt})] for prompt in PROMPTS[:2]]
    first, second = (plan_jobs(each, RunSettings(steps=1, num_frames=2)) for each in rows)
    plan = WorkerPlan(str(tmp_path / "out"), ".mkv", "tiny-t2v", RunSettings().loading())
    worker = Worker(plan)
    worker.draw(first)
    assert [o.state for o in worker.outcomes(wait_for_all=True)] == ["drawn"]
    worker.draw(second)
    [outcome] = worker.outcomes(wait_for_all=True)
    assert (outcome.state, outcome.error) == ("failed", "another video has its name")
    assert worker.folder.done(first[0])
    worker.plan = replace(plan, overwrite=True)
    worker.draw(second)
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
    assert (code, "line 2 names an image" in err) == (2, True)
    path.write_text(PROMPTS[0])
    code, _, err = here(capsys, path.rename(tmp_path / "p.txt"), tmp_path / "text", "--model", "tiny-i2v")
    assert (code, "line 1 names no image" in err) == (2, True)


def test_a_full_disk_is_one_error(prompts, tmp_path, capsys):
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24k", "tmpfs", str(small)], capture_output=True).returncode:
        pytest.skip("this user can't mount a small tmpfs")
    try:
        code, _, err = here(capsys, prompts, small / "out", "--format", "mkv", "--continue-on-error")
        assert code == 2
        assert "No space left" in err
        assert err.count("\n") == 1
        for record in (small / "out").glob("0*.json"):
            assert Video.read(record.with_suffix(".mkv")).sha256() == RunRecord.from_file(record).frames_sha256
        assert not (small / "out" / HIDDEN).exists()
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_folders_that_cant_be_written_to(prompts, tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    for out in (tmp_path / "file", tmp_path / "file" / "out"):
        code, _, err = here(capsys, prompts, out)
        assert (code, err.count("\n")) == (2, 1)
    if os.geteuid() == 0:  # root may write anywhere but there
        out = Path("/proc/videoada")
    else:
        out = tmp_path / "locked"
        out.mkdir(mode=0o500)
    assert here(capsys, prompts, out)[0] == 2


def test_odd_prompts(tmp_path, capsys):
    rows = ["a red circle " * 800, "../../etc/passwd", "🙂 " + PROMPTS[0], PROMPTS[0], PROMPTS[0], "x" * 300]
    path = tmp_path / "p.jsonl"
    path.write_text("\r\n".join(json.dumps(row) for row in rows), encoding="utf-8-sig")
    before = names(tmp_path)
    code, summary, err = here(capsys, path, tmp_path / "out", "--naming", "vbench", "--steps", "1", "--num-frames", "2")
    assert (code, summary["drawn"]) == (0, 6), err
    assert {name.split("/")[0] for name in names(tmp_path) - before} == {"out"}
    listed = json.loads((tmp_path / "out" / "prompt_file.json").read_text())
    assert sorted(listed.values()) == sorted(rows)
    first, second = (RunRecord.from_file(tmp_path / "out" / f"{PROMPTS[0]}-{i}.json") for i in (0, 1))
    assert first.seed != second.seed


def test_vbench_finds_every_video(tmp_path, capsys):
    """VBench's loader: `{prompt}-{0…4}` with the ending of whatever os.listdir names first."""
    rows = [{"prompt_en": prompt, "dimension": ["color"]} for prompt in PROMPTS[:2]]
    path = tmp_path / "VBench_full_info.json"
    path.write_text(json.dumps(rows))
    out = tmp_path / "out"
    flags = [
        "--naming",
        "vbench",
        "--samples-per-prompt",
        "5",
        "--batch-size",
        "5",
        "--steps",
        "1",
        "--num-frames",
        "2",
    ]
    assert here(capsys, path, out, *flags)[0] == 0
    folder = out / "videos"
    listed = os.listdir(folder)
    ending = Path(listed[0]).suffix
    tried = [f"{row['prompt_en']}-{i}{ending}" for row in rows for i in range(5)]
    assert sorted(listed) == sorted(tried)
    for name in tried:
        assert Video.read(folder / name).frames.shape == (2, 64, 64, 3)
        assert (out / name).is_file()
    prompt_file = json.loads((out / "prompt_file.json").read_text())
    assert prompt_file == {f"{row['prompt_en']}-{i}{ending}": row["prompt_en"] for row in rows for i in range(5)}


def test_ids_may_name_folders(tmp_path, capsys):
    path = tmp_path / "p.csv"
    path.write_text(f"id,prompt\ncolor/0001,{PROMPTS[0]}\nmotion/0001.mp4,{PROMPTS[1]}\n")
    assert here(capsys, path, tmp_path / "out", "--steps", "1", "--format", "frames")[0] == 0
    assert len(list((tmp_path / "out/motion/0001").glob("*.png"))) == 4
    manifest = [json.loads(line)["file"] for line in (tmp_path / "out/manifest.jsonl").read_text().splitlines()]
    assert manifest == ["color/0001", "motion/0001"]
    assert here(capsys, path, tmp_path / "out", "--steps", "1", "--format", "frames")[1]["drawn"] == 0


def test_dry_runs_write_nothing(alone, prompts, tmp_path, capsys):
    code, found, _ = here(capsys, prompts, tmp_path / "out", "--dry-run", "--batch-size", "4")
    assert code == 0
    assert (found["videos"], found["missing"], found["batches"], found["measured_on"]) == (6, 6, 2, 1)
    assert found["unet_rows_full"] == 6 * 5 * 2
    assert not (tmp_path / "out").exists()
    out = tmp_path / "out"
    shutil.copytree(alone, out)
    (out / "0003.json").unlink()
    before = names(out)
    code, found, _ = here(capsys, prompts, out, "--dry-run", "--format", "mkv")
    assert (found["there"], found["missing"], found["measured_on"]) == (5, 1, 5)
    assert names(out) == before


def test_rows_of_a_file_that_is_rendered_can_be_read_again(alone):
    assert [row.fields["prompt"] for row in read_rows(alone / "manifest.jsonl")] == PROMPTS


def test_nothing_is_left_of_a_command_that_drew_nothing(prompts, tmp_path, capsys):
    code, _, err = here(capsys, prompts, tmp_path / "a" / "out", "--model", str(tmp_path / "none"))
    assert (code, err.count("\n")) == (2, 1)
    assert not (tmp_path / "a" / "out").exists()


@pytest.mark.parametrize("flags", [[], ["--workers", "2"]])
def test_ctrl_c_leaves_whole_videos(prompts, tmp_path, flags):
    out = tmp_path / "out"
    run = subprocess.Popen(
        [sys.executable, "-m", "videoada", "render", str(prompts), "--out", str(out), "--steps", "9", "--format", "mkv",
         *flags], env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, start_new_session=True,
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


def test_status_of_no_such_folder(tmp_path, capsys):
    code, _, err = run(capsys, "status", str(tmp_path))
    assert (code, "is no folder of `videoada render`" in err) == (2, True)
