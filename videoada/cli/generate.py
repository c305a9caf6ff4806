"""videoada generate."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from videoada.cli import options as opt
from videoada.cli.app import app
from videoada.cli.options import option
from videoada.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from videoada.config.run import SkipConfig
    from videoada.config.settings import RunSettings
    from videoada.media.video import Video
    from videoada.records.record import RunRecord

EXAMPLES = """
Examples:

  videoada generate --prompt "a red circle moving right on a black background"

  videoada generate --prompt "…" --quality fast --seed 7 --output fast.mkv --json

  videoada generate --prompt "…" --compare --output clip.webp

  videoada generate --prompt "…" --num-videos 8 --batch-size 4 --output frames/clip

  videoada generate --config example --seed 5

  videoada generate --from-record clip.mp4 --output again.mkv
"""


@app.command(epilog=EXAMPLES)
def generate(
    prompt: Annotated[str | None, option("What to draw.")] = None,
    negative_prompt: opt.NegativePrompt = None,
    image: Annotated[
        str | None, option("The first frame, for image-to-video models: a PNG, JPEG or WebP file.")
    ] = None,
    model: opt.Model = None,
    revision: opt.Revision = None,
    variant: opt.Variant = None,
    steps: opt.Steps = None,
    step_policy: opt.StepPolicy = None,
    guidance_scale: opt.GuidanceScale = None,
    num_frames: opt.NumFrames = None,
    height: opt.Height = None,
    width: opt.Width = None,
    fps: opt.Fps = None,
    target_fps: opt.TargetFps = None,
    seed: Annotated[int | None, option("Seed of the first video; video i uses seed + i.", "0")] = None,
    num_videos: Annotated[int | None, option("How many videos of the prompt.", "1")] = None,
    batch_size: Annotated[
        int | None, option("How many of them at once, still with one decision for each.", "1")
    ] = None,
    scheduler: opt.Scheduler = None,
    quality: opt.Quality = None,
    target_psnr: opt.TargetPsnr = None,
    tolerance: opt.Tolerance = None,
    threshold: opt.Threshold = None,
    policy: opt.Policy = None,
    predictor: opt.Predictor = None,
    damping: opt.Damping = None,
    corrector: opt.Corrector = None,
    guidance_tolerance: opt.GuidanceTolerance = None,
    max_skip_steps: opt.MaxSkipSteps = None,
    warmup_steps: opt.WarmupSteps = None,
    final_steps: opt.FinalSteps = None,
    every: opt.Every = None,
    mask: opt.Mask = None,
    batch_decision: opt.BatchDecision = None,
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
        typer.Option(help="A YAML file with any of the options above, or a shipped one's name: example; flags win."),
    ] = None,
    from_record: Annotated[
        Path | None, typer.Option(help="Repeat the run of this record, or of the video that holds it; flags win.")
    ] = None,
    output: Annotated[
        Path,
        typer.Option(help="The video: .mp4, .mkv (lossless), .gif, .webp (lossless), or a folder of PNG frames."),
    ] = Path("video.mp4"),
    compare: Annotated[
        bool, typer.Option("--compare", help="Also run in full; measure fidelity and show both side by side.")
    ] = False,
    no_metadata: Annotated[
        bool, typer.Option("--no-metadata", help="Keep the run record out of the video file.")
    ] = False,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print what would run as YAML, and leave.")
    ] = False,
    json_output: Annotated[
        bool, typer.Option("--json", help="Print the records on stdout, one JSON object a line.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No bar and no summary.")] = False,
) -> None:
    """Draw a video from a prompt, with fewer noise predictions."""
    given = {
        k: v
        for k, v in locals().items()
        if v is not None and (v is not False or k in opt.SWITCHES) and k not in NOT_SETTINGS
    }
    from rich.console import Console

    from videoada.media.outputs import check_output

    settings = effective_settings(given, config, from_record)
    skip = settings.skip()
    if print_config:
        if settings.prompt is not None:
            settings.requests()
        print(settings.to_yaml(), end="")
        return
    count = len(settings.requests())
    paths = [output] if count == 1 else [output.with_stem(f"{output.stem}-{i:03d}") for i in range(count)]
    for path in paths:
        check_output(path)
        if compare:
            check_output(compared_path(path))
    if settings.image is not None:
        from videoada.models.images import read_image

        read_image(settings.image)  # a bad one is known before a model is loaded
    console = Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)
    record = None
    if from_record:
        from videoada.records.find import find_record

        record = find_record(from_record)
    _run(console, settings, skip, paths, compare, not no_metadata, json_output, record)


NOT_SETTINGS = ("config", "from_record", "output", "compare", "no_metadata", "print_config", "json_output", "quiet")


def effective_settings(given: dict[str, Any], config: Path | None, from_record: Path | None) -> RunSettings:
    """Flags over the configuration or the record over the defaults. Raises ConfigError."""
    from videoada.config.settings import GOALS, WAY_FIELDS, RunSettings, read_settings

    if config and from_record:
        raise ConfigError("give --config or --from-record, not both")
    values: dict[str, Any] = {}
    if config:
        values = read_settings(config)
    elif from_record:
        from videoada.records.find import find_record, settings_of

        values = settings_of(find_record(from_record))
    if given.keys() & {"policy", "every", "mask", *GOALS}:  # another way to skip has no use for the other's fields
        for name in WAY_FIELDS + GOALS:
            values.pop(name, None)
    elif "predictor" in given:
        values.pop("damping", None)
    if given.get("steps", "auto") != "auto" and "step_policy" not in given:
        values.pop("step_policy", None)  # which chooses among numbers of its own
    return RunSettings(**(values | given))


def compared_path(path: Path) -> Path:
    """Where the side-by-side video goes: NAME-compare.ext."""
    return path.with_stem(f"{path.stem}-compare")


def _run(
    console: Console, settings: RunSettings, skip: SkipConfig, paths: list[Path], compare: bool, metadata: bool,
    json_output: bool, repeated: RunRecord | None,
) -> None:  # fmt: skip
    from rich.markup import escape

    from videoada.cli.show import show_record, step_bar
    from videoada.generation.generate import check_request
    from videoada.generation.generate import generate as draw
    from videoada.learned.parts import EXIT_HEADS
    from videoada.models.pipelines import load_pipeline, model_info

    began = time.perf_counter()
    with console.status(f"loading {escape(settings.model)} …"):
        pipe = load_pipeline(settings.model, settings.loading())
    load_seconds = time.perf_counter() - began
    requests = settings.requests()
    for request in requests:
        check_request(pipe, request, skip)
    info = model_info(pipe)
    what = ", a small embedded model (64×64 shapes; see `videoada models` for real ones)" if info.embedded else ""
    console.print(f"model: {escape(info.name)}{what}, licence {escape(info.licence or 'not known')}")
    heads = EXIT_HEADS.sha256(pipe, skip.exit_heads) if skip.early_exit else None
    if repeated and different(repeated, info.weights_sha256, settings.image, heads):
        console.print(
            "[yellow]warning:[/] the record was made with other weights, exit heads or another image; the video differs"
        )

    for first in range(0, len(requests), settings.batch_size):
        batch = requests[first : first + settings.batch_size]
        with step_bar(console, settings.most_steps) as on_step:
            if compare:
                from videoada.generation.compare import compare as run_both
                from videoada.generation.side_by_side import side_by_side

                comparisons = run_both(pipe, batch, skip=skip, batch_size=settings.batch_size, on_step=on_step)
                results = [(c.video, c.record) for c in comparisons]
            else:
                comparisons = []
                results = draw(pipe, batch, skip=skip, batch_size=settings.batch_size, on_step=on_step)
        for i, (video, record) in enumerate(results):
            path = paths[first + i]
            record = write(video, record, path, load_seconds, metadata)
            load_seconds = 0.0
            if comparisons:
                side_by_side(comparisons[i]).write(compared_path(path))
            if json_output:
                print(record.to_json(), flush=True)
            show_record(console, record, path)
            if comparisons:
                console.print(escape(f"wrote {compared_path(path)}"))


def different(record: RunRecord, weights: str | None, image: str | None, heads: str | None = None) -> bool:
    """Whether weights, image or exit heads are known to be others than the record's."""
    from videoada.models.images import fingerprint

    pairs = [(record.model.weights_sha256, weights), (record.image_sha256, fingerprint(image))]
    pairs.append(((record.early_exit or {}).get("heads_sha256"), heads))
    return any(before and now and before != now for before, now in pairs)


def write(video: Video, record: RunRecord, path: Path, load_seconds: float, metadata: bool) -> RunRecord:
    """Write the video and its record, both or neither; the record with the time it took."""
    from videoada.files import written_aside
    from videoada.media.outputs import record_path

    began = time.perf_counter()
    seconds = record.seconds | {"load": round(load_seconds, 4)}
    with written_aside(record_path(path)) as record_aside, written_aside(path) as aside:
        video.encode(aside, json.dumps(record.model_dump(), allow_nan=False) if metadata else None)
        seconds["write"] = round(time.perf_counter() - began, 4)
        seconds["total"] = round(sum(v for k, v in seconds.items() if k != "total"), 4)
        record = record.model_copy(update={"seconds": seconds})
        record_aside.write_text(record.to_json(indent=2) + "\n", encoding="utf-8")
    return record
