"""What a run is asked to do: small frozen models, one level deep, checked where they are made."""

from __future__ import annotations

import os
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from videoada.config.frozen import FrozenConfig, one_of
from videoada.config.seeds import Seed
from videoada.config.values import CodecName, Rate, Share

POLICIES = ("none", "every-n", "mask", "third-order", "third-order-release", "error-controlled", "budget")
PREDICTORS = ("hold", "hold-output", "linear", "linear-eps", "taylor2")
SCHEDULERS = ("ddim", "dpm++", "dpm++-sde", "unipc", "euler", "euler-a")
SEVERAL_CALLS = ("pndm", "heun", "kdpm2", "kdpm2-a", "dpm-sde")  # these call the network more than once a step
DEFAULT_MODEL = "tiny-t2v"
MOST = 1_000_000  # of what has no limit of its own: torch's numbers have one

# What it gives on the sample prompts is measured by `make bench` and reported in docs/results.md.
DEFAULT_TOLERANCE = 0.05
DEFAULT_THRESHOLD = 0.15
RELEASE_THRESHOLD = 0.01  # the released code's class default


def _known_scheduler(value: str) -> str:
    if value.lower() in SEVERAL_CALLS:
        raise ValueError(
            f"scheduler '{value}' calls the network more than once a step, which step skipping can't count; "
            f"choose from {', '.join(SCHEDULERS)}"
        )
    return one_of("scheduler", value, SCHEDULERS)


SchedulerName = Annotated[str, AfterValidator(_known_scheduler)]


