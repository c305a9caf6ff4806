"""The command line: each command is a thin shell over one public function. The only module that prints.

People's output goes to stderr; with --json, stdout holds one record a line and nothing else.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from videoada.errors import ConfigError, VideoAdaError

if TYPE_CHECKING:
    from rich.console import Console

    from videoada.denoiser import StepCallback
    from videoada.records import RunRecord

# Typer carries a click of its own in newer versions; this is the base of its usage errors in any version.
_UsageProblem: type[Exception] = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")

app = typer.Typer(
    name="videoada",
    help="Video diffusion with fewer noise predictions, decided for each prompt at each step.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _version(wanted: bool) -> None:
    if wanted:
        from videoada import __version__

        print(f"videoada {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None: ...


@app.command()
def generate(
    prompt: Annotated[str, typer.Option(help="What to draw.")],
    negative_prompt: Annotated[str | None, typer.Option(help="What to keep away from.")] = None,
    model: Annotated[
        str, typer.Option(help="tiny-t2v (embedded, small), modelscope-t2v, a diffusers folder, or a hub id.")
    ] = "tiny-t2v",
    steps: Annotated[int, typer.Option(help="Scheduler steps of the full run.")] = 50,
    guidance_scale: Annotated[float, typer.Option(help="Classifier-free guidance; 1 turns it off.")] = 9.0,
    num_frames: Annotated[int, typer.Option(help="Frames of the video.")] = 16,
    height: Annotated[int | None, typer.Option(help="Pixels; the model's own if left out.")] = None,
    width: Annotated[int | None, typer.Option(help="Pixels; the model's own if left out.")] = None,
    fps: Annotated[int, typer.Option(help="Frames a second of the file.")] = 8,
    seed: Annotated[int, typer.Option(help="Seed of the first video; video i uses seed + i.")] = 0,
    num_videos: Annotated[int, typer.Option(min=1, help="How many videos of the prompt.")] = 1,
    scheduler: Annotated[str, typer.Option(help="ddim, dpm++, dpm++-sde, unipc, euler or euler-a.")] = "ddim",
    policy: Annotated[
        str, typer.Option(help="When to skip: none, every-n, mask, third-order or third-order-release.")
    ] = "third-order",
    predictor: Annotated[
        str | None, typer.Option(help="What stands in: hold or hold-output; the policy's own if left out.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Skip more with a larger one; 0 skips nothing; the policy's own if left out.")
    ] = None,
    max_skip_steps: Annotated[int | None, typer.Option(help="Most skips in a row.")] = None,
    warmup_steps: Annotated[int | None, typer.Option(help="First steps that always compute.")] = None,
    final_steps: Annotated[int | None, typer.Option(help="Last steps that always compute.")] = None,
    every: Annotated[int | None, typer.Option(help="For every-n: compute each n-th step.")] = None,
    mask: Annotated[
        str | None, typer.Option(help="For mask: 0/1 for each step (1 = compute), or a file with them, or a record.")
    ] = None,
    batch_decision: Annotated[
        str | None, typer.Option(help="For third-order-release: prompt, or mean as the released code does.")
    ] = None,
    output: Annotated[
        Path, typer.Option(help="The video: .mp4 (H.264) or .mkv (lossless). NAME.json goes beside it.")
    ] = Path("video.mp4"),
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32, float16 or bfloat16.")] = "auto",
    json_output: Annotated[
        bool, typer.Option("--json", help="Print the records on stdout, one JSON object a line.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No bar and no summary.")] = False,
) -> None:
    """Draw a video from a prompt, with fewer noise predictions.

    Examples:

      videoada generate --prompt "a red circle moving right on a black background"

      videoada generate --prompt "…" --threshold 0.3 --seed 7 --output fast.mkv --json

      videoada generate --prompt "…" --policy none --output full.mkv
    """
    from rich.console import Console
    from rich.markup import escape

    from videoada.config import GenerationConfig, SkipConfig
    from videoada.video import check_output, write_text

    console = Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)
    skip = SkipConfig(
        policy=policy, predictor=predictor, threshold=threshold, max_skip_steps=max_skip_steps,
        warmup_steps=warmup_steps, final_steps=final_steps, every=every,
        mask=read_mask(mask) if mask else None, batch_decision=batch_decision,
    )  # fmt: skip
    requests = [
        GenerationConfig(
            prompt=prompt, negative_prompt=negative_prompt, num_inference_steps=steps, guidance_scale=guidance_scale,
            num_frames=num_frames, height=height, width=width, fps=fps, seed=seed + i, scheduler=scheduler,
        )
        for i in range(num_videos)
    ]  # fmt: skip
    paths = [output] if num_videos == 1 else [output.with_stem(f"{output.stem}-{i:03d}") for i in range(num_videos)]
    for path in paths:
        check_output(path)

    from videoada.generate import check_request
    from videoada.generate import generate as run
    from videoada.pipelines import load_pipeline, model_info

    began = time.perf_counter()
    with console.status(f"loading {escape(model)} …"):
        pipe = load_pipeline(model, device=device, dtype=dtype)
    load_seconds = time.perf_counter() - began
    info = model_info(pipe)
    if info.embedded:
        console.print(f"model: {info.name}, the small embedded model (64×64 shapes; see --model for real ones)")
    for request in requests:
        check_request(pipe, request, skip)

    for request, path in zip(requests, paths, strict=True):
        with step_bar(console, steps) as on_step:
            [(video, record)] = run(pipe, [request], skip=skip, on_step=on_step)
        began = time.perf_counter()
        video.write(path)
        seconds = record.seconds | {"load": round(load_seconds, 4), "write": round(time.perf_counter() - began, 4)}
        seconds["total"] = round(sum(v for k, v in seconds.items() if k != "total"), 4)
        load_seconds = 0.0
        record = record.model_copy(update={"seconds": seconds})
        write_text(path.with_suffix(".json"), record.to_json(indent=2) + "\n")
        if json_output:
            print(record.to_json(), flush=True)
        _show(console, record, path)


def read_mask(text: str) -> tuple[bool, ...]:
    """0/1 for each step, from '1,1,0', '110', a JSON list, a file that holds one, or a run record's `computed`."""
    source = text
    try:
        if Path(text).is_file():
            text = Path(text).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):  # not a path at all, or not text
        pass
    try:
        values = json.loads(text) if text.lstrip()[:1] in ("[", "{") else [c for c in text if c not in ", \n\r\t"]
    except ValueError:
        values = None
    if isinstance(values, dict):
        values = values.get("computed")
    if not values or not isinstance(values, list) or any(str(v) not in ("0", "1", "True", "False") for v in values):
        raise ConfigError(
            f"can't read a mask from '{source[:60]}': give 0/1 for each step, a file with them, or a record"
        )
    return tuple(str(v) in ("1", "True") for v in values)


