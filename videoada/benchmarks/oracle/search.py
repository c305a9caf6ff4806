"""The greedy oracle of AdaptiveDiffusion's analysis, and how a policy's steps compare with its.

For one prompt the oracle skips, one after the other, the step whose skipping costs least. What a mask costs is the
caller's: the error of the final latents against the full run. The search is lazy (Minoux 1978): what a step adds to the
squared error (errors of different steps are nearly at right angles) is tried again only when the step comes up: the
same search, where what a step adds does not fall as more is skipped.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2_contingency, fisher_exact

Mask = tuple[bool, ...]
SMALL_COUNT = 5  # expected in a cell, below which the χ² approximation is not used


@dataclass(frozen=True)
class OracleStep:
    """The mask after one more skip, and its cost."""

    mask: Mask
    cost: float

    @property
    def num_skips(self) -> int:
        return self.mask.count(False)


def greedy_masks(
    num_steps: int, cost: Callable[[Mask], float], *, protected: Collection[int] = (0,), max_skips: int | None = None,
    max_skip_steps: int | None = None, lazy: bool = True,
) -> Iterator[OracleStep]:  # fmt: skip
    """Yields the best mask found for 1, 2, … skips. `protected` steps are always computed, and no more than
    `max_skip_steps` in a row are skipped. With `lazy` False every step is tried at every round.
    """
    mask: Mask = (True,) * num_steps
    # (what the step adds, the round in which that was found, the step, the cost with it)
    waiting = [(0.0, 0, step, 0.0) for step in range(num_steps) if step not in protected]
    heapq.heapify(waiting)
    rounds, before = 0, 0.0
    while waiting and rounds < (max_skips or num_steps):
        rounds += 1
        passed, found = [], None
        while waiting:
            _, of_round, step, known = heapq.heappop(waiting)
            candidate = (*mask[:step], False, *mask[step + 1 :])
            if max_skip_steps and _longest_run(candidate) > max_skip_steps:
                continue  # more skips only make the run longer
            if of_round == rounds:
                found = OracleStep(candidate, known)
                break
            now = cost(candidate)
            entry = (now**2 - before**2, rounds, step, now)
            if lazy:
                heapq.heappush(waiting, entry)
            else:
                passed.append(entry)
        if passed:
            best = min(passed)
            found = OracleStep((*mask[: best[2]], False, *mask[best[2] + 1 :]), best[3])
            waiting = [entry for entry in passed if entry is not best]
            heapq.heapify(waiting)
        if found is None:
            return
        mask, before = found.mask, found.cost
        yield found


def _longest_run(mask: Mask) -> int:
    longest = run = 0
    for computed in mask:
        run = 0 if computed else run + 1
        longest = max(longest, run)
    return longest


@dataclass(frozen=True)
class Agreement:
    """The 2×2 table of a policy's steps against the oracle's, and the probability of as much by chance."""

    both_computed: int
    policy_only: int
    oracle_only: int
    both_skipped: int
    p_value: float
    test: str  # "chi2" or "fisher"
    phi: float  # correlation of the two, in [-1, 1]


def agreement(policy: Sequence[bool], oracle: Sequence[bool], forced: Collection[int] = ()) -> Agreement | None:
    """The agreement of two masks without the `forced` steps; None where one skips all or none of the others.

    Pearson's χ² without correction, or Fisher's exact test where a cell's expected count is below 5.
    """
    free = [i for i in range(len(policy)) if i not in forced]
    a, b = np.array([policy[i] for i in free], bool), np.array([oracle[i] for i in free], bool)
    table = np.array([[(a & b).sum(), (a & ~b).sum()], [(~a & b).sum(), (~a & ~b).sum()]])
    if min(table.sum(0).min(), table.sum(1).min()) == 0:
        return None
    expected = np.outer(table.sum(1), table.sum(0)) / table.sum()
    small = expected.min() < SMALL_COUNT
    p = fisher_exact(table)[1] if small else chi2_contingency(table, correction=False)[1]
    phi = float(np.corrcoef(a, b)[0, 1])
    (both, policy_only), (oracle_only, neither) = table.tolist()
    return Agreement(both, policy_only, oracle_only, neither, float(p), "fisher" if small else "chi2", phi)


def share_closed(error: float, worse: float, oracle: float) -> float | None:
    """Share of the distance from a worse method's error to the oracle's that a policy closes, on a logarithmic scale.

    All three are relative errors; 1 at the oracle, 0 at the worse method, above 1 better than the oracle. None where
    there is no distance.
    """
    if min(error, worse, oracle) <= 0 or worse <= oracle:
        return None
    return float(np.log(worse / error) / np.log(worse / oracle))
