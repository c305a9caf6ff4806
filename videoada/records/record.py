"""RunRecord: what ran, what was skipped and why, how long it took, with which versions. Schema 2 of the contract."""

from __future__ import annotations

import json
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from videoada.config.loading import LoadConfig
from videoada.config.run import GenerationConfig, SkipConfig
from videoada.errors import ConfigError
from videoada.records.measures import check_recorded_coherence, check_recorded_exits, check_recorded_fidelity
from videoada.records.schema1 import upgraded

SCHEMA_VERSION = 2


class LoraWeights(BaseModel):
    """A LoRA file that was added to the model's weights."""

    model_config = ConfigDict(frozen=True)
    file: str  # its name, without the folder
    sha256: str
    scale: float = 1.0
    unused: int = 0  # of its tensors, those that fit no layer


class ModelInfo(BaseModel):
    """Which weights generated the video."""

    model_config = ConfigDict(frozen=True)
    name: str
    source: str
    revision: str | None = None
    weights_sha256: str | None = None
    licence: str | None = None
    embedded: bool = False
    lora: tuple[LoraWeights, ...] = ()


class RunRecord(BaseModel):
    """One video's run: what was asked for (`request`, `skip`, `load`), by which model, and what happened.

    With the model's name and weights the first three repeat the run. `load` is None where the pipeline was not loaded
    by `load_pipeline`, or where a record of schema 1 does not say. `computed` and `signal` have one entry for each
    scheduler step that ran; seconds are wall-clock. Records of schema 1 are read as if they had been written so.
    """

    model_config = ConfigDict(frozen=True)

    schema_version: int = SCHEMA_VERSION
    request: GenerationConfig
    skip: SkipConfig
    load: LoadConfig | None = None
    model: ModelInfo
    num_inference_steps: int  # of this run: where a step policy chose, what it chose
    most_steps: int | None = None  # that the step policy could have chosen, where it chose
    num_frames: int  # of the video, as are height and width
    height: int
    width: int
    image_sha256: str | None = None
    video_sha256: str | None = None  # of the video that it started from
    frames_sha256: str | None = None  # of the frames as generated; what a lossless file decodes to
    savings: dict[str, float] | None = None  # shares of the full run's multiply-adds: by what they were saved
    early_exit: dict[str, Any] | None = None  # threshold, num_exits, steps (exit by step, null: skipped), macs, heads
    computed: list[bool]
    taken_again: list[bool] | None = None  # for each step: was it skipped, and then taken again by the corrector?
    guidance_skipped: list[bool] | None = None  # for each step: was only the conditional half computed?
    signal: list[float | None]
    signal_percentiles: dict[str, float] | None
    num_predictions: int  # NFE: function evaluations, calls of the denoiser
    unet_rows: int
    unet_rows_full: int
    seconds: dict[str, float]
    first_call_seconds: float = 0.0  # of `denoise`: network calls of a size that was new to the process
    peak_memory_bytes: int | None = None
    fidelity: dict[str, Any] | None = None
    coherence: dict[str, Any] | None = None
    warnings: list[str] = Field(default_factory=list)
    model_defaults: list[str] = Field(default_factory=list)  # settings of the request that were left to the model
    not_used: list[str] = Field(default_factory=list)  # what was asked for and had no effect
    job_sha256: str | None = None  # of what `videoada render` was asked for: settings, prompts, image, seed, format
    sample: int | None = None  # which of a prompt's videos
    device: str
    dtype: str
    versions: dict[str, str] = Field(default_factory=lambda: package_versions())
    created: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    @model_validator(mode="before")
    @classmethod
    def _in_schema_2(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        values = upgraded(values) if "request" not in values else dict(values)
        for name, kind in (("request", GenerationConfig), ("skip", SkipConfig), ("load", LoadConfig)):
            if isinstance(values.get(name), dict):
                try:
                    values[name] = kind(**values[name])
                except ConfigError as error:  # of a file: nobody gave such a parameter
                    raise ValueError(f"{name}: {error}") from None
        return values

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        num_steps = self.num_inference_steps
        if not len(self.computed) == len(self.signal) == num_steps or self.num_predictions != sum(self.computed):
            raise ValueError("the steps do not add up")
        check_recorded_fidelity(self.fidelity)
        check_recorded_coherence(self.coherence)
        check_recorded_exits(self.early_exit, num_steps)
        return self

    def to_json(self, indent: int | None = None) -> str:
        """JSON without infinities or NaN; raises ValueError if one slipped in."""
        return json.dumps(self.model_dump(mode="json"), indent=indent, allow_nan=False, ensure_ascii=False)

    @classmethod
    def from_file(cls, path: str | Path) -> RunRecord:
        return cls.model_validate_json(Path(path).read_text(encoding="utf-8"))


def value_in(record: dict[str, Any], name: str) -> Any:
    """A value of a record's JSON, of either schema: what happened, else what was asked for."""
    if name in record:
        return record[name]
    request = record.get("request")
    return request.get(name) if isinstance(request, dict) else None


def package_versions() -> dict[str, str]:
    """Versions of what shapes a result."""
    found = {"python": platform.python_version(), "platform": sys.platform}
    for name in ("videoada", "torch", "diffusers", "transformers", "accelerate", "av"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
