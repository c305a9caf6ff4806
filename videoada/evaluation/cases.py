"""The cases of a report: each generated video with its record, its measurements and its partner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videoada.errors import OutputError, PromptError, counted
from videoada.evaluation.result import EvaluationResult, VideoResult
from videoada.failures import wrong_with
from videoada.media.finding import search_videos
from videoada.media.kinds import is_frame_folder
from videoada.records.find import find_record
from videoada.records.record import RunRecord


@dataclass(frozen=True)
class Case:
    """One generated video with what is known of it. `psnr` is None where it equals the full run or has none."""

    path: Path
    record: RunRecord | None
    row: VideoResult | None
    partner: Path | None
    gone: bool = False  # its folder is not where the evaluation found it

    @property
    def fidelity(self) -> dict[str, Any]:
        return (self.row.fidelity if self.row else None) or (self.record.fidelity if self.record else None) or {}

    @property
    def rank(self) -> float:
        """Lowest PSNR first; then those that equal the full run, then those not compared."""
        psnr = self.fidelity.get("psnr")
        return float(psnr) if psnr is not None else (1e6 if self.fidelity else 2e6)

    @property
    def coherence(self) -> dict[str, Any] | None:
        return (self.row.coherence if self.row else None) or (self.record.coherence if self.record else None)


def find_cases(result: EvaluationResult | None, folders: Sequence[str | Path]) -> list[Case]:
    """The generated videos of an evaluation, or the videos and records that `folders` holds or names.

    Raises OutputError for one that is not there, or can't be read.
    """
    if result and result.generated:
        made = _existing(result.generated.path)
        real = _existing(result.reference.path) if result.reference else None
        cases = []
        for row in result.videos:
            path = made / row.video if made else Path(row.video)
            record = _record(path) if made else None
            cases.append(
                Case(path, record, row, real / row.reference if real and row.reference else None, made is None)
            )
        return cases
    return [Case(path, record, None, None) for path in _videos(folders)[0] if (record := _record(path))]


def without_case(folders: Sequence[str | Path]) -> list[str]:
    """A line for each kind of thing in (or among) `folders` that has no case."""
    paths, lines = _videos(folders)
    if bare := [path for path in paths if not _record(path)]:
        named = f"'{bare[0]}'{' and others' if len(bare) > 1 else ''}"
        lines.insert(0, f"{counted(len(bare), 'video')} without a run record: {named}")
    return lines


def _videos(folders: Sequence[str | Path]) -> tuple[list[Path], list[str]]:
    """The videos of folders, each once, and what of the folders is not read. Raises OutputError."""
    paths: list[Path] = []
    not_read: list[str] = []
    for folder in folders:
        if wrong := wrong_with(folder):
            raise OutputError(wrong)
        if Path(folder).is_dir() and not (is_frame_folder(Path(folder)) and any(Path(folder).iterdir())):
            found = search_videos(folder, recursive=None)
            paths += found.videos
            not_read += found.not_read
        else:
            paths.append(Path(folder))
    return list(dict.fromkeys(paths)), not_read


def _existing(folder: str) -> Path | None:
    return Path(folder) if Path(folder).is_dir() else None


def _record(path: Path) -> RunRecord | None:
    try:
        return find_record(path)
    except PromptError:
        return None
