"""Guard: a prompt whose error estimates stop meaning anything is computed from there on.

So a model that the estimate does not fit loses speed and not its video. It is reported in the trace and the record.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from videoada.devices import synchronize
from videoada.skipping.rules.budget import Budget
from videoada.skipping.rules.contradiction import FACTOR, contradiction
from videoada.skipping.rules.decision import Decision, Policy, SkipState
from videoada.skipping.rules.error_controlled import ErrorControlled
from videoada.skipping.rules.level import Level
from videoada.skipping.rules.prediction import Prediction

CAPPED_FACTOR, CAPPED_TIMES = 3.0, 2  # times the tolerance, in so many gaps in a row


class Fallback(NamedTuple):
    """From `step` on, all predictions of `prompt` were computed."""

    prompt: int
    step: int
    reason: str


class Guard:
    """Of one history: what real calls said, on its way to the CPU until the next decision was made."""

    device: torch.device

    def __init__(self, policy: Policy) -> None:
        # others' estimates have units of their own; a budget's have no tolerance to contradict, but must be numbers
        rule = policy if isinstance(policy, ErrorControlled) else None
        self.tolerance = rule.tolerance if rule else None
        self.max_skip_steps = rule.max_skip_steps if rule else None
        self.rule = policy if isinstance(policy, (ErrorControlled, Budget)) else None
        self.together = self.rule is not None and self.rule.batch_decision != "prompt"
        self.capped: Counter[int] = Counter()  # gaps in a row that the cap ended, and whose estimate was too small
        self.at_cap: set[int] = set()
        self.fallen: set[int] = set()
        self.said: dict[int, Tensor] = {}

    def met(
        self, prompt: int, past: Sequence[Prediction], real: Prediction, x0: Tensor, schedule: Sequence[Level]
    ) -> None:
        """A prompt was computed again after a gap, over which it would have been approximated as `x0`."""
        found = contradiction(past, real, x0, schedule)
        if found is not None:
            self.device = found.device
            self.said[prompt] = found.to("cpu", non_blocking=True)  # on its way meanwhile, read by `look`
            if real.step - past[-1].step > (self.max_skip_steps or math.inf):
                self.at_cap.add(prompt)

    def look(self, step: int) -> list[Fallback]:
        """Prompts that fall back from this step on."""
        if not self.said or self.tolerance is None:
            return []
        found = []
        synchronize(self.device)  # no wait after a decision, whose transfer came later
        values = torch.stack(list(self.said.values())).tolist()
        for prompt, value in zip(self.said, values, strict=True):
            small = prompt in self.at_cap and value > CAPPED_FACTOR * self.tolerance
            self.capped[prompt] = self.capped[prompt] + 1 if small else 0
            reason = self._reason(value, self.capped[prompt])
            if reason and prompt not in self.fallen:
                found.append(Fallback(prompt, step, reason))
        self.said.clear()
        self.at_cap.clear()
        self.fallen.update(fallback.prompt for fallback in found)
        return found

    def _reason(self, value: float, capped: int) -> str | None:
        assert self.tolerance is not None
        if not math.isfinite(value):
            return "an approximation was not a number"
        if value > FACTOR * self.tolerance:
            return (
                f"a real call contradicts its error estimate: the error was {value:.2g}, the tolerance is "
                f"{self.tolerance:g}"
            )
        if capped >= CAPPED_TIMES:
            return f"`max_skip_steps` alone ended its skips {capped} times, and real calls contradict its estimates"
        return None

    def apply(self, state: SkipState, decision: Decision) -> tuple[Decision, list[Fallback]]:
        """The decision with fallen prompts computed, all of them where one decision is for all, and those that fall as
        their estimate is no number."""
        found = []
        if self.rule is not None and state.step >= self.rule.first_step(state.num_steps):
            for prompt, (signal, past) in enumerate(zip(decision.signal, state.past, strict=False)):
                rising = len(past) >= 3 and all(
                    a.level.log_snr < b.level.log_snr for a, b in zip(past[-3:], past[-2:], strict=False)
                )
                if signal is None and rising and prompt not in self.fallen:
                    found.append(Fallback(prompt, state.step, "its error estimate is not a number"))
            self.fallen.update(fallback.prompt for fallback in found)
        if self.fallen:
            compute = tuple(
                needed or self.together or prompt in self.fallen for prompt, needed in enumerate(decision.compute)
            )
            decision = replace(decision, compute=compute)
        return decision, found
