"""evaluate(): a folder of generated videos against a reference: distances of the sets, fidelity of the pairs, each
video.

Every video is decoded once and then let go; what is kept of it is a row of numbers and its features.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from videoada.devices import find_device
from videoada.errors import ConfigError, OutputError
from videoada.evaluation.comparable import Comparable
from videoada.evaluation.config import EvaluationConfig
from videoada.evaluation.distances import check_alike, with_distances
from videoada.evaluation.extraction import Batches, find_extractor
from videoada.evaluation.form import form_of
from videoada.evaluation.left_out import left_out
from videoada.evaluation.means import summarize
from videoada.evaluation.measuring import measure_video, run_jobs
from videoada.evaluation.pairing import Sides, open_sides
from videoada.evaluation.result import EvaluationResult, VideoResult
from videoada.evaluation.set_metrics import SETS
from videoada.evaluation.tables import PAIRS
from videoada.files import check_file
from videoada.metrics.features import describe
from videoada.metrics.statistics import VideoStatistics


def evaluate(
    generated: str | Path | None = None,
    reference: str | Path | VideoStatistics | None = None,
    config: EvaluationConfig | None = None,
    *,
    extractor: nn.Module | None = None,
    save_statistics: str | Path | None = None,
    on_video: Callable[[int, int], None] | None = None,
    **fields: Any,
) -> EvaluationResult:
    """Measure the videos of a folder, against those of another folder or its cached statistics.

    `config` or its fields say what and how; `extractor` is an `nn.Module` of your own instead of a name. Videos are
    paired by what their run records say (prompt, seed, image), or with `pair_by="name"` by equal file names but for
    their endings, never by their order. `save_statistics` also keeps the reference's features in a file; then
    `generated` may be left out. `on_video(done, of)` follows the progress. Raises OutputError for a video that can't be
    used unless `bad_videos` is "skip", ConfigError for a request that can't be met.
    """
    config = config or EvaluationConfig(**fields)
    wanted = _wanted(generated, reference, save_statistics, config)
    find_device(config.device)  # an unknown one is reported also where nothing is computed on it
    network: nn.Module | None = None
    if wanted & set(SETS) or save_statistics:
        network = find_extractor(config.extractor, config.device) if extractor is None else extractor.eval()
    about: dict[str, Any] = {"extractor": describe(network) if network else None, "sampling": config.sampling_as_dict()}
    if isinstance(reference, VideoStatistics) and network:
        check_alike(reference, about)
    sides = open_sides(generated, reference, config.most_videos, config.recursive, config.pair_by)
    comparable = Comparable.of(wanted, bool(save_statistics), config.any_codec)
    if sides.statistics and (form := form_of(sides.statistics.about)):
        comparable.add("the file of statistics", form)
    rows, skipped = _measure(sides, Batches(network, config.batch_size), wanted, config, comparable, on_video)
    if save_statistics and sides.real:
        kept = about | {"form": comparable.as_dict(), "codecs": sorted(sides.real.codecs)}
        kept |= {"videos": len(set(sides.real.owners)), "folder": Path(sides.real.folder).name}
        VideoStatistics(sides.real.stacked(), kept).save(save_statistics)
    result = EvaluationResult(
        generated=sides.made.summary() if sides.made else None,
        reference=sides.reference_summary(),
        extractor=about["extractor"],
        sampling=about["sampling"],
        metrics=summarize(rows, wanted),
        videos=rows,
        unpaired=sides.unpaired,
        skipped=skipped,
        warnings=_warnings(sides, wanted, config),
        not_used=_without_effect(config, network)
        + left_out([line for _, side in sides.named() for line in side.not_read], skipped, sides.unpaired, rows),
    )
    return with_distances(result, sides, wanted, config) if network and sides.made else result


def _wanted(
    generated: str | Path | None, reference: str | Path | VideoStatistics | None, save_statistics: str | Path | None,
    config: EvaluationConfig,
) -> set[str]:  # fmt: skip
    """Names of the metrics that are asked for and can be measured. Raises ConfigError for what can't be met."""
    statistics = isinstance(reference, VideoStatistics)
    if save_statistics and (reference is None or statistics):
        raise ConfigError("`save_statistics` keeps the features of a `reference` folder; there is none")
    if generated is None and not save_statistics:
        raise ConfigError(
            "there are no generated videos: only `save_statistics` of a `reference` folder can do without"
        )
    check_file(save_statistics, "save_statistics")
    return config.wanted(generated is not None, reference is not None and not statistics, statistics)


def _without_effect(config: EvaluationConfig, network: nn.Module | None) -> list[str]:
    """Settings that were given and that nothing takes."""
    given = sorted(config.model_fields_set & {"extractor", "device", "batch_size"}) if network is None else []
    return [f"`{name}={getattr(config, name)}`: no metric here needs an extractor" for name in given]


def _measure(
    sides: Sides, batches: Batches, wanted: set[str], config: EvaluationConfig, comparable: Comparable,
    on_video: Callable[[int, int], None] | None,
) -> tuple[list[VideoResult], list[dict[str, str]]]:  # fmt: skip
    """Rows of the generated videos, and the videos left out; features go to `sides`. Raises OutputError."""
    rows: list[VideoResult] = []
    skipped: list[dict[str, str]] = []
    jobs = sides.jobs()
    keep = batches.network is not None
    outcomes = run_jobs(jobs, lambda job: measure_video(job, sides, wanted, config, keep), config.workers)
    for done, (job, outcome) in enumerate(outcomes):
        for bad, reason in outcome.bad:
            if config.bad_videos == "fail":
                raise OutputError(f"{reason}; `bad_videos=skip` leaves such videos out and lists them")
            skipped.append({"file": str(bad), "reason": reason})
        for side, path, taken in ((sides.made, job[0], outcome.made), (sides.real, job[1], outcome.real)):
            if side and path and taken:
                comparable.add(str(path), taken.form)
                batches.add(side, path, taken)
        if outcome.row:
            rows.append(outcome.row)
        if on_video:
            on_video(done + 1, len(jobs))
    batches.flush()
    for name, side in sides.named():
        if not side.owners:
            raise OutputError(f"no video of the {name} folder can be used: {skipped[0]['reason'] if skipped else ''}")
    return rows, skipped


def _warnings(sides: Sides, wanted: set[str], config: EvaluationConfig) -> list[str]:
    """What to know of the means over pairs and single videos."""
    warnings = sides.made.warnings(sides.pairs, sides.real) if sides.made and wanted & set(PAIRS) else []
    if sides.statistics and form_of(sides.statistics.about) is None:
        warnings.append(
            "the statistics do not say of what size, rate and codec their videos are, so that it was not checked: make "
            "them again with `save_statistics`"
        )
    rates = [side.rates for _, side in sides.named()]
    if len(rates) == 2 and rates[0] != rates[1]:
        shown = " and ".join(", ".join(f"{rate:g}" for rate in sorted(side)[:4]) for side in rates)
        warnings.append(
            f"frame rates differ, generated and reference: {shown} a second: content that moves alike moves otherwise "
            "from frame to frame, which distances of sets count; bring both to one rate first"
        )
    for _, side in sides.named():
        for lines in side.notes.values():
            more = f" (and {len(lines) - 1} more alike)" if len(lines) > 1 else ""
            warnings.append(f"{lines[0]}{more}")
    if config.clips_per_video > 1:
        warnings.append("pairs and single videos are measured on each video's first clip; clips of one video are not "
                        "independent: standard errors are too small")  # fmt: skip
    return warnings
