"""Raw rows as archives: nothing is lost on the way, and the committed ones give the committed tables."""

from __future__ import annotations

import importlib
import json
import lzma
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from videoada.cli import main
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


TABLES = runpy.run_path(str(SCRIPT.with_name("bench.py")))["TABLES"]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: f"{table.folder}-{table.model}")
def test_make_bench_prints_what_is_committed(unpacked, table, capsys, monkeypatch):
    """From the committed rows alone: none is of another corrector, rule, method or model, which would be measured."""

    def measure(*args: object, **kwargs: object) -> None:
        raise AssertionError("a row is missing, or is of other code")

    for name in ("benchmark.generate_with", "oracle.analyse.call_pipeline"):
        monkeypatch.setattr(f"videoada.benchmarks.{name}", measure)
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as ended:
        main(table.command(unpacked))
    assert ended.value.code == 0, capsys.readouterr().err
    made = Path(table.command(unpacked)[-1]) / table.printed
    committed = RESULTS / table.folder / made.relative_to(unpacked / table.folder)
    assert made.read_text() == committed.read_text()


def test_make_bench_prints_every_table_of_the_results():
    """None is left that no command prints."""
    listed = {(table.folder, table.model) for table in TABLES}
    of_models = {path for path in RESULTS.glob("*/*.json") if (path.parent / f"requests-{path.name}").is_file()}
    assert {(path.parent.name, path.stem) for path in of_models} == {pair for pair in listed if pair[0] != "analysis"}
    analysed = {("analysis", path.name) for path in (RESULTS / "analysis").iterdir()}
    assert analysed == {pair for pair in listed if pair[0] == "analysis"}