class SkipConfig(FrozenConfig):
    """When to skip and what to use instead. A field that its policy does not have must be left alone.

    Without a policy, the field that is given names it: `threshold` is `third-order`'s, `tolerance` is
    `error-controlled`'s, `num_predictions`, exactly so many for each video, is `budget`'s, `every` is `every-n`'s,
    `mask` is `mask`'s; with none of them it is `error-controlled`. Fields left at None take the policy's own default,
    as `POLICY_DEFAULTS` lists them. The `damping` of an extrapolating predictor's slope, in [0, 1], is measured along
    the run where it is None. With `corrector`, skipped steps are taken again by interpolation once the next prediction
    is known. Instead of `warmup_steps` and `final_steps`, `skip_from` and `skip_to` are shares of the steps that run,
    0.1 or "10%": of n steps, step i = 0, 1, … may be skipped where skip_from ≤ i/n < skip_to; a rule computes three or
    four first in any case. `guidance_tolerance` lets a prediction go without its unconditional half (None: never).
    `early_exit` lets the network leave at the first exit whose uncertainty is below `exit_threshold` (None: what the
    heads were tuned to; 0: nowhere), with the heads of a file, or those shipped.
    """

    policy: str = "error-controlled"
    predictor: str = "hold"
    damping: float | None = Field(default=None, ge=0, le=1)
    corrector: bool = False
    threshold: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    tolerance: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    guidance_tolerance: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    num_predictions: int | None = Field(default=None, ge=1, le=MOST)
    max_skip_steps: int | None = Field(default=None, ge=1, le=MOST)
    warmup_steps: int | None = Field(default=None, ge=1, le=MOST)
    final_steps: int | None = Field(default=None, ge=0, le=MOST)
    skip_from: Share | None = None
    skip_to: Share | None = None
    every: int | None = Field(default=None, ge=1, le=MOST)
    mask: tuple[bool, ...] | None = None
    batch_decision: Literal["prompt", "mean", "any"] = "prompt"
    early_exit: bool | None = None
    exit_threshold: float | None = Field(default=None, ge=0, le=1)
    exit_heads: str | None = None
    target_psnr: float | None = Field(default=None, gt=0, le=100)  # what the tolerance was read off a calibration for
    target_speedup: float | None = Field(default=None, ge=1, le=1000)
    target_confidence: float | None = Field(default=None, ge=0, le=1)  # with which `target_psnr` is promised

    @field_validator("policy")
    @classmethod
    def _known_policy(cls, value: str) -> str:
        return one_of("policy", value, POLICIES)

    @field_validator("predictor")
    @classmethod
    def _known_predictor(cls, value: str) -> str:
        return one_of("predictor", value, PREDICTORS)

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, values: Any) -> Any:
        """Refuse fields of other policies, then fill in the policy's own defaults."""
        if (given := cls.values_given(values)) is None:
            return values
        values = given
        for name in OF_TARGETS:
            if name in values and "tolerance" not in values:
                raise ValueError(f"`{name}` is read off a model's calibration: give it to `generate`")
        policy = values.setdefault("policy", next((p for f, p in NAMED_BY.items() if f in values), "error-controlled"))
        own = POLICY_DEFAULTS.get(policy, {}) if isinstance(policy, str) else {}
        if own or policy == "none":
            for name in values.keys() & OF_POLICIES:
                if name not in own:
                    raise ValueError(f"policy '{policy}' has no `{name}`")
        for share, steps in SHARES.items():
            if share in values:
                if steps not in own:
                    raise ValueError(f"policy '{policy}' has no `{share}`")
                if steps in values:
                    raise ValueError(f"`{share}` and `{steps}` say the same thing: give one")
                own = {name: value for name, value in own.items() if name != steps}
        values = own | values
        if policy == "mask" and not values.get("mask"):
            raise ValueError("policy 'mask' needs a `mask`: 0/1 for each step, 1 = compute")
        if policy == "budget" and values.get("num_predictions") is None:
            raise ValueError("policy 'budget' needs `num_predictions`: how many for each video")
        if policy == "third-order-release" and values["predictor"] != "hold-output":
            raise ValueError("policy 'third-order-release' implies the predictor hold-output")
        if "warmup_steps" not in own and values.get("batch_decision", "prompt") != "prompt":
            raise ValueError(f"policy '{policy}' has no rule, so it has no `batch_decision`")
        if values.get("guidance_tolerance") and (
            policy == "none" or 0 in (values.get("threshold"), values.get("tolerance"))
        ):
            raise ValueError(
                "`guidance_tolerance` goes with a policy that skips; for it alone, take `policy=every-n` and `every=1`"
            )
        if values.get("early_exit") is False:
            for name in ("early_exit", "exit_threshold", "exit_heads"):
                values.pop(name, None)
        if {"exit_threshold", "exit_heads"} & values.keys():
            values["early_exit"] = True
        if values.get("early_exit") and values.get("guidance_tolerance"):
            raise ValueError("`early_exit` and `guidance_tolerance` do not go together: leave one of them out")
        if policy == "budget" and values.get("early_exit"):
            raise ValueError("`num_predictions` counts full predictions; give it without `early_exit`")
        extrapolates = values.get("predictor", "hold") in EXTRAPOLATING
        if "damping" in values and not extrapolates:
            raise ValueError(f"predictor '{values.get('predictor', 'hold')}' has no `damping`")
        return values

    @property
    def steps_alone(self) -> SkipConfig:
        """The same without early exit, which acts inside a denoiser call."""
        return self.model_copy(update=dict.fromkeys(EXIT_FIELDS))

    @property
    def skips(self) -> bool:
        """Whether a step could be skipped; a threshold or a tolerance of 0 means none."""
        return self.policy != "none" and self.limit != 0

    @property
    def limit(self) -> float | None:
        """What a rule's signal is compared with: the threshold or the tolerance."""
        return self.threshold if self.tolerance is None else self.tolerance

    @property
    def limit_name(self) -> str:
        return "threshold" if self.tolerance is None else "tolerance"

    @model_validator(mode="after")
    def _leaves_something(self) -> Self:
        if self.mask and not self.mask[0]:
            raise ValueError("a mask must begin with 1: at the first step there is no prediction to hold")
        if self.skip_from is not None and self.skip_to is not None and self.skip_from >= self.skip_to:
            raise ValueError(f"nothing lies between `skip_from={self.skip_from:g}` and `skip_to={self.skip_to:g}`")
        least = max(self.warmup_steps or 0, 3) + (self.final_steps or 0) + 1
        if self.num_predictions is not None and self.num_predictions < least:
            raise ValueError(f"`num_predictions={self.num_predictions}` is too few: it is {least} or more with the "
                             "first and last steps that always compute")  # fmt: skip
        return self


def is_hash(image: Any) -> bool:
    """Whether a record's image is a hash, `sha256:…`, because an image object was given and no path."""
    return isinstance(image, str) and image.startswith("sha256:")


