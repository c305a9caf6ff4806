"""Settings: everything that a run can be told, flat, under the command line's names; shown as YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, field_validator

from videoada.config.frozen import FrozenConfig
from videoada.config.mask import read_mask
from videoada.config.quality import quality_fields, target_fields
from videoada.config.run import DEFAULT_MODEL, EXIT_FIELDS, GenerationConfig, LoadConfig, SchedulerName, SkipConfig
from videoada.config.shipped import read_configuration
from videoada.errors import ConfigError


class RunSettings(FrozenConfig):
    """One run of the command line. What is left at None is the model's or the policy's own.

    `skip()` and `requests()` turn it into what `generate` takes, and check it as they do. Raises ConfigError.
    """

    model: str = DEFAULT_MODEL
    revision: str | None = None
    variant: str | None = None
    prompt: str | None = None
    negative_prompt: str | None = None
    image: str | None = None
    steps: int | Literal["auto"] = 50
    step_policy: str | None = None
    guidance_scale: float = 9.0
    num_frames: int = 16
    height: int | None = None
    width: int | None = None
    fps: int = 8
    target_fps: int | None = None
    seed: int = 0
    num_videos: int = Field(default=1, ge=1, le=100_000)
    batch_size: int = Field(default=1, ge=1)
    scheduler: SchedulerName = "ddim"
    quality: str | None = None
    target_psnr: float | None = Field(default=None, gt=0, le=100)
    policy: str | None = None
    predictor: str | None = None
    damping: float | None = None
    corrector: bool | None = None
    threshold: float | None = None
    tolerance: float | None = None
    guidance_tolerance: float | None = None
    max_skip_steps: int | None = None
    warmup_steps: int | None = None
    final_steps: int | None = None
    every: int | None = None
    mask: tuple[bool, ...] | None = None
    batch_decision: Literal["prompt", "mean", "any"] | None = None
    early_exit: bool | None = None
    exit_threshold: float | None = None
    exit_heads: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    offload: str = "none"
    vae_slicing: bool = False
    vae_tiling: bool = False
    decode_chunk_size: int | None = None
    compile: bool = False
    channels_last: bool = False
    quantize: str = "none"
    calibration: dict[str, Any] | None = None  # that `videoada calibrate` wrote

    @field_validator("steps", mode="before")
    @classmethod
    def _number_or_auto(cls, value: Any) -> Any:
        if value == "auto" or (isinstance(value, int) and not isinstance(value, bool)):
            return value
        if isinstance(value, str) and value.isdecimal():
            return int(value)
        raise ValueError(f"steps: give a number, or auto, got {str(value)[:40]!r}")

    @property
    def most_steps(self) -> int:
        """Of the full run; a step policy may choose fewer."""
        return FULL_STEPS if self.steps == "auto" else self.steps

    @field_validator("mask", mode="before")
    @classmethod
    def _mask_in_any_form(cls, value: Any) -> Any:
        return read_mask(value) if isinstance(value, str) else value

    def skip(self) -> SkipConfig:
        """When to skip: what the quality or the target stands for, then what is named, then the policy's defaults."""
        named = [name for name in GOALS if getattr(self, name) is not None]
        if len(named) > 1:
            raise ConfigError(f"{' and '.join(name.replace('_', '-') for name in named)} say the same thing: give one")
        values: dict[str, Any] = {}
        if self.quality is not None:
            values = quality_fields(self.quality)
        elif self.target_psnr is not None:
            if self.steps == "auto" or self.early_exit:
                raise ConfigError(
                    f"target-psnr is calibrated for skipping alone; give it without "
                    f"{'--steps auto' if self.steps == 'auto' else '--early-exit'}"
                )
            values = target_fields(self.model, self.scheduler, self.most_steps, self.target_psnr, self.calibration)
        if self.mask is not None and self.steps == "auto":
            raise ConfigError(
                "a mask says which of the steps are computed, and --steps auto how many there are: give one"
            )
        values |= {name: value for name in SKIP_FIELDS if (value := getattr(self, name)) is not None}
        return SkipConfig(**values)

    def loading(self) -> LoadConfig:
        """How to load the model."""
        return LoadConfig(**{name: getattr(self, name) for name in LoadConfig.model_fields})

    def requests(self) -> list[GenerationConfig]:
        """One request for each video: video i takes the seed `seed + i`."""
        if self.prompt is None:
            raise ConfigError("there is no prompt: give --prompt, or a configuration that has one")
        if self.step_policy is not None and self.steps != "auto":
            raise ConfigError("a step-policy chooses the steps: give it with --steps auto")
        policy = (self.step_policy or SHIPPED) if self.steps == "auto" else None
        return [
            GenerationConfig(
                prompt=self.prompt, negative_prompt=self.negative_prompt, num_inference_steps=self.most_steps,
                guidance_scale=self.guidance_scale, num_frames=self.num_frames, height=self.height, width=self.width,
                fps=self.fps, seed=self.seed + i, scheduler=self.scheduler, image=self.image,
                target_fps=self.target_fps, decode_chunk_size=self.decode_chunk_size, step_policy=policy,
            )
            for i in range(self.num_videos)
        ]  # fmt: skip

    def to_yaml(self) -> str:
        """YAML that reads back as these settings; what is None is left out."""
        values = {k: v for k, v in self.model_dump(mode="json").items() if v is not None}
        if self.mask is not None:
            values["mask"] = "".join("1" if step else "0" for step in self.mask)
        return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


FULL_STEPS = 50  # of the run that a step policy's choices are measured against
SHIPPED = "shipped"
GOALS = ("quality", "target_psnr", "threshold", "tolerance")
SKIP_FIELDS = tuple(SkipConfig.model_fields)
WAY_FIELDS = tuple(name for name in SKIP_FIELDS if name not in EXIT_FIELDS)  # of one way to skip steps


def read_settings(path: str | Path) -> dict[str, Any]:
    """The keys and values of a YAML file or of a shipped configuration (`example`), keys with underscores.

    Raises ConfigError for what is neither.
    """
    return {key.replace("-", "_"): value for key, value in read_configuration(path).items()}
