"""calibrate(): a model's curve of fidelity against tolerance, the tolerance for a goal, a check on other prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from videoada.config import GenerationConfig, SkipConfig
from videoada.errors import ConfigError
from videoada.generate import check_request, generate
from videoada.metrics import paired_fidelity
from videoada.pipelines import model_info
from videoada.quality import Calibration, CurvePoint
from videoada.video import Video

TOLERANCES = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32)
IDENTICAL = 100.0  # dB that stand for equal frames in a mean


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
    """The tolerance that reaches a mean PSNR (dB) or takes 1/`target_speedup` of the UNet rows, and the calibration.

    One full run and one run for each tolerance of the first two thirds of the requests give the curve; the last third,
    at least one, is held out: what the chosen tolerance gives on it is `held_out`. Raises ConfigError for less than
    three requests, for none or two goals, and for a goal outside the curve.
    """
    if (target_psnr is None) == (target_speedup is None):
        raise ConfigError("give a target PSNR or a target speed-up, one of the two")
    if target_speedup is not None and target_speedup < 1:
        raise ConfigError(f"a target speed-up is at least 1, got {target_speedup:g}")
    if len(requests) < 3:
        raise ConfigError(f"a calibration needs three prompts, two to measure and one to check; got {len(requests)}")
    for request in requests:
        check_request(pipe, request, SkipConfig())
    count = max(len(requests) * 2 // 3, 2)
    seen, held_out = requests[:count], requests[count:]
    say = on_run or (lambda text: None)
    say(f"{len(seen)} full runs")
    full = [video for video, _ in generate(pipe, seen, skip=SkipConfig(policy="none"), batch_size=batch_size)]
    curve = []
    for tolerance in tolerances:
        curve.append(_measure(pipe, seen, full, tolerance, batch_size))
        say(f"tolerance {tolerance:g}: {curve[-1].psnr:.1f} dB, {curve[-1].rows:.0%} of the rows")
    about = Calibration(
        model=model_info(pipe).name, scheduler=seen[0].scheduler, num_inference_steps=seen[0].num_inference_steps,
        prompts=len(seen), curve=tuple(curve),
    )  # fmt: skip
    if target_psnr is not None:
        tolerance = about.tolerance_for_psnr(target_psnr)
    else:
        tolerance = about.tolerance_for_rows(1 / (target_speedup or 1))
    say(f"{len(held_out)} held-out prompts at tolerance {tolerance:.4g}")
    full = [video for video, _ in generate(pipe, held_out, skip=SkipConfig(policy="none"), batch_size=batch_size)]
    check = _measure(pipe, held_out, full, tolerance, batch_size)
    return tolerance, about.model_copy(update={"held_out": check, "held_out_prompts": len(held_out)})


def _measure(
    pipe: Any, requests: Sequence[GenerationConfig], full: Sequence[Video], tolerance: float, batch_size: int
) -> CurvePoint:
    skip = SkipConfig(policy="error-controlled", tolerance=tolerance)
    drawn = generate(pipe, requests, skip=skip, batch_size=batch_size)
    found = [
        paired_fidelity(video.frames, reference.frames, flow=False).psnr
        for (video, _), reference in zip(drawn, full, strict=True)
    ]
    psnr = [IDENTICAL if value is None else min(value, IDENTICAL) for value in found]
    rows = [record.unet_rows / record.unet_rows_full for _, record in drawn]
    return CurvePoint(
        tolerance=tolerance, psnr=round(sum(psnr) / len(psnr), 3), psnr_worst=round(min(psnr), 3),
        rows=round(sum(rows) / len(rows), 4),
    )  # fmt: skip
