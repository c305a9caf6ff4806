"""How a report shows a video: its card with facts, players, step strip, PSNR by frame, command; its table row."""

from __future__ import annotations

import base64
import contextlib
import os
import shlex
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

from videoada.errors import OutputError, PromptError, counted
from videoada.evaluation.cases import Case
from videoada.evaluation.charts import step_chart
from videoada.evaluation.frame_psnr import psnr_by_frame, psnr_chart
from videoada.media.posters import poster
from videoada.media.video import Video
from videoada.records.find import settings_of
from videoada.records.record import RunRecord

LEGIBLE = 224  # pixels: smaller clips are enlarged, so that H.264's halved colours do not blur them
PLAYABLE = (".mp4", ".webm", ".m4v")  # by browsers, as they are
# What the table shows of each video; True: its values are numbers.
COLUMNS = (
    ("prompt", False), ("seed", True), ("predictions", True), ("PSNR", True), ("SSIM", True), ("tOF", True),
    ("speed-up", True), ("coherence", False), ("prompt agreement", False),
)  # fmt: skip


def card(case: Case, folder: Path, videos: str, partner: str) -> dict[str, Any]:
    """What the page, in `folder`, shows of one video; `partner` is what it was compared with, in words."""
    record = case.record
    players = [
        player
        for source, name in ((case.partner, partner), (case.path, "skipped" if case.partner else "video"))
        if source and not case.gone and (player := _player(source, name, folder, videos))
    ]
    chart = None
    values = psnr_by_frame(case.path, case.partner) if len(players) == 2 and case.partner else None
    if values:
        chart = psnr_chart(values)
    strip, label = _strip(record) if record else (None, "")
    command, why_not = _repeat(case, folder) if record else (None, None)
    return {
        "prompt": record.request.prompt if record else (case.row.prompt if case.row else None) or case.path.name,
        "facts": " · ".join(_facts(case, partner)), "problems": _problems(case, partner), "players": players,
        "frames": len(values) if values else record.num_frames if record else 0,
        "aspect": f"{record.width}/{record.height}" if record else "1", "psnr": chart, "partner": partner,
        "strip": strip, "strip_label": label, "command": command,
        "not_used": [*(record.not_used if record else ()), *([why_not] if why_not else [])],
    }  # fmt: skip


def _facts(case: Case, partner: str) -> list[str]:
    record, fidelity = case.record, case.fidelity
    facts = [case.path.name]
    if record:
        facts += [
            f"seed {record.request.seed}",
            f"{record.num_predictions} of {counted(record.num_inference_steps, 'prediction')}",
        ]
        if record.most_steps:
            facts.append(f"{counted(record.num_inference_steps, 'step')} chosen of at most {record.most_steps}")
        if record.early_exit:
            facts.append(f"early exit: {record.early_exit['macs']:.0%} of the multiply-adds of those calls")
    if fidelity.get("identical"):
        facts.append(f"identical to the {partner}")
    for name, form in (
        ("psnr", "PSNR {:.1f} dB"),
        ("psnr_worst_frame", "worst frame {:.1f} dB"),
        ("ssim", "SSIM {:.3f}"),
    ):
        if fidelity.get(name) is not None and not fidelity.get("identical"):
            facts.append(form.format(fidelity[name]))
    return facts


def _problems(case: Case, partner: str) -> list[str]:
    problems = []
    if case.row and case.row.lost_coherence:
        problems.append(f"fails a check that the {partner} passes: {', '.join(case.row.lost_coherence)}")
    elif case.coherence and case.coherence["failed"]:
        problems.append(f"coherence: {', '.join(case.coherence['failed']).replace('_', ' ')}")
    if case.row and case.row.agreement and not all(case.row.agreement.values()):
        problems.append(f"not as the prompt says: {_wrong(case.row.agreement)}")
    return problems


def _strip(record: RunRecord) -> tuple[dict[str, Any], str]:
    """The step strip's geometry, and what it shows in words."""
    label = f"{counted(record.num_predictions, 'step')} computed (green), {record.computed.count(False)} skipped"
    depths = None
    if record.early_exit:
        label += "; height: how many of the network's exits a call passed"
        last = record.early_exit["num_exits"] + 1
        depths = [(exit + 1) / last if exit is not None else 1.0 for exit in record.early_exit["steps"]]
    strip = step_chart(record.computed, record.signal, record.skip.limit, depths)
    if strip["points"]:
        label += "; line: the signal, logarithmic" + (
            f"; dashed: the {record.skip.limit_name}" if record.skip.limit else ""
        )
    return strip, label


def _repeat(case: Case, folder: Path) -> tuple[str | None, str | None]:
    """The command that repeats a video's run, given in the page's folder; else None, and why there is none."""
    assert case.record is not None
    if case.gone:
        return None, None
    path = case.path
    with contextlib.suppress(ValueError):  # another drive
        path = Path(os.path.relpath(case.path, folder))
    shown = path.as_posix()
    shown = f"./{shown}" if shown.startswith("-") else shown
    try:
        settings_of(case.record, ending=path.suffix)
    except PromptError as error:
        return None, f"no command repeats it: {error}"
    output = f"again{path.suffix.lower()}" if path.suffix.lower() != ".json" else "again.mkv"
    return f"videoada generate --from-record {shlex.quote(shown)} --output {output}", None


def _player(source: Path, label: str, folder: Path, videos: str) -> dict[str, Any] | None:
    """A video for a browser; None where it can't be shown."""
    if videos == "none" or not source.exists():
        return None
    if videos == "link" and source.suffix.lower() in PLAYABLE:
        with contextlib.suppress(ValueError, OutputError):  # another drive; a film that can't be read
            link = Path(os.path.relpath(source, folder)).as_posix()
            return {"src": quote(link), "label": label, "poster": poster(source), "copy": False}
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
    return {"src": f"data:video/mp4;base64,{data}", "label": label, "poster": None, "copy": True}


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
