"""The two sides of an evaluation: their videos with their records, and who is whose partner."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from videoada.config.frozen import is_text
from videoada.errors import OutputError, PromptError, counted
from videoada.evaluation.form import form_of
from videoada.evaluation.result import Summary
from videoada.media.finding import search_videos
from videoada.metrics.statistics import VideoStatistics
from videoada.records.find import find_record
from videoada.records.record import RunRecord

SETTINGS: dict[str, Callable[[RunRecord], Any]] = {
    "model": lambda r: (r.model.name, r.model.weights_sha256),
    "scheduler": lambda r: r.request.scheduler,
    "steps": lambda r: r.num_inference_steps,
    "guidance": lambda r: r.request.guidance_scale,
}
Job = tuple[Path | None, Path | None]  # a generated video and its partner, or one of them alone


@dataclass
class VideoSet:
    """One side: its videos by name, their records, the features so far."""

    folder: str
    videos: list[Path]
    records: dict[Path, RunRecord]
    features: list[Tensor] = field(default_factory=list)
    owners: list[Path] = field(default_factory=list)  # whose features, clip by clip
    sizes: set[tuple[int, ...]] = field(default_factory=set)  # (F, H, W)
    not_read: list[str] = field(default_factory=list)  # what else the folder holds
    rates: set[float] = field(default_factory=set)  # frames a second
    lossy: set[Path] = field(default_factory=set)
    codecs: set[str] = field(default_factory=set)  # each with its container: "h264 in .mp4"
    notes: dict[str, list[str]] = field(default_factory=dict)  # what to know of videos, and of which

    def name_of(self, path: Path) -> str:
        """A video's name in results: its path inside the folder."""
        return path.relative_to(self.folder).as_posix()

    def note(self, path: Path, fps: float, lossless: bool, codec: str, notes: list[str]) -> None:
        """Put down what was seen of a video."""
        self.rates.add(fps)
        self.codecs.add(f"{codec} in {'a folder' if path.is_dir() else path.suffix.lower() or path.name}")
        if not lossless:
            self.lossy.add(path)
        for text in notes:
            self.notes.setdefault(text.split(",")[0], []).append(f"{self.name_of(path)}: {text}")

    def stacked(self) -> Tensor:
        """Features (N, D) of all clips, in the order of the videos."""
        return torch.cat(self.features)

    def warnings(self, partners: dict[Path, Path], other: VideoSet | None) -> list[str]:
        """What makes pairs less than the same run twice: lossy files, other models or settings."""
        found = []
        lossy = self.lossy | (other.lossy if other else set())
        files = {p.suffix.lower() or p.name for p in (*partners, *partners.values()) if p in lossy}
        if files:
            found.append(
                f"pairs are of lossy files ({', '.join(sorted(files))}): PSNR, SSIM and tOF are of what is left in "
                "them; write .mkv or .webp to measure"
            )
        for name, value in SETTINGS.items():
            both = ((self.records.get(a), other.records.get(b)) for a, b in partners.items()) if other else ()
            if count := sum(value(a) != value(b) for a, b in both if a and b):
                found.append(f"{counted(count, 'pair')} of different {name}: what is measured is not skipping alone")
        return found

    def summary(self) -> Summary:
        """What a result says of this side."""
        records = list(self.records.values())
        if len(records) == len(self.videos) and all(
            not r.skip.skips and not r.early_exit and not r.most_steps for r in records
        ):
            kind = "full runs"
        elif records:
            kind = "runs" if len(records) == len(self.videos) else f"videos, {len(records)} of them runs with records"
        else:
            kind = "videos without records"
        return Summary(
            path=str(Path(self.folder).resolve()),
            kind=kind,
            videos=len(set(self.owners)),
            clips=len(self.owners),
            sizes=sorted(f"{counted(f, 'frame')} of {w}×{h}" for f, h, w in self.sizes),
            rates=sorted(self.rates),
            codecs=sorted(self.codecs),
            models=sorted({f"{r.model.name}{' (embedded)' if r.model.embedded else ''}" for r in records}),
        )


