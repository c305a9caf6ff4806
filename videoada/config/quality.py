"""What qualities and targets stand for: a policy, a predictor and a tolerance, from files that ship."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from videoada.config.frozen import FrozenConfig, one_of
from videoada.config.shipped import read_shipped, shipped_names
from videoada.config.wanted import problem_of
from videoada.errors import ConfigError

CONFIDENCE = 0.9  # with which a promise for 95 % holds, where there are prompts enough
QUALITIES = ("near-lossless", "high", "balanced", "fast")


class CurvePoint(FrozenConfig):
    """What one tolerance gave on the prompts of a calibration, in dB: the mean PSNR over them, that which 95 % of all
    such videos have or exceed as these let expect, a lower limit of it that holds with the calibration's confidence
    (None of prompts that only check), and the worst; `rows` is the mean share of the full run."""

    tolerance: float = Field(gt=0, allow_inf_nan=False)
    psnr: float = Field(allow_inf_nan=False)
    psnr_of_95: float | None = Field(default=None, allow_inf_nan=False)  # None: not noted, as in older ones
    psnr_promised: float | None = Field(default=None, allow_inf_nan=False)  # as well
    psnr_worst: float = Field(allow_inf_nan=False)
    rows: float = Field(gt=0, le=1)

    @property
    def promised(self) -> float:
        """What a target is read from: the limit, where that is not noted what 95 % have, and else the worst."""
        noted = (self.psnr_promised, self.psnr_of_95, self.psnr_worst)
        return next(value for value in noted if value is not None)


class Calibration(FrozenConfig):
    """A model's curve of fidelity against tolerance, and how the chosen one did on prompts held out from it."""

    model: str
    scheduler: str | None  # None: as the model's folder has it
    num_inference_steps: int
    guidance_scale: float | None = None  # None: not noted, as in older ones
    prompts: int
    confidence: float | None = Field(default=None, ge=0, le=1)  # of `psnr_promised`; None: not noted, as in older ones
    curve: tuple[CurvePoint, ...]
    held_out: CurvePoint | None = None
    held_out_prompts: int = 0

    @property
    def sure(self) -> float | None:
        """The confidence of a promise that is read here, down to whole percents: of several tolerances one is chosen,
        which makes it no surer than each was to be, however sure the limit is at one alone."""
        if self.confidence is None:
            return None
        return math.floor(round(100 * min(self.confidence, CONFIDENCE), 6)) / 100

    def tolerance_for_psnr(self, target: float) -> float:
        """The largest tolerance measured at which 95 % of the prompts are promised `target` dB: between two of them the
        curve can fall at once, where a prompt parts from its full run.

        Raises ConfigError for a target outside the curve, on which a lone rise counts as chance (`falling`).
        """
        return max(tolerance for tolerance, psnr in self._promises(target) if psnr >= target)

    def tolerance_to_try(self, target: float) -> float:
        """The next one to measure: midway, in log tolerance, from `tolerance_for_psnr` to the first that falls short.

        Raises ConfigError as above.
        """
        found = self.tolerance_for_psnr(target)
        larger = [point.tolerance for point in self.curve if point.tolerance > found]
        return math.sqrt(found * min(larger)) if larger else found

    def _promises(self, target: float) -> list[tuple[float, float]]:
        points = falling([(p.tolerance, p.promised) for p in self.curve])
        if not points[-1][1] <= target <= points[0][1]:
            least, most = math.ceil(points[-1][1] * 100) / 100, math.floor(points[0][1] * 100) / 100  # may be asked for
            raise ConfigError(
                f"the calibration of {self.model} promises from {least:g} to {most:g} dB, by its tolerances; "
                f"{target:g} dB is outside"
            )
        return points

    def tolerance_for_rows(self, share: float) -> float:
        """The tolerance whose runs take that share of the full run's UNet rows. Raises ConfigError as above."""
        points = falling([(p.tolerance, p.rows) for p in self.curve])
        if not points[-1][1] <= share <= points[0][1]:
            raise ConfigError(
                f"the calibration of {self.model} reaches from {1 / points[0][1]:.2f} to {1 / points[-1][1]:.2f} "
                f"times as fast; {1 / share:.2f} is outside"
            )
        return between(points, share)