@contextlib.contextmanager
def step_bar(console: Console, num_steps: int) -> Iterator[StepCallback | None]:
    """A bar that shows computed and skipped steps as they happen; nothing where nobody looks."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    if console.quiet or not console.is_terminal:
        yield None
        return
    columns = (
        TextColumn("denoising"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[counts]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=num_steps, counts="")
        done = [0, 0]

        def on_step(step: int, total: int, computed: tuple[bool, ...]) -> None:
            done[bool(computed[0])] += 1
            progress.update(
                task, completed=step + 1, total=total, counts=f"[green]{done[1]} computed[/] [cyan]{done[0]} skipped[/]"
            )

        yield on_step


def _show(console: Console, record: RunRecord, path: Path) -> None:
    from rich.markup import escape

    strip = "".join("[green]█[/]" if step else "[cyan]·[/]" for step in record.computed)
    share = 100 * (1 - record.num_predictions / record.num_inference_steps)
    stages = " · ".join(f"{name} {value:.2f}" for name, value in record.seconds.items() if name != "total")
    console.print(strip)
    console.print(
        f"predictions {record.num_predictions}/{record.num_inference_steps} ({share:.0f} % skipped)   "
        f"UNet rows {record.unet_rows}/{record.unet_rows_full}"
    )  # fmt: skip
    console.print(f"seconds: {stages} · total {record.seconds['total']:.2f}")
    for warning in record.warnings:
        console.print(f"[yellow]warning:[/] {escape(warning)}")
    console.print(escape(f"wrote {path} and {path.with_suffix('.json').name}"))


def main(args: list[str] | None = None) -> None:
    """Run the command line: one-line errors, the contract's exit codes."""
    code = 0
    try:
        code = app(args=args, prog_name="videoada", standalone_mode=False) or 0
    except VideoAdaError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        code = 2
    except _UsageProblem as error:
        message = error.format_message() if hasattr(error, "format_message") else str(error)
        print(f"error: {' '.join(message.split())} (see --help)", file=sys.stderr)
        code = 2
    except (KeyboardInterrupt, typer.Abort):
        print("interrupted; nothing half-written was left", file=sys.stderr)
        code = 130
    except BrokenPipeError:  # whoever read stdout has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code)
