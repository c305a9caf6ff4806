"""Files of prompts: one a line, or JSON Lines whose rows also name image, seed, size or frames."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from videoada.config import GenerationConfig
from videoada.errors import ConfigError, PromptError


def read_requests(path: str | Path, **common: Any) -> list[GenerationConfig]:
    """One request for each line that is not empty, with the seed of its place unless it names one.

    A row of a .jsonl file holds fields of GenerationConfig; its image is sought beside the file. `common` holds fields
    for all; a row's own win. Raises PromptError for what can't be read, with the line.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise PromptError(f"can't read prompts from {path}: {error}") from None
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        raise PromptError(f"{path} holds no prompts")
    requests = []
    for i, (number, line) in enumerate(lines):
        try:
            row = json.loads(line) if path.suffix == ".jsonl" else {"prompt": line}
            if not isinstance(row, dict):
                raise ConfigError("it is no JSON object")
            if isinstance(row.get("image"), str):
                row["image"] = str(path.parent / row["image"])
            requests.append(GenerationConfig(**({"seed": i} | common | row)))
        except (ValueError, ConfigError) as error:
            raise PromptError(f"{path}, line {number}: {error}") from None
    return requests
