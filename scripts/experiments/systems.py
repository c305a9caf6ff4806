"""The three systems and every combination of them in one table: what each saves, and what it costs.

    python scripts/experiments/systems.py            # 32 prompts of tiny-t2v; ten minutes on 2 CPU cores

Skipping is videoada's default, the number of steps and early exit are as shipped. All are measured against the full run
of 50 steps, same prompt and seed; seconds are of the denoising, the systems in turns, each batch beginning with
another. Writes samples/results/systems: points.json and points.md.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np

import videoada
from videoada.config.prompts import read_requests
from videoada.config.run import GenerationConfig, SkipConfig
from videoada.metrics import paired_fidelity
from videoada.records.record import package_versions
from videoada.shapes import agreement, measure, parse

CAP = 60.0  # dB; else prompts for which the full run was chosen, at 100, would make any mean
PARTS = ("skipping", "step count", "early exit")


def systems() -> dict[str, tuple[str, ...]]:
    """Name → its parts: none, each, each pair, all three."""
    found = {"full run": ()}
    for count in (1, 2, 3):
        found |= {" + ".join(parts): parts for parts in itertools.combinations(PARTS, count)}
    return found


def generate_by(pipe: Any, batch: list[GenerationConfig], parts: tuple[str, ...]) -> list[Any]:
    skip = SkipConfig(**({} if "skipping" in parts else {"policy": "none"}), early_exit="early exit" in parts or None)
    if "step count" in parts:
        batch = [request.model_copy(update={"step_policy": "shipped"}) for request in batch]
    return videoada.generate(pipe, batch, skip=skip, batch_size=len(batch))


def measured(pipe: Any, requests: list[GenerationConfig], batch_size: int) -> dict[str, list[dict[str, float]]]:
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in systems()}
    for parts in ((), PARTS):  # warm-up: what is loaded, compiled or counted once
        generate_by(pipe, requests[:1], parts)
    for number, first in enumerate(range(0, len(requests), batch_size)):
        batch, names = requests[first : first + batch_size], list(systems())
        turn = number % len(names)  # each system's turn comes early and late
        generated = {name: generate_by(pipe, batch, systems()[name]) for name in names[turn:] + names[:turn]}
        for name, results in generated.items():
            for request, (video, record), (reference, in_full) in zip(
                batch, results, generated["full run"], strict=True
            ):
                fidelity = paired_fidelity(video.frames, reference.frames, flow=False)
                agrees = agreement(parse(request.prompt), measure(video.frames))
                rows[name].append({
                    "rows": record.unet_rows / in_full.unet_rows, "macs": record.savings["computed"],
                    "seconds": record.seconds["denoise"], "steps": record.num_inference_steps,
                    "psnr": CAP if fidelity.psnr is None else min(fidelity.psnr, CAP), "ssim": fidelity.ssim,
                    "identical": float(fidelity.psnr is None),
                    "agreement": sum(agrees.values()) / 4,
                })  # fmt: skip
        print(f"{first + len(batch)} prompts", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=Path, default=Path("samples/prompts.txt"))
    parser.add_argument("--limit", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--output", type=Path, default=Path("samples/results/systems"))
    args = parser.parse_args()
    pipe = videoada.load_pipeline("tiny-t2v")
    rows = measured(pipe, read_requests(args.prompts)[: args.limit], args.batch_size)
    means = {name: {k: round(float(np.mean([r[k] for r in own])), 4) for k in own[0]} for name, own in rows.items()}
    for name, own in rows.items():
        means[name]["psnr_worst"] = round(min(r["psnr"] for r in own), 2)
    lines = [
        f"tiny-t2v (small embedded model), {len(rows['full run'])} prompts", "",
        "| system | steps | UNet rows | MACs | seconds | PSNR (at most 60) | worst | identical | SSIM | agreement |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for name, m in means.items():
        fidelity = f"{m['psnr']:.1f} | {m['psnr_worst']:.1f} | {m['identical']:.0%}"
        lines.append(
            f"| {name} | {m['steps']:.1f} | {m['rows']:.1%} | {m['macs']:.1%} | {m['seconds']:.2f} | {fidelity} | "
            f"{m['ssim']:.4f} | {m['agreement']:.1%} |"
        )
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "points.json").write_text(json.dumps(means | {"versions": package_versions()}, indent=1) + "\n")
    (args.output / "points.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
