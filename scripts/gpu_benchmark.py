"""Time skipping at the real models' size: both architectures of configs/architectures/, with random weights.

    python scripts/gpu_benchmark.py                 # on a GPU: 16 frames, 256×256 and 448×256, float16, 50 steps
    python scripts/gpu_benchmark.py --preset cpu    # without one: 4 frames, 64×64, 6 steps; ten minutes, 20 GiB

What random weights draw means nothing, so the masks are fixed. Every round runs them all once, in an order that
rotates; a figure is the median over the rounds. Ideal time = the full run's less the UNet time of the rows that were
skipped; efficiency = ideal ÷ measured.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import resource
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
import transformers
import yaml
from PIL import Image

from videoada.catalogue import ASSETS
from videoada.config import GenerationConfig, SkipConfig
from videoada.denoiser import skip_steps
from videoada.draw import draw_batch
from videoada.records import package_versions
from videoada.skip.policy import Decision, SkipState

ROOT = Path(__file__).parent.parent
PRESETS: dict[str, dict[str, Any]] = {
    "gpu": {"steps": 50, "predictions": (26, 17, 13), "rounds": 5, "batch": 4},
    "cpu": {"steps": 6, "predictions": (4, 3, 2), "rounds": 3, "batch": 4,
            "video": {"height": 64, "width": 64, "num_frames": 4}},
}  # fmt: skip


@dataclass(frozen=True)
class OwnMasks:
    """Each prompt of the batch its own mask."""

    masks: tuple[tuple[bool, ...], ...]
    num_latents = 0

    def decide(self, state: SkipState) -> Decision:
        nothing = (None,) * state.num_prompts
        return Decision(tuple(self.masks[i][state.step] for i in range(state.num_prompts)), nothing, nothing)


def build(name: str, device: torch.device, dtype: torch.dtype) -> tuple[Any, dict[str, Any]]:
    """The pipeline with random weights, and its video's size."""
    layout = yaml.safe_load((ROOT / "configs" / "architectures" / f"{name}.yaml").read_text())
    tokenizer = transformers.CLIPTokenizer.from_pretrained(ASSETS / "tiny-t2v" / "tokenizer", model_max_length=77)
    parts: dict[str, Any] = {"tokenizer": tokenizer}
    torch.manual_seed(0)
    for part, values in layout.items():
        if not isinstance(values, dict) or "class" not in values:
            continue
        values = dict(values)
        kind = getattr(diffusers, values["class"], None) or getattr(transformers, values["class"])
        del values["class"]
        with device:
            if config_class := getattr(kind, "config_class", None):
                parts[part] = kind(config_class(**values))
            else:
                parts[part] = kind(**values)
        if isinstance(parts[part], torch.nn.Module):
            parts[part] = parts[part].to(device, dtype).eval().requires_grad_(False)
    pipe = getattr(diffusers, layout["pipeline"])(**parts)
    pipe.set_progress_bar_config(disable=True)
    return pipe, layout["video"]


def masked(steps: int, predictions: int, shift: int = 0) -> tuple[bool, ...]:
    """`predictions` steps of `steps`, spread evenly, the first among them; others moved by `shift`."""
    chosen = {0} | {min(max(int(p) + shift, 1), steps - 1) for p in np.linspace(0, steps - 1, predictions).round()[1:]}
    rest = [step for step in range(1, steps) if step not in chosen]
    return tuple(step in chosen | set(rest[: predictions - len(chosen)]) for step in range(steps))


@contextlib.contextmanager
def timed_calls(pipe: Any) -> Iterator[dict[int, list[float]]]:
    """Seconds of each UNet call, by its rows, the device waited for on both sides."""
    calls: dict[int, list[float]] = defaultdict(list)
    began = 0.0

    def before(module: Any, args: Any) -> None:
        nonlocal began
        wait(pipe)
        began = time.perf_counter()

    def after(module: Any, args: Any, output: Any) -> None:
        wait(pipe)
        calls[len(args[0])].append(time.perf_counter() - began)

    hooks = pipe.unet.register_forward_pre_hook(before), pipe.unet.register_forward_hook(after)
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()


def wait(pipe: Any) -> None:
    if pipe.device.type == "cuda":
        torch.cuda.synchronize()


def peak_memory(pipe: Any) -> int:
    if pipe.device.type == "cuda":
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def run(pipe: Any, requests: list[GenerationConfig], policy: Any) -> dict[str, Any]:
    """One generation: seconds, calls by rows, predictions, peak memory."""
    if pipe.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    with skip_steps(pipe, policy) as trace, timed_calls(pipe) as calls:
        trace.synchronize = True
        _, seconds = draw_batch(pipe, requests)
    return {
        "seconds": seconds, "calls": calls, "predictions": trace.num_predictions, "rows": trace.unet_rows,
        "own": trace.own_seconds / trace.num_steps, "peak_memory_bytes": peak_memory(pipe),
    }  # fmt: skip


