"""Hooks of mkdocs: formulas become MathML, and links to files of the repository also work in the site.

Pages write `$…$` and `$$…$$`, and link what lies outside docs/ as it is found from there (`../samples/emoji.webp`), so
that the same text works on a code host. The site gets a copy of each linked file.
"""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, InclusionLevel

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
OUTSIDE = re.compile(r'(\]\(|\bsrc=")\.\./([^)\s"#]+)')
# What pymdownx.arithmatex makes of formulas.
FORMULA = re.compile(
    r'<(span|div) class="arithmatex">\s*(?:\\\((?P<inline>.*?)\\\)|\\\[(?P<block>.*?)\\\])\s*</\1>', re.DOTALL
)


def on_files(files: Any, config: Any) -> Any:
    """The site's files, with those of the repository that pages link to."""
    for page in sorted(DOCS.glob("*.md")):
        for _, name in OUTSIDE.findall(page.read_text(encoding="utf-8")):
            path = (ROOT / name).resolve()
            if not path.is_file() or not path.is_relative_to(ROOT) or name == "README.md":
                raise PluginError(f"{page.name} links to ../{name}, which the site can't hold")
            if files.get_file_from_path(name) is None:
                files.append(File.generated(config, name, abs_src_path=str(path), inclusion=InclusionLevel.NOT_IN_NAV))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """The page's text, its links to files of the repository as the site holds them."""
    return OUTSIDE.sub(r"\1\2", markdown)


def on_page_content(content: str, page: Any, **_: Any) -> str:
    """The page's HTML, its formulas as MathML, which browsers show without a script."""

    def as_mathml(found: re.Match[str]) -> str:
        block = found["block"] is not None
        latex = html.unescape(found["block"] if block else found["inline"]).strip()
        try:
            made = convert(latex, display="block" if block else "inline")
            if unknown := re.search(r">(\\[A-Za-z]+)<", made):
                raise ValueError(f"{unknown[1]} is unknown")
            return made
        except Exception as error:  # its errors have no class in common
            raise PluginError(f"{page.file.src_uri}: formula {latex}: {error or type(error).__name__}") from None

    return FORMULA.sub(as_mathml, content)
