"""The house rules of the code itself: imports run downwards, no pickles, assets whole and small."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import videoada
from videoada.models.catalogue import ASSETS, EMBEDDED

PACKAGE = Path(videoada.__file__).parent
# A room may import from itself and from those before it.
ROOMS = (
    "errors", "files", "patching", "plots", "shapes", "config", "media", "records", "metrics", "models", "skipping",
    "learned", "generation", "rendering", "evaluation", "benchmarks", "training", "cli", "__main__", "__init__",
)  # fmt: skip
MOVING = {  # modules that still stand in the root → the rooms that they move to
    **dict.fromkeys(("generate", "compare"), "generation"),
    **dict.fromkeys(("render", "jobs", "naming", "folder", "locks", "manifest", "worker", "engines"), "rendering"),
    **dict.fromkeys(("evaluate", "evaluation", "pairing", "distances", "report", "cases", "charts"), "evaluation"),
    **dict.fromkeys(("benchmark", "methods", "presets", "solver", "frontier", "benchmark_charts", "timing", "calibrate",
                     "analyse", "analysis_report", "oracle_charts"), "benchmarks"),
}  # fmt: skip
LEVEL = {name: i for i, name in enumerate(ROOMS)}
LEVEL |= {name: LEVEL[room] for name, room in MOVING.items()}
FORBIDDEN = {"skip": {"diffusers", "typer", "matplotlib"}, "metrics": {"diffusers", "typer", "matplotlib"}}


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_downwards(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for name in imports(path):
        parts = name.split(".")
        assert parts[0] not in FORBIDDEN.get(own, ()), f"{path} imports {name}"
        assert parts[0] != "pickle"
        if parts[0] == "videoada" and len(parts) > 1 and own != "__init__":
            assert LEVEL[parts[1]] <= LEVEL[own], f"{path.name} imports upwards: {name}"
        if parts[0] == "diffusers" and "pipelines" in parts:
            pytest.fail(f"{path} reaches into diffusers.pipelines; import from the top level")


@pytest.mark.parametrize("name", EMBEDDED)
def test_embedded_models_are_small_safetensors(name):
    files = [f for f in (ASSETS / name).rglob("*") if f.is_file()]
    assert sum(f.stat().st_size for f in files) <= (16e6 if name == "tiny-t2v" else 20e6)
    assert {f.suffix for f in files} <= {".json", ".safetensors", ".txt", ".md"}
    assert (ASSETS / name / "README.md").is_file()


def test_generate_is_the_function_whatever_was_imported_first():
    code = (
        "from videoada.generate import check_request\nimport videoada.cli, videoada\n"
        "assert videoada.generate.__name__ == 'generate' and check_request and callable(videoada.generate)\n"
        "from videoada import generate\nassert callable(generate)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_public_names_are_all_there():
    for name in videoada.__all__:
        assert getattr(videoada, name).__doc__
    with pytest.raises(AttributeError, match="no attribute"):
        _ = videoada.nothing


def test_what_is_generated_is_fresh():
    """README's table of flags and the record's JSON Schema: python scripts/write_reference.py writes both."""
    scripts = PACKAGE.parent / "scripts"
    sys.path.insert(0, str(scripts))
    try:
        import write_reference
    finally:
        sys.path.remove(str(scripts))
    readme = (PACKAGE.parent / "README.md").read_text(encoding="utf-8")
    assert write_reference.with_flags(readme) == readme
    assert write_reference.with_benchmarks(readme) == readme
    assert (PACKAGE / "run-record.schema.json").read_text(encoding="utf-8") == write_reference.schema()
