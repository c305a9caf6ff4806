"""A step policy's choices against fixed counts and chance, on prompts held out, with intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from videoada.benchmarks.frontier import SAMPLES
from videoada.errors import counted
from videoada.shapes import parse


@dataclass(frozen=True)
class Candidates:
    """What was rendered of N prompts with each of K counts."""

    prompts: list[str]
    quality: np.ndarray  # (N, K)
    measures: dict[str, np.ndarray]  # (N, K) each
    volumes: np.ndarray  # (N,): what one step of the prompt costs, in pixels of its video


def compared(indices: Any, counts: Any, known: Candidates) -> dict[str, Any]:
    """A policy's choices against what costs as much: the fixed counts' curve, its upper hull (two fixed counts in turn,
    which the curve, bent where counts divide the schedule badly, may lie below), and chance with its distribution.

    `indices` (N,) are of the chosen `counts` (K,). A step of a larger video costs more: all means of steps and shares
    are weighted by `volumes`. Intervals are of a bootstrap over different prompts, everything computed again in each.
    """

    def differences(chosen: Any) -> dict[str, tuple[float, ...]]:
        weights = known.volumes[chosen] / known.volumes[chosen].sum()
        steps = float(weights @ counts[indices[chosen]])
        shares = np.bincount(indices[chosen], weights, minlength=len(counts))
        found = {}
        for name, values in known.measures.items():
            own, curve = float(values[chosen, indices[chosen]].mean()), values[chosen].mean(0)
            against = (np.interp(steps, counts, curve), np.interp(steps, *upper_hull(counts, curve)), shares @ curve)
            found[name] = tuple(own - float(v) for v in against)
        return found

    overall = differences(np.arange(len(indices)))
    same = [np.flatnonzero(np.array(known.prompts) == prompt) for prompt in dict.fromkeys(known.prompts)]
    rng, samples = np.random.default_rng(0), []
    for _ in range(SAMPLES):
        samples.append(differences(np.concatenate([same[i] for i in rng.integers(len(same), size=len(same))])))
    measures = {}
    for name, values in known.measures.items():
        intervals = np.percentile([sample[name] for sample in samples], (2.5, 97.5), axis=0)
        measures[name] = {"policy": float(values[np.arange(len(indices)), indices].mean())} | {
            what: [value, float(low), float(high)]
            for what, value, low, high in zip(("above_fixed", "above_hull", "above_random"), overall[name], *intervals,
                                              strict=True)
        }  # fmt: skip
    mean = float(known.volumes @ counts[indices] / known.volumes.sum())
    return {"mean_steps": mean, "measures": measures,
            "chosen": {int(n): int((indices == i).sum()) for i, n in enumerate(counts)}}  # fmt: skip


def upper_hull(x: Any, y: Any) -> tuple[list[float], list[float]]:
    """(x, y) of the corners of the least concave curve above the points, which are given by ascending x."""
    hull: list[tuple[float, float]] = []
    for point in zip(map(float, x), map(float, y), strict=True):
        while len(hull) > 1 and (hull[-1][1] - hull[-2][1]) * (point[0] - hull[-2][0]) <= (point[1] - hull[-2][1]) * (
            hull[-1][0] - hull[-2][0]
        ):
            hull.pop()
        hull.append(point)
    return [p[0] for p in hull], [p[1] for p in hull]


def by_objects(taken: Any, prompts: list[str]) -> dict[str, Any]:
    """Steps for prompts of three objects or more, and for those of one."""
    objects = np.array([len(parse(prompt).objects) for prompt in prompts])
    one, many = taken[objects == 1], taken[objects > 2]
    if not len(one) or not len(many):
        return {}
    rng = np.random.default_rng(0)
    means = [rng.choice(many, len(many)).mean() - rng.choice(one, len(one)).mean() for _ in range(SAMPLES)]
    difference = [float(many.mean() - one.mean()), *map(float, np.percentile(means, (2.5, 97.5)))]
    return {"many_objects": float(many.mean()), "one_object": float(one.mean()), "many_minus_one": difference}


def markdown(result: dict[str, Any]) -> str:
    name = result["quality"]
    lines = [
        f"{result['model']}, {counted(result['prompts'], 'prompt')} held out, {result['different']} of "
        "them different; measured: "
        f"{name}, its mean; in brackets 95 % intervals", "",
        "| λ | mean steps | policy | above the fixed counts' curve | above its upper hull | above chance "
        "| steps of many − one object |", "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for p in result["points"]:
        m = p["measures"][name]
        against = " | ".join(
            "{:+.4f} ({:+.4f} to {:+.4f})".format(*m[k]) for k in ("above_fixed", "above_hull", "above_random")
        )
        more = "{:+.1f} ({:+.1f} to {:+.1f})".format(*p["many_minus_one"]) if "many_minus_one" in p else ""
        lines.append(f"| {p['cost']:g} | {p['mean_steps']:.1f} | {m['policy']:.4f} | {against} | {more} |")
    counts = " · ".join(f"{n}: {value:.4f}" for n, value in result["curves"][name].items())
    return "\n".join([*lines, "", f"Fixed counts: {counts}"])
