"""What benchmarks measured, row by row, as archives in samples/cells: one for each preset and model.

    python scripts/experiments/cells.py unpack    # samples/results/PRESET/cells.jsonl, where that file is missing
    python scripts/experiments/cells.py pack      # the inverse, after more was measured

`make bench` and early_exit.py unpack by themselves and continue what the files hold. The files are not under version
control; the archives, a sixteenth of their size, are. To measure everything again, remove the files and their archives.
"""

from __future__ import annotations

import argparse
import json
import lzma
from collections.abc import Iterator
from pathlib import Path

from videoada.errors import OutputError, VideoAdaError
from videoada.files import model_folder, written_aside

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
TINY = ("tiny-t2v", "tiny-i2v", "tiny-wan")
# Files whose rows do not name their model, or name several: archive → file.
OTHERS = {
    "early-exit-tiny-t2v": "early-exit/cells.jsonl",
    "early-exit-joint-ual-0-tiny-t2v": "early-exit/joint-ual-0.jsonl",
    "early-exit-joint-ual-1-tiny-t2v": "early-exit/joint-ual-1.jsonl",
    "step-count-tiny-t2v": "step-count/rewards.jsonl",
    "adaptivity-calibration": "adaptivity/calibration/cells.jsonl",
} | {
    f"adaptivity-{kind}-{model}": f"adaptivity/calibration/{kind}-{model}.jsonl"
    for kind in ("segments", "oracle") for model in TINY
} | {f"analysis-{model}": f"analysis/{model}/prompts.jsonl" for model in TINY}  # fmt: skip


def pack(results: Path = SAMPLES / "results", archives: Path = SAMPLES / "cells") -> list[Path]:
    """Archives that were written: those whose rows changed. A line cut short by an interruption is left out."""
    contents: dict[str, list[bytes]] = {}
    for name, file in OTHERS.items():
        if (results / file).is_file():
            contents[name] = [line for line, _ in _rows((results / file).read_bytes())]
    for path in sorted(results.glob("*/cells.jsonl")):
        if path.relative_to(results).as_posix() not in OTHERS.values():
            for line, row in _rows(path.read_bytes()):
                contents.setdefault(f"{path.parent.name}-{model_folder(str(row['model']))}", []).append(line)
    written = []
    archives.mkdir(parents=True, exist_ok=True)
    for name, lines in contents.items():
        path, content = archives / f"{name}.jsonl.xz", b"".join(line + b"\n" for line in lines)
        if path.is_file() and read(path) == content:  # else another version of xz would change the bytes
            continue
        with written_aside(path) as aside:
            aside.write_bytes(lzma.compress(content, preset=9 | lzma.PRESET_EXTREME))
        written.append(path)
    return written


def unpack(
    results: Path = SAMPLES / "results", archives: Path = SAMPLES / "cells", only: str | None = None
) -> list[Path]:
    """Files that were written: those that were missing, or of them those of the folder `only`. Rows of several models
    follow each other, each model's in their order. Raises OutputError for an archive that can't be read."""
    contents: dict[Path, bytes] = {}
    for archive in sorted(archives.glob("*.jsonl.xz")):
        content, name = read(archive), archive.name.removesuffix(".jsonl.xz")
        if name not in OTHERS:
            row = next((row for _, row in _rows(content)), {})
            if "model" not in row:
                raise OutputError(f"{archive} holds no rows that name their model")
            folder = name.removesuffix(f"-{model_folder(str(row['model']))}")
        path = results / (OTHERS.get(name) or f"{folder}/cells.jsonl")
        contents[path] = contents.get(path, b"") + content
    written = [path for path in contents if not path.exists() and only in (None, path.relative_to(results).parts[0])]
    for path in written:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_aside(path) as aside:
            aside.write_bytes(contents[path])
    return written


def read(archive: Path) -> bytes:
    """The lines of an archive. Raises OutputError where it is none."""
    try:
        return lzma.decompress(archive.read_bytes())
    except (OSError, lzma.LZMAError, EOFError) as error:
        raise OutputError(f"can't read {archive}: {error}") from None


def _rows(content: bytes) -> Iterator[tuple[bytes, dict[str, object]]]:
    """Each whole line, as it is and as its values."""
    for line in content.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            yield line, row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("pack", "unpack"))
    parser.add_argument("--results", type=Path, default=SAMPLES / "results")
    parser.add_argument("--archives", type=Path, default=SAMPLES / "cells")
    args = parser.parse_args()
    try:
        written = {"pack": pack, "unpack": unpack}[args.what](args.results, args.archives)
    except VideoAdaError as error:
        raise SystemExit(f"error: {error}") from None
    for path in written:
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
