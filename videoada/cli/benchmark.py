"""videoada benchmark."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from videoada.cli.app import app
from videoada.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from videoada.benchmarks.frontier import Point
    from videoada.config.run import GenerationConfig, SkipConfig

DEFAULT_PROMPT = "a red circle moving right on a black background"

EXAMPLES = """
Examples:

  videoada benchmark --prompts prompts.txt --pairs 9

  videoada benchmark --preset frontier --prompts prompts.txt --output runs/frontier

  videoada benchmark --preset paper-ablation --model i2vgen-xl --prompts prompts.jsonl --reference-steps 0
"""


@app.command(epilog=EXAMPLES)
def benchmark(
    prompts: Annotated[
        Path | None, typer.Option(help="Prompts, one a line, or JSON Lines; one prompt if left out.")
    ] = None,
    model: Annotated[str, typer.Option(help="As for `videoada generate`.")] = "tiny-t2v",
    preset: Annotated[
        str | None,
        typer.Option(
            help="Compare methods: frontier, quality, predictors, guidance, schedulers, batches, systems, "
            "paper-video, paper-steps, paper-ablation or paper-schedulers. Without it, time full against skipped runs."
        ),
    ] = None,
    families: Annotated[
        str | None, typer.Option(help="Comma-separated: of the preset's methods only those whose name holds one.")
    ] = None,
    budgets: Annotated[str, typer.Option(help="UNet rows, % of the full run, at which curves are read.")] = "50,40,32",
    reference_steps: Annotated[
        int, typer.Option(min=0, help="Also measure against a DDIM run of so many steps; 0: do not.")
    ] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first prompts of the file.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="A folder for cells, tables and plot; what it holds is not drawn again.")
    ] = None,
    steps: Annotated[
        str, typer.Option(help="Scheduler steps of the full run; when timing also auto, as for `videoada generate`.")
    ] = "50",
    num_frames: Annotated[int, typer.Option(help="Frames of each video.")] = 16,
    scheduler: Annotated[str | None, typer.Option(help="When timing: as for `videoada generate`.")] = None,
    quality: Annotated[str | None, typer.Option(help="When timing: as for `videoada generate`.")] = None,
    target_psnr: Annotated[float | None, typer.Option(help="When timing: as for `videoada generate`.")] = None,
    policy: Annotated[str | None, typer.Option(help="When timing: as for `videoada generate`.")] = None,
    tolerance: Annotated[float | None, typer.Option(help="When timing: as for `videoada generate`.")] = None,
    threshold: Annotated[float | None, typer.Option(help="When timing: as for `videoada generate`.")] = None,
    early_exit: Annotated[bool, typer.Option("--early-exit", help="When timing: as for `videoada generate`.")] = False,
    exit_threshold: Annotated[float | None, typer.Option(help="When timing: as for `videoada generate`.")] = None,
    exit_heads: Annotated[
        str | None, typer.Option(help="When timing, and for the preset systems: as for `videoada generate`.")
    ] = None,
    step_policy: Annotated[
        str | None, typer.Option(help="When timing, and for the preset systems: as for `videoada generate`.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Prompts at once: 1 when timing, else 8.")] = None,
    pairs: Annotated[int, typer.Option(min=1, help="When timing: pairs of a full and a skipped run.")] = 9,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32, float16 or bfloat16.")] = "auto",
    json_output: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Time full against skipped runs in pairs, or compare methods at equal UNet rows with --preset."""
    from rich.console import Console

    from videoada.config.prompts import read_requests
    from videoada.config.settings import RunSettings

    console = Console(stderr=True, highlight=False)
    number: Any = steps  # RunSettings reads text, too
    settings = RunSettings(
        prompt=DEFAULT_PROMPT, model=model, steps=number, num_frames=num_frames, scheduler=scheduler or "ddim",
        quality=quality, target_psnr=target_psnr, policy=policy, tolerance=tolerance, threshold=threshold,
        early_exit=early_exit or None, exit_threshold=exit_threshold, exit_heads=exit_heads,
        step_policy=None if preset else step_policy, num_videos=batch_size or 1,
    )  # fmt: skip
    requests = settings.requests()
    if prompts:
        common: dict[str, Any] = {"num_inference_steps": settings.most_steps, "num_frames": num_frames}
        asked = {"scheduler": requests[0].scheduler, "step_policy": requests[0].step_policy} if preset is None else {}
        requests = [r.model_copy(update=asked) for r in read_requests(prompts, **common)[:limit]]
    if preset is None:
        _time(console, model, device, dtype, requests, settings.skip(), batch_size or 1, pairs, json_output)
        return
    timing = {
        "scheduler": scheduler, "quality": quality, "target-psnr": target_psnr, "policy": policy,
        "tolerance": tolerance, "threshold": threshold, "early-exit": early_exit or None,
        "exit-threshold": exit_threshold,
    }  # fmt: skip
    if steps == "auto":
        raise ConfigError("--steps auto is for timing; the preset systems has a step policy among its methods")
    own = {"exit_heads": exit_heads, "step_policy": step_policy}
    if preset != "systems" and any(own.values()):
        raise ConfigError("--exit-heads and --step-policy are for timing and --preset systems")
    if used := [name for name, value in timing.items() if value is not None]:
        raise ConfigError(f"--{used[0]} is for timing; a preset names its own methods")
    shares = _shares(budgets)
    points = _compare(
        console, model, device, dtype, requests, preset, own, families, output or Path("runs") / f"benchmark-{preset}",
        reference_steps or None, batch_size or 8, shares,
    )  # fmt: skip
    if json_output:
        print(json.dumps([p.as_dict() for p in points]))


