"""Masks that are not a prompt's own: static ones from other prompts' masks, and another prompt's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from videoada.benchmarks.oracle.search import Mask


def by_frequency(masks: Sequence[Mask], calls: int) -> Mask:
    """The `calls` steps that most of the masks compute.

    Among steps of the same frequency the one farthest from those already chosen is taken, then the earlier one: ties
    do not lie side by side.
    """
    frequency = np.mean([np.asarray(mask, float) for mask in masks], axis=0)
    chosen: list[int] = []
    while len(chosen) < min(calls, len(frequency)):
        left = [step for step in range(len(frequency)) if step not in chosen]
        most = max(frequency[step] for step in left)
        equal = [step for step in left if frequency[step] == most]
        chosen.append(max(equal, key=lambda step: (min((abs(step - c) for c in chosen), default=0), -step)))
    return tuple(step in chosen for step in range(len(frequency)))


def by_density(masks: Sequence[Mask], calls: int) -> Mask:
    """`calls` steps spaced as the masks' are on average: at equal steps of the cumulated frequency.

    The steps that all masks compute from the first on and at the end are kept; the others lie between them.
    """
    frequency = np.mean([np.asarray(mask, float) for mask in masks], axis=0)
    first = next((i for i, f in enumerate(frequency) if f < 1), len(frequency)) - 1
    last = len(frequency) - 1
    chosen = {*range(first + 1), last}
    between = min(calls, len(frequency)) - len(chosen)
    cumulated = np.cumsum(frequency[first + 1 :])  # calls since `first`: a gap is as long as one more of them takes
    for n in range(between):
        at = first + 1 + int(np.searchsorted(cumulated, cumulated[-1] * (n + 1) / (between + 1) - 1e-9))
        free = [step for step in range(first + 1, last) if step not in chosen]
        chosen.add(min(free, key=lambda step: (abs(step - at), step)))
    return tuple(step in chosen for step in range(len(frequency)))


def another_of(masks: Sequence[Mask]) -> list[int]:
    """For each mask the index of another one: the next with as many calls, else the nearest count.

    Masks of one count are passed round, so that each of them is used once and the mean count is kept. Among masks
    equally near the one that follows in the list is taken.
    """
    counts, n = [sum(mask) for mask in masks], len(masks)
    if n < 2:
        raise ValueError("another prompt's mask needs two prompts")
    return [
        min(((i + k) % n for k in range(1, n)), key=lambda j: (abs(counts[j] - counts[i]), (j - i) % n))
        for i in range(n)
    ]  # fmt: skip
