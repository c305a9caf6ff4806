"""Predictors and correctors that did not replace the shipped ones: variants.py measures what each is worth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from videoada.skipping.rules.level import Level
from videoada.skipping.rules.prediction import Prediction
from videoada.skipping.rules.predictors import extrapolate, interpolate, measured_damping


@dataclass(frozen=True)
class Layout:
    """How flat latents (N,) are cut into channels, frames, height and width."""

    shape: tuple[int, ...]  # as the scheduler gets them
    by_frame: bool  # frames come before channels there

    def split(self, flat: Tensor) -> Tensor:
        """(C, F, H, W)"""
        cut = flat.reshape(self.shape)
        return cut.transpose(0, 1) if self.by_frame else cut

    def flat(self, cut: Tensor) -> Tensor:
        return (cut.transpose(-4, -3) if self.by_frame else cut).flatten(-4)


Extrapolation = Callable[[Sequence[Prediction], Level, Layout], Tensor]
# Of the call before a gap, the call after it, the level between, and the calls before, oldest first.
Interpolation = Callable[[Prediction, Prediction, Level, Sequence[Prediction], Layout], Tensor]


def linear(past: Sequence[Prediction], level: Level, layout: Layout) -> Tensor:
    """The shipped predictor."""
    values, nodes = [p.x0 for p in past[-3:]], [p.level.angle for p in past[-3:]]
    return extrapolate(values[-2:], nodes[-2:], level.angle, measured_damping(values, nodes))


def curved(past: Sequence[Prediction], level: Level, layout: Layout, share: float) -> Tensor:
    """A share of the curvature besides, damped twice."""
    if len(past) < 3:
        return linear(past, level, layout)
    values, nodes = [p.x0 for p in past[-3:]], [p.level.angle for p in past[-3:]]
    damping = measured_damping(values, nodes)
    straight, parabola = (extrapolate(values[-n:], nodes[-n:], level.angle, damping) for n in (2, 3))
    return straight + share * (parabola - straight)


def in_parts(past: Sequence[Prediction], level: Level, layout: Layout, split: Callable[[Tensor], Tensor]) -> Tensor:
    """Each part of x̂₀, on the first axis of what `split` gives, with a damping of its own; the parts add up."""
    parts = [layout.flat(split(layout.split(p.x0))) for p in past[-3:]]
    nodes = [p.level.angle for p in past[-3:]]
    total = [
        extrapolate(own[-2:], nodes[-2:], level.angle, measured_damping(own, nodes))
        for own in ([p[k] for p in parts] for k in range(len(parts[0])))
    ]
    return torch.stack(total).sum(0)


def bands(x: Tensor, edges: Sequence[float]) -> Tensor:
    """Parts of x, one for each spatial frequency band, on a new first axis; edges are in cycles per latent pixel."""
    height, width = x.shape[-2:]
    frequency = torch.maximum(torch.fft.fftfreq(height).abs()[:, None], torch.fft.fftfreq(width).abs()[None])
    spectrum, lows = torch.fft.fft2(x), (-1.0, *edges)
    return torch.stack([
        torch.fft.ifft2(spectrum * ((frequency > low) & (frequency <= high))).real
        for low, high in zip(lows, (*edges, 1.0), strict=True)
    ])  # fmt: skip


def along(x: Tensor, axis: int) -> Tensor:
    """Parts of x that are zero but at one index of an axis."""
    return torch.stack([x * torch.eye(x.shape[axis])[i].reshape([-1 if a == axis else 1 for a in range(x.ndim)])
                        for i in range(x.shape[axis])])  # fmt: skip


def fitted(past: Sequence[Prediction], level: Level, layout: Layout, order: int) -> Tensor:
    """A polynomial fitted to the last six calls (ridge regression, each call half the weight of the next)."""
    if len(past) < 3:
        return linear(past, level, layout)
    nodes = np.array([p.level.angle for p in past[-6:]])
    scaled = (nodes - nodes[-1]) / max(abs(nodes[-1] - nodes[-3]), 1e-6)
    at = (level.angle - nodes[-1]) / max(abs(nodes[-1] - nodes[-3]), 1e-6)
    columns = np.stack([scaled[:-1] ** k for k in range(1, order + 1)], 1)
    weighted = columns * (0.5 ** np.arange(len(nodes) - 1)[::-1])[:, None]
    inverse = np.linalg.solve(weighted.T @ columns + 0.1 * np.eye(order), weighted.T)
    shares = np.array([at**k for k in range(1, order + 1)]) @ inverse
    last = past[-1].x0
    return last + sum(float(s) * (p.x0 - last) for s, p in zip(shares, past[-6:-1], strict=True))


def as_shipped(
    before: Prediction, after: Prediction, level: Level, past: Sequence[Prediction], layout: Layout
) -> Tensor:
    """From further on than the call before the gap, which `before` holds."""
    return interpolate(before, after, level)


def on_the_line(
    before: Prediction, after: Prediction, level: Level, past: Sequence[Prediction], layout: Layout
) -> Tensor:
    """From x̂₀ as the call before the gap gave it."""
    return interpolate(_as_called(before, past), after, level)


def _as_called(before: Prediction, past: Sequence[Prediction]) -> Prediction:
    return next((p for p in past if p.step == before.step), before)


def through_three(
    before: Prediction, after: Prediction, level: Level, past: Sequence[Prediction], layout: Layout,
    share: float, highest: float | None = None,
) -> Tensor:  # fmt: skip
    """A share of the curvature of the calls before and at both ends of the gap besides, or of its low band."""
    before = _as_called(before, past)
    line = interpolate(before, after, level)
    earlier = [p for p in past if p.step < before.step]
    if not earlier:
        return line
    calls = (earlier[-1], before, after)
    nodes = [p.level.angle for p in calls]
    if len(set(nodes)) < 3:
        return line
    bend = extrapolate([p.x0 for p in calls], nodes, level.angle, 1.0) - line
    if highest is not None:
        bend = layout.flat(bands(layout.split(bend), (highest,))[0])
    return line + share * bend


def by_share(
    before: Prediction, after: Prediction, level: Level, past: Sequence[Prediction], layout: Layout,
    node: Callable[[Level], float], power: float = 1.0, further_on: bool = False,
) -> Tensor:  # fmt: skip
    """On the line in another measure of the noise level, or nearer to one end of it."""
    before = before if further_on else _as_called(before, past)
    start, at, end = (node(each) for each in (before.level, level, after.level))
    return before.x0 + ((at - start) / (end - start)) ** power * (after.x0 - before.x0)


@dataclass(frozen=True)
class Variant:
    predict: Extrapolation = linear
    interpolate: Interpolation = on_the_line
    twice: bool = False  # correct each gap again at the call after the next


half_bend = partial(through_three, share=0.5)
three_bands = partial(in_parts, split=partial(bands, edges=(0.07, 0.26)))
some_curve = partial(curved, share=0.3)
LINE = Variant()
VARIANTS = {
    "corrector: as shipped, from further on": Variant(interpolate=as_shipped),
    "corrector: a quarter of the curvature": Variant(interpolate=partial(through_three, share=0.25)),
    "corrector: half of the curvature": Variant(interpolate=half_bend),
    "corrector: all of the curvature": Variant(interpolate=partial(through_three, share=1.0)),
    "corrector: the curvature's low band": Variant(interpolate=partial(through_three, share=0.7, highest=0.13)),
    "corrector: linear in λ": Variant(interpolate=partial(by_share, node=lambda level: level.log_snr)),
    "corrector: share to the power 0.8":
        Variant(interpolate=partial(by_share, node=lambda level: level.angle, power=0.8)),
    "corrector: from further on, share to the power 0.8":
        Variant(interpolate=partial(by_share, node=lambda level: level.angle, power=0.8, further_on=True)),
    "corrector: twice": Variant(twice=True),
    "corrector: twice, half of the curvature": Variant(interpolate=half_bend, twice=True),
    "predictor: two bands": Variant(partial(in_parts, split=partial(bands, edges=(0.13,)))),
    "predictor: three bands": Variant(three_bands),
    "predictor: each channel": Variant(partial(in_parts, split=partial(along, axis=0))),
    "predictor: each frame": Variant(partial(in_parts, split=partial(along, axis=1))),
    "predictor: 0.3 of the curvature": Variant(some_curve),
    "predictor: line fitted to six calls": Variant(partial(fitted, order=1)),
    "predictor: parabola fitted to six calls": Variant(partial(fitted, order=2)),
    "both: 0.3 and half of the curvature": Variant(some_curve, half_bend),
    "both: three bands, half of the curvature": Variant(three_bands, half_bend),
}  # fmt: skip
