"""What `python docs/write_reference.py` writes is what stands in the checkout, and nothing is left out of it."""

from __future__ import annotations

import re

import pytest
import write_reference
from generators import fields, file_tree, results, tables

import videoada

PAGES = {path.relative_to(write_reference.ROOT).as_posix(): text for path, text in write_reference.generated().items()}


@pytest.mark.parametrize("name", PAGES)
def test_generated_files_are_fresh(name):
    found = (write_reference.ROOT / name).read_text(encoding="utf-8")
    assert found == PAGES[name], f"{name} is stale: run python docs/write_reference.py"


def test_every_public_name_is_in_the_api():
    named = re.findall(r"^::: (\S+)$", PAGES["docs/python-api.md"], re.MULTILINE)
    assert {f"videoada.{name}" for name in videoada.__all__} <= set(named)
    assert {f"videoada.metrics.{name}" for name in videoada.metrics.__all__} <= set(named)
    assert len(named) == len(set(named))


def test_every_module_is_in_the_file_tree():
    names = [path.name for path in (write_reference.ROOT / "videoada").rglob("*.py") if path.name != "__init__.py"]
    shown = re.findall(r"^ +(\w+\.py) +\S", PAGES["docs/contributing.md"], re.MULTILINE)
    assert sorted(shown) == sorted([*names, "__init__.py"])
    assert not re.search(r"\.py *$", file_tree.tree(), re.MULTILINE)  # each says what it is


def test_results_name_their_model():
    """Each section with a table says that its figures are an embedded model's, or that the weights are random."""
    template = results.TEMPLATE.read_text(encoding="utf-8")
    for section in template.split("\n## ")[1:]:
        if "{{ " in section:
            assert re.search(r"[Ee]mbedded (model|extractor)|random weights", section), section.splitlines()[0]
    for found in re.findall(r"\{\{ plot: (.*?) \}\}", template):
        assert re.search("embedded model|closed form", found)


def test_slots_that_nothing_fills_are_errors(monkeypatch, tmp_path):
    whole = results.TEMPLATE.read_text(encoding="utf-8")
    template = tmp_path / "results.md"
    monkeypatch.setattr(results, "TEMPLATE", template)
    for text, message in (
        (whole + "{{ table: nothing }}", "nothing fills {{ table: nothing }}"),
        (whole + "{{ plot: none.svg | a plot }}", "nothing fills {{ plot"),
        (whole.replace("{{ table: systems }}", ""), "shows no table of systems"),
        (whole.replace("{{ plot: early-exit/depth.svg | ", "{{ plot: early-exit/errors.svg | "), "depth.svg"),
    ):
        template.write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match=re.escape(message)):
            results.page()


def test_markers_keep_what_is_around_them():
    text = "before\n<!-- x: written by docs/write_reference.py -->\nold\n<!-- end of x -->\nafter\n"
    once = write_reference.between(text, "x", "new\n")
    assert once == text.replace("\nold\n", "\n\nnew\n\n")
    assert write_reference.between(once, "x", "new\n") == once
    assert write_reference.between("no markers", "x", "new") == "no markers"


@pytest.mark.parametrize(
    ("value", "error", "shown"),
    [(76.39, 15.77, "76 ± 20"), (-4.57, 32.5, "-5 ± 30"), (1679.28, 88.8, "1,680 ± 90"), (9.06, 3.3, "9 ± 3"),
     (31269.2, 4547.7, "31,300 ± 5,000"), (0.2, 0.04, "0 ± 0")],
)  # fmt: skip
def test_values_are_rounded_to_what_their_error_allows(value, error, shown):
    assert tables.with_error(value, error) == shown


def test_code_in_a_cell_ends_no_cell():
    assert fields.code("int | None") == "<code>int &#124; None</code>"
    assert "|" not in fields.code("dict[str, 'a | b']")
