"""Listings of a rendered folder, made from its records: manifest.jsonl, and what VBench wants."""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from videoada.errors import ConfigError
from videoada.records.record import value_in
from videoada.rendering.folder import MANIFEST, PROMPT_FILE, RenderFolder, output_errors

LINKS = "videos"
COLUMNS = (
    "prompt", "negative_prompt", "image", "seed", "sample", "num_inference_steps", "num_predictions", "unet_rows",
    "unet_rows_full", "seconds", "job_sha256",
)  # fmt: skip


def index(folder: RenderFolder, naming: str = "id") -> list[dict[str, Any]]:
    """Write the listings; answers the manifest's rows, by file name. Raises OutputError.

    For VBench: prompt_file.json, and `videos/`, which holds links to the videos and nothing else, because its loader
    takes the ending of whatever is listed first.
    """
    with folder.holding(MANIFEST):  # so that the last listing is the latest
        rows = [
            {"file": file} | {name: value_in(record, name) for name in COLUMNS} for file, record in folder.records()
        ]
        folder.put(MANIFEST, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        if naming == "vbench":
            prompts = {str(row["file"]): row["prompt"] for row in rows}
            folder.put(PROMPT_FILE, json.dumps(prompts, indent=1, ensure_ascii=False) + "\n")
            with output_errors(f"can't write {folder.path / LINKS}"):
                _link_all(folder.path / LINKS, list(prompts))
    return rows


def check_links(folder: Path) -> None:
    """Raises ConfigError where `videos/` holds what no rendering put there: it would have to go."""
    with output_errors(f"can't read {folder / LINKS}"):
        if not (folder / LINKS).exists():
            return
        if not (folder / LINKS).is_dir() or not all(map(_is_ours, (folder / LINKS).iterdir())):
            raise ConfigError(
                f"{folder / LINKS} holds other files, and `naming=vbench` keeps it for links to the videos: move them"
            )


def _is_ours(link: Path) -> bool:
    """A link to a video beside its folder, or where there are no links a copy of one."""
    if link.is_symlink():
        return link.readlink() == Path("..") / link.name
    return (link.parent.parent / link.name).exists()


def _link_all(links: Path, files: Sequence[str]) -> None:
    links.mkdir(exist_ok=True)
    wanted = set(files)
    for old in filter(_is_ours, links.iterdir()):
        if old.name not in wanted or not old.is_symlink():
            shutil.rmtree(old) if old.is_dir() and not old.is_symlink() else old.unlink()
    for name in files:
        if (links / name).is_symlink():
            continue
        try:
            with contextlib.suppress(FileExistsError):
                (links / name).symlink_to(Path("..") / name)
        except OSError:  # no links on this file system: a copy, new each time
            source, aside = links.parent / name, links.parent / ".videoada" / f"copy-{secrets.token_hex(4)}"
            shutil.copytree(source, aside) if source.is_dir() else shutil.copyfile(source, aside)
            aside.replace(links / name)
