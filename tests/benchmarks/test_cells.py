"""Raw rows as archives: nothing is lost on the way, and the committed ones give the committed tables."""

from __future__ import annotations

import importlib
import itertools
import json
import lzma
import subprocess
import sys

import pytest
from conftest import ROOT

from videoada.benchmarks.benchmark import read_cells
from videoada.benchmarks.every_prompt import Need, needs_table
from videoada.benchmarks.every_prompt import needs as needs_of
from videoada.benchmarks.frontier import Point, budgets_table, points_table, psnr_table, summarize
from videoada.errors import OutputError
from videoada.files import model_folder

SCRIPT = ROOT / "scripts" / "experiments" / "cells.py"
RESULTS = ROOT / "samples" / "results"


@pytest.fixture
def cells(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    return importlib.import_module("cells")


@pytest.fixture
def results(tmp_path):
    """Two presets, whose rows are of two models in turn, and a file whose rows name none."""
    for preset in ("frontier", "frontier-stress"):
        rows = [{"model": m, "method": f"{preset} {i}", "psnr": None} for i in range(3) for m in ("tiny-t2v", "hub/x")]
        (tmp_path / "results" / preset).mkdir(parents=True)
        (tmp_path / "results" / preset / "cells.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "results" / "step-count").mkdir()
    (tmp_path / "results" / "step-count" / "rewards.jsonl").write_text('{"steps": 50, "ssim": 1.0}\n')
    return tmp_path / "results"


def rows_of(results):
    """Of each file and model, its rows in their order."""
    found = {}
    for path in results.glob("*/*.jsonl"):
        for line in path.read_text().splitlines():
            found.setdefault((path.relative_to(results), json.loads(line).get("model")), []).append(line)
    return found


def test_unpacked_is_what_was_packed(cells, results, tmp_path):
    archives = tmp_path / "cells"
    packed = cells.pack(results, archives)
    hub = model_folder("hub/x")
    assert sorted(path.name for path in packed) == sorted(
        f"{name}.jsonl.xz" for name in ("frontier-tiny-t2v", f"frontier-{hub}", "frontier-stress-tiny-t2v",
                                        f"frontier-stress-{hub}", "step-count-tiny-t2v")
    )  # fmt: skip
    again = tmp_path / "again"
    assert len(cells.unpack(again, archives)) == 3
    assert rows_of(again) == rows_of(results)
    before = {path: path.read_bytes() for path in archives.iterdir()}
    assert cells.pack(again, archives) == []
    assert {path: path.read_bytes() for path in archives.iterdir()} == before
    other = tmp_path / "other"
    cells.pack(again, other)
    assert {path.name: path.read_bytes() for path in other.iterdir()} == {p.name: b for p, b in before.items()}


def test_what_is_there_is_kept(cells, results, tmp_path):
    """A second time nothing is written; of files that are missing, only those of a folder, if one is named."""
    archives = tmp_path / "cells"
    cells.pack(results, archives)
    assert cells.unpack(results, archives) == []
    more = results / "frontier" / "cells.jsonl"
    more.write_text(more.read_text() + json.dumps({"model": "tiny-t2v", "method": "new"}) + '\n{"model": "cut')
    complete = more.read_text()
    (results / "frontier-stress" / "cells.jsonl").unlink()
    (results / "step-count" / "rewards.jsonl").unlink()
    assert cells.unpack(results, archives, only="step-count") == [results / "step-count" / "rewards.jsonl"]
    assert cells.unpack(results, archives) == [results / "frontier-stress" / "cells.jsonl"]
    assert more.read_text() == complete
    assert [path.name for path in cells.pack(results, archives)] == ["frontier-tiny-t2v.jsonl.xz"]
    more.unlink()
    cells.unpack(results, archives)
    assert len(more.read_text().splitlines()) == 7  # the cut line is gone


@pytest.mark.parametrize(
    "content", [b"not an archive", lzma.compress(b'{"method": "of no model"}\n'), lzma.compress(b"")]
)
def test_a_damaged_archive_is_one_line(cells, tmp_path, content):
    (tmp_path / "frontier-tiny-t2v.jsonl.xz").write_bytes(content)
    with pytest.raises(OutputError, match=r"frontier-tiny-t2v\.jsonl\.xz"):
        cells.unpack(tmp_path / "results", tmp_path)
    ran = subprocess.run([sys.executable, SCRIPT, "unpack", "--results", tmp_path / "results", "--archives", tmp_path],
                         capture_output=True, text=True)  # fmt: skip
    assert ran.returncode == 1
    assert ran.stderr.startswith("error: ")
    assert ran.stderr.count("\n") == 1


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """The committed archives, by the command."""
    folder = tmp_path_factory.mktemp("results")
    subprocess.run([sys.executable, SCRIPT, "unpack", "--results", folder], check=True)
    return folder


PRESETS = ("frontier", "batches", "guidance", "predictors", "quality", "quality-stress", "schedulers")


TABLES = [
    *itertools.product(PRESETS, ("tiny-t2v", "tiny-i2v")),
    ("frontier", "emoji-t2v"),
    ("default", "emoji-t2v"),
    ("quality", "emoji-t2v"),
    ("schedulers", "emoji-t2v"),
    ("batches", "emoji-t2v"),
    ("frontier", "tiny-wan"),
    ("quality", "tiny-wan"),
    ("budgets", "tiny-t2v"),
    ("budgets", "tiny-i2v"),
    ("budgets", "tiny-wan"),
    ("baselines", "emoji-t2v"),
    ("baselines", "tiny-t2v"),
    ("baselines", "tiny-i2v"),
    ("baselines", "tiny-wan"),
    ("baselines-dpm", "tiny-wan"),
    ("baselines-dpm", "tiny-t2v"),
    ("baselines-dpm", "tiny-i2v"),
    ("baselines-euler", "tiny-wan"),
    ("baselines-euler", "tiny-t2v"),
]


@pytest.mark.parametrize(("preset", "model"), TABLES)
def test_the_committed_cells_give_the_committed_tables(unpacked, preset, model):
    figures = json.loads((RESULTS / preset / f"{model}.json").read_text())
    shown = [point["method"] for point in figures["points"]]
    by_method = {}
    for cell in read_cells(unpacked / preset):
        if cell.model == model:
            by_method.setdefault(cell.method, []).append(cell)
    cells = [cell for method in shown for cell in by_method[method]]
    found = summarize(cells)
    points = [Point(**point.as_dict()) for point in found]
    tables = points_table(points), budgets_table(points, figures["budgets"]), psnr_table(points)
    needs = [Need(**need.as_dict()) for need in needs_of(cells)]
    assert [need.as_dict() for need in needs] == figures["needs"]
    tables += (needs_table(needs),) if needs else ()
    assert "\n\n".join([figures["model"], *tables]) + "\n" == (RESULTS / preset / f"{model}.md").read_text()
