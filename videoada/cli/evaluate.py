"""videoada evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from videoada.cli.app import app, as_flags
from videoada.cli.options import AnyCodec, MatchFps, MatchSize, option
from videoada.errors import ConfigError, counted
from videoada.files import check_file

if TYPE_CHECKING:
    from rich.console import Console

    from videoada.evaluation.result import EvaluationResult

EXAMPLES = """
Examples:

  videoada evaluate --generated skipped/ --reference full/ --report report.html

  videoada evaluate --generated skipped/ --reference dataset/ --extractor i3d --protocol fvd2048_16f

  videoada evaluate --reference dataset/ --extractor i3d --num-frames 16 --save-stats dataset.safetensors

  videoada evaluate --generated skipped/ --reference-stats dataset.safetensors --extractor i3d --num-frames 16
"""


@app.command(epilog=EXAMPLES)
def evaluate(
    generated: Annotated[Path | None, option("A folder of videos to measure.")] = None,
    reference: Annotated[
        Path | None, option("A folder to measure them against: full runs of the same prompts, or real videos.")
    ] = None,
    reference_stats: Annotated[Path | None, option("Instead: a file that --save-stats wrote.")] = None,
    save_stats: Annotated[Path | None, option("Keep the reference's features in this .safetensors file.")] = None,
    metrics: Annotated[
        str | None,
        option(
            "Comma-separated: fvd, kvd, fvd-infinity, jedi, paired-feature-distance, psnr, ssim, tof, ms-ssim, lpips, "
            "sharpness-ratio, temporal-psnr, motion-ratio, colour-shift, vmaf, agreement, coherence.",
            "fvd,kvd,psnr,ssim,tof,agreement,coherence, as far as they apply",
        ),
    ] = None,
    extractor: Annotated[
        str | None,
        option(
            "tiny-shapes-v1, transnetv2, i3d, i3d:FILE, jedi:FILE, videomae, vjepa2, vae:MODEL, or a transformers "
            "video model.",
            "tiny-shapes-v1",
        ),
    ] = None,
    protocol: Annotated[
        str | None, option("fvd2048_16f, fvd2048_128f or fvd2048_128f_subsample8f: fixes frames and stride.")
    ] = None,
    num_frames: Annotated[int | None, option("Frames of a clip.", "all of the video")] = None,
    stride: Annotated[int | None, option("Take each n-th frame.", "1")] = None,
    clips_per_video: Annotated[int | None, option("Clips of a video, evenly spread.", "1")] = None,
    recursive: Annotated[
        bool, typer.Option("--recursive", help="Also videos in folders below, as those of classes.")
    ] = False,
    pair_by: Annotated[
        str | None,
        option("record, or name: pair videos whose file names are equal but for their endings.", "record"),
    ] = None,
    bad_videos: Annotated[
        str | None,
        option("fail, or skip: leave out videos that can't be read or are too short, and list them.", "fail"),
    ] = None,
    match_size: MatchSize = None,
    match_fps: MatchFps = None,
    any_codec: AnyCodec = False,
    workers: Annotated[int | None, option("Threads that decode and compare.", "up to 4")] = None,
    batch_size: Annotated[int | None, option("Clips in the extractor at once.", "16")] = None,
    device: Annotated[str | None, option("Where the extractor runs: cpu, cuda or cuda:N.", "cpu")] = None,
    output: Annotated[Path | None, option("Write the whole result, video by video, to this .json file.")] = None,
    report: Annotated[Path | None, option("Write an HTML report to this file.")] = None,
    json_output: Annotated[
        bool, typer.Option("--json", help="Print the whole result as JSON and nothing else.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No bar.")] = False,
) -> None:
    """Measure generated videos: FVD and KVD of the sets, fidelity of the pairs, prompt agreement, coherence."""
    given: dict[str, Any] = {
        "extractor": extractor, "protocol": protocol, "num_frames": num_frames, "stride": stride,
        "clips_per_video": clips_per_video, "pair_by": pair_by, "bad_videos": bad_videos,
        "recursive": recursive or None, "workers": workers, "batch_size": batch_size,
        "device": device, "match_size": match_size, "match_fps": match_fps, "any_codec": any_codec or None,
    }  # fmt: skip
    if metrics is not None:
        given["metrics"] = tuple(name.strip() for name in metrics.split(",") if name.strip())
    if reference and reference_stats:
        raise ConfigError("give --reference or --reference-stats, not both")
    check_file(output, "output", ".json")
    check_file(report, "report", ".html")
    check_file(save_stats, "save_statistics", ".safetensors")
    from rich.console import Console

    from videoada.evaluation.config import EvaluationConfig
    from videoada.evaluation.evaluate import evaluate as measure
    from videoada.metrics.statistics import VideoStatistics

    config = EvaluationConfig(**{name: value for name, value in given.items() if value is not None})
    console = Console(stderr=True, quiet=quiet, highlight=False)
    with video_bar(console) as on_video:
        result = measure(
            generated, VideoStatistics.load(reference_stats) if reference_stats else reference, config,
            save_statistics=save_stats, on_video=on_video,
        )  # fmt: skip
    if output:
        result.write(output)
    if report:
        from videoada.evaluation.report import write_report

        write_report(report, result, [path for path in (generated, reference) if path])
    if json_output:
        print(result.model_dump_json())
    else:
        show(Console(highlight=False, soft_wrap=True), result)
    for path in (output, report, save_stats):
        if path:
            console.print(f"wrote {path}", markup=False)
    if result.skipped:
        raise typer.Exit(1)


def video_bar(console: Console) -> Any:
    """A bar over the videos; nothing where nobody looks."""
    import contextlib

    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    @contextlib.contextmanager
    def bar() -> Any:
        if console.quiet or not console.is_terminal:
            yield None
            return
        columns = TextColumn("measuring"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task("", total=None)
            yield lambda done, of: progress.update(task, completed=done, total=of)

    return bar()


def show(console: Console, result: EvaluationResult) -> None:
    """The figures, what they are of, and what was left out."""
    from rich.markup import escape
    from rich.table import Table

    for name, side in (("generated", result.generated), ("reference", result.reference)):
        if side:
            models = f", {', '.join(side.models)}" if side.models else ""
            sizes = f", {', '.join(side.sizes[:3])}" if side.sizes else ""
            rates = f" at {', '.join(f'{rate:g}' for rate in side.rates[:3])} a second" if side.rates else ""
            rates += f", {', '.join(side.codecs[:3])}" if side.codecs else ""
            console.print(
                escape(f"{name}: {side.path}, {counted(side.videos, 'video')}{sizes}{rates} ({side.kind}{models})")
            )
    if result.extractor:
        weights = str(result.extractor["weights_sha256"])[:12]
        sampling = result.sampling
        frames = sampling["protocol"] or (
            counted(sampling["num_frames"], "frame") if sampling["num_frames"] else "all frames"
        )
        clips = f"stride {sampling['stride']}, clips a video {sampling['clips_per_video']}"
        console.print(escape(f"extractor: {result.extractor['name']}, weights {weights}; {frames}, {clips}"))
    table = Table("metric", "value", "± s.e.", "worst", "n")
    for name, row in result.metrics.items():
        count = row.get("n", "")
        if "n_generated" in row:
            count = f"{row['n_generated']} / {row['n_reference']}"
        elif row.get("identical"):
            count = f"{count} (+ {row['identical']} identical)"
        table.add_row(escape(name), *(number(row.get(k)) for k in ("value", "standard_error", "worst")), str(count))
    if result.metrics:
        console.print(table)
    if coherence := result.metrics.get("coherence"):
        if failed := ", ".join(f"{name} {count}" for name, count in coherence["failed"].items()):
            console.print(f"coherence checks failed: {failed}")
        if coherence["lost"]:
            console.print(
                f"[yellow]a check that the reference passes fails for {counted(coherence['lost'], 'video')}[/]"
            )
    for text in result.not_used:
        console.print(f"not used: {escape(as_flags(text))}")
    for warning in result.warnings:
        console.print(f"[yellow]warning:[/] {escape(warning)}")


def number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
