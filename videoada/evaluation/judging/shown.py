"""The verdict of the limits that ship on an evaluation, as rows of a report."""

from __future__ import annotations

from dataclasses import dataclass

from videoada.evaluation.judging.limits import shipped_limits
from videoada.evaluation.judging.weighing import Check, weigh
from videoada.evaluation.result import EvaluationResult


@dataclass(frozen=True)
class Shown:
    """`checks` that were measured, `others` in a line each, whether all hold, and which measures fail."""

    checks: list[Check]
    others: list[str]
    passed: bool
    failing: str


def shown_verdict(result: EvaluationResult | None) -> Shown | None:
    """None where nothing was compared with full runs: limits on what skipping changes are of nothing else."""
    if result is None or result.reference is None or result.reference.kind != "full runs":
        return None
    checks = weigh(result, shipped_limits())
    measured = [check for check in checks if check.passed is not None]
    if not any(row.fidelity for row in result.videos) or not measured:
        return None
    failed = [check for check in measured if not check.passed]
    others = [f"{check.title}: {check.note}" for check in checks if check.passed is None]
    missing = sum(len(lines) for lines in result.unpaired.values())
    failing = [check.title for check in failed] + ([f"{missing} missing"] if missing else [])
    return Shown(measured, list(dict.fromkeys(others)), not failing, ", ".join(dict.fromkeys(failing)))
