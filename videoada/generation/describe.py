"""describe(): what a run did and what it cost, in plain English, from its record and that of its full run."""

from __future__ import annotations

from videoada.errors import counted
from videoada.records.record import RunRecord


def describe(record: RunRecord) -> list[str]:
    """Sentences on a run: what was computed and why, how long it took, how close it came to the full run, whether its
    frames hang together, and what somebody who looks at the video would want to know."""
    lines = [*_steps(record), _seconds(record)]
    if (promised := record.skip.target_psnr) is not None:
        sure = "" if (share := record.skip.target_confidence) is None else f", {share:.0%} sure"
        lines.append(
            f"Its tolerance was calibrated so that 95 % of such videos have {promised:g} dB to the full run{sure}."
        )
    if (promised := record.skip.target_speedup) is not None:
        lines.append(f"Its tolerance was calibrated for {promised:g} times fewer network rows, on average.")
    if (fidelity := record.fidelity) is not None:
        if fidelity["identical"]:
            lines.append("Its frames are those of the full run, bit for bit.")
        else:
            lines.append(
                f"Against the full run its PSNR is {fidelity['psnr']:.1f} dB, {fidelity['psnr_worst_frame']:.1f} dB in "
                f"the worst frame, and its SSIM {fidelity['ssim']:.3f}."
            )
        if isinstance(speedup := fidelity.get("speedup"), (int, float)):
            lines.append(f"It was {speedup:.2f} times as fast as the full run.")
    if (coherence := record.coherence) is not None:
        failed = [f"{name.replace('_', ' ')} ({coherence[name]:.2g})" for name in coherence["failed"]]
        lines.append(
            f"Its frames fail a check of coherence: {', '.join(failed)}." if failed else
            "Its frames pass every check of coherence."
        )  # fmt: skip
    return lines


def describe_pair(record: RunRecord, full: RunRecord) -> list[str]:
    """Sentences on a run beside its full run: time, and checks of coherence that one of them fails."""
    lines = []
    ours, theirs = (r.seconds.get("denoise", 0.0) - r.first_call_seconds for r in (record, full))
    if ours > 0 and theirs > 0:
        lines.append(
            f"Denoising took {ours:.1f} s, that of the full run {theirs:.1f} s: {theirs / ours:.2f} times as fast."
        )
    if record.coherence and full.coherence:
        failed, before = set(record.coherence["failed"]), set(full.coherence["failed"])
        named = {"lost by skipping": failed - before, "failed by both": failed & before,
                 "failed by the full run alone": before - failed}  # fmt: skip
        parts = [f"{what}: {', '.join(sorted(names)).replace('_', ' ')}" for what, names in named.items() if names]
        lines.append(f"Checks of coherence {'; '.join(parts)}." if parts else "Both pass every check of coherence.")
    return lines


def _steps(record: RunRecord) -> list[str]:
    steps, computed = record.num_inference_steps, record.num_predictions
    if computed == steps:
        first = f"All {counted(steps, 'noise prediction')} were computed, none was skipped."
    else:
        first = (
            f"{computed} of {counted(steps, 'noise prediction')} were computed; the other {steps - computed} "
            f"({(steps - computed) / steps:.0%}) were approximated from those before."
        )
    lines = [first]
    if record.most_steps:
        lines.append(f"The number of steps was chosen for this prompt, of at most {record.most_steps}.")
    if (spread := record.signal_percentiles) and record.skip.limit:
        lines.append(
            f"The rule's signal was {spread['p50']:.3g} in the middle, four fifths of it between {spread['p10']:.3g} "
            f"and {spread['p90']:.3g}; a step is skipped below the {record.skip.limit_name}, {record.skip.limit:g}."
        )
    if (halves := sum(record.guidance_skipped or [])) > 0:
        lines.append(f"{halves} of those predictions went without their unconditional half.")
    if record.early_exit:
        lines.append(f"With early exit they took {record.early_exit['macs']:.0%} of their multiply-adds.")
    if record.unet_rows_full:
        lines.append(
            f"The network ran on {record.unet_rows} batch rows, where the full run takes {record.unet_rows_full}."
        )
    return lines


def _seconds(record: RunRecord) -> str:
    seconds = record.seconds
    stages = ", ".join(
        f"{seconds[stage]:.1f} s {what}"
        for stage, what in (("load", "loading the model"), ("denoise", "denoising"), ("decode", "decoding"))
        if seconds.get(stage, 0.0) >= 0.05
    )
    return f"It took {seconds.get('total', 0.0):.1f} s" + (f": {stages}." if stages else ".")
