"""Time skipping at the real models' size: the architectures of configs/architectures/, with random weights.

    python scripts/experiments/gpu.py                 # on a GPU: 16 frames, 256×256 and 448×256, float16, 50 steps
    python scripts/experiments/gpu.py --models wan-2.1-1.3b --dtype bfloat16     # 17 frames of 480×832
    python scripts/experiments/gpu.py --dtype bfloat16 --compile                 # beside what OUTPUT already holds
    python scripts/experiments/gpu.py --preset cpu    # without one: 4 frames, 64×64, 6 steps; ten minutes, 20 GiB

Batches of 1, 4 and 8; in a batch each prompt has its own mask. Of other models and precisions, with and without
`--compile`, what OUTPUT holds stays.

What random weights generate means nothing, so the masks are fixed; skipped steps are filled as by default. In every
round all runs take turns, step by step; a figure is the median over the rounds. Efficiency = ideal ÷ measured time of
the denoising (encoding and decoding are the same in every run). Ideal = what the full run's denoising takes outside its
UNet calls + what the run's own calls take: where calls cost the same, that is the full time less the UNet time of what
was skipped, and the noise of the calls, on a CPU larger than what is looked for, cancels.
"""

from __future__ import annotations

import argparse
import functools
import gc
import json
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
import transformers
import yaml
from PIL import Image

from videoada.benchmarks.timing import in_turn, twin
from videoada.config.run import GenerationConfig, SkipConfig
from videoada.devices import is_gpu, peak_memory, reset_peak_memory, synchronize
from videoada.models.call import call_pipeline
from videoada.models.catalogue import ASSETS
from videoada.models.denoisers import denoiser_of, device_of
from videoada.models.placement import compile_denoiser
from videoada.patching import replaced
from videoada.records.record import package_versions
from videoada.skipping.rows import batch_of
from videoada.skipping.rules.decision import Decision, SkipState
from videoada.skipping.skip_steps import skip_steps

