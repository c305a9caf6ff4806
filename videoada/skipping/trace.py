"""StepTrace: what was computed and what was skipped, step by step and prompt by prompt."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from videoada.config.run import SkipConfig
from videoada.skipping.guard import Fallback
from videoada.skipping.rules.decision import Decision

T = TypeVar("T")


@dataclass
class StepTrace:
    """The latest generation inside a `skip_steps` block. Outer lists: prompts; inner lists: scheduler steps.

    `num_predictions` is the NFE, the number of function evaluations: calls of the denoiser.
    """

    config: SkipConfig
    num_steps: int = 0
    decisions: list[Decision] = field(default_factory=list)
    without_uncond: list[frozenset[int]] = field(default_factory=list)  # prompts computed in the conditional half alone
    again: list[tuple[int, ...]] = field(default_factory=list)  # steps before that were taken again, by prompt
    unet_rows: int = 0  # rows of the network's batch that really ran
    padded_rows: int = 0  # of them, those that only filled a size that is compiled
    unet_rows_full: int = 0  # rows that the full run takes
    started: float = 0.0  # time.perf_counter() when the timesteps were set
    finished: float = 0.0  # … and after the last scheduler step
    own_seconds: float = 0.0  # that deciding, remembering and predicting took
    denoiser_seconds: float = 0.0  # that the network took
    first_call_seconds: float = 0.0  # of them, in calls whose shapes this process had not seen
    warnings: list[str] = field(default_factory=list)  # what somebody who looks at the video would want to know
    fallbacks: list[Fallback] = field(default_factory=list)  # prompts that were computed from some step on
    not_used: list[str] = field(default_factory=list)  # what was asked for and had no effect
    synchronize: bool = False  # wait for the GPU after each call, so that the two are measured apart; for benchmarks

    def begin(self) -> None:
        """Forget the generation before."""
        self.num_steps, self.decisions, self.without_uncond, self.again = 0, [], [], []
        self.warnings, self.not_used, self.fallbacks = [], [], []
        self.unet_rows = self.unet_rows_full = self.padded_rows = 0
        self.own_seconds = self.denoiser_seconds = self.first_call_seconds = 0.0
        self.started = self.finished = time.perf_counter()

    def expect(self, num_steps: int) -> None:
        """So many steps are to come in the loop that begins: loops of one generation add up."""
        self.num_steps = len(self.decisions) + num_steps

    def warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)

    def fall_back(self, found: Sequence[Fallback]) -> None:
        """Steps are counted over all loops of the generation."""
        self.fallbacks += [fallback._replace(step=len(self.decisions)) for fallback in found]

    def warnings_of(self, prompt: int) -> list[str]:
        """All warnings, and why this prompt was computed from some step on."""
        return self.warnings + [
            f"from step {step} on every prediction was computed: {reason}"
            for i, step, reason in self.fallbacks if i == prompt
        ]  # fmt: skip

    def not_use(self, text: str) -> None:
        if text not in self.not_used:
            self.not_used.append(text)

    def add(
        self, decision: Decision, rows_full: int, without_uncond: frozenset[int] = frozenset(),
        again: tuple[int, ...] = (),
    ) -> None:  # fmt: skip
        self.decisions.append(decision)
        self.again.append(again)
        self.num_steps = max(self.num_steps, len(self.decisions))
        self.without_uncond.append(without_uncond)
        self.unet_rows_full += rows_full
        self.finished = time.perf_counter()

    @property
    def computed(self) -> list[list[bool]]:
        return self._by_prompt(lambda decision: decision.compute)

    @property
    def taken_again(self) -> list[list[bool]]:
        """Of each step, whether it was skipped and then, with the next prediction known, taken again."""
        found = [[False] * len(steps) for steps in self.computed]
        for i, steps in enumerate(found):
            first = len(self.decisions) - len(steps)
            for index, counts in enumerate(self.again):
                for step in range(index - counts[i], index) if i < len(counts) else ():
                    steps[step - first] = True
        return found

    @property
    def signal(self) -> list[list[float | None]]:
        """What the rule measured, in units of its threshold; None where no rule ran."""
        return self._by_prompt(lambda decision: decision.signal)

    @property
    def schedule_signal(self) -> list[list[float | None]]:
        """What the rule would have measured, had the latents moved by the noise schedule alone; None where no rule
        ran. Where a prompt's `signal` is no larger, a held prediction would have given the same decision."""
        return self._by_prompt(lambda decision: decision.schedule_signal or (None,) * len(decision.compute))

    def _by_prompt(self, values: Callable[[Decision], Sequence[T]]) -> list[list[T]]:
        """A prompt that was not yet there in an earlier loop has the steps of the others alone."""
        rows = [values(decision) for decision in self.decisions]
        return [[row[i] for row in rows if i < len(row)] for i in range(max(map(len, rows), default=0))]

    @property
    def num_predictions(self) -> list[int]:
        return [sum(steps) for steps in self.computed]

    @property
    def rows_per_prediction(self) -> int:
        """UNet rows of one prediction: 2 under concatenated guidance."""
        calls = sum(len(d.compute) for d in self.decisions)
        return self.unet_rows_full // calls if calls else 0

    def seen(self, prompt: int = 0) -> bool:
        """Whether steps of this prompt were seen: not where a pipeline takes its steps with copies of its scheduler."""
        return any(prompt < len(decision.compute) for decision in self.decisions)

    def guidance_skipped(self, prompt: int = 0) -> list[bool]:
        """For each step: was only the conditional half of this prompt computed?"""
        return [prompt in alone for alone in self.without_uncond]

    def rows_of(self, prompt: int = 0) -> int:
        """The UNet rows that one prompt took."""
        if not self.seen(prompt):
            return self.unet_rows
        return self.rows_per_prediction * self.num_predictions[prompt] - sum(self.guidance_skipped(prompt))

    def skipped_in_a_row(self, num_prompts: int) -> tuple[int, ...]:
        """For each prompt, the skips since its last prediction."""
        counts = [0] * num_prompts
        for i in range(num_prompts):
            for decision in reversed(self.decisions):
                if i >= len(decision.compute) or decision.compute[i]:
                    break
                counts[i] += 1
        return tuple(counts)

    def computed_since(self, index: int, num_prompts: int) -> tuple[int, ...]:
        """For each prompt, its predictions from the decision at `index` on."""
        decisions = self.decisions[index:]
        return tuple(sum(d.compute[i] for d in decisions if i < len(d.compute)) for i in range(num_prompts))

    def signal_percentiles(self, prompt: int = 0) -> dict[str, float] | None:
        """The 10th, 25th, 50th, 75th and 90th percentile of one prompt's signal; None when no rule ran."""
        values = [s for s in self.signal[prompt] if s is not None] if self.decisions else []
        if not values:
            return None
        return {f"p{q}": float(np.percentile(values, q)) for q in (10, 25, 50, 75, 90)}

    def table(self, prompt: int = 0) -> list[dict[str, Any]]:
        """One row for each step of a prompt: step, computed, signal, threshold, schedule_signal."""
        columns = self.computed[prompt], self.signal[prompt], self.schedule_signal[prompt]
        return [
            {"step": i, "computed": c, "signal": s, "threshold": self.config.limit, "schedule_signal": path}
            for i, (c, s, path) in enumerate(zip(*columns, strict=True))
        ]

    def summary(self) -> str:
        """What happened, in plain English."""
        if not self.decisions:
            return "\n".join(["No generation has run yet.", *(f"warning: {text}" for text in self.warnings)])
        lines = []
        for i, steps in enumerate(self.computed):
            lines.append(
                f"prompt {i}: {sum(steps)} of {len(steps)} predictions "
                f"({100 * (1 - sum(steps) / len(steps)):.0f} % skipped)  {strip(steps)}"
            )
            if (spread := self.signal_percentiles(i)) and self.config.limit is not None:
                lines.append(
                    f"  the signal was {spread['p50']:.3g} in the middle, four fifths of it between "
                    f"{spread['p10']:.3g} and {spread['p90']:.3g}; a step is skipped below the "
                    f"{self.config.limit_name}, {self.config.limit:g}"
                )
            both = [(s, p) for s, p in zip(self.signal[i], self.schedule_signal[i], strict=True) if s and p]
            if both:
                share = float(np.median([p / s for s, p in both]))
                lines.append(f"  of it, the noise schedule alone explains {share:.0%} (median over the steps)")
            if self.config.policy != "none" and all(steps) and len(steps) > 1:
                lines.append(f"  nothing was skipped{_how_to_skip(self.config)}")
        lines.append(
            f"UNet rows: {self.unet_rows} of {self.unet_rows_full}; {self.finished - self.started:.2f} s of denoising, "
            f"{self.own_seconds:.3f} s of it for deciding and predicting."
        )
        lines += [
            f"warning: prompt {i}: from step {step} on every prediction was computed: {reason}"
            for i, step, reason in self.fallbacks
        ]
        lines += [f"not used: {text}" for text in self.not_used] + [f"warning: {text}" for text in self.warnings]
        return "\n".join(lines)


def _how_to_skip(config: SkipConfig) -> str:
    if config.num_predictions is not None:
        return ": `num_predictions` is the number of steps"
    return f": raise the {config.limit_name} to skip more"


def strip(computed: Sequence[bool]) -> str:
    """One character for each step: computed █, skipped ·."""
    return "".join("█" if step else "·" for step in computed)
