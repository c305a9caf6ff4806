"""The methods that are compared, all with the same predictor and corrector."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from videoada.benchmarks.adaptivity.masks import another_of, by_density, by_frequency
from videoada.benchmarks.adaptivity.measured import masked
from videoada.benchmarks.adaptivity.paths import Costs, cheapest_path, minimax_path
from videoada.benchmarks.methods import Method
from videoada.benchmarks.oracle.analyse import forced_steps
from videoada.benchmarks.oracle.search import Mask
from videoada.benchmarks.presets import default

TOLERANCES = (0.025, 0.05, 0.12)
NEARER = (0.01,)  # own decisions at about half of the steps, where static masks are measured, too
BATCH_TOLERANCES = (0.018, 0.025, 0.035, 0.05, 0.07, 0.09, 0.12, 0.16)  # close enough to be read between two of them
OWN, OTHER, BATCH = "own decisions", "another prompt's mask", "batch's decision"
FREQUENCY, DENSITY = "static: most frequent steps", "static: average spacing"
MINIMAX, CHEAPEST = "static: minimax path", "static: cheapest path"
ORACLE = "static: oracle's most frequent steps"
STATIC = (FREQUENCY, DENSITY, MINIMAX, CHEAPEST, ORACLE)


def own_decisions(tolerances: Iterable[float] = TOLERANCES) -> list[Method]:
    """The default rule: each prompt by itself."""
    return default(tolerances=tolerances, family=OWN)


def batch_decisions(tolerances: Iterable[float] = TOLERANCES) -> list[Method]:
    """The default rule by the mean signal of a batch, one decision for all its prompts, at and about the tolerances."""
    near = sorted({b for t in tolerances for b in BATCH_TOLERANCES if t / 1.5 < b < t * 1.5})
    return default(tolerances=near, family=BATCH, batch_decision="mean")


def others_masks(tolerance: float, masks: Sequence[Mask]) -> list[Method]:
    """For each prompt the mask of another one, `masks` being the prompts' own at that tolerance."""
    users: dict[int, list[int]] = {}
    for prompt, other in enumerate(another_of(masks)):
        users.setdefault(other, []).append(prompt)
    return [
        Method(
            family=OTHER, knob=f"{tolerance:g}, of prompt {other}", skip=masked(masks[other]), prompts=tuple(prompts)
        )
        for other, prompts in sorted(users.items())
    ]  # fmt: skip


def counts_around(means: Iterable[float], num_steps: int) -> list[int]:
    """The rounded means, one call less and one more, and half of the steps: between 1 and the number of steps."""
    counts = {round(mean) + more for mean in means for more in (-1, 0, 1)} | {num_steps // 2}
    return sorted(count for count in counts if len(forced_steps(num_steps)) < count <= num_steps)


def static_masks(
    counts: Iterable[int], own: Sequence[Sequence[Mask]], costs: Mapping[str, Costs],
    oracle: Sequence[Mapping[int, Mask]],
) -> dict[str, dict[int, Mask]]:  # fmt: skip
    """By family and number of calls, a mask for every prompt, from those of calibration prompts.

    `own` holds, for each tolerance, their own masks: those with nearest to so many calls on average are taken. `costs`
    are the segments', `l1` and `l2`; `oracle` holds for each prompt the masks by number of calls. A count that a family
    has no mask for is left out.
    """
    num_steps = len(own[0][0])
    first = forced_steps(num_steps)[-2]
    found: dict[str, dict[int, Mask]] = {family: {} for family in STATIC}
    for calls in counts:
        nearest = min(own, key=lambda masks: abs(sum(map(sum, masks)) / len(masks) - calls))
        searched = [masks[calls] for masks in oracle if calls in masks]
        masks = {
            FREQUENCY: by_frequency(nearest, calls),
            DENSITY: by_density(nearest, calls),
            MINIMAX: minimax_path(costs["l1"], num_steps, calls, first),
            CHEAPEST: cheapest_path(costs["l2"], num_steps, calls, first),
            ORACLE: by_frequency(searched, calls) if len(searched) == len(oracle) else None,
        }
        for family, mask in masks.items():
            if mask is not None:
                found[family][calls] = mask
    return found


def static_methods(masks: Mapping[str, Mapping[int, Mask]]) -> list[Method]:
    return [
        Method(family=family, knob=f"{calls} calls", skip=masked(mask))
        for family, by_count in masks.items() for calls, mask in by_count.items()
    ]  # fmt: skip