def _shares(text: str) -> list[float]:
    try:
        shares = [float(part) / 100 for part in text.split(",")]
    except ValueError:
        shares = []
    if not shares or not all(0 < share <= 1 for share in shares):
        raise ConfigError(f"budgets are percentages, such as 50,40,32; got '{text[:60]}'")
    return shares


def _compare(
    console: Console, model: str, device: str, dtype: str, requests: list[GenerationConfig], preset_name: str,
    own: dict[str, str | None], families: str | None, folder: Path, reference_steps: int | None, batch_size: int,
    budgets: list[float],
) -> list[Point]:  # fmt: skip
    from videoada.benchmarks.benchmark import benchmark as measure
    from videoada.benchmarks.frontier import summarize
    from videoada.benchmarks.presets import preset as methods_of
    from videoada.files import results_folder
    from videoada.models.pipelines import load_pipeline, model_info

    results_folder(folder)
    methods = methods_of(preset_name, **own)
    if families:
        wanted = [part.strip() for part in families.split(",")]
        methods = [m for m in methods if any(part in m.name for part in wanted)]
        if not methods:
            raise ConfigError(f"no method of preset '{preset_name}' has {' or '.join(wanted)[:80]} in its name")
    pipe = load_pipeline(model, device=device, dtype=dtype)
    total, done = len(methods) * len(requests), 0

    def on_cell(cell: Any) -> None:
        nonlocal done
        done += 1
        if done % 8 == 0:
            console.print(f"{done} of at most {total} cells; last: {cell.method}", style="dim")

    failed: dict[str, Exception] = {}
    cells = measure(
        pipe, requests, methods, folder, reference_steps=reference_steps, batch_size=batch_size, on_cell=on_cell,
        on_failure=lambda method, error: failed.update({method.name: error}),
    )  # fmt: skip
    for name, error in failed.items():
        console.print(f"left out: {name}, which fails inside diffusers: {type(error).__name__}: {error}")
    points = summarize(cells)
    info = model_info(pipe)
    text = write_results(folder, info.name, info.embedded, points, budgets, len(requests))
    console.print(f"wrote {folder}")
    print(text, end="")
    return points


def write_results(
    folder: Path, model: str, embedded: bool, points: list[Point], budgets: list[float], prompts: int
) -> str:
    """NAME.json, NAME.md and NAME.svg of one model; the Markdown text."""
    from videoada.benchmarks.charts import frontier_chart
    from videoada.benchmarks.frontier import Point, best_curve, budgets_table, points_table, psnr_table
    from videoada.files import model_folder, written_aside
    from videoada.plots import write_svg
    from videoada.records.record import package_versions

    points = [Point(**point.as_dict()) for point in points]  # so that whoever reads the JSON comes to the same tables
    what = f"{model}{' (small embedded model)' if embedded else ''}, {prompts} prompts"
    families = dict.fromkeys(p.family for p in points if not p.family.startswith("full run"))
    text = f"{what}\n\n{points_table(points)}\n\n{budgets_table(points, budgets)}\n\n{psnr_table(points)}\n"
    model = model_folder(model)
    curves = {f: best_curve([p for p in points if p.family == f]) for f in families}
    figures = {
        "model": what, "points": [p.as_dict() for p in points], "budgets": budgets, "versions": package_versions()
    }  # fmt: skip
    with written_aside(folder / f"{model}.json") as aside:
        aside.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    with written_aside(folder / f"{model}.md") as aside:
        aside.write_text(text, encoding="utf-8")
    if curves:
        write_svg(frontier_chart(curves, what), folder / f"{model}.svg")
    return text


def _time(
    console: Console, model: str, device: str, dtype: str, requests: list[GenerationConfig], skip: SkipConfig,
    batch_size: int, pairs: int, json_output: bool,
) -> None:  # fmt: skip
    from videoada.benchmarks.timing import time_pairs
    from videoada.models.pipelines import load_pipeline

    pipe = load_pipeline(model, device=device, dtype=dtype)
    result = time_pairs(
        pipe, requests, skip=skip, batch_size=batch_size, pairs=pairs,
        on_pair=lambda i, pair: console.print(
            f"pair {i + 1}/{pairs}: full {pair.full:.2f} s, skipped {pair.skipped:.2f} s", style="dim"
        ),
    )  # fmt: skip
    if json_output:
        print(json.dumps(result.as_dict()))
        return
    psnr = "identical" if result.psnr is None else f"{result.psnr:.1f} dB"
    name = f"{result.model}{' (small embedded model)' if result.embedded else ''}"
    for label, value in (
        ("model", f"{name}, {requests[0].scheduler}, batch {batch_size}, {result.device} {result.dtype}"),
        ("predictions", f"{result.predictions:.1f} of {result.num_inference_steps}"),
        ("speed-up", f"{result.speedup:.2f}× measured, {result.ideal_speedup:.2f}× ideal"),
        (
            "efficiency",
            f"{result.efficiency:.3f} (ideal ÷ measured time, median of {pairs} pairs); "
            f"{result.row_efficiency:.3f} if few rows took as long each as many",
        ),
        ("policy's cost", f"{100 * result.policy_share:.2f} % of a UNet call a step"),
        ("fidelity", f"{psnr} to the full run, mean over the pairs"),
    ):
        print(f"{label:<14} {value}")
