"""Settings: the one flat list of everything that can be set for a run.

From it come the options of `generate`, `render`, `benchmark` and `calibrate`, the columns of prompt files,
the keys of configurations and the reference page. A setting's limits are its configuration's (GenerationConfig,
SkipConfig, LoadConfig), which `requests()`, `skip()` and `loading()` make.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import Field, field_validator

from videoada.config.frozen import FrozenConfig
from videoada.config.goals import SKIP_FIELDS, make_skip
from videoada.config.loading import LoadConfig
from videoada.config.mask import read_mask
from videoada.config.run import DEFAULT_MODEL, MOST, TARGETS, GenerationConfig, SchedulerName, SkipConfig
from videoada.config.seeds import RANDOM, SeedOrRandom, pick_seed, seed_after
from videoada.config.shipped import RUNS, read_configuration
from videoada.config.values import FRACTION, PERCENT, CodecName, LoraNames, Rate, Share
from videoada.errors import ConfigError

MAX_STEPS = 50  # of the full run, which a step policy's choices are measured against
SHIPPED = "shipped"
OWN = "the model's own"
# Panels of the help: settings of a video, of what is skipped, of how the model is loaded.
VIDEO, SKIPPING, MODEL = "Video", "Skipping", "Model and memory"


def _setting(
    default: Any, text: str, panel: str, *, shown: str | None = None, column: bool = True, both: bool = False,
    words: str = "", several: bool = False, **limits: Any,
) -> Any:  # fmt: skip
    """A field with its description. `shown` is its default in words, `column` whether an entry of a prompt file may
    name it, `both` whether a flag also has its --no-…, `words` what else than numbers it takes, as a regular
    expression, `several` whether its flag may be given again."""
    said = str(default) if shown is None and default is not None and default is not False else shown
    extra: dict[str, Any] = {"panel": panel, "shown": said, "column": column, "both": both, "words": words,
                             "several": several}  # fmt: skip
    return Field(default, description=text, json_schema_extra=extra, **limits)


class RunSettings(FrozenConfig):
    """One run of the command line. What is left at None is the model's or the policy's own.

    `skip()` and `requests()` turn it into what `generate` takes, and check it as they do. Raises ConfigError.
    """

    prompt: str | None = _setting(None, "What the video shows.", VIDEO)
    negative_prompt: str | None = _setting(None, "What to keep away from.", VIDEO)
    image: str | None = _setting(
        None, "The first frame, for image-to-video models: a PNG, JPEG, WebP, AVIF or HEIC file.", VIDEO
    )  # fmt: skip
    video: str | None = _setting(
        None, "What a video-to-video model starts from: a video file, or a folder of frames.", VIDEO
    )
    strength: float | None = _setting(
        None, "How much of that video is generated again: the share of the steps that run, above 0 to 1.", VIDEO,
        shown=OWN, gt=0, le=1,
    )  # fmt: skip
    model: str = _setting(
        DEFAULT_MODEL, "A name that `videoada models` lists, a diffusers folder, or a hub id.", VIDEO, column=False
    )
    steps: int | Literal["auto"] | None = _setting(
        None, "Scheduler steps of the full run; auto: as many as each prompt is worth.", VIDEO, shown=OWN, words="auto"
    )
    step_policy: str | None = _setting(
        None, "With --steps auto: a file of `videoada train steps`.", VIDEO, shown="the one shipped for the model"
    )
    guidance_scale: float | None = _setting(None, "Classifier-free guidance; 1 turns it off.", VIDEO, shown=OWN)
    num_frames: int | None = _setting(None, "Frames of the video.", VIDEO, shown=OWN)
    height: int | None = _setting(None, "Pixels.", VIDEO, shown=OWN)
    width: int | None = _setting(None, "Pixels.", VIDEO, shown=OWN)
    fps: Rate | None = _setting(
        None, "Frames a second of the file, as 8, 23.976 or 24000/1001.", VIDEO, shown=OWN, words=FRACTION
    )  # fmt: skip
    target_fps: int | None = _setting(
        None, "I2VGen-XL's condition for the motion's pace; not the file's rate.", VIDEO, shown="16"
    )
    seed: SeedOrRandom = _setting(
        0, "Seed of the first video, 0 to 2^64 - 1, or random; video i uses seed + i.", VIDEO, words=RANDOM
    )
    num_videos: int = _setting(1, "How many videos of the prompt.", VIDEO, column=False, ge=1, le=100_000)
    batch_size: int = _setting(
        1, "How many of them at once, still with one decision for each.", VIDEO, column=False, ge=1, le=MOST
    )
    scheduler: SchedulerName | None = _setting(
        None, "ddim, dpm++, dpm++-sde, unipc, euler or euler-a.", VIDEO, shown=OWN
    )
    codec: CodecName | None = _setting(
        None, "h264, vp9, av1, or ffv1 (lossless), as far as the file's format holds it.", VIDEO, column=False,
        shown="h264 in .mp4 and .mov, vp9 in .webm, ffv1 in .mkv",
    )  # fmt: skip
    crf: int | None = _setting(
        None, "Quality of a lossy codec: 0 is the best, 51 (h264) or 63 the smallest file.", VIDEO, column=False,
        shown="17 for h264, 20 for vp9 and av1",
    )  # fmt: skip

    quality: str | None = _setting(
        None, "How close to the full run: near-lossless, high, balanced or fast.", SKIPPING, shown="tolerance 0.05"
    )
    target_psnr: float | None = _setting(
        None, "Instead: the PSNR to the full run that 95 % of the videos have or exceed, in dB, from the model's "
        "calibration.", SKIPPING, gt=0, le=100,
    )  # fmt: skip
    target_speedup: float | None = _setting(
        None, "Instead: the full run's UNet rows ÷ the mean of those taken, from the model's calibration.", SKIPPING,
        ge=1, le=1000,
    )  # fmt: skip
    num_predictions: int | None = _setting(
        None, "Instead: exactly so many predictions for each video, where its own trajectory needs them.", SKIPPING
    )
    tolerance: float | None = _setting(
        None, "Instead: error-controlled's limit; skip more with a larger one; 0 skips nothing.", SKIPPING
    )
    threshold: float | None = _setting(None, "Instead: third-order's limit; 0 skips nothing.", SKIPPING)
    policy: str | None = _setting(
        None, "When to skip: none, every-n, mask, third-order, third-order-release, error-controlled or "
        "budget.", SKIPPING,
        shown="error-controlled",
    )  # fmt: skip
    predictor: str | None = _setting(
        None, "What approximates the network's output on a skipped step: hold, hold-output, linear, linear-eps, "
        "taylor2.", SKIPPING, shown="the policy's own",
    )  # fmt: skip
    damping: float | None = _setting(
        None, "Of the slope that linear, linear-eps and taylor2 extrapolate: 0 to 1.", SKIPPING, shown="measured"
    )
    corrector: bool | None = _setting(
        None, "Take skipped steps again by interpolation once the next prediction is known.", SKIPPING,
        shown="the policy's own", both=True,
    )  # fmt: skip
    guidance_tolerance: float | None = _setting(
        None, "Compute the conditional half alone where the error that brings is below this.", SKIPPING, shown="never"
    )
    max_skip_steps: int | None = _setting(None, "Most skips in a row.", SKIPPING, shown="the policy's own")
    warmup_steps: int | None = _setting(None, "First steps that always compute.", SKIPPING, shown="the policy's own")
    final_steps: int | None = _setting(None, "Last steps that always compute.", SKIPPING, shown="the policy's own")
    skip_from: Share | None = _setting(
        None, "Instead of warmup steps: skip from this share of the steps on, as 10%.", SKIPPING, words=PERCENT
    )
    skip_to: Share | None = _setting(
        None, "Instead of final steps: skip up to this share of the steps, as 95%.", SKIPPING, words=PERCENT
    )
    every: int | None = _setting(None, "For every-n: compute each n-th step.", SKIPPING, shown="2")
    mask: tuple[bool, ...] | None = _setting(
        None, "For mask: 0/1 for each step (1 = compute), or a file with them, or a record.", SKIPPING
    )
    batch_decision: Literal["prompt", "mean", "any"] | None = _setting(
        None, "Each prompt decides; or the batch as one: mean (as the released code), any.", SKIPPING, shown="prompt",
        column=False,
    )  # fmt: skip
    early_exit: bool | None = _setting(
        None, "Leave the network at the first exit that is sure enough.", SKIPPING, both=True
    )
    exit_threshold: float | None = _setting(
        None, "Leave below this uncertainty, 0 to 1; 0 leaves nowhere.", SKIPPING, shown="what the heads were tuned to"
    )
    exit_heads: str | None = _setting(
        None, "A file of `videoada train exits`.", SKIPPING, shown="those shipped for the model"
    )

    revision: str | None = _setting(
        None, "Branch, tag or commit of a hub id.", MODEL, shown="the newest", column=False
    )  # fmt: skip
    variant: str | None = _setting(None, "Weights of this variant, for example fp16.", MODEL, column=False)
    device: str = _setting("auto", "auto, cpu, cuda, cuda:N or mps.", MODEL, column=False)
    dtype: str = _setting("auto", "auto, float32, float16 or bfloat16.", MODEL, column=False)
    offload: str = _setting(
        "none", "none, model (one part at a time on the GPU) or sequential (one layer).", MODEL, column=False
    )
    vae_slicing: bool = _setting(False, "Decode frame by frame.", MODEL, column=False)
    vae_tiling: bool = _setting(False, "Decode large frames in tiles.", MODEL, column=False)
    decode_chunk_size: int | None = _setting(
        None, "Frames decoded at once.", MODEL, shown="the pipeline's own", column=False
    )
    compile: bool = _setting(
        False, "Compile the network (minutes, at the first call of each size).", MODEL, column=False
    )  # fmt: skip
    channels_last: bool = _setting(
        False, "Keep the network's weights in channels-last order.", MODEL, column=False
    )  # fmt: skip
    quantize: str = _setting(
        "none", "none, or int8 for the network's linear layers (needs torchao).", MODEL, column=False
    )
    lora: LoraNames | None = _setting(
        None, "FILE[:SCALE]: a .safetensors file of LoRA weights to add (needs peft); may be given again.", MODEL,
        column=False, several=True,
    )  # fmt: skip
    calibration: dict[str, Any] | None = Field(default=None, description="The curve that `videoada calibrate` wrote.")

    @field_validator("steps", mode="before")
    @classmethod
    def _number_or_auto(cls, value: Any) -> Any:
        if value is None or value == "auto" or (isinstance(value, int) and not isinstance(value, bool)):
            return value
        if isinstance(value, str) and value.isdecimal():
            return int(value)
        raise ValueError(f"`steps`: give a number, or auto, got {str(value)[:40]!r}")

    @property
    def max_steps(self) -> int | None:
        """The number of steps of the full run, None for the model's own; a step policy may choose fewer."""
        return MAX_STEPS if self.steps == "auto" else self.steps

    @field_validator("mask", mode="before")
    @classmethod
    def _mask_in_any_form(cls, value: Any) -> Any:
        return read_mask(value) if isinstance(value, str) else value

    def skip(self) -> SkipConfig:
        """When to skip: what the quality or the target stands for, then what is named, then the policy's defaults."""
        for name in TARGETS:
            if getattr(self, name) is not None and self.steps == "auto":
                raise ConfigError(f"`{name}` is calibrated for skipping alone; give it without `steps=auto`")
        if self.num_predictions is not None and self.steps == "auto":
            raise ConfigError("`num_predictions` is of a known number of steps: give it without `steps=auto`")
        if self.mask is not None and self.steps == "auto":
            raise ConfigError(
                "a mask says which of the steps are computed, and `steps=auto` how many there are: give one"
            )
        values = {name: getattr(self, name) for name in ("quality", *TARGETS, *SKIP_FIELDS)}
        return make_skip(
            values, model=self.model, scheduler=self.scheduler, num_inference_steps=self.max_steps,
            guidance_scale=self.guidance_scale, calibration=self.calibration,
        )  # fmt: skip

    def loading(self) -> LoadConfig:
        """How to load the model."""
        return LoadConfig(**{name: getattr(self, name) for name in LoadConfig.model_fields})

    def requests(self) -> list[GenerationConfig]:
        """One request for each video: video i takes the seed `seed + i`."""
        if self.prompt is None and self.image is None:
            raise ConfigError(
                "there is no prompt: give `prompt`, or a configuration that has one; `image` for a model without one"
            )
        if self.step_policy is not None and self.steps != "auto":
            raise ConfigError("a step policy chooses the steps: give `step_policy` with `steps=auto`")
        fields = {
            name: getattr(self, name) for name in GenerationConfig.model_fields if name in type(self).model_fields
        }
        fields["num_inference_steps"] = self.max_steps
        fields["step_policy"] = (self.step_policy or SHIPPED) if self.steps == "auto" else None
        fields["prompt"] = self.prompt or ""
        first = self.with_seed().first_seed
        seed_after(first, self.num_videos - 1)
        return [GenerationConfig(**fields | {"seed": first + i}) for i in range(self.num_videos)]

    @property
    def first_seed(self) -> int:
        """The seed, which `with_seed` has picked where it was random."""
        assert isinstance(self.seed, int)
        return self.seed

    def with_seed(self) -> RunSettings:
        """These settings with a seed picked in place of random, once for all that is made of them."""
        return self.model_copy(update={"seed": pick_seed()}) if self.seed == RANDOM else self

    def to_yaml(self) -> str:
        """YAML that reads back as these settings; what is None is left out."""
        values = {k: v for k, v in self.model_dump(mode="json").items() if v is not None}
        if self.mask is not None:
            values["mask"] = "".join("1" if step else "0" for step in self.mask)
        return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def said_of(name: str) -> dict[str, Any]:
    """What a setting says of itself, beside its description: `panel`, `shown`, `column`, `both`."""
    extra = RunSettings.model_fields[name].json_schema_extra
    return dict(extra) if isinstance(extra, dict) else {}


def kind_of(name: str) -> type:
    """What a setting is, in text forms: bool, int, float or str (also what is read from text, as a mask)."""
    annotation = RunSettings.model_fields[name].annotation
    kinds = {getattr(kind, "__origin__", kind) for kind in get_args(annotation)} - {type(None)} or {annotation}
    found: type = next((kind for kind in (bool, int, float) if kind in kinds), str)
    return found


def read_settings(path: str | Path, names: tuple[str, ...] = RUNS) -> dict[str, Any]:
    """The keys and values of a YAML file or of a shipped configuration (`example`), keys with underscores.

    `names` are the shipped ones that fit. Raises ConfigError for what is neither. What can't be a key stays as written.
    """
    found = read_configuration(path, names).items()
    return {key.replace("-", "_") if key[:1].isalpha() and " " not in key else key: value for key, value in found}
