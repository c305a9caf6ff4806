"""adaptivity(): what a prompt's own decisions gain over masks that do not look at it, at equal network calls.

A first phase is on calibration prompts, none of which is tested: their own masks, what skipping each segment costs at
the end, the greedy oracle's masks. The second runs the default rule on the test prompts; the third the static masks
with as many calls, the masks of other test prompts, and decisions of a batch. Everything is kept in the folder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videoada.benchmarks.adaptivity.compared import (
    NEARER,
    TOLERANCES,
    batch_decisions,
    counts_around,
    others_masks,
    own_decisions,
    static_masks,
    static_methods,
)
from videoada.benchmarks.adaptivity.measured import measure_segments, search_oracle
from videoada.benchmarks.benchmark import Cell, benchmark
from videoada.benchmarks.methods import Method
from videoada.benchmarks.oracle.analyse import forced_steps
from videoada.benchmarks.oracle.search import Mask
from videoada.config.run import GenerationConfig, SkipConfig
from videoada.errors import ConfigError, PromptError, counted
from videoada.files import results_folder
from videoada.generation.generate import check_request
from videoada.models.pipelines import model_info
from videoada.models.recommended import with_recommended

CALIBRATION = 8  # prompts
SEARCHED = 4  # of them, those whose segments are measured and whose masks the oracle searches: thousands of calls each


@dataclass(frozen=True)
class Experiment:
    """What was measured. `cells` are of the test prompts; `static` holds masks by family and number of calls."""

    model: str
    embedded: bool
    num_steps: int
    prompts: tuple[str, ...]
    calibration: tuple[str, ...]
    searched: int
    tolerances: tuple[float, ...]
    cells: tuple[Cell, ...]
    static: dict[str, dict[int, Mask]]


def split_prompts(
    requests: Sequence[GenerationConfig], calibration: Sequence[GenerationConfig] | None, limit: int | None = None
) -> tuple[list[GenerationConfig], list[GenerationConfig], list[str]]:
    """Test prompts (the first `limit`), calibration prompts, and a line for each thing that was left out.

    Without `calibration`, the last eight requests are for it, the last third of less than 24. A calibration prompt
    whose text is a test prompt's is left out. Raises PromptError where one has a test prompt's seed, or too few are
    left.
    """
    requests = list(requests)
    if calibration is None:
        count = min(CALIBRATION, len(requests) // 3)
        requests, calibration = requests[: len(requests) - count], requests[len(requests) - count :]
    tests = requests[:limit]
    texts, seeds = {request.prompt for request in tests}, {request.seed for request in tests}
    apart = [request for request in calibration if request.prompt not in texts or not request.prompt]
    notes = [f"not used: {counted(same, 'calibration prompt')}, also among the test prompts"
             for same in [len(calibration) - len(apart)] if same]  # fmt: skip
    apart = apart[:CALIBRATION]
    for request in apart:
        if request.seed in seeds:
            raise PromptError(f"the calibration prompt '{request.prompt[:60]}' has the seed {request.seed} of a test "
                              "prompt: give it another one")  # fmt: skip
    if len(tests) < 2 or not apart:
        raise PromptError(
            f"{counted(len(tests), 'test prompt')} and {counted(len(apart), 'calibration prompt')}: it takes two and "
            "one at least; give more `prompts`, or `calibration_prompts`"
        )
    return tests, apart, notes


def adaptivity(
    pipe: Any,
    requests: Sequence[GenerationConfig],
    calibration: Sequence[GenerationConfig],
    folder: str | Path,
    *,
    searched: int = SEARCHED,
    tolerances: Sequence[float] = TOLERANCES,
    batch_size: int = 8,
    on_cell: Callable[[Cell], None] | None = None,
    on_progress: Callable[[str], None] | None = None,
) -> Experiment:
    """Measure every method on `requests`, with masks found on `calibration`; what `folder` holds is not done again.

    `searched` of the calibration prompts are for segments and the oracle; the batch's decision is that of `batch_size`
    prompts. Raises ConfigError for prompts of different numbers of steps, or too few of them, PromptError where the
    folder belongs to other prompts.
    """
    say, folder = on_progress or (lambda text: None), results_folder(folder)
    requests, calibration = with_recommended(pipe, requests), with_recommended(pipe, calibration)
    num_steps = _same_steps(pipe, [*requests, *calibration])
    say(f"own decisions of {counted(len(calibration), 'calibration prompt')}")
    methods = own_decisions(tolerances)
    found = benchmark(
        pipe, calibration, methods, folder / "calibration", reference_steps=None, batch_size=batch_size
    )  # fmt: skip
    own = _masks(found, tolerances)
    fewest = max(min(sum(mask) for masks in own for mask in masks) - 2, len(forced_steps(num_steps)))
    costs = measure_segments(pipe, calibration[:searched], folder / "calibration", say)
    oracle = search_oracle(pipe, calibration[:searched], folder / "calibration", fewest, say)

    def measure(methods: list[Method]) -> list[Cell]:
        return benchmark(
            pipe, requests, methods, folder, reference_steps=None, batch_size=batch_size, on_cell=on_cell
        )  # fmt: skip

    say(f"{counted(len(requests), 'test prompt')}")
    tested = _masks(measure(methods), tolerances)
    static = static_masks(
        counts_around((sum(map(sum, masks)) / len(masks) for masks in tested), num_steps), own, costs, oracle
    )
    others = [m for tolerance, masks in zip(tolerances, tested, strict=True) for m in others_masks(tolerance, masks)]
    own_more = own_decisions(NEARER)
    cells = measure([*methods, *own_more, *others, *static_methods(static), *batch_decisions(tolerances)])
    info = model_info(pipe)
    return Experiment(
        model=info.name, embedded=info.embedded, num_steps=num_steps, prompts=tuple(r.prompt for r in requests),
        calibration=tuple(r.prompt for r in calibration), searched=min(searched, len(calibration)),
        tolerances=tuple(tolerances),
        cells=tuple(cells), static=static,
    )  # fmt: skip


def _masks(cells: Sequence[Cell], tolerances: Sequence[float]) -> list[list[Mask]]:
    """For each tolerance the masks of the default rule's own decisions, in the order of the prompts."""
    by_name = {method.name: [c for c in cells if c.method == method.name] for method in own_decisions(tolerances)}
    return [
        [tuple(step == "1" for step in cell.computed) for cell in sorted(found, key=lambda cell: cell.prompt)]
        for found in by_name.values()
    ]  # fmt: skip


def _same_steps(pipe: Any, requests: Sequence[GenerationConfig]) -> int:
    for request in requests:
        check_request(pipe, request, SkipConfig())
    steps = {request.num_steps for request in requests}
    least = len(forced_steps(8))
    if len(steps) > 1 or min(steps) < least + 2:
        shown = ", ".join(map(str, sorted(steps)[:5]))
        raise ConfigError(f"one mask for all prompts takes one number of steps, from {least + 2} on; got {shown}")
    return steps.pop()
