"""videoada generate."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from videoada.cli.app import app
from videoada.cli.options import Config, Quiet, takes_settings
from videoada.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from videoada.config.run import SkipConfig
    from videoada.config.settings import RunSettings
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
@takes_settings()
def generate(
    given: dict[str, Any],
    config: Config = None,
    from_record: Annotated[
        Path | None, typer.Option(help="Repeat the run of this record, or of the video that holds it; flags win.")
    ] = None,
    output: Annotated[
        Path,
        typer.Option(
            help="The video: .mp4, .mov, .webm, .mkv (lossless), .gif, .webp (lossless), or a folder of PNG frames."
        ),
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
    quiet: Quiet = False,
) -> None:
    """Generate a video from a prompt, with fewer noise predictions."""
    from rich.console import Console

    from videoada.config.merging import blaming, merged
    from videoada.config.settings import RunSettings, read_settings
    from videoada.media.outputs import Encoding, check_output, compared_path, output_paths
    from videoada.models.recommended import filled
    from videoada.records.find import find_record, not_repeated, settings_of

    if config and from_record:
        raise ConfigError("give `config` or `from_record`, not both")
    record = find_record(from_record) if from_record else None
    values = read_settings(config) if config else settings_of(record, given, output.suffix) if record else {}
    with blaming(config, values):
        settings = RunSettings(**merged(values, given)).with_seed()
        skip = settings.skip()
        settings.loading()
        if settings.prompt is not None or not print_config:
            settings.requests()
    if print_config:
        print(filled(settings).to_yaml(), end="")
        return
    encoding = Encoding.of(settings)
    paths = output_paths(output, len(settings.requests()))
    for path in paths:
        encoding.check(check_output(path).suffix.lower())
        if compare:
            check_output(compared_path(path))
    if settings.image is not None:
        from videoada.models.images import read_image

        read_image(settings.image)  # a bad one is known before a model is loaded
    if settings.video is not None:
        from videoada.models.source_videos import read_source_video

        read_source_video(settings.video, height=settings.height, width=settings.width)
    console = Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)
    unused = not_repeated(record, given, output.suffix) if record else []
    _run(console, settings, skip, paths, compare, not no_metadata, json_output, record, unused)


def _run(
    console: Console, settings: RunSettings, skip: SkipConfig, paths: list[Path], compare: bool,
    metadata: bool, json_output: bool, repeated: RunRecord | None, unused: list[str],
) -> None:  # fmt: skip
    from rich.markup import escape

    from videoada.cli.show import show_record, step_bar
    from videoada.generation.compare import compare as run_both
    from videoada.generation.generate import check_request
    from videoada.generation.generate import generate as generate_videos
    from videoada.generation.make_record import differs
    from videoada.generation.side_by_side import side_by_side
    from videoada.media.outputs import Encoding, compared_path
    from videoada.models.pipelines import load_pipeline, model_info
    from videoada.models.recommended import filled
    from videoada.records.save import save_run

    began = time.perf_counter()
    with console.status(f"loading {escape(settings.model)} …"):
        pipe = load_pipeline(settings.model, settings.loading())
    load_seconds = time.perf_counter() - began
    requests = settings.requests()
    for request in requests:
        check_request(pipe, request, skip)
    info = model_info(pipe)
    what = f", a small embedded model (`videoada models {info.name}` shows what it knows)" if info.embedded else ""
    console.print(f"model: {escape(info.name)}{what}, licence {escape(info.licence or 'not known')}")
    if repeated and differs(repeated, pipe, settings.image, skip):
        console.print(
            "[yellow]warning:[/] the record was made with other weights, LoRA files, exit heads or another image; the "
            "video differs"
        )

    for first in range(0, len(requests), settings.batch_size):
        batch = requests[first : first + settings.batch_size]
        with step_bar(console, filled(settings, pipe).max_steps or 1) as heed:
            if compare:
                comparisons = run_both(pipe, batch, skip=skip, batch_size=settings.batch_size, on_event=heed)
                results = [(c.video, c.record) for c in comparisons]
            else:
                comparisons = []
                results = generate_videos(pipe, batch, skip=skip, batch_size=settings.batch_size, on_event=heed)
        for i, (video, record) in enumerate(results):
            path = paths[first + i]
            record = record.model_copy(update={"not_used": [*record.not_used, *unused]})
            record = save_run(video, record, path, metadata=metadata, load_seconds=load_seconds)
            load_seconds = 0.0
            if comparisons:
                side_by_side(comparisons[i]).write(compared_path(path), encoding=Encoding.of(settings))
            if json_output:
                print(record.to_json(), flush=True)
            show_record(console, record, path)
            if comparisons:
                console.print(escape(f"wrote {compared_path(path)}"))
