"""The house rules of the code itself: imports run downwards, no pickles, assets whole and small."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import videoada
from videoada.catalogue import ASSETS, EMBEDDED

PACKAGE = Path(videoada.__file__).parent
# Each layer may import from itself and from those below.
STAIRCASE = [
    {"errors"},
    {"config"},
    {"yamlfile"},
    {"quality"},
    {"settings", "catalogue", "outputs", "films"},
    {"records", "video"},
    {"shapes", "skip", "metrics"},
    {"inspect", "rows", "schedule", "trace", "doctor", "clips", "halves", "rewind"},
    {"stepping"},
    {"evaluation"},
    {"pairing"},
    {"distances"},
    {"evaluate"},
    {"images", "placement", "sources"},
    {"prompts", "naming", "locks"},
    {"jobs"},
    {"folder"},
    {"manifest"},
    {"pipelines", "denoiser", "conditioning"},
    {"trained"},
    {"draw", "layerwise", "solver"},
    {"exits", "step_count"},
    {"generate"},
    {"compare", "timing", "methods", "worker"},
    {"engines"},
    {"render"},
    {"presets", "benchmark"},
    {"frontier", "calibrate"},
    {"analyse"},
    {"charts"},
    {"cases", "analysis_report"},
    {"report"},
    {"cli"},
    {"__main__", "__init__"},
]
LEVEL = {name: i for i, names in enumerate(STAIRCASE) for name in names}
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