TARGETS = ("target_psnr", "target_speedup")  # read off a calibration
OF_TARGETS = (*TARGETS, "target_confidence")  # noted beside the tolerance that was read for one
EXIT_FIELDS = ("early_exit", "exit_threshold", "exit_heads")
SHARES = {"skip_from": "warmup_steps", "skip_to": "final_steps"}  # of the steps, and the numbers that they replace
EXTRAPOLATING = ("linear", "linear-eps", "taylor2")
NAMED_BY = {"threshold": "third-order", "tolerance": "error-controlled", "num_predictions": "budget",
            "every": "every-n", "mask": "mask"}  # fmt: skip
POLICY_DEFAULTS: dict[str, dict[str, Any]] = {
    "none": {},
    "every-n": {"every": 2},
    "mask": {"mask": None},
    "third-order": {"threshold": DEFAULT_THRESHOLD, "max_skip_steps": 4, "warmup_steps": 3, "final_steps": 1},
    "third-order-release": {
        "threshold": RELEASE_THRESHOLD, "max_skip_steps": 4, "warmup_steps": 4, "final_steps": 0,
        "predictor": "hold-output",
    },
    "error-controlled": {
        "tolerance": DEFAULT_TOLERANCE, "max_skip_steps": 8, "warmup_steps": None, "final_steps": 1,
        "predictor": "linear", "corrector": True,
    },
    "budget": {"num_predictions": None, "warmup_steps": None, "final_steps": 1,
               "predictor": "linear", "corrector": True},
}  # fmt: skip
OF_POLICIES = {name for fields in POLICY_DEFAULTS.values() for name in fields} - {"predictor", "corrector"}


class GenerationConfig(FrozenConfig):
    """One video to generate. What is left at None is the model's own: steps, guidance, frames, size, rate, scheduler.

    `image` is a path or a PIL image, for image-to-video models only; `video` a path, a Video or a list of pictures, for
    video-to-video ones, of whose steps the share `strength` runs. `target_fps` is I2VGen-XL's condition for
    the motion's pace (16 if None), not the file's `fps`. `decode_chunk_size` frames are decoded at once (None: as the
    pipeline does, which is all frames for text to video and one for image to video). With `step_policy`, a file's or
    "shipped", `num_inference_steps` is the full run's and the policy chooses at most as many for each prompt. A `seed`
    of "random" is picked here. `codec` and `crf` are of the file that the video is saved in.
    """

    prompt: str = ""  # a few pipelines take none, as Stable Video Diffusion's
    negative_prompt: str | None = None
    num_inference_steps: int | None = Field(default=None, ge=1, le=1000)
    guidance_scale: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    num_frames: int | None = Field(default=None, ge=1, le=4096)
    height: int | None = Field(default=None, ge=8, le=16384)
    width: int | None = Field(default=None, ge=8, le=16384)
    fps: Rate | None = None
    seed: Seed = 0
    scheduler: SchedulerName | None = None
    image: Any = None
    video: Any = None
    strength: float | None = Field(default=None, gt=0, le=1)
    target_fps: int | None = Field(default=None, ge=1, le=240)
    step_policy: str | None = None
    decode_chunk_size: int | None = Field(default=None, ge=1, le=MOST)
    codec: CodecName | None = None
    crf: int | None = Field(default=None, ge=0, le=63)

    @property
    def num_steps(self) -> int:
        """`num_inference_steps` of a request whose own settings are filled in, as those of a run are."""
        assert self.num_inference_steps is not None
        return self.num_inference_steps

    @property
    def guided(self) -> bool:
        """Whether the network is asked for both halves of classifier-free guidance."""
        return self.guidance_scale is not None and self.guidance_scale > 1

    @field_validator("prompt")
    @classmethod
    def _says_something(cls, value: str) -> str:
        if value and not value.strip():
            raise ValueError("the prompt is empty")
        if not value.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in value):
            raise ValueError("the prompt is no text: it holds bytes that are not UTF-8")
        return value

    @field_validator("video")
    @classmethod
    def _path_or_frames(cls, value: Any) -> Any:
        return os.fspath(value) if isinstance(value, os.PathLike) else value

    @field_validator("image")
    @classmethod
    def _path_or_picture(cls, value: Any) -> Any:
        if value is None or hasattr(value, "getexif"):
            return value
        if isinstance(value, (str, os.PathLike)):
            return os.fspath(value)
        raise ValueError("the image must be a path or a PIL image")
