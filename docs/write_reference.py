"""Write all that is generated: pages of docs/, the README's table, the file tree, the run record's JSON Schema.

    python docs/write_reference.py

tests/test_docs_generated.py compares all with the code and with samples/results, so that they can't fall behind.
"""

from __future__ import annotations

import json
from pathlib import Path

from generators import command_line, file_tree, input_forms, pipelines, python_api, results

from videoada.records.record import RunRecord

ROOT = Path(__file__).resolve().parent.parent
BY = ": written by docs/write_reference.py -->\n"


def schema() -> str:
    """JSON Schema of a run record."""
    return json.dumps(RunRecord.model_json_schema(), indent=2) + "\n"


def between(text: str, name: str, content: str) -> str:
    """The text with new content between its markers of that name; without markers, as it is."""
    begin, end = f"<!-- {name}{BY}", f"<!-- end of {name} -->"
    if begin not in text:
        return text
    before, rest = text.split(begin)
    return f"{before}{begin}\n{content.strip()}\n\n{end}{rest.split(end)[1]}"


def generated() -> dict[Path, str]:
    """Each file that is generated, wholly or in part, and what it should hold."""
    readme, contributing = ROOT / "README.md", ROOT / "docs" / "contributing.md"
    return {
        ROOT / "docs" / "results.md": results.page(),
        ROOT / "docs" / "pipelines.md": pipelines.page(),
        ROOT / "docs" / "cli.md": command_line.page(),
        ROOT / "docs" / "input.md": input_forms.page(),
        ROOT / "docs" / "python-api.md": python_api.page(),
        contributing: between(contributing.read_text(encoding="utf-8"), "file tree", file_tree.tree()),
        readme: between(
            between(readme.read_text(encoding="utf-8"), "table", results.readme_table()),
            "GPU table",
            results.gpu_table(),
        ),
        ROOT / "videoada" / "records" / "run-record.schema.json": schema(),
    }


if __name__ == "__main__":
    for path, text in generated().items():
        path.write_text(text, encoding="utf-8")
