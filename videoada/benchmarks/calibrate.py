"""calibrate(): a model's curve of fidelity against tolerance, the tolerance for a goal, a check on other prompts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from videoada.benchmarks.every_prompt import ENOUGH, limit_of_nearly_all, limit_rank, of_nearly_all
from videoada.config.quality import Calibration, CurvePoint
from videoada.config.run import GenerationConfig, SkipConfig
from videoada.config.settings import RunSettings
from videoada.errors import ConfigError, counted
from videoada.files import check_file, write_text
from videoada.generation.generate import check_request, generate
from videoada.media.video import Video
from videoada.metrics.paired import IDENTICAL, paired_fidelity
from videoada.models.pipelines import model_info
from videoada.models.recommended import with_recommended

TOLERANCES = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32)
NOT_KEPT = {"prompt", "image", "num_videos", "seed", "batch_size", "device", "offload", "target_psnr", "target_speedup",
            "calibration"}  # fmt: skip
ENOUGH_IN_ALL = math.ceil(ENOUGH * 3 / 2)  # prompts for a promise as sure as can be: two thirds measure
MOST_MORE = 6  # tolerances tried beyond them, each twice or half the last, where the goal lies outside
REFINED = 2  # tried then: midway from the last that keeps the PSNR to the first that does not, or where the rows are


def calibrate(
    pipe: Any,
    requests: Sequence[GenerationConfig],
    *,
    target_psnr: float | None = None,
    target_speedup: float | None = None,
    tolerances: Sequence[float] = TOLERANCES,
    batch_size: int = 1,
    on_run: Callable[[str], None] | None = None,
) -> tuple[float, Calibration]:
    """The tolerance at which 95 % of the videos have `target_psnr` dB to the full run, with a confidence of 90 % where
    45 requests or more measure, or that takes 1/`target_speedup` of the UNet rows, and the calibration.

    One full run and one run for each tolerance of the first two thirds of the requests give the curve, which is carried
    on where the goal lies outside and refined at it; the last third, at least one, is held out: what the chosen
    tolerance gives on it is `held_out`. Raises ConfigError for less than three requests, for none or two goals, and
    for a goal that no tolerance reaches.
    """
    if (target_psnr is None) == (target_speedup is None):
        raise ConfigError("give `target_psnr` or `target_speedup`, one of the two")
    if len(requests) < 3:
        raise ConfigError(f"a calibration needs three prompts, two to measure and one to check; got {len(requests)}")
    requests = with_recommended(pipe, requests)
    if target_speedup is not None and not 1 <= target_speedup <= requests[0].num_steps:
        raise ConfigError(f"a target speed-up is from 1 to the number of steps, got {target_speedup:g}")
    if target_psnr is not None and not 0 < target_psnr < IDENTICAL:
        raise ConfigError(f"a target PSNR is between 0 and {IDENTICAL:g} dB, got {target_psnr:g}")
    for request in requests:
        check_request(pipe, request, SkipConfig())
    count = max(len(requests) * 2 // 3, 2)
    seen, held_out = requests[:count], requests[count:]
    say = on_run or (lambda text: None)
    say(f"{len(seen)} full runs")
    full = [video for video, _ in generate(pipe, seen, skip=SkipConfig(policy="none"), batch_size=batch_size)]
    curve: list[CurvePoint] = []

    def add(tolerance: float) -> None:
        point = _measure(pipe, seen, full, tolerance, batch_size)
        curve.append(point)
        curve.sort(key=lambda point: point.tolerance)
        of_95 = f"95 % have {point.psnr_of_95:.1f}, {point.promised:.1f} promised"
        say(f"tolerance {tolerance:g}: {point.psnr:.1f} dB, {of_95}, {point.rows:.0%} of the rows")

    def beyond(point: CurvePoint) -> float:
        """Above 0 where the point is better than the goal asks for."""
        if target_psnr is not None:
            return point.promised - target_psnr
        return point.rows - 1 / (target_speedup or 1)

    for tolerance in tolerances:
        add(tolerance)
    for _ in range(MOST_MORE):
        if beyond(curve[-1]) > 0:
            add(curve[-1].tolerance * 2)
        elif beyond(curve[0]) < 0:
            add(curve[0].tolerance / 2)

    def so_far() -> Calibration:
        return Calibration(
            model=model_info(pipe).name, scheduler=seen[0].scheduler, num_inference_steps=seen[0].num_steps,
            guidance_scale=seen[0].guidance_scale,
            prompts=len(seen), confidence=round(limit_rank(len(seen))[1], 3), curve=tuple(curve),
        )  # fmt: skip

    def near_goal() -> float:
        if target_psnr is not None:
            return so_far().tolerance_to_try(target_psnr)
        return so_far().tolerance_for_rows(1 / (target_speedup or 1))

    for _ in range(REFINED):
        if (tolerance := round(near_goal(), 6)) not in {point.tolerance for point in curve}:
            add(tolerance)
    about, tolerance = so_far(), near_goal()
    if target_psnr is not None:
        tolerance = about.tolerance_for_psnr(target_psnr)
    say(f"{counted(len(held_out), 'held-out prompt')} at tolerance {tolerance:.4g}")
    full = [video for video, _ in generate(pipe, held_out, skip=SkipConfig(policy="none"), batch_size=batch_size)]
    check = _measure(pipe, held_out, full, tolerance, batch_size)
    check = check.model_copy(update={"psnr_promised": None})
    return tolerance, about.model_copy(update={"held_out": check, "held_out_prompts": len(held_out)})


def _measure(
    pipe: Any, requests: Sequence[GenerationConfig], full: Sequence[Video], tolerance: float, batch_size: int
) -> CurvePoint:
    skip = SkipConfig(policy="error-controlled", tolerance=tolerance)
    generated = generate(pipe, requests, skip=skip, batch_size=batch_size)
    found = [
        paired_fidelity(video.frames, reference.frames, flow=False).psnr
        for (video, _), reference in zip(generated, full, strict=True)
    ]
    psnr = [IDENTICAL if value is None else min(value, IDENTICAL) for value in found]
    rows = [record.unet_rows / record.unet_rows_full for _, record in generated]
    return CurvePoint(
        tolerance=tolerance, psnr=round(sum(psnr) / len(psnr), 3),
        psnr_of_95=round(of_nearly_all(psnr), 3), psnr_promised=round(limit_of_nearly_all(psnr), 3),
        psnr_worst=round(min(psnr), 3),
        rows=round(sum(rows) / len(rows), 4),
    )  # fmt: skip


def check_configuration(path: Path) -> None:
    """Raises ConfigError, before hours of work, for a configuration that could not be written."""
    check_file(path, "output", ".yaml", ".yml")


def write_configuration(
    path: str | Path, settings: RunSettings, tolerance: float, found: Calibration, goal: str
) -> None:
    """Write what reaches the `goal` as a configuration for `videoada generate --config`, the curve with it.

    `settings` are those that the calibration was made with. Raises ConfigError where it can't be written.
    """
    kept = ("model", "steps", "guidance_scale", "num_frames", "height", "width", "scheduler")
    others = settings.model_dump(exclude_defaults=True, exclude=NOT_KEPT)  # the curve is of them
    values = {name: getattr(settings, name) for name in kept} | others | {
        "policy": "error-controlled", "predictor": "linear", "tolerance": round(tolerance, 6),
        "calibration": found.model_dump(mode="json"),
    }  # fmt: skip
    text = yaml.safe_dump({k: v for k, v in values.items() if v is not None}, sort_keys=False, allow_unicode=True)
    check_configuration(Path(path))
    write_text(path, f"# videoada calibrate: {goal}, from {counted(found.prompts, 'prompt')}\n{text}")
