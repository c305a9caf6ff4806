"""What an evaluation answers: the result and its videos, and the file that keeps them."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from videoada.config.encodings import read_text
from videoada.config.wanted import problem_of
from videoada.errors import OutputError
from videoada.failures import wrong_with
from videoada.files import write_text
from videoada.records.measures import check_measures, check_recorded_coherence
from videoada.records.record import package_versions

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
    rates: list[float] = []  # frames a second
    codecs: list[str] = []  # each with its container: "h264 in .mp4"


class VideoResult(BaseModel):
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
        check_measures(self.fidelity)
        for coherence in (self.coherence, self.coherence_reference):
            check_recorded_coherence(coherence)
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
    videos: list[VideoResult]
    unpaired: dict[str, list[str]]
    skipped: list[dict[str, str]]
    warnings: list[str]
    not_used: list[str] = []  # films and pairs that were given and not measured, and why
    versions: dict[str, str] = Field(default_factory=package_versions)
    created: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    @model_validator(mode="after")
    def _numbers(self) -> Self:
        if self.schema_version != 1:
            raise ValueError(f"it is of schema {self.schema_version}, and 1 is read here: update videoada")
        for name, row in self.metrics.items():
            for part in ("value", "standard_error", "worst"):
                if not isinstance(row.get(part), (int, float, type(None))):
                    raise ValueError(f"the {part} of {name[:40]} is no number")
            sides = {"n_generated", "n_reference"} - row.keys()
            distance = name.startswith(("FVD", "KVD", "JEDi")) and row.get("value") is not None
            if len(sides) == 1 or (distance and sides):
                raise ValueError(f"{name[:40]} does not say how many clips of both sides it is of")
        return self

    def write(self, path: str | Path) -> None:
        """Write the whole result as a JSON file, for `from_file`. Raises OutputError where that can't be done."""
        write_text(path, self.model_dump_json(indent=2) + "\n")

    @classmethod
    def from_file(cls, path: str | Path) -> EvaluationResult:
        """Raises OutputError for what is no result of `videoada evaluate`."""
        path = Path(path)
        if wrong := wrong_with(path):
            raise OutputError(wrong)
        try:
            if path.stat().st_size > MOST_BYTES:
                raise OutputError(f"{path} is too large for an evaluation's result")
            text = read_text(path, "a result", OutputError)
            json.loads(text, parse_constant=_finite, parse_float=_finite)
            return cls.model_validate_json(text)
        except ValidationError as error:
            where, what = problem_of(error, cls)
            said = f"{'.'.join(where)}: {what}" if where else what
            raise OutputError(f"{path} is no result of `videoada evaluate --output`: {said}") from None
        except (OSError, ValueError, RecursionError) as error:
            why = "it is nested too deeply" if isinstance(error, RecursionError) else error
            raise OutputError(f"{path} is no result of `videoada evaluate --output`: {why}") from None


def _finite(text: str) -> float:
    """A number of JSON. Raises ValueError for NaN and infinities, which no result holds."""
    number = float(text.replace("Infinity", "inf"))
    if not math.isfinite(number):
        raise ValueError(f"it holds {text[:40]}, which is no measurement")
    return number