def open_set(folder: str | Path | None, most: int | None = None, recursive: bool = False) -> VideoSet | None:
    """The videos of a folder with what records they have; evenly over their names where there are more than `most`."""
    if folder is None:
        return None
    found = search_videos(folder, recursive)
    for path in (Path(folder), *found.videos):
        if not is_text(str(path)):
            raise OutputError(f"{str(path)!a}: its name holds bytes that are not UTF-8, as results are: rename it")
    videos, not_read = found.videos, list(found.not_read)
    if most and len(videos) > most:
        total, videos = len(videos), [videos[i * len(videos) // most] for i in range(most)]
        not_read.append(
            f"{total - most} of {total} videos in {folder}: the protocol takes {most}, evenly by their names"
        )
    records = {}
    for video in videos:
        try:
            records[video] = find_record(video)
        except PromptError:  # none, or a damaged one: then it can't be paired, which is said
            continue
    return VideoSet(str(folder), videos, records, not_read=not_read)


@dataclass(frozen=True)
class Rule:
    """What two videos have in common that are partners: `key` of one of a side, None where it has no such thing.

    `alike` names it, `lacking` what a video without it lacks."""

    key: Callable[[VideoSet, Path], Any]
    alike: str
    lacking: str


def _by_record(side: VideoSet, path: Path) -> Any:
    record = side.records.get(path)
    return record and (record.request.prompt, record.request.seed, record.image_sha256)


def _by_name(side: VideoSet, path: Path) -> str:
    """Its name inside the folder without its ending; a folder of frames has none."""
    return side.name_of(path if path.is_dir() else path.with_suffix(""))


RULES = {
    "record": Rule(_by_record, "prompt and seed", "no run record"),
    "name": Rule(_by_name, "name but for its ending", "no name"),
}


def pair(
    made: VideoSet | None, real: VideoSet | None, by: str = "record"
) -> tuple[dict[Path, Path], dict[str, list[str]]]:
    """Partner of each generated video by one of RULES, and what has none."""
    if made is None or real is None:
        return {}, {}
    rule = RULES[by]
    keys: list[dict[Any, list[Path]]] = [{}, {}]
    for side, by_key in zip((made, real), keys, strict=True):
        for path in side.videos:
            if (key := rule.key(side, path)) is not None:
                by_key.setdefault(key, []).append(path)
    pairs = {
        paths[0]: keys[1][key][0] for key, paths in keys[0].items() if len(paths) == 1 == len(keys[1].get(key, ()))
    }
    unpaired: dict[str, list[str]] = {}
    for name, side, own, other, partnered in (
        ("generated", made, keys[0], keys[1], set(pairs)), ("reference", real, keys[1], keys[0], set(pairs.values())),
    ):  # fmt: skip
        for path in side.videos:
            if path not in partnered:
                if (key := rule.key(side, path)) is None:
                    why = rule.lacking
                elif len(own[key]) > 1:
                    why = f"another video of this folder has the same {rule.alike}"
                elif len(other.get(key, ())) > 1:
                    why = f"several partners have its {rule.alike}"
                else:
                    why = f"no partner with its {rule.alike}"
                unpaired.setdefault(name, []).append(f"{side.name_of(path)}: {why}")
    return pairs, unpaired


@dataclass(frozen=True)
class Sides:
    """Both sides, opened and paired. The reference is a folder's videos (`real`), cached `statistics`, or neither."""

    made: VideoSet | None
    real: VideoSet | None
    statistics: VideoStatistics | None
    pairs: dict[Path, Path]
    unpaired: dict[str, list[str]]

    def named(self) -> Iterator[tuple[str, VideoSet]]:
        """The sides that are folders, with their names."""
        for name, side in (("generated", self.made), ("reference", self.real)):
            if side is not None:
                yield name, side

    def jobs(self) -> list[Job]:
        """Every video once: the generated ones, each with its partner, then the references that have none."""
        jobs: list[Job] = [(path, self.pairs.get(path)) for path in (self.made.videos if self.made else ())]
        partnered = set(self.pairs.values())
        return jobs + [(None, path) for path in (self.real.videos if self.real else ()) if path not in partnered]

    def reference_features(self) -> Tensor:
        """Features (N, D) of the reference's clips, which there must be."""
        if self.statistics:
            return self.statistics.features
        assert self.real is not None
        return self.real.stacked()

    def reference_summary(self) -> Summary | None:
        """What a result says of the reference."""
        if self.statistics is None:
            return self.real.summary() if self.real else None
        about = self.statistics.about
        codecs = about.get("codecs")
        seen: dict[str, Any] = {"sizes": []}
        if form := form_of(about):  # older files lack it
            frames, (width, height) = counted(form.num_frames, "frame"), form.size
            seen = {"sizes": [f"{frames} of {width}×{height}"], "rates": [form.fps]}
            seen["codecs"] = [str(codec)[:40] for codec in codecs] if isinstance(codecs, list) else []
        return Summary(
            path=str(about.get("folder"))[:200], kind="cached statistics", videos=int(about.get("videos") or 0),
            clips=len(self.statistics.features), models=[], **seen,
        )  # fmt: skip


def open_sides(
    generated: str | Path | None, reference: str | Path | VideoStatistics | None, most: int | None,
    recursive: bool = False, pair_by: str = "record",
) -> Sides:  # fmt: skip
    """Both sides with at most `most` videos each. Raises OutputError for a folder that is not there or is empty."""
    statistics = reference if isinstance(reference, VideoStatistics) else None
    made = open_set(generated, most, recursive)
    real = None if isinstance(reference, VideoStatistics) else open_set(reference, most, recursive)
    return Sides(made, real, statistics, *pair(made, real, pair_by))
