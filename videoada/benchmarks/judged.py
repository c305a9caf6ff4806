"""The verdict on a method of a benchmark, by the limits that ship with `videoada verdict`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from videoada.evaluation.judging.limits import shipped_limits
from videoada.evaluation.judging.weighing import weigh_pairs
from videoada.evaluation.result import VideoResult
from videoada.metrics import check_coherence, colour_shift, motion_ratio, sharpness_ratio

if TYPE_CHECKING:
    from videoada.benchmarks.benchmark import Cell


def judged_measures(preds: NDArray[np.uint8], target: NDArray[np.uint8]) -> dict[str, Any]:
    """What a verdict needs of a clip (F, H, W, 3) uint8 and its full run, beside PSNR and SSIM; `lost_coherence` names
    the checks that the clip fails and its full run passes."""
    before = check_coherence(target)["failed"]
    found = {
        "sharpness_ratio": sharpness_ratio(preds, target).sharpness_ratio, "motion_ratio": motion_ratio(preds, target),
        "colour_shift": colour_shift(preds, target).colour_shift,
    }  # fmt: skip
    rounded: dict[str, Any] = {name: None if value is None else round(value, 4) for name, value in found.items()}
    return rounded | {"lost_coherence": [name for name in check_coherence(preds)["failed"] if name not in before]}


def verdict_of(cells: Sequence[Cell]) -> str | None:
    """ "pass", or "fail: " with the measures that fail; None where a cell of an older version lacks them.

    FVD, which is of sets, is left out.
    """
    rows = []
    for cell in cells:
        if cell.judged is None:
            return None
        fidelity = {"psnr": cell.psnr, "ssim": cell.ssim, "identical": cell.psnr is None} | cell.judged
        lost = fidelity.pop("lost_coherence")
        rows.append(VideoResult(
            video=f"prompt {cell.prompt}", reference="full", fidelity=fidelity,
            coherence={"failed": lost, "passed": not lost, **dict.fromkeys(lost, 0.0)},
            coherence_reference={"failed": [], "passed": True},
        ))  # fmt: skip
    failed = [f"{check.title} {check.measured}" for check in weigh_pairs(rows, shipped_limits()) if not check.holds]
    return f"fail: {', '.join(dict.fromkeys(failed))}" if failed else "pass"
