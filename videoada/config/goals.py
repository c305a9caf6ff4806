"""How much to skip, said in one of several ways, made a SkipConfig: a quality, a target, a tolerance, a threshold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from videoada.config.frozen import unknown_key
from videoada.config.quality import quality_fields, target_fields
from videoada.config.run import EXIT_FIELDS, OF_TARGETS, TARGETS, GenerationConfig, SkipConfig
from videoada.errors import ConfigError

GOALS = ("quality", *TARGETS, "threshold", "tolerance", "num_predictions")
SKIP_FIELDS = tuple(name for name in SkipConfig.model_fields if name not in OF_TARGETS)
WAY_FIELDS = tuple(name for name in SKIP_FIELDS if name not in EXIT_FIELDS)  # of one way to skip steps


def make_skip(
    values: Mapping[str, Any], *, model: str | None = None, scheduler: str | None = None,
    num_inference_steps: int | None = None, guidance_scale: float | None = None,
    calibration: Mapping[str, Any] | None = None,
) -> SkipConfig:  # fmt: skip
    """The SkipConfig of `values`: SkipConfig's fields, or a `quality`, a `target_psnr` in dB or a `target_speedup` (the
    full run's UNet rows ÷ those taken) with some of them.

    What is None is left out. A target needs the model's name, for which there is a calibration, and a quality may be
    measured for it; `scheduler` and
    `num_inference_steps` of None are the model's own, of which a calibration is.
    Raises ConfigError for an unknown name, for two goals, and for a target without a calibration.
    """
    values = {name: value for name, value in values.items() if value is not None}
    for name in values.keys() - {*SKIP_FIELDS, "quality", *TARGETS}:
        raise ConfigError(unknown_key(name, ("quality", *TARGETS, *SKIP_FIELDS)))
    named = [f"`{name}`" for name in GOALS if name in values]
    if len(named) > 1:
        raise ConfigError(f"{' and '.join(named)} say the same thing: give one")
    quality, targets = values.pop("quality", None), {name: values.pop(name) for name in TARGETS if name in values}
    of_goal: dict[str, Any] = {}
    if quality is not None:
        of_goal = quality_fields(quality, model)
    for name, target in targets.items():
        if model is None:
            raise ConfigError(
                f"`{name}` is read off the calibration of a model, which is not known here: give it to `generate`, "
                "or give `tolerance`"
            )
        if values.get("early_exit") or values.get("exit_threshold") is not None:
            raise ConfigError(f"`{name}` is calibrated for skipping alone; give it without `early_exit`")
        of_goal = target_fields(
            model, {name: target}, calibration, scheduler=scheduler, num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
        )  # fmt: skip
        calibrated, others = SkipConfig(**of_goal), {k: v for k, v in values.items() if k not in EXIT_FIELDS}
        if SkipConfig(**(of_goal | others)) != calibrated:  # the tolerance is as good as any, the promise is not
            of_goal = {k: v for k, v in of_goal.items() if k not in OF_TARGETS}
    return SkipConfig(**(of_goal | values))


def split_fields(fields: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Keywords of a request and keywords of skipping. Raises ConfigError for one that is neither."""
    skipping, requesting = (*SKIP_FIELDS, "quality", *TARGETS), tuple(GenerationConfig.model_fields)
    for name in fields:
        if name not in requesting and name not in skipping:
            raise ConfigError(unknown_key(name, (*requesting, *skipping)))
    request = {name: value for name, value in fields.items() if name in requesting}
    return request, {name: value for name, value in fields.items() if name not in requesting}
