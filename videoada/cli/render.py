"""videoada render."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from videoada.cli import options as opt
from videoada.cli.app import app
from videoada.cli.options import option
from videoada.errors import ConfigError

if TYPE_CHECKING:
    from videoada.config.settings import RunSettings
    from videoada.rendering.jobs import Job

EXAMPLES = """
Examples:

  videoada render prompts.txt --out out/ --limit 4

  videoada render prompts.csv --out out/ --model modelscope-t2v --batch-size 4 --quality high

  videoada render VBench_full_info.json --out vbench/ --naming vbench --samples-per-prompt 5

  videoada render prompts.jsonl --out out/ --workers 2 --continue-on-error

  accelerate launch -m videoada render prompts.txt --out /shared/out

  videoada render prompts.txt --out /shared/out --engine ray --address auto
"""
FORMATS = ("mp4", "mkv", "gif", "webp", "frames")
ENGINES = ("local", "ray")
NOT_SETTINGS = (
    "prompts", "out", "images", "samples_per_prompt", "naming", "format", "limit", "shard", "workers", "engine",
    "address", "continue_on_error", "max_retries", "overwrite", "dry_run", "no_metadata", "config", "json_output",
    "quiet",
)  # fmt: skip
# Where a pipeline lives and how many run at once changes rounding alone: another run may choose anew.
NOT_SHAPING = {"prompt", "image", "num_videos", "batch_size", "device", "offload", "vae_slicing", "vae_tiling",
               "decode_chunk_size", "compile", "channels_last", "calibration"}  # fmt: skip


@app.command(epilog=EXAMPLES)
def render(
    prompts: Annotated[
        Path,
        typer.Argument(
            help="A .txt (a prompt a line), .csv, .jsonl or .json file; rows may name id, image, seed, steps, size, "
            "quality, negative_prompt and more.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="The folder for videos and records.", show_default=False)],
    images: Annotated[Path | None, option("Where image names are sought.", "beside the prompts")] = None,
    samples_per_prompt: Annotated[
        int, typer.Option(min=1, max=10_000, help="Videos of each row, with seeds one apart.")
    ] = 1,
    seed: Annotated[
        int | None, option("Base of the seeds: a row adds a number that its own content fixes.", "0")
    ] = None,
    naming: Annotated[str, typer.Option(help="id (the row's, or its place), slug, or vbench.")] = "id",
    format: Annotated[str, typer.Option(help="mp4, mkv (lossless), gif, webp (lossless) or frames.")] = "mp4",
    batch_size: Annotated[
        int | None, option("Prompts at once in each worker, still with one decision for each.", "1")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first rows of the file.")] = None,
    shard: Annotated[str | None, option("I/N: only part I of N, from 1.")] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Processes, or Ray actors, each with a pipeline; GPUs are dealt out.",
            show_default="1, or all of a Ray cluster",
        ),
    ] = None,
    engine: Annotated[str, typer.Option(help="local, or ray for many machines.")] = "local",
    address: Annotated[str, typer.Option(help="Of the Ray cluster; local makes one here.")] = "auto",
    continue_on_error: Annotated[
        bool, typer.Option("--continue-on-error", help="Draw the rest when a video fails; exit code 1 tells.")
    ] = False,
    max_retries: Annotated[int, typer.Option(min=0, help="More tries for a video that fails.")] = 1,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Draw again what the folder holds of other settings.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count, estimate from one measured video, and leave.")
    ] = False,
    model: opt.Model = None,
    revision: opt.Revision = None,
    variant: opt.Variant = None,
    steps: opt.Steps = None,
    step_policy: opt.StepPolicy = None,
    guidance_scale: opt.GuidanceScale = None,
    negative_prompt: opt.NegativePrompt = None,
    num_frames: opt.NumFrames = None,
    height: opt.Height = None,
    width: opt.Width = None,
    fps: opt.Fps = None,
    target_fps: opt.TargetFps = None,
    scheduler: opt.Scheduler = None,
    quality: opt.Quality = None,
    target_psnr: opt.TargetPsnr = None,
    tolerance: opt.Tolerance = None,
    threshold: opt.Threshold = None,
    policy: opt.Policy = None,
    predictor: opt.Predictor = None,
    early_exit: opt.EarlyExit = None,
    exit_threshold: opt.ExitThreshold = None,
    exit_heads: opt.ExitHeads = None,
    device: opt.Device = None,
    dtype: opt.Dtype = None,
    offload: opt.Offload = None,
    vae_slicing: opt.VaeSlicing = False,
    vae_tiling: opt.VaeTiling = False,
    decode_chunk_size: opt.DecodeChunkSize = None,
    compile: opt.Compile = False,
    channels_last: opt.ChannelsLast = False,
    quantize: opt.Quantize = None,
    config: Annotated[
        Path | None,
        typer.Option(help="A YAML file with any setting of `videoada generate`, or a shipped one's name; flags win."),
    ] = None,
    no_metadata: Annotated[
        bool, typer.Option("--no-metadata", help="Keep the run records out of the video files.")
    ] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No bar and no summary.")] = False,
) -> None:
    """Render a prompt file: resumable, on one machine or many, nothing lost and nothing drawn twice."""
    given = {
        k: v
        for k, v in locals().items()
        if v is not None and (v is not False or k in opt.SWITCHES) and k not in NOT_SETTINGS
    }
    from rich.console import Console

    from videoada.cli.generate import effective_settings
    from videoada.cli.rendering import How, estimate, run
    from videoada.config.frozen import one_of
    from videoada.config.prompts import read_rows
    from videoada.rendering.jobs import plan_jobs
    from videoada.rendering.jobs import shard as part_of
    from videoada.rendering.naming import NAMINGS

    try:
        one_of("naming", naming, NAMINGS)
        one_of("format", format, FORMATS)
        one_of("engine", engine, ENGINES)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    settings = effective_settings(given, config, None)
    settings.skip()
    ending = "" if format == "frames" else f".{format}"
    rows = read_rows(prompts, images)[:limit]
    jobs = plan_jobs(
        rows, settings, source=prompts, samples_per_prompt=samples_per_prompt, naming=naming, format=ending
    )
    if shard:
        jobs = part_of(jobs, *_shard(shard))
    check_images(settings, jobs, prompts)
    check_parts(settings, jobs)
    rank, world = _launched()
    if world > 1 and ((workers or 1) > 1 or engine != "local"):
        raise ConfigError("`accelerate launch` starts the processes itself: leave --workers and --engine out")
    from videoada.rendering.worker import WorkerPlan  # with torch, which checking the rows goes without

    console = Console(stderr=True, quiet=quiet or rank > 0, highlight=False, soft_wrap=True)
    plan = WorkerPlan(str(out), ending, settings.model, settings.loading(), not no_metadata, overwrite)
    kept = settings.model_dump(mode="json", exclude=NOT_SHAPING, exclude_defaults=True)
    kept |= {"format": format, "naming": naming}
    how = How(out, naming, overwrite, settings.batch_size, max_retries, continue_on_error, engine, workers, address,
               rank, world, json_output)  # fmt: skip
    if dry_run:
        estimate(console, jobs, plan, kept, how)
        return
    run(console, jobs, plan, kept, how)


def _shard(text: str) -> tuple[int, int]:
    try:
        index, count = (int(part) for part in text.split("/"))
    except ValueError:
        raise ConfigError(f"--shard: give I/N, as 1/4, got '{text[:20]}'") from None
    return index, count


def check_images(settings: RunSettings, jobs: list[Job], source: Path) -> None:
    """The model must be there, and the rows name images if it draws from them. Raises ModelError, PromptError."""
    from videoada.errors import PromptError
    from videoada.models.sources import find_folder
    from videoada.rendering.folder import read_json

    folder = find_folder(settings.model, settings.revision, settings.variant)
    takes = {"I2VGenXLPipeline": True, "TextToVideoSDPipeline": False}.get(
        str(read_json(folder / "model_index.json").get("_class_name"))
    )
    for job in jobs:
        if takes is not None and (job.request.image is not None) is not takes:
            problem = f"names no image, and {settings.model} draws from one" if takes else (
                f"names an image, and {settings.model} draws from text; use an image-to-video model")  # fmt: skip
            raise PromptError(f"{source}, line {job.line} {problem}")
        if takes is False and job.request.target_fps is not None:
            raise PromptError(f"{source}, line {job.line}: target-fps is a condition of image-to-video models")


def check_parts(settings: RunSettings, jobs: list[Job]) -> None:
    """Exit heads and step policies must be there before anything is written. Raises ModelError."""
    heads = {job.skip.exit_heads for job in jobs if job.skip.early_exit}
    policies = {job.request.step_policy for job in jobs} - {None}
    if not heads and not policies:
        return
    from videoada.config.settings import SHIPPED
    from videoada.learned.parts import EXIT_HEADS, STEP_POLICY

    for path in heads:
        EXIT_HEADS.file(settings.model, path)
    for policy in policies:
        STEP_POLICY.file(settings.model, None if policy == SHIPPED else policy)


def _launched() -> tuple[int, int]:
    """This process's number and how many there are under `accelerate launch`; (0, 1) without it."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or "LOCAL_RANK" not in os.environ:
        return 0, 1
    from accelerate import PartialState

    state = PartialState()
    return state.process_index, state.num_processes
