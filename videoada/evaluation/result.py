"""What an evaluation answers: the result, its videos, and the means over them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from videoada.errors import OutputError
from videoada.records.record import COHERENCE, checked_measures, package_versions

MOST_BYTES = 512 * 2**20  # of a result that is read


class Summary(BaseModel):
    """One side of an evaluation. `kind` says what its videos are, as far as their records tell."""

    model_config = ConfigDict(frozen=True)
    path: str
    kind: str
    videos: int
    clips: int
    sizes: list[str]
    models: list[str]


class VideoRow(BaseModel):
    """What was measured on one generated video; `reference` is its partner's name."""

    model_config = ConfigDict(frozen=True)
    video: str
    reference: str | None = None
    not_compared: str | None = None
    prompt: str | None = None
    seed: int | None = None
    num_predictions: int | None = None
    num_inference_steps: int | None = None
    fidelity: dict[str, Any] | None = None
    coherence: dict[str, Any] | None = None
    coherence_reference: dict[str, Any] | None = None
    agreement: dict[str, bool] | None = None

    @model_validator(mode="after")
    def _measures(self) -> Self:
        checked_measures(self.fidelity)
        for coherence in (self.coherence, self.coherence_reference):
            checked_measures(coherence, COHERENCE)
        return self

    @property
    def lost_coherence(self) -> list[str]:
        """Checks that this video fails and its reference passes."""
        if not self.coherence or not self.coherence_reference:
            return []
        return [name for name in self.coherence["failed"] if name not in self.coherence_reference["failed"]]


class EvaluationResult(BaseModel):
    """Schema 1. `metrics` by name, each with its value (or mean) and the number of clips behind it."""

    model_config = ConfigDict(frozen=True)
    schema_version: int = 1
    generated: Summary | None
    reference: Summary | None
    extractor: dict[str, Any] | None
    sampling: dict[str, Any]
    metrics: dict[str, dict[str, Any]]
    videos: list[VideoRow]
    unpaired: dict[str, list[str]]
    skipped: list[dict[str, str]]
    warnings: list[str]
    versions: dict[str, str] = Field(default_factory=package_versions)
    created: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    @model_validator(mode="after")
    def _numbers(self) -> Self:
        for name, row in self.metrics.items():
            for part in ("value", "standard_error", "worst"):
                if not isinstance(row.get(part), (int, float, type(None))):
                    raise ValueError(f"the {part} of {name[:40]} is no number")
        return self

    @classmethod
    def from_file(cls, path: str | Path) -> EvaluationResult:
        """Raises OutputError for what is no result of `videoada evaluate`."""
        path = Path(path)
        try:
            if path.stat().st_size > MOST_BYTES:
                raise OutputError(f"{path} is too large for an evaluation's result")
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "it"
            raise OutputError(f"{path} is no result of `videoada evaluate`: {where}: {first['msg']}") from None
        except (OSError, ValueError) as error:
            raise OutputError(f"can't read {path}: {getattr(error, 'strerror', None) or error}") from None


def summarize(rows: Sequence[VideoRow], wanted: set[str]) -> dict[str, dict[str, Any]]:
    """Means over the videos. A video equal to its reference has an infinite PSNR: it is counted, not averaged."""
    metrics: dict[str, dict[str, Any]] = {}
    pairs = [row.fidelity for row in rows if row.fidelity is not None]
    if pairs and wanted & {"psnr", "ssim", "tof"}:
        identical = sum(bool(f.get("identical")) for f in pairs)
        names = {
            "psnr": ("PSNR (pooled)", "psnr"), "frame": ("PSNR (mean of frames)", "psnr_frame_mean"),
            "worst": ("PSNR (worst frame)", "psnr_worst_frame"),
        }  # fmt: skip
        if "psnr" in wanted:
            for title, field in names.values():
                metrics[title] = _mean([f[field] for f in pairs], worst=min) | {"identical": identical}
        if "ssim" in wanted:
            metrics["SSIM"] = _mean([f["ssim"] for f in pairs], worst=min)
        if "tof" in wanted:
            metrics["tOF"] = _mean([f["tof"] for f in pairs], worst=max)
    for name, title, field, extreme in (
        ("ms-ssim", "MS-SSIM", "ms_ssim", min), ("lpips", "LPIPS (alex)", "lpips", max),
    ):  # fmt: skip
        if pairs and name in wanted:
            metrics[title] = _mean([f.get(field) for f in pairs], worst=extreme)
    if judged := [row.agreement for row in rows if row.agreement]:
        shares = {k: round(float(np.mean([a[k] for a in judged])), 4) for k in judged[0]}
        every = round(float(np.mean([all(a.values()) for a in judged])), 4)
        metrics["prompt agreement"] = {"value": every, **shares, "n": len(judged)}
    if checked := [row.coherence for row in rows if row.coherence]:
        failed = [name for c in checked for name in c["failed"]]
        metrics["coherence"] = {
            "value": round(float(np.mean([c["passed"] for c in checked])), 4),
            "n": len(checked),
            "failed": {name: failed.count(name) for name in sorted(set(failed))},
            "lost": sum(bool(row.lost_coherence) for row in rows),
        }
        for name in ("temporal_flickering", "freeze_share", "second_difference_ratio", "return_share", "warping_error",
                     "flow_magnitude"):  # fmt: skip
            metrics["coherence"][name] = _mean([c[name] for c in checked])["value"]
    return metrics


def _mean(values: Sequence[float | None], worst: Any = None) -> dict[str, Any]:
    """Mean, its standard error, the worst and how many there were; None where there is nothing to average."""
    found = np.array([v for v in values if v is not None], np.float64)
    result: dict[str, Any] = {"value": float(found.mean()) if len(found) else None, "n": len(found)}
    if worst:
        result["standard_error"] = float(found.std(ddof=1) / len(found) ** 0.5) if len(found) > 1 else None
        result["worst"] = float(worst(found)) if len(found) else None
    return result
