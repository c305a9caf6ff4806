"""judge(): does a folder of skipped videos pass against the folder of its full runs?"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from videoada.devices import find_device
from videoada.errors import ConfigError, OutputError, counted
from videoada.evaluation.config import EvaluationConfig
from videoada.evaluation.evaluate import evaluate
from videoada.evaluation.extraction import find_extractor
from videoada.evaluation.judging.limits import VerdictLimits, shipped_limits
from videoada.evaluation.judging.weighing import FVD, Check, metrics_for, weigh
from videoada.evaluation.result import EvaluationResult
from videoada.files import write_text
from videoada.media.finding import search_videos
from videoada.media.reading import open_video
from videoada.metrics.features import Extractor

FEWEST_FOR_FVD = 3  # pairs: a jackknife of two leaves one


class Verdict(BaseModel):
    """Schema 1. `passed` where every limit that could be measured holds and no video is `missing`, on either side.

    `missing` lists videos without a partner, `unreadable` those that can't be read, `not_compared` pairs of other
    sizes or lengths; `evaluation` has every figure of every video.
    """

    model_config = ConfigDict(frozen=True)
    schema_version: int = 1
    passed: bool
    pairs: int
    checks: list[Check]
    missing: list[str]
    unreadable: list[str]
    not_compared: list[str]
    limits: dict[str, Any]
    evaluation: EvaluationResult
    created: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    @property
    def failures(self) -> list[str]:
        """A line for each reason of failing: which limit, which value, which video; empty when passed."""
        lines = [check.line for check in self.checks if check.passed is False]
        lines += [f"missing: {text}" for text in self.missing]
        lines += [f"unreadable: {text}" for text in self.unreadable]
        return lines + [f"not comparable: {text}" for text in self.not_compared]

    def write(self, path: str | Path) -> None:
        """Write all of it as a JSON file. Raises OutputError where that can't be done."""
        write_text(path, self.model_dump_json(indent=2) + "\n")


def judge(
    generated: str | Path,
    reference: str | Path,
    limits: VerdictLimits | None = None,
    *,
    pair_by: Literal["record", "name"] = "record",
    recursive: bool = False,
    workers: int | None = None,
    device: str = "cpu",
    match_size: str | None = None,
    match_fps: float | None = None,
    any_codec: bool = False,
    on_video: Callable[[int, int], None] | None = None,
    **fields: Any,
) -> Verdict:
    """Hold the videos of a folder to those of another, their full runs: pass or fail for each limit.

    `limits` are the shipped ones where left out; single ones as keywords (`min_worst_ssim=0.9`, None leaves one out)
    win over them. Videos are paired by their run records, or with `pair_by="name"` by equal file names without their
    endings, never by order. A video that has no partner, or that can't be read, is a failure and is listed.
    `match_size`, `match_fps` and `any_codec` are those of EvaluationConfig. `on_video(done, of)` follows the progress.
    Raises OutputError for a folder that is missing or where nothing pairs, ConfigError for unknown limits and for sides
    that can't be compared.
    """
    limits = VerdictLimits(**((limits or shipped_limits()).model_dump() | fields))
    wanted = metrics_for(limits)
    if not wanted:
        raise ConfigError("there is no limit: a verdict needs one at least")
    find_device(device)  # an unknown one is reported also where nothing is computed on it
    network = find_extractor(limits.extractor, device) if "fvd" in wanted else None
    without_fvd = _why_no_fvd(network, generated, reference, recursive) if network else None
    if without_fvd:
        network, wanted = None, tuple(name for name in wanted if name != "fvd") or ("psnr",)
    config = EvaluationConfig(
        metrics=wanted, pair_by=pair_by, recursive=recursive, bad_videos="skip", workers=workers,
        match_size=match_size, match_fps=match_fps, any_codec=any_codec,
    )  # fmt: skip
    result = evaluate(generated, reference, config, extractor=network, on_video=on_video)
    pairs = sum(row.fidelity is not None for row in result.videos)
    partnered = [row for row in result.videos if row.reference is not None]
    if not partnered and not result.skipped:
        other = "`pair_by=name` pairs by file name" if pair_by == "record" else "their file names differ"
        first = next((lines[0] for lines in result.unpaired.values() if lines), "")
        raise OutputError(f"nothing pairs between {generated} and {reference}: {first}; {other}")
    checks = weigh(result, limits)
    if without_fvd:
        checks = [c.model_copy(update={"note": f"not measured: {without_fvd}"}) if c.name == FVD else c for c in checks]
    missing = [f"{line} ({side})" for side, lines in result.unpaired.items() for line in lines]
    unreadable = [bad["reason"] for bad in result.skipped]
    not_compared = [f"{row.video}: {row.not_compared}" for row in result.videos if row.not_compared]
    failed = bool(missing or unreadable or not_compared) or any(check.passed is False for check in checks)
    return Verdict(
        passed=not failed and pairs > 0, pairs=pairs, checks=checks, missing=missing, unreadable=unreadable,
        not_compared=not_compared, limits=limits.given() | {"extractor": limits.extractor}, evaluation=result,
    )  # fmt: skip


def _why_no_fvd(network: Extractor, generated: str | Path, reference: str | Path, recursive: bool) -> str | None:
    """Why FVD and its error can't be measured on these folders, None where they can; nothing is decoded for it."""
    for folder in (generated, reference):
        videos = search_videos(folder, recursive).videos
        if len(videos) < FEWEST_FOR_FVD:
            return f"its error takes {FEWEST_FOR_FVD} videos a side, {folder} holds {len(videos)}"
        for video in videos[:1]:
            try:
                frames = open_video(video).expected()
            except OutputError:
                continue
            if frames < network.min_frames:
                return f"{network.name} takes {counted(network.min_frames, 'frame')} or more, {video.name} has {frames}"
    return None
