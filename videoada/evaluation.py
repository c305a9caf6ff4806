"""What an evaluation is asked for and what it answers: the configuration, the result, and the means over its videos."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from videoada.config.run import FrozenConfig, one_of
from videoada.errors import ConfigError, OutputError
from videoada.media.clips import Sampling
from videoada.metrics.coherence import CoherenceLimits
from videoada.records.record import COHERENCE, checked_measures, package_versions

SET_METRICS = ("fvd", "kvd", "fvd-infinity", "paired-feature-distance")
PAIR_METRICS = ("psnr", "ssim", "tof", "ms-ssim", "lpips")
VIDEO_METRICS = ("agreement", "coherence")
METRICS = (*SET_METRICS, *PAIR_METRICS, *VIDEO_METRICS)
DEFAULT_METRICS = ("fvd", "kvd", "psnr", "ssim", "tof", "agreement", "coherence")
PROTOCOLS = {  # StyleGAN-V's (arXiv 2112.14683): 2048 videos a side, one clip of each: frames, stride
    "fvd2048_16f": (16, 1),
    "fvd2048_128f": (128, 1),
    "fvd2048_128f_subsample8f": (16, 8),
}
MOST_BYTES = 512 * 2**20  # of a result that is read


class EvaluationConfig(FrozenConfig):
    """What to measure, on which frames. `num_frames` None takes whole videos; a `protocol` fixes frames and stride.

    `bad_videos` says what to do with one that can't be read or is too short: `fail`, or `skip` and list it.
    """

    metrics: tuple[str, ...] = DEFAULT_METRICS
    extractor: str = "tiny-shapes-v1"
    protocol: str | None = None
    num_frames: int | None = Field(default=None, ge=1, le=4096)
    stride: int = Field(default=1, ge=1, le=1024)
    clips_per_video: int = Field(default=1, ge=1, le=1024)
    bad_videos: Literal["fail", "skip"] = "fail"
    workers: int | None = Field(default=None, ge=1, le=256)
    batch_size: int = Field(default=16, ge=1)
    device: str = "cpu"
    seed: int = Field(default=0, ge=0)
    limits: CoherenceLimits | None = None

    @field_validator("metrics")
    @classmethod
    def _known_metrics(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError(f"there is no metric; choose from {', '.join(METRICS)}")
        return tuple(one_of("metric", name, METRICS) for name in value)

    @field_validator("protocol")
    @classmethod
    def _known_protocol(cls, value: str | None) -> str | None:
        return value if value is None else one_of("protocol", value, tuple(PROTOCOLS))

    @model_validator(mode="before")
    @classmethod
    def _protocol_fixes_frames(cls, values: Any) -> Any:
        values = {k: v for k, v in dict(values).items() if v is not None}
        if values.get("clips_per_video", 1) != 1 and values.get("num_frames") is None:
            raise ValueError("clips-per-video needs num-frames: without it a clip is the whole video")
        if values.get("protocol") in PROTOCOLS:
            for name in ("num_frames", "stride", "clips_per_video"):
                if name in values:
                    raise ValueError(f"protocol '{values['protocol']}' fixes {name.replace('_', '-')}; leave it out")
            values["num_frames"], values["stride"] = PROTOCOLS[values["protocol"]]
        return values

    @property
    def most_videos(self) -> int | None:
        """Videos of each side that the protocol takes."""
        return 2048 if self.protocol else None

    def sampling(self) -> Sampling:
        return Sampling(self.num_frames, self.stride, self.clips_per_video)

    def sampling_as_dict(self) -> dict[str, Any]:
        return {
            "protocol": self.protocol, "num_frames": self.num_frames, "stride": self.stride,
            "clips_per_video": self.clips_per_video,
        }  # fmt: skip

    def wanted(self, generated: bool, paired: bool, statistics: bool) -> set[str]:
        """The metrics that can be measured with what there is; those asked for by name must be.

        Raises ConfigError for one of the others.
        """
        possible = set(VIDEO_METRICS) if generated else set()
        if generated and (paired or statistics):
            possible |= {"fvd", "kvd", "fvd-infinity"}
        if generated and paired:
            possible |= {"paired-feature-distance", *PAIR_METRICS}
        if "metrics" in self.model_fields_set and generated and (missing := set(self.metrics) - possible):
            needs = "a --reference folder" if missing & {*PAIR_METRICS, "paired-feature-distance"} else "a reference"
            raise ConfigError(f"{', '.join(sorted(missing))}: needs {needs}")
        return set(self.metrics) & possible


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
