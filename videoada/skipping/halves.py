"""GuidedHalves: of concatenated guidance, which prompts go without their unconditional rows, and what fills them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from torch import Tensor

from videoada.config.run import SkipConfig
from videoada.skipping.rules.guidance import Difference, GuidanceRule, find_guidance_scale
from videoada.skipping.rules.level import Level
from videoada.skipping.rules.prediction import PredictionType


class GuidedHalves:
    """The last c − u of each prompt, for one history; without a guidance tolerance it does nothing."""

    def __init__(self, config: SkipConfig) -> None:
        self.rule = GuidanceRule(config.guidance_tolerance) if config.guidance_tolerance else None
        self.guidance_scale: float | None = None  # None until known to be concatenated guidance
        self.past: list[list[Difference]] = []
        self.alone: frozenset[int] = frozenset()  # prompts whose c alone is computed at the present step

    def learn_scale(self, guided: Tensor, rows: Tensor, num_prompts: int, level: Level) -> None:
        """At the first step of a history: is `rows` one call of [u …, c …], and with which scale guided?"""
        if self.rule is None or len(rows) != 2 * num_prompts:
            return
        uncond, cond = rows.chunk(2)
        if guided.numel() != cond.numel():
            return
        # a text-to-video pipeline gives the scheduler (B·F, C, h, w) of rows (B, C, F, h, w): compare as that
        if guided.shape != cond.shape and cond.ndim == 5 and guided.ndim == 4:
            uncond, cond = (half.transpose(1, 2).reshape(guided.shape) for half in (uncond, cond))
        self.guidance_scale = find_guidance_scale(guided, uncond.reshape(guided.shape), cond.reshape(guided.shape))
        self.past = [[] for _ in range(num_prompts)]
        self.remember(rows, (True,) * num_prompts, level)

    def conditional_alone(self, compute: Sequence[bool], level: Level, kind: PredictionType) -> frozenset[int]:
        """Prompts that are computed without u at this step."""
        self.alone = frozenset()
        if self.rule is not None and self.guidance_scale is not None:
            asked = [i for i, needed in enumerate(compute) if needed]
            both = self.rule.needs_both([self.past[i] for i in asked], level, kind, self.guidance_scale)
            self.alone = frozenset(i for i, needed in zip(asked, both, strict=True) if not needed)
        return self.alone

    def fill(self, rows: Tensor, alone: Collection[int], level: Level) -> None:
        """Write u = c − ĝ into `rows` [u …, c …] for the prompts that went without it."""
        prompts = len(rows) // 2
        for i in alone:
            assert self.rule is not None
            difference = self.rule.predict(self.past[i], level)
            rows[i] = rows[prompts + i] - difference.reshape(rows[i].shape).to(rows.dtype)

    def remember(self, rows: Tensor, both: Sequence[bool], level: Level) -> None:
        """Keep c − u of the prompts for which both were computed."""
        if self.rule is None or not self.past:
            return
        uncond, cond = rows.chunk(2)
        for i, computed in enumerate(both):
            if computed:
                self.past[i].append(Difference(level, (cond[i] - uncond[i]).float().flatten()))
                del self.past[i][: -self.rule.num_differences]
