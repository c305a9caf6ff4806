"""When to call the denoiser: the protocol that every policy follows, and the policies that look at nothing.

A policy sees a frozen SkipState and answers, for each prompt of the batch, compute or skip. It never sees a module, a
pipeline or a device, and it holds nothing between calls.

Shape letters: B prompts of the batch, N numbers of one prompt's latent (channels × frames × height × width).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from videoada.skipping.rules.level import CLEAN, Level
from videoada.skipping.rules.prediction import Prediction

BatchDecision = Literal["prompt", "mean", "any"]


@dataclass(frozen=True)
class SkipState:
    """What is known before `step`, the step to decide about.

    `latents` holds (B, N) latents, newest last: x after steps …, step − 2, step − 1, preceded by x_T while it is
    recent enough; never more than the policy's `num_latents`. `past` holds, for each prompt, its last predictions that
    were computed: the policy's `num_predictions` once there are so many, or more if the predictor looks at more.
    """

    step: int  # 0-based
    num_steps: int
    num_prompts: int
    latents: tuple[Tensor, ...]
    skipped_in_a_row: tuple[int, ...]  # for each prompt
    levels: tuple[Level, ...] = ()  # of the latents; may be left out
    past: tuple[tuple[Prediction, ...], ...] = ()  # for each prompt, oldest first
    schedule: tuple[Level, ...] = ()  # of every step of the run
    end: Level = CLEAN  # of its result
    computed: tuple[int, ...] = ()  # for each prompt, how many predictions of this loop were computed
    together: bool = False  # the batch's rows can't be cut: where one prompt computes, all do


@dataclass(frozen=True)
class Decision:
    """For each prompt, whether to call the denoiser at this step, and what the rule measured (None: no rule ran).

    `schedule_signal` is what the rule would have measured had the latents moved by the noise schedule alone, on the
    path of a held prediction: where the two agree, the rule has learned nothing of the prompt.
    """

    compute: tuple[bool, ...]
    signal: tuple[float | None, ...]
    schedule_signal: tuple[float | None, ...] = ()

    @classmethod
    def all(cls, state: SkipState, compute: bool = True) -> Decision:
        nothing = (None,) * state.num_prompts
        return cls((compute,) * state.num_prompts, nothing, nothing)


class Policy(Protocol):
    """The extension point: the fields of a policy are its settings.

    A policy that looks at predictions also says how many of each prompt's last ones, as `num_predictions`.
    """

    @property
    def num_latents(self) -> int:
        """How many of the last latents `decide` looks at."""

    def decide(self, state: SkipState) -> Decision:
        """Compute or skip, for each prompt, at `state.step`."""


@dataclass(frozen=True)
class Never:
    """Skip nothing: the plain pipeline."""

    num_latents = 0

    def decide(self, state: SkipState) -> Decision:
        return Decision.all(state)


@dataclass(frozen=True)
class EveryN:
    """Compute at steps 0, every, 2·every, …"""

    every: int
    num_latents = 0

    def decide(self, state: SkipState) -> Decision:
        return Decision.all(state, state.step % self.every == 0)


@dataclass(frozen=True)
class Mask:
    """Compute where the mask says so; a mask recorded from another policy replays it."""

    mask: tuple[bool, ...]
    num_latents = 0

    def decide(self, state: SkipState) -> Decision:
        return Decision.all(state, state.step >= len(self.mask) or self.mask[state.step])


def by_rule(
    change: Tensor, scale: Tensor, threshold: float, forced: tuple[bool, ...], *, compute_when_equal: bool,
    of_schedule: tuple[Tensor, Tensor] | None = None, batch_decision: BatchDecision = "prompt",
) -> Decision:  # fmt: skip
    """Compute where `change` > `threshold`·`scale` (or ≥), both (B,) and compared in their own dtype, or where forced.

    The signal is change ÷ scale; `of_schedule` is (change, scale) of the schedule's own path. Numbers leave the device
    in a single transfer for the batch. A NaN computes. `batch_decision` "any" computes all prompts where one needs it,
    "mean" compares the means over the batch.
    """
    if batch_decision == "mean":
        change, scale = change.mean().expand(len(change)), scale.mean().expand(len(scale))
    limit = threshold * scale
    columns = [change, scale, (change < limit) if compute_when_equal else (change <= limit), *(of_schedule or ())]
    wide = torch.float64 if torch.float64 in (change.dtype, scale.dtype) else torch.float32  # MPS has no float64
    changes, scales, skips, *schedule = torch.stack([c.to(wide) for c in columns]).tolist()
    compute = tuple(not skip or must for skip, must in zip(skips, forced, strict=True))
    return Decision(
        (any(compute),) * len(compute) if batch_decision != "prompt" else compute,
        _ratios(changes, scales),
        _ratios(*schedule) if schedule else (None,) * len(changes),
    )


def _ratios(changes: list[float], scales: list[float]) -> tuple[float | None, ...]:
    return tuple(signal_of(c / s) if s > 0 else None for c, s in zip(changes, scales, strict=True))


def signal_of(value: float) -> float | None:
    """What was measured, as a record has it: None where that is no number."""
    return value if math.isfinite(value) else None
