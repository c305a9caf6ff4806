"""videoada render and status on the embedded model: resumed, shared, killed, refused; by the real command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from commandline import run
from prompt_files import FEW, PROMPTS, command, contents, hashes, here, names, whole

from videoada.config.prompts import read_entries
from videoada.media.video import Video
from videoada.metrics import paired_fidelity
from videoada.records.record import RunRecord
from videoada.rendering.folder import HIDDEN
from videoada.rendering.locks import byte_of

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def alone(prompt_file, tmp_path_factory):
    """What one process draws, one prompt at a time."""
    out = tmp_path_factory.mktemp("alone") / "out"
    command(prompt_file, out, "--format", "mkv")
    return out


# ---- drawing and resuming --------------------------------------------------------------------------------------------


def test_a_file_is_rendered_whole(alone, capsys):
    assert names(alone) == whole(6)
    records = {path.stem: RunRecord.from_file(path) for path in alone.glob("0*.json")}
    assert [records[f"{i:04d}"].request.prompt for i in range(6)] == PROMPTS
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
    assert "there: 6 of 6 videos" in run(capsys, "status", str(alone))[1]


def test_only_what_is_missing_is_drawn(alone, prompt_file, tmp_path, capsys):
    out = tmp_path / "out"
    shutil.copytree(alone, out)
    (out / "0001.json").unlink()
    (out / "0004.mkv").unlink()
    (out / "manifest.jsonl").unlink()
    left = out / HIDDEN / f"{byte_of('0002'):016x}-0123abcd.mkv"
    left.parent.mkdir()
    left.write_bytes(b"half a video")
    (out / HIDDEN / "run-0123abcd.json").write_text('{"videos": 9, "drawn": 1, "updated": 0, "pid": 1, "host": "x"}')
    code, summary, _ = here(capsys, prompt_file, out, "--format", "mkv")
    assert (code, summary["drawn"], summary["there"]) == (0, 2, 4)
    assert names(out) == whole(6)
    assert hashes(out) == hashes(alone)
    assert here(capsys, prompt_file, out, "--format", "mkv")[1]["drawn"] == 0


def test_other_settings_are_refused(alone, prompt_file, tmp_path, capsys):
    out = tmp_path / "out"
    shutil.copytree(alone, out)
    before = contents(out)
    for flags, what in (
        (["--format", "mkv", "--quality", "fast"], "quality"), ([], "--format mkv"),
        (["--format", "mkv", "--naming", "vbench"], "--naming id"),
        (["--format", "mkv", "--naming", "slug"], "--naming id"),
        (["--format", "mkv", "--seed", "4"], "--seed not given"),
    ):  # fmt: skip
        code, _, err = here(capsys, prompt_file, out, *flags)
        assert (code, what in err) == (2, True), err
        assert contents(out) == before
    other = tmp_path / "q.txt"
    other.write_text(f"{PROMPTS[1]}\n{PROMPTS[0]}\n")
    code, _, err = here(capsys, other, out, "--format", "mkv")
    assert code == 2
    assert "is of another prompt or other settings than line 1" in err
    code, summary, _ = here(capsys, prompt_file, out, "--format", "mkv", "--seed", "4", "--overwrite", "--limit", "2")
    assert (code, summary["drawn"]) == (0, 2)
    assert hashes(out)["0000"] != hashes(alone)["0000"]
    assert hashes(out)["0005"] == hashes(alone)["0005"]


def test_batches_change_nothing_but_rounding(alone, prompt_file, tmp_path, capsys):
    out = tmp_path / "out"
    assert here(capsys, prompt_file, out, "--format", "mkv", "--batch-size", "4")[0] == 0
    for i in range(6):
        one, other = (RunRecord.from_file(folder / f"{i:04d}.json") for folder in (out, alone))
        assert one.computed == other.computed
        frames = [Video.read(folder / f"{i:04d}.mkv").frames for folder in (out, alone)]
        fidelity = paired_fidelity(*frames, flow=False)
        assert fidelity.psnr is None or fidelity.psnr >= 60


@pytest.mark.slow
def test_workers_and_shards_change_nothing(alone, prompt_file, tmp_path, capsys):
    out = tmp_path / "out"
    first = here(capsys, prompt_file, out, "--format", "mkv", "--shard", "2/3")[1]
    second = command(prompt_file, out, "--format", "mkv", "--workers", "2")
    assert (first["drawn"], second["drawn"], second["there"]) == (2, 4, 2)
    assert names(out) == whole(6)
    assert hashes(out) == hashes(alone)


def test_two_commands_share_the_work(alone, prompt_file, tmp_path):
    out = tmp_path / "out"
    with ThreadPoolExecutor(2) as pool:
        parts = [pool.submit(command, prompt_file, out, "--format", "mkv") for _ in range(2)]
        summaries = [part.result() for part in parts]
    assert sum(summary["drawn"] for summary in summaries) == 6  # none twice
    assert all(summary["done"] == 6 for summary in summaries)
    assert names(out) == whole(6)
    assert hashes(out) == hashes(alone)


@pytest.mark.slow
def test_accelerate_launch_shares_the_work(alone, prompt_file, tmp_path):
    out = tmp_path / "out"
    launch = [
        sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "--num_machines", "1",
        "--mixed_precision", "no", "--dynamo_backend", "no", "-m",
    ]  # fmt: skip
    subprocess.run(
        [*launch, "videoada", "render", str(prompt_file), "--out", str(out), *FEW, "--format", "mkv"], check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True,
    )  # fmt: skip
    assert names(out) == whole(6)
    assert hashes(out) == hashes(alone)


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
    assert first.request.seed != second.request.seed


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


def test_dry_runs_write_nothing(alone, prompt_file, tmp_path, capsys):
    code, found, _ = here(capsys, prompt_file, tmp_path / "out", "--dry-run", "--batch-size", "4")
    assert code == 0
    assert (found["videos"], found["missing"], found["batches"], found["measured_on"]) == (6, 6, 2, 1)
    assert found["unet_rows_full"] == 6 * 5 * 2
    assert not (tmp_path / "out").exists()
    out = tmp_path / "out"
    shutil.copytree(alone, out)
    (out / "0003.json").unlink()
    before = names(out)
    code, found, _ = here(capsys, prompt_file, out, "--dry-run", "--format", "mkv")
    assert (found["there"], found["missing"], found["measured_on"]) == (5, 1, 5)
    assert names(out) == before


def test_rows_of_a_file_that_is_rendered_can_be_read_again(alone):
    assert [row.fields["prompt"] for row in read_entries(alone / "manifest.jsonl")] == PROMPTS


def test_status_of_no_such_folder(tmp_path, capsys):
    for folder, problem in ((tmp_path, "is no folder of `videoada render`"), (tmp_path / ("x" * 300), "too long")):
        code, _, err = run(capsys, "status", str(folder))
        assert (code, err.count("\n"), problem in err) == (2, 1, True)
