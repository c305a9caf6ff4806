"""The house rules of the code itself: imports run downwards, no pickles, assets whole and small."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from conftest import ROOT

import videoada
from videoada.models.catalogue import ASSETS, EMBEDDED

PACKAGE = Path(videoada.__file__).parent
# A room may import from itself and from those before it.
ROOMS = (
    "errors", "failures", "devices", "files", "patching", "plots", "shapes", "config", "media", "records", "metrics",
    "models", "skipping", "learned", "generation", "rendering", "evaluation", "benchmarks", "training", "ui", "cli",
    "__main__", "__init__",
)  # fmt: skip
LEVEL = {name: i for i, name in enumerate(ROOMS)}
# What a room must not know, whoever imports it on the way.
FORBIDDEN = {
    "skipping/rules": ("diffusers", "typer", "matplotlib", "videoada.config", "videoada.models", "videoada.records"),
    "metrics": ("diffusers", "typer", "matplotlib"),
}
MODULES = sorted(PACKAGE.rglob("*.py"))
MOST_FILES, MOST_LINES, MOST_ROOT = 20, 300, 8


def inside(path):
    return path.relative_to(PACKAGE).as_posix()


def imports(path, at_import_only=False):
    """Names of modules that a module imports; with `at_import_only` those that importing it brings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    todo = list(tree.body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        lazy = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) or (
            isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        )
        if not (at_import_only and lazy):
            todo += ast.iter_child_nodes(node)


@pytest.mark.parametrize("path", MODULES, ids=inside)
def test_imports_run_downwards(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for name in imports(path):
        parts = name.split(".")
        for room, forbidden in FORBIDDEN.items():
            if inside(path).startswith(room) and path.name != "build.py":  # which makes rules of configurations
                assert not any(f"{name}.".startswith(f"{other}.") for other in forbidden), f"{path} imports {name}"
        assert parts[0] != "pickle"
        if parts[0] == "videoada" and len(parts) > 1 and own != "__init__" and parts[1] in LEVEL:
            assert LEVEL[parts[1]] <= LEVEL[own], f"{inside(path)} imports upwards: {name}"
        if parts[0] == "diffusers" and "pipelines" in parts:
            pytest.fail(f"{path} reaches into diffusers.pipelines; import from the top level")


def test_only_denoisers_know_the_unet_by_name():
    """Other modules get the denoiser from models/denoisers.py, so that they work for transformers, too. Early exit, the
    training of its heads and DeepCache are for UNets by nature, and say so."""
    heads = ("exits.py", "joint.py", "calls.py", "videos.py")
    deepcache = "benchmarks/baselines/deepcache.py"
    allowed = ("learned/", deepcache, "models/denoisers.py", *(f"training/{name}" for name in heads))
    for path in MODULES:
        if not inside(path).startswith(allowed):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                by_attribute = isinstance(node, ast.Attribute) and node.attr == "unet"
                by_name = isinstance(node, ast.Constant) and node.value == "unet"
                assert not by_attribute, f"{inside(path)}:{node.lineno} accesses .unet"
                assert not by_name, f"{inside(path)}:{node.lineno} names the unet"


def test_no_circle_of_imports_downwards_or_within_a_room():
    known = {".".join(("videoada", *path.relative_to(PACKAGE).with_suffix("").parts)): path for path in MODULES}
    needs = {name: {n for n in imports(path, at_import_only=True) if n in known} for name, path in known.items()}
    order = TopologicalSorter({name: found - {name} for name, found in needs.items() if not name.endswith("__init__")})
    order.prepare()  # raises CycleError, which names the circle


def test_rooms_are_those_of_the_plan_and_small_downwards():
    root = [path for path in MODULES if path.parent == PACKAGE]
    assert len(root) <= MOST_ROOT
    rooms = {path.relative_to(PACKAGE).parts[0] for path in MODULES if path.parent != PACKAGE}
    assert rooms | {path.stem for path in root} == set(ROOMS)
    for folder in {path.parent for path in MODULES}:
        assert len(list(folder.glob("*.py"))) <= MOST_FILES, f"{inside(folder)} is over {MOST_FILES} files"
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        assert text.count("\n") <= MOST_LINES, f"{inside(path)} is over {MOST_LINES} lines: two ideas?"
        assert ast.get_docstring(ast.parse(text)), f"{inside(path)} does not say what it is"
        if path.name == "__init__.py" and path.parent.name not in ("videoada", "metrics", "shapes", "cli"):
            assert len(ast.parse(text).body) == 1, f"{inside(path)} holds more than its docstring"


@pytest.mark.parametrize("name", EMBEDDED)
def test_embedded_models_are_small_safetensors(name):
    files = [f for f in (ASSETS / name).rglob("*") if f.is_file()]
    most = {"tiny-t2v": 16e6, "tiny-i2v": 20e6, "emoji-t2v": 56e6, "tiny-wan": 12e6}[name]
    assert sum(f.stat().st_size for f in files) <= most
    assert {f.suffix for f in files} <= {".json", ".safetensors", ".txt", ".md"}
    assert (ASSETS / name / "README.md").is_file()


def test_generate_is_the_function_whatever_was_imported_first():
    code = (
        "from videoada.generation.generate import check_request\nimport videoada.cli, videoada\n"
        "assert videoada.generate.__name__ == 'generate' and check_request and callable(videoada.generate)\n"
        "from videoada import generate\nassert callable(generate)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("path", MODULES, ids=inside)
def test_no_text_names_a_file_that_a_wheel_does_not_hold(path):
    """Messages and help; docstrings, which speak to readers of the code, may."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {id(n.body[0].value) for n in ast.walk(tree) if isinstance(n, documented) and ast.get_docstring(n)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            found = re.search(r"\b(configs|samples|scripts|tests)/", node.value)
            assert not found, f"{inside(path)}:{node.lineno} names a file of {found.group()}"


SCRIPTS = [path for folder in ("scripts", "docs") for path in sorted((ROOT / folder).rglob("*.py"))]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_scripts_import_names_that_are_there(path):
    """No test runs those that take hours, and a name that moved would be missed when one is."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "videoada":
            module = importlib.import_module(str(node.module))
            for name in node.names:
                assert hasattr(module, name.name) or importlib.util.find_spec(f"{node.module}.{name.name}"), name.name


def test_public_names_are_all_there():
    for name in videoada.__all__:
        assert getattr(videoada, name).__doc__
    with pytest.raises(AttributeError, match="no attribute"):
        _ = videoada.nothing
