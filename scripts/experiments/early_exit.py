"""What early exit saves on tiny-t2v and what it costs, over prompts that its heads never saw.

    python scripts/experiments/early_exit.py  # 64 prompts: curve, baselines, plots; 40 minutes on one CPU core
    python scripts/experiments/early_exit.py --timing --batch-size 1  # pairs of full and early runs, on an idle machine

Writes samples/results/early-exit/: curve.json, points.md (and cells.jsonl, from which it goes on where it was stopped),
depth.svg (where steps leave, by timestep), errors.svg (how far each exit's prediction is from the network's) and
uncertainty.png (the paper's figure: what each exit is unsure of, at some steps of one run). Two baselines with the same
heads decide nothing: the static exit takes the exit that was used most and full calls in even turns, so that the mean
share of the work is the same; `by step` takes at each step what the prompts of its batch took there on average.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import torch
from cells import SAMPLES, unpack
from matplotlib.figure import Figure

import videoada
from videoada.benchmarks.frontier import bootstrap
from videoada.benchmarks.timing import time_pairs
from videoada.config.run import GenerationConfig, SkipConfig
from videoada.files import append_row, read_appended
from videoada.learned.early_exit import DEFAULT_THRESHOLD, find_heads
from videoada.learned.exit_heads import movement
from videoada.learned.exit_network import early_exit
from videoada.learned.parts import EXIT_HEADS
from videoada.metrics import paired_fidelity
from videoada.plots import write_svg
from videoada.shapes import random_scene
from videoada.training.exit_losses import guided, watched

AROUND = (0.7, 1.0, 1.5)  # of the heads' own threshold: those that are measured
RESULTS = SAMPLES / "results" / "early-exit"
CAP = 60.0  # dB: an identical video does not make up for others
Choice = Callable[[int, int, Sequence[int]], list[bool]]
METHODS = ("early exit", "static", "by step")
TRAINED_ON = 50_000, 96  # seed and number of the prompts that the shipped heads were trained on
NONE = SkipConfig(policy="none")
COLOURS = ("#16a34a", "#f59e0b", "#dc2626", "#2563eb")


def requests_of(count: int) -> list[GenerationConfig]:
    """Scenes of one and two objects, none of them among those trained on."""
    seed, videos = TRAINED_ON
    rng = np.random.default_rng(seed)
    known, found = {str(random_scene(rng, 1 + i % 2)) for i in range(videos)}, []
    rng = np.random.default_rng(95_000)
    while len(found) < count:
        prompt = str(random_scene(rng, 1 + len(found) % 2))
        if prompt not in known:
            found.append(GenerationConfig(prompt=prompt, seed=95_000 + len(found)))
    return found


def thresholds_of(heads: Any) -> list[float]:
    return [float(f"{(heads.threshold or DEFAULT_THRESHOLD) * factor:.3g}") for factor in AROUND]


def static(share: float, costs: Sequence[float], exit: int, num_steps: int, carried: bool) -> Choice:
    """Leaves at one exit in even turns with full calls, so that the mean is `share`; where heads carry nothing on, in
    turns with the next exit that costs more than `share` if this one costs less."""
    num_full = 1 if carried else 0  # the first call goes through in any case
    other = len(costs) - 1 if carried else int(np.searchsorted(costs, share).clip(1, len(costs) - 1))
    exit = exit if carried else other - 1
    rest = (share * num_steps - num_full * costs[-1]) / (num_steps - num_full)
    leaving = float(np.clip((costs[other] - rest) / (costs[other] - costs[exit]), 0, 1))

    def choose(call: int, at: int, here: Sequence[int]) -> list[bool]:
        turn = call % num_steps - num_full
        leaves = turn >= 0 and int((turn + 1) * leaving + 0.5) > int(turn * leaving + 0.5)
        return [at == (exit if leaves else other)] * len(here)

    return choose


def by_step(exits: Sequence[Sequence[int]], costs: Sequence[float], asked: Sequence[int]) -> Choice:
    """Leaves at each step at the exit whose cost is nearest to the mean of what those prompts took there, and makes up
    for the difference at the next."""
    taken, exits_taken, owed = np.array(costs)[np.array(exits)].mean(0), [], 0.0
    for mean in taken:
        exits_taken.append(min((*asked, len(costs) - 1), key=lambda index: abs(costs[index] - mean - owed)))
        owed += mean - costs[exits_taken[-1]]
    return lambda call, at, here: [at == exits_taken[call % len(exits_taken)]] * len(here)


def measure(pipe: Any, args: argparse.Namespace) -> None:
    """cells.jsonl: a row for each method and prompt."""
    path, requests, heads = args.output / "cells.jsonl", requests_of(args.prompts), find_heads(pipe, args.heads)
    sha = EXIT_HEADS.sha256(pipe, args.heads)
    rows = [row for row in read_appended(path) if row["heads"] == sha]
    known = {(r["threshold"], r["prompt"], r["method"]) for r in rows}
    thresholds = thresholds_of(heads)
    methods = {t: METHODS if t == thresholds[AROUND.index(1.0)] else METHODS[:1] for t in thresholds}
    part, parts = (int(number) for number in args.part.split("/"))
    for first in range((part - 1) * args.batch_size, len(requests), parts * args.batch_size):
        batch = requests[first : first + args.batch_size]
        waiting = [t for t in thresholds if any((t, first + i, methods[t][-1]) not in known for i in range(len(batch)))]
        full = videoada.generate(pipe, batch, skip=NONE, batch_size=len(batch)) if waiting else []
        for threshold in waiting:
            choose = None
            for method in methods[threshold]:
                with videoada.early_exit(pipe, threshold, heads, choose=choose) as trace:
                    generated = videoada.generate(pipe, batch, skip=NONE, batch_size=len(batch))
                found = [entry_of(method, threshold, first + i, trace, i, generated[i][0], full[i][0])
                         for i in range(len(batch))]  # fmt: skip
                macs = float(np.mean([row["macs"] for row in found]))
                if method == METHODS[0]:
                    decided = [row["exits"] for row in found]
                    used = [exit for row in found for exit in row["exits"] if exit < trace.num_exits]
                    most = max(set(used), key=used.count, default=0)
                    costs, carried = list(trace.costs), heads.horizon > 0
                    choose = static(macs, costs, most, batch[0].num_inference_steps, carried)
                else:
                    choose = by_step(decided, costs, heads.asked)
                for row in found:
                    append_row(path, row | {"heads": sha})
                print(f"{first + len(batch)} prompts, {method} {threshold:g}: {macs:.3f} of the work", flush=True)


def entry_of(
    method: str, threshold: float, prompt: int, trace: Any, index: int, video: Any, full: Any
) -> dict[str, Any]:
    fidelity = paired_fidelity(video.frames, full.frames, flow=False)
    exits = [call[index] for call in trace.calls]
    return {
        "method": method, "threshold": threshold, "prompt": prompt, "macs": trace.share(exits),
        "psnr": CAP if fidelity.psnr is None else min(fidelity.psnr, CAP), "ssim": fidelity.ssim, "exits": exits,
    }  # fmt: skip


def read_cells(pipe: Any, args: argparse.Namespace) -> list[dict[str, Any]]:
    """The rows of these heads, the latest of each, by prompt."""
    sha = EXIT_HEADS.sha256(pipe, args.heads)
    found = [row for row in read_appended(args.output / "cells.jsonl") if row["heads"] == sha]
    rows = {(r["method"], r["threshold"], r["prompt"]): r for r in found}
    return [rows[key] for key in sorted(rows)]


def summarize(rows: list[dict[str, Any]]) -> dict[str, Any]:
    points = []
    for threshold in sorted({row["threshold"] for row in rows}):
        decided = [r["psnr"] for r in rows if (r["method"], r["threshold"]) == (METHODS[0], threshold)]
        for method in METHODS:
            own = [r for r in rows if (r["method"], r["threshold"]) == (method, threshold)]
            if not own:
                continue
            psnr = [r["psnr"] for r in own]
            behind = np.array(decided) - np.array(psnr)
            points.append({
                "method": method, "threshold": threshold, "prompts": len(own),
                "macs": round(float(np.mean([r["macs"] for r in own])), 4), "psnr": round(float(np.mean(psnr)), 2),
                "psnr_interval": [round(v, 2) for v in bootstrap(psnr)], "psnr_worst": round(min(psnr), 2),
                "ssim": round(float(np.mean([r["ssim"] for r in own])), 4),
                "decisions_gain": [round(float(v), 2) for v in (behind.mean(), *bootstrap(behind))],
            })  # fmt: skip
    return {"model": "tiny-t2v", "points": points}


def table(points: Sequence[dict[str, Any]]) -> str:
    lines = [
        f"tiny-t2v (small embedded model), {points[0]['prompts']} prompts", "",
        "| method | threshold | MACs | PSNR, dB (95 %) | worst | SSIM | dB that deciding gains (95 %) |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for p in points:
        low, high = p["psnr_interval"]
        gain = "{:+.1f} ({:+.1f} to {:+.1f})".format(*p["decisions_gain"]) if p["method"] != METHODS[0] else ""
        lines.append(
            f"| {p['method']} | {p['threshold']:g} | {p['macs']:.1%} | {p['psnr']:.1f} ({low:.1f}–{high:.1f}) "
            f"| {p['psnr_worst']:.1f} | {p['ssim']:.4f} | {gain} |"
        )
    return "\n".join(lines)


# ---- plots ---------------------------------------------------------------------------------------------------------


def plot_depth(rows: list[dict[str, Any]], threshold: float, num_exits: int, path: Path) -> None:
    exits = np.array([r["exits"] for r in rows if r["method"] == "early exit" and r["threshold"] == threshold])
    figure = Figure((6.4, 3.4), layout="constrained")
    axes = figure.add_subplot()
    shares = [(exits == i).mean(0) for i in range(num_exits + 1)]
    names = [f"exit {i + 1}" for i in range(num_exits)] + ["full network"]
    axes.stackplot(range(exits.shape[1]), shares, labels=names, colors=COLOURS)
    axes.set_xlabel(f"step, noisy to clean (threshold {threshold:g}, {len(exits)} prompts of tiny-t2v)")
    axes.set_ylabel("share of prompts that leave there")
    axes.legend(fontsize=7, loc="upper left")
    write_svg(figure, path)


def plot_errors(pipe: Any, heads: Any, requests: list[GenerationConfig], path: Path) -> None:
    """Of each exit's guided prediction against the network's, relative, along full runs; what its uncertainty says; and
    what holding the last answer would miss by. What is carried on, is from the call before."""
    scale, before = requests[0].guidance_scale, None
    lines: dict[str, list[float]] = {}

    def note(name: str, value: Any) -> None:
        lines.setdefault(name, []).append(float(value))

    def on_step(step: int, *_: Any) -> None:
        nonlocal before
        f, since, before = calls.pop(), before, None
        before = f
        if since is None:
            return
        size, frames = guided(f.output, scale).norm(), f.num_frames
        gap = pipe.scheduler.timesteps[step - 1] - pipe.scheduler.timesteps[step]
        with torch.no_grad():
            note("holding: error", guided(since.output - f.output, scale).norm() / size)
            for i, (head, u) in enumerate(zip(heads.heads, heads.uncertainties, strict=True)):
                made, moved = head(f.deep[i], f.fine, f.time, frames), None
                if heads.horizon:
                    change = made - head(since.deep[i], since.fine, since.time, frames)
                    made, moved = since.output + change, movement(change, gap.repeat(len(change)))
                note(f"exit {i + 1}: error", guided(made - f.output, scale).norm() / size)
                note(f"exit {i + 1}: uncertainty", u(f.deep[i], f.time, frames, moved).mean())

    with watched(pipe.unet) as calls:
        videoada.generate(pipe, requests, skip=NONE, batch_size=len(requests), on_step=on_step)
    figure = Figure((6.4, 3.4), layout="constrained")
    axes = figure.add_subplot()
    for name, values in lines.items():
        at_exit = name.startswith("exit")
        style = {"linestyle": "--", "linewidth": 0.9} if name.endswith("uncertainty") else {}
        colour = COLOURS[int(name[5]) - 1] if at_exit else "#64748b"
        axes.plot(range(1, len(values) + 1), values, color=colour, label=name, **style)
    axes.set_xlabel(f"step, noisy to clean (mean over {len(requests)} prompts of tiny-t2v)")
    axes.set_ylabel("relative error; uncertainty")
    axes.set_yscale("log")
    axes.legend(fontsize=6, ncols=2)
    write_svg(figure, path)


def plot_uncertainty(pipe: Any, heads: Any, request: GenerationConfig, path: Path) -> None:
    """A row for each exit, a column for some steps, dark where it is sure; the frame in the middle; last the frame."""
    asked, heads.asked = heads.asked, list(range(len(heads.heads)))  # also those that nobody takes
    with early_exit(pipe.unet, heads, 1e-9, keep_maps=True) as trace:
        [(video, _)] = videoada.generate(pipe, [request], skip=NONE)
    heads.asked = asked
    steps, size, middle = range(1, request.num_inference_steps, 7), video.frames.shape[1], request.num_frames // 2
    rows = []
    for exit in range(len(heads.heads)):
        maps = [trace.maps[step][exit][-1, middle] for step in steps] if trace.maps else []
        most = max(float(m.max()) for m in maps)
        tiles = [np.kron(m.numpy() / most * 255, np.ones((size // len(m),) * 2)).astype(np.uint8) for m in maps]
        rows.append(np.concatenate([*(np.repeat(t[..., None], 3, -1) for t in tiles), video.frames[middle]], 1))
    iio.imwrite(path, np.concatenate(rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--heads", help="a file; those shipped if left out")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--part", default="1/1", help="I/N: only part I of N of the batches, for N processes at once")
    parser.add_argument("--timing", action="store_true")
    parser.add_argument("--pairs", type=int, default=16, help="to time; of eight prompts in turn")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    pipe = videoada.load_pipeline("tiny-t2v")
    heads, requests = find_heads(pipe, args.heads), requests_of(args.prompts)
    if args.timing:
        skip = SkipConfig(policy="none", early_exit=True, exit_heads=args.heads)
        timing = time_pairs(pipe, requests[:8], skip=skip, batch_size=args.batch_size, pairs=args.pairs)
        saved = 1 - np.mean([r.early_exit["macs"] for _, r in videoada.generate(pipe, requests[:8], skip=skip)])
        result = {"batch_size": args.batch_size, "pairs": args.pairs, "macs_saved": round(float(saved), 4),
                  "time_saved": round(1 - 1 / timing.speedup, 4)}  # fmt: skip
        path = args.output / f"timing-batch-{args.batch_size}.json"
        path.write_text(json.dumps(result | {"versions": timing.versions}, indent=1) + "\n")
        print(result, f"the time's share of the multiply-adds': {result['time_saved'] / result['macs_saved']:.2f}")
        return
    if args.output.resolve() == RESULTS:
        unpack(only=RESULTS.name)
    measure(pipe, args)
    if args.part != "1/1":
        return
    rows = read_cells(pipe, args)
    result = summarize(rows)
    (args.output / "curve.json").write_text(json.dumps(result, indent=1) + "\n")
    shown = thresholds_of(heads)[AROUND.index(1.0)]
    plot_depth(rows, shown, len(heads.heads), args.output / "depth.svg")
    plot_errors(pipe, heads, requests[:8], args.output / "errors.svg")
    plot_uncertainty(pipe, heads, requests[0], args.output / "uncertainty.png")
    (args.output / "points.md").write_text(table(result["points"]) + "\n")
    print(table(result["points"]))


if __name__ == "__main__":
    main()
