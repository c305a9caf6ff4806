"""Scripts that run for hours are run by hand: what they use of the package is there."""

from __future__ import annotations

import ast
import importlib

import pytest
from conftest import ROOT

SCRIPTS = sorted((ROOT / "scripts").rglob("*.py"))


def used(tree):
    """Dotted names of the package that a script imports anywhere, or reads off `videoada`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "videoada":
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "videoada")
        elif isinstance(node, ast.Attribute) and ast.unparse(node).startswith("videoada."):
            yield ast.unparse(node)


def resolve(name):
    """Like Python does it: attributes, and modules where there is none of that name."""
    found, so_far = importlib.import_module("videoada"), "videoada"
    for part in name.split(".")[1:]:
        so_far += f".{part}"
        if not hasattr(found, part):
            importlib.import_module(so_far)
        found = getattr(found, part)
    return found


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.relative_to(ROOT / "scripts").as_posix())
def test_what_a_script_uses_of_the_package_is_there(path):
    for name in used(ast.parse(path.read_text(encoding="utf-8"))):
        resolve(name)


def test_what_has_moved_is_found():
    names = list(used(ast.parse("import videoada\nvideoada.models.pipelines.scheduler_of(pipe)")))
    assert "videoada.models.pipelines.scheduler_of" in names
    with pytest.raises(ImportError):
        resolve("videoada.models.pipelines.scheduler_of")
