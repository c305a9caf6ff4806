"""videoada benchmark."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from videoada.cli.app import app, as_flags
from videoada.cli.options import JsonOutput, option, takes_settings
from videoada.errors import ConfigError, counted

if TYPE_CHECKING:
    from rich.console import Console

    from videoada.benchmarks.frontier import Point
    from videoada.config.run import GenerationConfig
    from videoada.config.settings import RunSettings

DEFAULT_PROMPT = "a red circle moving right on a black background"

EXAMPLES = """
Examples:

  videoada benchmark --prompts prompts.txt --pairs 9

  videoada benchmark --preset frontier --prompts prompts.txt --output runs/frontier

  videoada benchmark --preset adaptivity --prompts prompts.txt --calibration-prompts others.txt

  videoada benchmark --preset paper-ablation --model i2vgen-xl --prompts prompts.jsonl --reference-steps 0
"""


@app.command(epilog=EXAMPLES)
@takes_settings(
    leave_out=("prompt", "image", "num_videos", "fps", "codec", "crf"),
    texts={"seed": "Seed of the first prompt; prompt i uses seed + i.", "batch_size": "Prompts at once."},
    defaults={"batch_size": "1 when timing, else 8"},
)
def benchmark(
    given: dict[str, Any],
    prompts: Annotated[
        Path | None, typer.Option(help="Prompts, one a line, or JSON Lines; one prompt if left out.")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="Compare methods: frontier, baselines, quality, predictors, guidance, schedulers, batches, systems, "
            "budgets, paper-video, paper-steps, paper-ablation, paper-schedulers or adaptivity, each of which says "
            "what is skipped. Without it, time full against skipped runs."
        ),
    ] = None,
    families: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated (by semicolons where a part holds a comma): of the preset's methods only those whose "
            "name holds one."
        ),
    ] = None,
    budgets: Annotated[
        str | None, option("UNet rows, % of the full run, at which curves are read.", "50,40,32,25")
    ] = None,
    reference_steps: Annotated[
        int | None, option("Also measure against a run of so many steps; 0: do not.", "0", min=0)
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first prompts of the file.")] = None,
    calibration_prompts: Annotated[
        Path | None,
        option("For adaptivity: prompts that static masks are found on.", "the last 8 of the prompts, not tested"),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="A folder for cells, tables and plot; what it holds is not generated again.")
    ] = None,
    pairs: Annotated[int | None, option("When timing: pairs of a full and a skipped run.", "9", min=1)] = None,
    json_output: JsonOutput = False,
) -> None:
    """Time full against skipped runs in pairs, or compare methods at equal UNet rows with --preset."""
    from rich.console import Console

    from videoada.benchmarks.presets import ADAPTIVITY, check_settings
    from videoada.cli.show import say_with
    from videoada.config.prompts import read_requests
    from videoada.config.seeds import seed_after
    from videoada.config.settings import RunSettings

    console = Console(stderr=True, highlight=False)
    of_preset = {"families": families, "budgets": budgets, "reference_steps": reference_steps, "output": output}
    for name, value in (of_preset if preset is None else {"pairs": pairs}).items():
        if value is not None:
            raise ConfigError(f"`{name}` is for {'a `preset`' if preset is None else 'timing, without a `preset`'}")
    if preset != ADAPTIVITY and calibration_prompts is not None:
        raise ConfigError("`calibration_prompts` is for `preset=adaptivity`")
    if preset == ADAPTIVITY:
        for name in ("families", "budgets", "reference_steps"):
            if of_preset[name] is not None:
                raise ConfigError(f"`{name}` is for presets of fixed methods, which adaptivity is not: leave it out")
        if prompts is None:
            raise ConfigError("`preset=adaptivity` takes a file of `prompts`")
    if limit is not None and prompts is None:
        raise ConfigError("`limit` is of a file of `prompts`, and there is none")
    parts: dict[str, str | None] = {}
    if preset is not None:
        check_settings(preset, given)
        parts = {name: given.pop(name, None) for name in ("exit_heads", "step_policy")}
    settings = RunSettings(prompt=DEFAULT_PROMPT, **given).with_seed()
    batch_size = settings.batch_size if "batch_size" in given else 1 if preset is None else 8
    [request] = settings.requests()
    requests = [
        request.model_copy(update={"seed": seed_after(settings.first_seed, i)})
        for i in range(batch_size if preset is None else 1)
    ]
    if prompts:
        common = request.model_dump(exclude={"prompt", "image", "seed"})
        asked = {"on_message": say_with(console), "leave_out": ("fps",), **common}
        requests = read_requests(prompts, first_seed=settings.first_seed, **asked)
    folder = output or Path("runs") / "-".join(filter(None, ("benchmark", preset, settings.scheduler)))
    if preset == ADAPTIVITY:
        others = None
        if calibration_prompts:
            others = read_requests(
                calibration_prompts, first_seed=seed_after(settings.first_seed, len(requests)), **asked
            )  # fmt: skip
        _adapt(console, settings, requests, others, limit, folder, batch_size, json_output)
        return
    requests = requests[:limit]
    if preset is None:
        _time(console, settings, requests, batch_size, pairs or 9, json_output)
        return
    points = _compare(
        console, settings, requests, preset, parts, families, folder,
        reference_steps or None, batch_size, _shares(budgets or "50,40,32,25"),
    )  # fmt: skip
    if json_output:
        print(json.dumps([p.as_dict() for p in points]))


def _shares(text: str) -> list[float]:
    try:
        shares = [float(part) / 100 for part in text.split(",")]
    except ValueError:
        shares = []
    if not shares or not all(0 < share <= 1 for share in shares):
        raise ConfigError(f"budgets are percentages, such as 50,40,32,25; got '{text[:60]}'")
    return shares


def _compare(
    console: Console, settings: RunSettings, requests: list[GenerationConfig], preset_name: str,
    parts: dict[str, str | None], families: str | None, folder: Path, reference_steps: int | None, batch_size: int,
    budgets: list[float],
) -> list[Point]:  # fmt: skip
    from videoada.benchmarks.benchmark import benchmark as measure
    from videoada.benchmarks.frontier import summarize
    from videoada.benchmarks.presets import preset as methods_of
    from videoada.benchmarks.results import check_scheduler, write_results
    from videoada.files import check_folder
    from videoada.models.pipelines import load_pipeline, model_info

    check_folder(folder)
    check_scheduler(folder, settings.model, settings.scheduler)
    methods = methods_of(preset_name, families, settings.model, settings.scheduler, **parts)
    pipe = load_pipeline(settings.model, settings.loading())
    total, done = len(methods) * len(requests), 0

    def on_cell(cell: Any) -> None:
        nonlocal done
        done += 1
        if done % 8 == 0:
            console.print(f"{done} of at most {counted(total, 'cell')}; last: {cell.method}", style="dim")

    failed: dict[str, list[str]] = {}

    def on_failure(method: Any, error: Exception) -> None:
        inside = "" if isinstance(error, ConfigError) else f"fails inside diffusers: {type(error).__name__}: "
        failed.setdefault(f"{inside}{as_flags(str(error))}", []).append(method.name)

    cells = measure(
        pipe, requests, methods, folder, reference_steps=reference_steps, batch_size=batch_size, on_cell=on_cell,
        on_failure=on_failure,
    )  # fmt: skip
    for why, names in failed.items():
        console.print(f"left out: {'; '.join(dict.fromkeys(names))}: {why}", markup=False)
    points = summarize(cells)
    info = model_info(pipe)
    text = write_results(
        folder, info.name, info.embedded, points, budgets, len(requests), cells, settings.scheduler
    )  # fmt: skip
    console.print(f"wrote {folder}")
    print(text, end="")
    return points


def _adapt(
    console: Console, settings: RunSettings, requests: list[GenerationConfig], others: list[GenerationConfig] | None,
    limit: int | None, folder: Path, batch_size: int, json_output: bool,
) -> None:  # fmt: skip
    from videoada.benchmarks.adaptivity.experiment import adaptivity, split_prompts
    from videoada.benchmarks.adaptivity.table import write_experiment
    from videoada.files import check_folder, model_folder
    from videoada.models.pipelines import load_pipeline

    tests, calibration, notes = split_prompts(requests, others, limit)
    check_folder(folder)
    for note in notes:
        console.print(note, markup=False)
    pipe = load_pipeline(settings.model, settings.loading())
    found = adaptivity(
        pipe, tests, calibration, folder, batch_size=batch_size,
        on_progress=lambda text: console.print(text, style="dim", markup=False),
    )  # fmt: skip
    text = write_experiment(found, folder)
    console.print(f"wrote {folder}")
    print((folder / f"{model_folder(found.model)}.json").read_text() if json_output else text, end="")


def _time(
    console: Console, settings: RunSettings, requests: list[GenerationConfig], batch_size: int, pairs: int,
    json_output: bool,
) -> None:  # fmt: skip
    from videoada.benchmarks.timing import time_pairs
    from videoada.models.pipelines import load_pipeline
    from videoada.models.recommended import with_recommended

    skip = settings.skip()
    pipe = load_pipeline(settings.model, settings.loading())
    result = time_pairs(
        pipe, requests, skip=skip, batch_size=batch_size, pairs=pairs,
        on_pair=lambda i, pair: console.print(
            f"pair {i + 1}/{pairs}: full {pair.full:.2f} s, skipped {pair.skipped:.2f} s", style="dim"
        ),
    )  # fmt: skip
    if json_output:
        print(json.dumps(result.as_dict()))
        return
    psnr = "identical to the full run"
    if result.psnr is not None:
        psnr = f"{result.psnr:.1f} dB to the full run, mean over {counted(result.videos, 'video')}"
        psnr += "" if result.psnr_of_95 is None else f"; 95 % have {result.psnr_of_95:.1f} or more"
    scheduler = with_recommended(pipe, requests)[0].scheduler or "its own scheduler"
    name = f"{result.model}{' (small embedded model)' if result.embedded else ''}"
    for label, value in (
        (
            "model",
            f"{name}, {scheduler}, batch {batch_size}, {result.device} {result.dtype}",
        ),
        ("predictions", f"{result.predictions:.1f} of {result.num_inference_steps}"),
        (
            "speed-up",
            f"{result.speedup:.2f}× measured, {result.ideal_speedup:.2f}× ideal; the denoising alone "
            f"{result.speedup_denoising:.2f}×",
        ),
        (
            "efficiency",
            f"{result.efficiency:.3f} (ideal ÷ measured time, median of {counted(pairs, 'pair')}); "
            f"{result.row_efficiency:.3f} assuming that time per row does not depend on the batch size",
        ),
        ("policy's cost", f"{100 * result.policy_share:.2f} % of a UNet call a step"),
        ("fidelity", psnr),
    ):
        print(f"{label:<14} {value}")
