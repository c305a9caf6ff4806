"""StepTrace: what was computed and what was skipped, step by step and prompt by prompt."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np

from videoada.config import SkipConfig
from videoada.skip.policy import Decision


@dataclass
class StepTrace:
    """Of the latest generation inside a `skip_steps` block. Outer lists: prompts; inner lists: scheduler steps."""

    config: SkipConfig
    num_steps: int = 0
    decisions: list[Decision] = field(default_factory=list)
    unet_rows: int = 0  # rows of the network's batch that really ran
    unet_rows_full: int = 0  # rows that the full run takes
    started: float = 0.0  # time.perf_counter() when the timesteps were set
    finished: float = 0.0  # … and after the last scheduler step

    def begin(self, num_steps: int) -> None:
        self.num_steps, self.decisions, self.unet_rows, self.unet_rows_full = num_steps, [], 0, 0
        self.started = self.finished = time.perf_counter()

    def add(self, decision: Decision, rows_full: int) -> None:
        self.decisions.append(decision)
        self.unet_rows_full += rows_full
        self.finished = time.perf_counter()

    @property
    def computed(self) -> list[list[bool]]:
        return [list(steps) for steps in zip(*(d.compute for d in self.decisions), strict=True)]

    @property
    def signal(self) -> list[list[float | None]]:
        """What the rule measured, in units of its threshold; None where no rule ran."""
        return [list(steps) for steps in zip(*(d.signal for d in self.decisions), strict=True)]

    @property
    def num_predictions(self) -> list[int]:
        return [sum(steps) for steps in self.computed]

    @property
    def rows_per_prediction(self) -> int:
        """UNet rows of one prediction: 2 under concatenated guidance."""
        calls = sum(len(d.compute) for d in self.decisions)
        return self.unet_rows_full // calls if calls else 0

    def skipped_in_a_row(self, num_prompts: int) -> tuple[int, ...]:
        """For each prompt, the skips since its last prediction."""
        counts = [0] * num_prompts
        for i in range(num_prompts):
            for decision in reversed(self.decisions):
                if decision.compute[i]:
                    break
                counts[i] += 1
        return tuple(counts)

    def signal_percentiles(self, prompt: int = 0) -> dict[str, float] | None:
        """The 10th, 25th, 50th, 75th and 90th percentile of one prompt's signal; None when no rule ran."""
        values = [s for s in self.signal[prompt] if s is not None] if self.decisions else []
        if not values:
            return None
        return {f"p{q}": float(np.percentile(values, q)) for q in (10, 25, 50, 75, 90)}

    def summary(self) -> str:
        """What happened, in plain English."""
        if not self.decisions:
            return "No generation has run yet."
        lines = []
        for i, steps in enumerate(self.computed):
            strip = "".join("█" if step else "·" for step in steps)
            saved = 100 * (1 - sum(steps) / len(steps))
            lines.append(f"prompt {i}: {sum(steps)} of {len(steps)} predictions ({saved:.0f} % skipped)  {strip}")
            if spread := self.signal_percentiles(i):
                lines.append(
                    f"  signal: median {spread['p50']:.3g}, four fifths between {spread['p10']:.3g} and "
                    f"{spread['p90']:.3g}; threshold {self.config.threshold:g}"
                )
        lines.append(
            f"UNet rows: {self.unet_rows} of {self.unet_rows_full}; {self.finished - self.started:.2f} s of denoising."
        )
        return "\n".join(lines)
