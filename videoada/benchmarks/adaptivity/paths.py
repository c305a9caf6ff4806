"""The best path of so many network calls, by dynamic programming over measured costs of the segments between calls.

A segment (i, j) skips the steps between the calls i and j. LeMiCa (arXiv 2511.00090) takes the path whose costs, in
descending order, come first lexicographically: the largest is smallest, then the second, and so on. DPCache (arXiv
2602.22654) takes the path whose costs have the smallest sum.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from videoada.benchmarks.oracle.search import Mask

Costs = Mapping[tuple[int, int], float]


def minimax_path(costs: Costs, num_steps: int, calls: int, first: int = 0) -> Mask | None:
    """The mask of `calls` calls whose segments' costs, in descending order, are lexicographically smallest.

    The steps up to `first` and the last one are computed; a segment of adjacent steps skips nothing and costs nothing.
    None where no path over the given segments has so many calls.
    """
    # Adding one cost to two lists of the same length keeps their order, so that each part of a best path is a best one.
    return _best_path(costs, num_steps, calls, first, (), lambda known, cost: tuple(sorted((*known, cost))[::-1]))


def cheapest_path(costs: Costs, num_steps: int, calls: int, first: int = 0) -> Mask | None:
    """The mask of `calls` calls whose segments' costs have the smallest sum; otherwise as `minimax_path`."""
    return _best_path(costs, num_steps, calls, first, 0.0, lambda known, cost: known + cost)


def _best_path(
    costs: Costs, num_steps: int, calls: int, first: int, nothing: Any, add: Callable[[Any, float], Any]
) -> Mask | None:
    """The path of `calls` calls that is smallest in what `add` makes of its costs, the earlier steps among equals."""
    into: dict[int, list[tuple[int, float]]] = {j: [(j - 1, 0.0)] for j in range(first + 1, num_steps)}
    for (i, j), cost in costs.items():
        if first <= i < j - 1 and j < num_steps:
            into[j].append((i, cost))
    best: dict[int, tuple[Any, tuple[int, ...]]] = {first: (nothing, tuple(range(first + 1)))}
    for _ in range(calls - first - 1):
        found: dict[int, tuple[Any, tuple[int, ...]]] = {}
        for j, edges in into.items():
            ways = [(add(best[i][0], cost), (*best[i][1], j)) for i, cost in edges if i in best]
            if ways:
                found[j] = min(ways)
        best = found
    if num_steps - 1 not in best:
        return None
    computed = set(best[num_steps - 1][1])
    return tuple(step in computed for step in range(num_steps))
