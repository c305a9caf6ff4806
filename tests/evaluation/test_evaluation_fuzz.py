"""Damaged videos, records, results and statistics through the command line: a line of error or a right number."""

from __future__ import annotations

import io
import json
import shutil
import time
from contextlib import redirect_stderr, redirect_stdout

import numpy as np
import pytest
from made_videos import PROMPTS, noisy, record

import videoada
from videoada.cli import main
from videoada.media.video import Video
from videoada.shapes import render

KINDS = {"video": 80, "record": 40, "result": 40, "statistics": 40}
STRANGE = [None, True, -1, 1e300, 10**12, "x" * 50, [], {}, [1, "a"], {"a": 1}]
FIDELITY = {"psnr": 30.0, "psnr_frame_mean": 31.0, "psnr_worst_frame": 29.0, "ssim": 0.9, "tof": 0.1,
            "identical": False, "speedup": 2.0, "latent_error": [0.0, 0.1, 0.1, 0.1]}  # fmt: skip
COHERENCE = {"failed": ["still_share"], "passed": False, "still_share": 1.0}
MORE = {
    "fidelity": FIDELITY, "coherence": COHERENCE, "guidance_skipped": [False] * 4, "taken_again": [False] * 4,
    "early_exit": {"threshold": 0.1, "num_exits": 3, "steps": [3, 1, None, 3], "macs": 0.8},
    "savings": {"step_count": 0.1, "skipping": 0.1, "early_exit": 0.1, "computed": 0.7},
    "signal_percentiles": {"p10": 0.1, "p50": 0.2, "p90": 0.4}, "model_defaults": ["fps"], "not_used": ["seed"],
}  # fmt: skip
SLOWEST = 20  # seconds of one call; a hang, not a measurement


def command(*args):
    out, err = io.StringIO(), io.StringIO()
    began = time.monotonic()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as left:
        main([str(a) for a in args])
    assert time.monotonic() - began < SLOWEST, args
    assert left.value.code in (0, 1, 2), err.getvalue()
    assert "Traceback" not in err.getvalue()
    if left.value.code == 2:
        assert err.getvalue().startswith("error: ")
        assert err.getvalue().count("\n") == 1, err.getvalue()
    return left.value.code, out.getvalue()


def mutated(data, rng):
    """A few bytes changed, cut out, put in, or the end cut off."""
    data = bytearray(data)
    for _ in range(int(rng.integers(1, 6))):
        at = int(rng.integers(len(data)))
        match int(rng.integers(5)):
            case 0 | 1:
                data[at] = int(rng.integers(256))
            case 2:
                del data[at : at + int(rng.integers(1, 40))]
            case 3:
                data[at:at] = rng.bytes(int(rng.integers(1, 20)))
            case 4:
                data = data[: max(at, 1)]
    return bytes(data)


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    root = tmp_path_factory.mktemp("fuzz")
    for side, policy in (("full", "none"), ("skipped", "third-order")):
        (root / side).mkdir()
        for seed in range(3):
            frames = render(PROMPTS[seed], seed=seed, size=32)
            frames = frames if policy == "none" else noisy(frames, seed)
            kept = record(PROMPTS[seed], seed, policy, height=32, width=32,
                          frames_sha256=Video(frames).sha256())  # fmt: skip
            name = f"{seed}{('.mkv', '.webp', '.mp4')[seed]}"
            Video(frames).write(root / side / name, kept.to_json())
            (root / side / f"{seed}.json").write_text(kept.to_json())
    sides = ("--generated", root / "skipped", "--reference", root / "full")
    code, text = command("evaluate", *sides, "--any-codec", "--json")
    assert code == 0
    (root / "result.json").write_text(text)
    stats = "--save-stats", root / "stats.safetensors"
    assert command("evaluate", "--reference", root / "full", "--any-codec", *stats)[0] == 0
    return root


def finite(value):
    if isinstance(value, dict):
        return all(finite(v) for v in value.values())
    if isinstance(value, list):
        return all(finite(v) for v in value)
    return not isinstance(value, float) or np.isfinite(value)


@pytest.mark.slow
def test_damaged_videos(originals, tmp_path):
    """Lossless files either give the very numbers of the whole ones or are refused by name."""
    rng = np.random.default_rng(1)
    whole = json.loads((originals / "result.json").read_text())
    rows = {row["video"]: row["fidelity"] for row in whole["videos"]}
    refused = 0
    for i in range(KINDS["video"]):
        name = ("0.mkv", "1.webp", "2.mp4")[i % 3]
        made = tmp_path / f"{i}"
        made.mkdir()
        (made / name).write_bytes(mutated((originals / "skipped" / name).read_bytes(), rng))
        shutil.copy(originals / "skipped" / f"{name[0]}.json", made)  # the record beside it stays whole
        args = "--generated", made, "--reference", originals / "full", "--metrics", "psnr,ssim,coherence"
        code, text = command("evaluate", *args, "--any-codec", "--json")
        command("check", made / name)
        command("evaluate", "--generated", made, "--num-frames", 4, "--metrics", "coherence")
        refused += code == 2
        if code == 0:
            result = json.loads(text)
            assert finite(result)
            found = result["videos"][0]["fidelity"]
            if found and not name.endswith(".mp4"):  # a lossy file has nothing to be held against
                assert found["psnr"] == pytest.approx(rows[name]["psnr"], abs=1e-9), name
    assert refused > KINDS["video"] / 2