def falling(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """(tolerance, value) by tolerance, with values that never rise: neighbours that do are averaged (isotonic)."""
    blocks: list[list[tuple[float, float]]] = []
    for point in sorted(points):
        blocks.append([point])
        while len(blocks) > 1 and _mean(blocks[-1]) > _mean(blocks[-2]):
            last = blocks.pop()
            blocks[-1] += last
    return [(tolerance, _mean(block)) for block in blocks for tolerance, _ in block]


def between(points: Sequence[tuple[float, float]], value: float) -> float:
    """The tolerance at which the falling curve through `points` has `value`, which lies within it."""
    for (t1, v1), (t2, v2) in zip(points, points[1:], strict=False):
        if v2 <= value <= v1:
            share = (v1 - value) / (v1 - v2) if v1 > v2 else 0.0
            return math.exp(math.log(t1) + share * (math.log(t2) - math.log(t1)))
    return points[-1][0]


def _mean(block: Sequence[tuple[float, float]]) -> float:
    return sum(value for _, value in block) / len(block)


@functools.cache
def _qualities() -> dict[str, Any]:
    return read_shipped("quality")  # once: a prompt file may name a level in each of its rows


def quality_fields(name: str, model: str | None = None) -> dict[str, Any]:
    """Policy, predictor and tolerance of a quality level. Raises ConfigError for an unknown one.

    A level is a fidelity: a `model` that comes less near at the same tolerance has its own, where that was measured.
    """
    try:
        one_of("quality", name, QUALITIES)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    own = _qualities()["models"].get(Path(model).name, {}) if model else {}
    return {**_qualities()[name], **({"tolerance": own[name]} if name in own else {})}


def target_fields(
    model: str, target: Mapping[str, float], calibration: Mapping[str, Any] | None = None, *,
    scheduler: str | None = None, num_inference_steps: int | None = None, guidance_scale: float | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Policy, predictor, tolerance for a target, and the target, from a calibration or the one shipped for the model:
    `target_psnr`, the PSNR in dB that 95 % of the videos have or exceed, or `target_speedup`, the full run's UNet rows
    ÷ the mean of those taken.

    What is None of the run is the model's own, as of the calibration. Raises ConfigError where there is none, or only
    one of another model, scheduler, number of steps or guidance.
    """
    [(name, value)] = target.items()
    if calibration is None:
        shipped = f"calibrated-{Path(model).name}"
        if shipped not in shipped_names():
            raise ConfigError(
                f"there is no calibration for '{model}': make one with `videoada calibrate --model {model} --prompts "
                f"FILE --{name.replace('_', '-')} {value:g}` for `generate` and `render` --config, or give `tolerance`"
            )
        calibration = read_shipped(shipped).get("calibration")
    found = read_calibration(calibration)
    for what, measured, wanted in (
        ("model", Path(found.model).name, Path(model).name), ("scheduler", found.scheduler, scheduler),
        ("steps", found.num_inference_steps, num_inference_steps),
        ("guidance", found.guidance_scale, guidance_scale),
    ):  # fmt: skip
        unknown = measured is None and what != "scheduler"  # no name of a scheduler: the model's own
        if wanted is not None and measured != wanted and not unknown:
            shown = measured or "the model's own"
            raise ConfigError(
                f"the calibration is of {what} {shown}, and the run has {wanted}; calibrate for it, or give `tolerance`"
            )
    try:
        tolerance = found.tolerance_for_psnr(value) if name == "target_psnr" else found.tolerance_for_rows(1 / value)
    except ConfigError as error:
        raise ConfigError(f"{error}; make one for it with `videoada calibrate`, or give `tolerance`") from None
    return {"policy": "error-controlled", "predictor": "linear", "tolerance": round(tolerance, 6), name: value,
            "target_confidence": found.sure if name == "target_psnr" else None}  # fmt: skip


def read_calibration(values: Any) -> Calibration:
    """A configuration's `calibration`. Raises ConfigError for what is none."""
    try:
        if not isinstance(values, Mapping) or not values.get("curve"):
            raise ConfigError("it has no curve")
        return Calibration.model_validate(dict(values))
    except ConfigError as error:
        what = str(error).replace("`", "")
    except ValidationError as error:
        where, what = problem_of(error, Calibration)
        what = f"{'.'.join(where)}: {what}"
    raise ConfigError(f"the configuration holds no calibration: {what}")