ROOT = Path(__file__).resolve().parents[2]
PRESETS: dict[str, dict[str, Any]] = {
    "gpu": {"steps": 50, "predictions": (26, 17, 13), "rounds": 5, "batches": (1, 4, 8)},
    "cpu": {"steps": 6, "predictions": (4, 3, 2), "rounds": 2, "seconds": 120, "batches": (1, 4),
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


@contextmanager
def timed_calls(pipe: Any) -> Iterator[tuple[list[int], list[float]]]:
    """Rows and seconds of each call of the pipeline's denoiser, the device waited for on both sides."""
    rows: list[int] = []
    seconds: list[float] = []

    def timed(inherited: Callable[..., Any], denoiser: Any, *args: Any, **kwargs: Any) -> Any:
        synchronize(device_of(pipe))
        began = time.perf_counter()
        result = inherited(*args, **kwargs)
        synchronize(device_of(pipe))
        rows.append(batch_of(args, kwargs)[0])
        seconds.append(time.perf_counter() - began)
        return result

    with replaced(denoiser_of(pipe), "__call__", timed):  # outside of what is compiled
        yield rows, seconds


def run(pipe: Any, requests: list[GenerationConfig], policy: Any, hand_over: Callable[[], None]) -> dict[str, Any]:
    """One generation that hands its turn over after each step: its trace and its UNet calls."""
    own = twin(pipe)
    own.scheduler = own.scheduler.from_config(own.scheduler.config)
    denoising, began = 0.0, 0.0

    def on_step(step: int, *_: Any) -> None:
        nonlocal denoising, began
        synchronize(device_of(pipe))
        denoising += time.perf_counter() - (began if step else trace.started)
        hand_over()
        began = time.perf_counter()

    with timed_calls(own) as (rows, seconds), skip_steps(own, policy, on_step=on_step) as trace:
        trace.synchronize = True
        call_pipeline(own, requests)
    return {"trace": trace, "rows": rows, "seconds": seconds, "denoising": denoising}


def rounds(
    pipe: Any, requests: list[GenerationConfig], kinds: dict[str, Any], count: int, most_seconds: float = float("inf")
) -> list[dict[str, Any]]:
    """Every kind of run in every round, in turns step by step; one row of figures for each kind, "full" first.

    No round begins once `most_seconds` have passed.
    """
    started = time.perf_counter()
    warm_up = time.perf_counter()
    call_pipeline(pipe, [r.model_copy(update={"num_inference_steps": 1}) for r in requests])
    synchronize(device_of(pipe))
    warm_up = time.perf_counter() - warm_up
    memory = {}
    if is_gpu(device_of(pipe)):  # alone, as in turns they share one peak; it also warms up every size
        for kind, policy in kinds.items():
            reset_peak_memory(device_of(pipe))
            run(pipe, requests, policy, lambda: None)
            memory[kind] = peak_memory(device_of(pipe))
    measured: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
    names, calls = list(kinds), defaultdict(list)
    for i in range(count):
        if i and time.perf_counter() - started > most_seconds:
            break
        order = names[i % len(names) :] + names[: i % len(names)]
        found = in_turn(*(functools.partial(run, pipe, requests, kinds[kind]) for kind in order))
        results = dict(zip(order, found, strict=True))
        full, full_seconds = results["full"]
        for kind, (each, seconds) in results.items():
            for rows, call in zip(each["rows"], each["seconds"], strict=True):
                calls[rows].append(call)
            ideal = full["denoising"] - sum(full["seconds"]) + sum(each["seconds"])
            figures = {
                "seconds": seconds,
                "denoising_seconds": each["denoising"],
                "speedup": full_seconds / seconds,
                "efficiency": ideal / each["denoising"],
                "own": each["trace"].own_seconds / each["trace"].num_steps,
            }
            measured[kind].append(figures)
            print(f"  {kind}: {seconds:.3f} s, {figures['efficiency']:.4f} of the ideal", flush=True)
    rows = [
        {
            "run": kind,
            "predictions": results[kind][0]["trace"].num_predictions,
            "unet_rows": results[kind][0]["trace"].unet_rows,
            **{
                name: round(statistics.median(f[name] for f in figures), 4)
                for name in ("seconds", "denoising_seconds", "speedup", "efficiency")
            },
            "own_milliseconds_a_step": round(1e3 * statistics.median(f["own"] for f in figures), 4),
            "peak_memory_bytes": memory.get(kind, peak_memory(device_of(pipe))),
        }
        for kind, figures in measured.items()
    ]  # fmt: skip
    rows[0]["unet_call_milliseconds"] = {
        str(size): round(1e3 * statistics.median(s), 3) for size, s in sorted(calls.items())
    }
    rows[0]["seconds_of_the_first_call"] = round(warm_up, 3)  # of the pipeline, with one step: compiling is in it
    return rows


def measure(
    name: str, preset: dict[str, Any], device: torch.device, dtype: torch.dtype, compiled: bool
) -> dict[str, Any]:
    """All figures of one architecture."""
    began = time.perf_counter()
    pipe, video = build(name, device, dtype)
    video = preset.get("video", video)
    denoiser = denoiser_of(pipe)
    if compiled:
        compile_denoiser(denoiser)
    print(f"{name}: {sum(p.numel() for p in denoiser.parameters()) / 1e9:.2f} G parameters in the denoiser, "
          f"built in {time.perf_counter() - began:.0f} s; {video}", flush=True)  # fmt: skip
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (256, 256, 3), dtype=np.uint8))
    image = {"image": picture} if hasattr(pipe, "image_encoder") else {}
    steps = preset["steps"]
    requests = [
        GenerationConfig(prompt=f"prompt {i}", seed=i, num_inference_steps=steps, **video, **image)
        for i in range(max(preset["batches"]))
    ]
    full, rule = SkipConfig(policy="none"), SkipConfig(tolerance=1e-12)  # the default: asked, and always computes
    kinds: dict[str, Any] = {"full": full} | {
        f"{n} predictions": SkipConfig(policy="mask", mask=masked(steps, n), predictor="linear", corrector=True)
        for n in preset["predictions"]
    } | {"rule": rule}  # fmt: skip
    alone = rounds(pipe, requests[:1], kinds, preset["rounds"], preset.get("seconds", float("inf")))
    decision = alone[-1]["own_milliseconds_a_step"]
    counts = preset["predictions"]
    own = tuple(masked(steps, counts[i % len(counts)], shift=i) for i in range(len(requests)))
    together = {
        f"batch_{size}": rounds(
            pipe, requests[:size], {"full": full, "each its own mask": OwnMasks(own[:size])},
            min(preset["rounds"], 3) if device.type == "cuda" else 1,
        )
        for size in preset["batches"] if size > 1
    }  # fmt: skip
    return {
        "unet_parameters": sum(p.numel() for p in denoiser.parameters()),
        "video": video,
        "num_inference_steps": steps,
        "batch_1": alone,
        **together,
        "decision_milliseconds": decision,
        "decision_share_of_a_unet_call": round(decision / next(iter(alone[0]["unet_call_milliseconds"].values())), 6),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=tuple(PRESETS), default="gpu" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--models", nargs="*", default=["modelscope-t2v", "i2vgen-xl"])
    parser.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), help="float16 on a GPU, else float32")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument(
        "--output", type=Path, default=None, help="samples/results/architectures-PRESET.json if left out"
    )
    args = parser.parse_args()
    if args.preset == "gpu" and not torch.cuda.is_available():
        parser.error("there is no CUDA device here; use --preset cpu")
    on_gpu = args.preset == "gpu"
    device, usual = torch.device("cuda" if on_gpu else "cpu"), "float16" if on_gpu else "float32"
    dtype = getattr(torch, args.dtype or usual)
    output = args.output or ROOT / "samples" / "results" / f"architectures-{args.preset}.json"
    began = time.perf_counter()
    result: dict[str, Any] = {
        "weights": "random",
        "device": torch.cuda.get_device_name() if on_gpu else f"CPU, {torch.get_num_threads()} threads",
        "dtype": usual,
        "versions": package_versions(),
        "models": {},
    }
    if output.is_file() and "measured_on" not in (before := json.loads(output.read_text())):
        alike = all(before[name] == result[name] for name in ("device", "versions"))
        result["models"] = before["models"] if alike else {}
    suffix = f", {args.dtype}" * (args.dtype not in (None, usual)) + ", compiled" * args.compile
    for name in args.models:
        result["models"][name + suffix] = measure(name, PRESETS[args.preset], device, dtype, args.compile)
        gc.collect()
        torch.cuda.empty_cache()
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(result | {"seconds": round(time.perf_counter() - began)}, indent=2) + "\n")
    print(json.dumps(result["models"], indent=2))


if __name__ == "__main__":
    main()
