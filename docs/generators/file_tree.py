"""The tree of the package for contributors: each file with what the first line of its docstring says."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
WIDTH = 27  # of the names


def tree(package: Path = ROOT / "videoada") -> str:
    """A fenced block with the package's modules, those of its root first, then folder by folder."""
    return "\n".join(("```text", "videoada/", *lines(package, 1), "```"))


def lines(folder: Path, depth: int) -> list[str]:
    """A folder's modules and then its folders, a line each, by name."""
    found = [line("  " * depth + path.name, path) for path in sorted(folder.glob("*.py")) if path.name != "__init__.py"]
    if depth == 1:
        found.insert(0, line("  __init__.py", folder / "__init__.py"))
    for inner in sorted(path for path in folder.iterdir() if (path / "__init__.py").is_file()):
        found += [line("  " * depth + inner.name + "/", inner / "__init__.py"), *lines(inner, depth + 1)]
    return found


def line(name: str, path: Path) -> str:
    return f"{name:<{WIDTH}} {said(path)}"


def said(path: Path) -> str:
    """The first line of a module's docstring, also where it is broken in two."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.split("\n\n")[0].replace("\n", " ").rstrip(".")