def compare(runs: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """One row for each kind of run, against the full run of the same round."""
    rows = []
    everything: dict[int, list[float]] = defaultdict(list)
    for each in (r for kind in runs.values() for r in kind):
        for size, seconds in each["calls"].items():
            everything[size] += seconds
    call = {size: statistics.median(seconds) for size, seconds in everything.items()}
    for kind, measured in runs.items():
        ideal, speedup = [], []
        for full, each in zip(runs["full"], measured, strict=True):
            of_full, of_this = (sum(call[n] * len(s) for n, s in r["calls"].items()) for r in (full, each))
            ideal.append((full["seconds"] - of_full + of_this) / each["seconds"])
            speedup.append(full["seconds"] / each["seconds"])
        rows.append({
            "run": kind,
            "predictions": measured[0]["predictions"],
            "unet_rows": measured[0]["rows"],
            "seconds": round(statistics.median(r["seconds"] for r in measured), 4),
            "speedup": round(statistics.median(speedup), 4),
            "efficiency": round(statistics.median(ideal), 4),
            "own_milliseconds_a_step": round(1e3 * statistics.median(r["own"] for r in measured), 4),
            "peak_memory_bytes": max(r["peak_memory_bytes"] for r in measured),
        })  # fmt: skip
    rows[0]["unet_call_milliseconds"] = {str(size): round(1e3 * s, 3) for size, s in sorted(call.items())}
    return rows


def measure(name: str, preset: dict[str, Any], device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """All figures of one architecture."""
    began = time.perf_counter()
    pipe, video = build(name, device, dtype)
    video = preset.get("video", video)
    print(f"{name}: {sum(p.numel() for p in pipe.unet.parameters()) / 1e9:.2f} G parameters in the UNet, "
          f"built in {time.perf_counter() - began:.0f} s; {video}", flush=True)  # fmt: skip
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (256, 256, 3), dtype=np.uint8))
    image = {"image": picture} if hasattr(pipe, "image_encoder") else {}
    steps = preset["steps"]
    requests = [
        GenerationConfig(prompt=f"prompt {i}", seed=i, num_inference_steps=steps, **video, **image)
        for i in range(preset["batch"])
    ]
    full, rule = SkipConfig(policy="none"), SkipConfig(threshold=1e-12)  # a rule that is asked, and always computes
    kinds: dict[str, Any] = {"full": full} | {
        f"{n} predictions": SkipConfig(policy="mask", mask=masked(steps, n)) for n in preset["predictions"]
    } | {"rule": rule}  # fmt: skip
    runs = rounds(pipe, requests[:1], kinds, preset["rounds"])
    alone = compare(runs)
    decision = alone[-1]["own_milliseconds_a_step"]
    own = tuple(masked(steps, n, shift=i) for i, n in enumerate((*preset["predictions"], preset["predictions"][0])))
    batch_runs = rounds(pipe, requests, {"full": full, "each its own mask": OwnMasks(own[: len(requests)])}, 1)
    return {
        "unet_parameters": sum(p.numel() for p in pipe.unet.parameters()),
        "video": video,
        "num_inference_steps": steps,
        "batch_1": alone,
        f"batch_{len(requests)}": compare(batch_runs),
        "decision_milliseconds": decision,
        "decision_share_of_a_unet_call": round(decision / alone[0]["unet_call_milliseconds"]["2"], 6),
    }


def rounds(pipe: Any, requests: list[GenerationConfig], kinds: dict[str, Any], count: int) -> dict[str, list[Any]]:
    """Every kind once a round, after a warm-up of one step."""
    draw_batch(pipe, [r.model_copy(update={"num_inference_steps": 1}) for r in requests])
    runs: dict[str, list[Any]] = {kind: [] for kind in kinds}
    names = list(kinds)
    for i in range(count):
        for kind in names[i % len(names) :] + names[: i % len(names)]:
            runs[kind].append(run(pipe, requests, kinds[kind]))
            print(f"  {kind}: {runs[kind][-1]['seconds']:.3f} s", flush=True)
    return runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=tuple(PRESETS), default="gpu" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--models", nargs="*", default=["modelscope-t2v", "i2vgen-xl"])
    parser.add_argument(
        "--output", type=Path, default=None, help="samples/results/architectures-PRESET.json if left out"
    )
    args = parser.parse_args()
    if args.preset == "gpu" and not torch.cuda.is_available():
        parser.error("there is no CUDA device here; use --preset cpu")
    on_gpu = args.preset == "gpu"
    device, dtype = torch.device("cuda" if on_gpu else "cpu"), torch.float16 if on_gpu else torch.float32
    output = args.output or ROOT / "samples" / "results" / f"architectures-{args.preset}.json"
    began = time.perf_counter()
    result: dict[str, Any] = {
        "weights": "random",
        "device": torch.cuda.get_device_name() if on_gpu else f"CPU, {torch.get_num_threads()} threads",
        "dtype": str(dtype).removeprefix("torch."),
        "versions": package_versions(),
        "models": {},
    }
    for name in args.models:
        result["models"][name] = measure(name, PRESETS[args.preset], device, dtype)
        gc.collect()
        torch.cuda.empty_cache()
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(result | {"seconds": round(time.perf_counter() - began)}, indent=2) + "\n")
    print(json.dumps(result["models"], indent=2))


if __name__ == "__main__":
    main()