def test_damaged_records(originals, tmp_path):
    rng = np.random.default_rng(2)
    for i in range(KINDS["record"]):
        folder = tmp_path / f"{i}"
        folder.mkdir()
        Video.read(originals / "skipped" / "0.mkv").write(folder / "0.mkv")
        (folder / "0.json").write_bytes(mutated((originals / "skipped" / "0.json").read_bytes(), rng))
        args = "--generated", folder, "--reference", originals / "full", "--metrics", "psnr,agreement", "--json"
        code, text = command("evaluate", *args, "--any-codec")
        if code == 0:
            assert finite(json.loads(text))
        command("report", folder, "--output", folder / "report.html", "--videos", "none")
        command("inspect", folder / "0.mkv")


def reshaped(value, rng):
    """Valid JSON of another shape: somewhere in it a key is gone, or a value is of another kind."""
    places = []

    def walk(node):
        for key in node if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], (dict, list)):
                walk(node[key])

    walk(value)
    node, key = places[int(rng.integers(len(places)))]
    if isinstance(node, dict) and rng.random() < 0.3:
        del node[key]
    else:
        node[key] = STRANGE[int(rng.integers(len(STRANGE)))]
    return json.dumps(value).encode()


def test_measures_of_another_kind(originals, tmp_path):
    """Every measure of a record with every strange value: a page of the videos that have one is never refused."""
    whole = json.loads((originals / "skipped" / "0.json").read_text())
    groups = [name for name, values in MORE.items() if isinstance(values, dict)]
    bare = tmp_path / "bare.mkv"  # a record in the file would be read instead
    Video.read(originals / "skipped" / "0.mkv").write(bare)
    for kind, name in [(group, name) for group in groups for name in MORE[group]]:
        folder = tmp_path / f"{kind}-{name}"
        folder.mkdir()
        for i, value in enumerate(STRANGE):
            shutil.copy(bare, folder / f"{i}.mkv")
            changed = whole | MORE | {kind: MORE[kind] | {name: value}}
            (folder / f"{i}.json").write_text(json.dumps(changed))
            command("inspect", folder / f"{i}.mkv", "--steps")
        shutil.copy(bare, folder / "whole.mkv")
        (folder / "whole.json").write_text(json.dumps(whole | MORE))
        code, _ = command("report", folder, "--output", tmp_path / "report.html", "--videos", "none")
        assert code == 0, name
        assert "whole.mkv" in (tmp_path / "report.html").read_text()


@pytest.mark.slow
def test_records_and_results_of_another_shape(originals, tmp_path):
    rng = np.random.default_rng(5)
    whole = (originals / "result.json").read_text()
    kept = json.loads((originals / "skipped" / "0.json").read_text())
    kept = json.dumps(kept | MORE)
    for i in range(60):
        file = tmp_path / f"{i}.json"
        file.write_bytes(reshaped(json.loads(whole), rng))
        command("report", "--evaluation", file, "--output", tmp_path / "report.html", "--videos", "none")
        folder = tmp_path / f"{i}"
        folder.mkdir()
        Video.read(originals / "skipped" / "0.mkv").write(folder / "0.mkv")
        (folder / "0.json").write_bytes(reshaped(json.loads(kept), rng))
        command("report", folder, "--output", folder / "report.html", "--videos", "none")
        command("inspect", folder / "0.mkv")


def test_damaged_results(originals, tmp_path):
    rng = np.random.default_rng(3)
    for i in range(KINDS["result"]):
        file = tmp_path / f"{i}.json"
        file.write_bytes(mutated((originals / "result.json").read_bytes(), rng))
        command("report", "--evaluation", file, "--output", tmp_path / "report.html", "--videos", "none")


def test_damaged_statistics(originals, tmp_path):
    """Whole, or refused: a checksum stands over features and words alike."""
    rng = np.random.default_rng(4)
    data = (originals / "stats.safetensors").read_bytes()
    whole = videoada.metrics.VideoStatistics.load(originals / "stats.safetensors")
    for i in range(KINDS["statistics"]):
        file = tmp_path / f"{i}.safetensors"
        file.write_bytes(mutated(data, rng))
        code, text = command("evaluate", "--generated", originals / "skipped", "--reference-stats", file,
                             "--any-codec", "--json")  # fmt: skip
        if code == 0:
            again = videoada.metrics.VideoStatistics.load(file)
            assert (again.features == whole.features).all()
            assert again.about == whole.about
            assert finite(json.loads(text))
