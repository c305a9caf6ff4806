"""ModuleTrace: what a denoiser without a pipeline computed and skipped, for each cache context."""

from __future__ import annotations

from dataclasses import dataclass, field

from videoada.config.run import SkipConfig
from videoada.skipping.trace import strip


@dataclass
class ModuleTrace:
    """The latest run of a module after `apply_skipping`: lists by cache context ("" without one), an entry for each
    timestep."""

    config: SkipConfig
    computed: dict[str, list[bool]] = field(default_factory=dict)
    signal: dict[str, list[float | None]] = field(default_factory=dict)  # relative error estimates; None: no rule ran
    rows: int = 0  # of the network's batch that were computed
    rows_full: int = 0  # that the full run takes
    warnings: list[str] = field(default_factory=list)
    not_used: list[str] = field(default_factory=list)

    def begin(self) -> None:
        """Forget the run before."""
        self.computed, self.signal, self.warnings = {}, {}, []
        self.rows = self.rows_full = 0

    def add(self, context: str, computed: bool, signal: float | None) -> None:
        self.computed.setdefault(context, []).append(computed)
        self.signal.setdefault(context, []).append(signal)

    def warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)

    def not_use(self, text: str) -> None:
        if text not in self.not_used:
            self.not_used.append(text)

    @property
    def num_predictions(self) -> dict[str, int]:
        """Steps whose outputs were computed, for each context."""
        return {context: sum(steps) for context, steps in self.computed.items()}

    def summary(self) -> str:
        """What happened, in plain English."""
        lines = [
            f"{context or 'all calls'}: {sum(steps)} of {len(steps)} steps computed "
            f"({100 * (1 - sum(steps) / len(steps)):.0f} % skipped)  {strip(steps)}"
            for context, steps in self.computed.items()
        ]
        lines = [*lines, f"rows: {self.rows} of {self.rows_full}."] if lines else ["The module was not called yet."]
        lines += [f"not used: {text}" for text in self.not_used] + [f"warning: {text}" for text in self.warnings]
        return "\n".join(lines)
