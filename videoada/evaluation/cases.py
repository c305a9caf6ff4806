"""The cases of a report: each generated video with its record, its measurements, its partner, and how it is shown."""

from __future__ import annotations

import base64
import contextlib
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from videoada.errors import OutputError, PromptError, counted
from videoada.evaluation.charts import step_chart
from videoada.evaluation.result import EvaluationResult, VideoResult
from videoada.failures import wrong_with
from videoada.media.finding import search_videos
from videoada.media.kinds import is_frame_folder
from videoada.media.posters import poster
from videoada.media.video import Video
from videoada.records.find import find_record
from videoada.records.record import RunRecord

LEGIBLE = 224  # pixels: smaller clips are enlarged, so that H.264's halved colours do not blur them
PLAYABLE = (".mp4", ".webm", ".m4v")  # by browsers, as they are


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


def card(case: Case, folder: Path, videos: str, partner: str) -> dict[str, Any]:
    """What the page shows of one video; `partner` is what it was compared with, in words."""
    record, fidelity, coherence = case.record, case.fidelity, case.coherence
    facts = [case.path.name]
    problems = []
    strip, label = None, ""
    if record:
        facts += [
            f"seed {record.request.seed}",
            f"{record.num_predictions} of {counted(record.num_inference_steps, 'prediction')}",
        ]
        if record.most_steps:
            facts.append(f"{counted(record.num_inference_steps, 'step')} chosen of at most {record.most_steps}")
        label = f"{counted(record.num_predictions, 'step')} computed (green), {record.computed.count(False)} skipped"
        depths = None
        if record.early_exit:
            facts.append(f"early exit: {record.early_exit['macs']:.0%} of the multiply-adds of those calls")
            label += "; height: how many of the network's exits a call passed"
            last = record.early_exit["num_exits"] + 1
            depths = [(exit + 1) / last if exit is not None else 1.0 for exit in record.early_exit["steps"]]
        strip = step_chart(record.computed, record.signal, record.skip.limit, depths)
        if strip["points"]:
            label += "; line: the signal, logarithmic" + (
                f"; dashed: the {record.skip.limit_name}" if record.skip.limit else ""
            )
    if fidelity.get("identical"):
        facts.append(f"identical to the {partner}")
    for name, form in (
        ("psnr", "PSNR {:.1f} dB"),
        ("psnr_worst_frame", "worst frame {:.1f} dB"),
        ("ssim", "SSIM {:.3f}"),
    ):
        if fidelity.get(name) is not None and not fidelity.get("identical"):
            facts.append(form.format(fidelity[name]))
    if case.row and case.row.lost_coherence:
        problems.append(f"fails a check that the {partner} passes: {', '.join(case.row.lost_coherence)}")
    elif coherence and coherence["failed"]:
        problems.append(f"coherence: {', '.join(coherence['failed']).replace('_', ' ')}")
    if case.row and case.row.agreement and not all(case.row.agreement.values()):
        problems.append(f"not as the prompt says: {_wrong(case.row.agreement)}")
    players = [
        player
        for source, name in ((case.partner, partner), (case.path, "skipped" if case.partner else "video"))
        if source and not case.gone and (player := _player(source, name, folder, videos))
    ]
    return {
        "prompt": record.request.prompt if record else (case.row.prompt if case.row else None) or case.path.name,
        "facts": " · ".join(facts), "problems": problems, "players": players, "strip": strip, "strip_label": label,
    }  # fmt: skip


def _player(source: Path, label: str, folder: Path, videos: str) -> dict[str, Any] | None:
    """A video for a browser; None where it can't be shown."""
    if videos == "none" or not source.exists():
        return None
    if videos == "link" and source.suffix.lower() in PLAYABLE:
        with contextlib.suppress(ValueError, OutputError):  # another drive; a film that can't be read
            link = Path(os.path.relpath(source, folder)).as_posix()
            return {"src": quote(link), "label": label, "image": False, "poster": poster(source)}
    try:
        video = Video.read(source)
    except OutputError:
        return None
    scale = max(1, -(-LEGIBLE // min(video.frames.shape[1:3])))
    larger = Video(video.frames.repeat(scale, axis=1).repeat(scale, axis=2), video.fps)
    with tempfile.TemporaryDirectory() as aside:
        file = Path(aside) / "player.mp4"
        larger.encode(file)
        data = base64.b64encode(file.read_bytes()).decode("ascii")
    return {"src": f"data:video/mp4;base64,{data}", "label": label, "image": False, "poster": None}


def table_row(case: Case) -> list[str]:
    record, fidelity, coherence = case.record, case.fidelity, case.coherence
    agreed = case.row.agreement if case.row else None

    def value(name: str, form: str) -> str:
        return "" if fidelity.get(name) is None else format(fidelity[name], form)

    return [
        record.request.prompt if record else case.path.name,
        str(record.request.seed) if record else "",
        f"{record.num_predictions}/{record.num_inference_steps}" if record else "",
        "identical" if fidelity.get("identical") else value("psnr", ".1f"),
        value("ssim", ".4f"),
        value("tof", ".3f"),
        value("speedup", ".2f"),
        "" if coherence is None else "passed" if coherence["passed"] else ", ".join(coherence["failed"]),
        "" if agreed is None else "yes" if all(agreed.values()) else f"not {_wrong(agreed)}",
    ]


def _wrong(agreement: dict[str, bool]) -> str:
    return ", ".join(name for name, agrees in agreement.items() if not agrees)
