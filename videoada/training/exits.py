"""train_exits(): exit heads and their uncertainties for a UNet3DConditionModel or an I2VGenXLUNet.

The stage `collect` lets the model generate videos in full and keeps what the exits see at some stretches of each run
(of a folder of videos: those videos under noise, for text-to-video models); `heads` trains on that, the network frozen,
what heads carry on from one call to a later one (`alone`: each prediction by itself, as in the paper); `tune` tries
thresholds on prompts that were not collected and writes the file. Each continues where it was stopped. `joint` is in
joint.py. None was tried on the large models.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from videoada.config.run import GenerationConfig, SkipConfig
from videoada.errors import ConfigError, PromptError, counted
from videoada.files import results_folder
from videoada.generation.generate import generate
from videoada.learned.exit_heads import ExitHeads
from videoada.learned.exit_network import early_exit
from videoada.learned.parts import trained_for
from videoada.metrics import paired_fidelity
from videoada.models.call import call_pipeline
from videoada.models.pipelines import model_info
from videoada.models.recommended import with_recommended
from videoada.models.schedulers import scheduler_of
from videoada.shapes import random_scene
from videoada.training.calls import Calls, collect_batch, collect_videos
from videoada.training.config import EXIT_STAGES, ExitTraining
from videoada.training.exit_losses import exit_losses
from videoada.training.joint import train_jointly
from videoada.training.run import Progress, Training, contents, read_tensors, same_run, split, stages_of
from videoada.training.videos import requests_in

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.785, 0.82, 0.9)  # of the uncertainties seen: where thresholds are tried
BEYOND = (1.3, 1.7, 2.2)  # and these multiples of the last
RARELY = 0.2  # of those that leave: an exit that fewer take is not asked, which would cost more than they save
CAP = 60.0  # dB: an identical video does not make up for others


@dataclass(frozen=True)
class TrainedExits:
    """What was written: the file of heads and the threshold that it holds; after `joint` a folder, and no threshold."""

    path: Path
    threshold: float | None = None


def train_exits(
    pipe: Any, stage: str = "all", config: ExitTraining | None = None, *, on_progress: Progress | None = None,
    **fields: Any,
) -> TrainedExits | None:  # fmt: skip
    """What the last stage wrote; None for `collect` and `heads`, which write into the run's folder only.

    `stage` is collect, heads, tune, all of these (`all`), or joint, for the model of `pipe`. Give an ExitTraining or
    its fields. `on_progress` gets lines for people. Raises ConfigError for options that do not fit, for a run folder of
    another run and for a stage whose earlier one was not run, PromptError for prompts that can't be learned from,
    ModelError for a network without exits, OutputError for a folder that can't be written to.
    """
    if config is not None and fields:
        raise ConfigError("give an ExitTraining or its fields, not both")
    stages, info = stages_of(stage, EXIT_STAGES, ("joint",)), model_info(pipe)
    config = config or ExitTraining(**fields)
    out = config.file(info.name)
    say = on_progress or (lambda line: None)
    requests = with_recommended(pipe, requests_of(config, on_message=say))
    results_folder(out.parent)
    same_run(config.run, model=info.name, weights=info.weights_sha256, prompts=contents(config.prompts),
             videos=config.videos, steps=config.steps, batch_size=config.batch_size, keep=config.keep,
             window=config.window, tune_videos=config.tune_videos)  # fmt: skip
    for name in stages:
        match name:
            case "collect":
                collect(pipe, requests, config, say)
            case "heads":
                train_heads(pipe, requests, config, say)
            case "tune":
                return tune(pipe, config, out, say)
            case "joint":
                alone = config.model_copy(update={"alone": True})  # the paper's loss is of each prediction by itself
                newest = max(
                    config.run.glob("heads-alone-*.safetensors"), key=lambda p: p.stat().st_mtime, default=None
                )
                heads = trained_heads(pipe, alone, newest)
                return TrainedExits(train_jointly(pipe, heads, requests, config, say))
    return None


def requests_of(
    config: ExitTraining, held_out: bool = False, on_message: Progress | None = None
) -> list[GenerationConfig]:
    """The prompts to learn from, or as many others to tune on. Raises PromptError for a file that can't be used."""
    count, seed = (config.tune_videos, 90_000) if held_out else (config.videos, 50_000)
    if config.prompts:
        found = requests_in(config.prompts, on_message, num_inference_steps=config.steps)
        if len({r.model_dump_json(exclude={"prompt", "negative_prompt", "image", "seed"}) for r in found}) > 1:
            raise PromptError(
                "these rows differ in steps, size, guidance or the like; give rows that differ in prompts"
            )
        if found and found[0].guidance_scale is not None and not found[0].guided:
            raise PromptError(
                "these rows are without guidance; heads learn guided errors: give a guidance_scale above 1"
            )
        return split(found, config.videos, config.tune_videos)[held_out]
    rng = np.random.default_rng(seed)
    return [
        GenerationConfig(prompt=str(random_scene(rng, 1 + i % 2)), seed=seed + i, num_inference_steps=config.steps)
        for i in range(count)
    ]


def collect(pipe: Any, requests: list[GenerationConfig], config: ExitTraining, say: Progress) -> None:
    """Keep one file for each batch of prompts, but for those that the run's folder holds."""
    for first in range(0, len(requests), config.batch_size):
        path = config.run / f"calls-{first:05d}.safetensors"
        if not path.exists():
            batch = requests[first : first + config.batch_size]
            if config.prompts and config.prompts.is_dir():
                tensors = collect_videos(pipe, batch, first, config.prompts, config)
            else:
                tensors = collect_batch(pipe, batch, first, config)
            save_file({k: v.contiguous() for k, v in tensors.items()}, path.with_suffix(".part"))
            path.with_suffix(".part").replace(path)
            say(f"collected {min(first + config.batch_size, len(requests))} of {counted(len(requests), 'prompt')}")


def stage_name(config: ExitTraining) -> str:
    """The name of the checkpoint of heads trained so."""
    return f"heads{'-alone' * config.alone}-u{config.weight_u:g}-ual{config.weight_ual:g}-lr{config.lr:g}"


def untrained(pipe: Any, config: ExitTraining) -> ExitHeads:
    """Heads for the network of `pipe`. Raises ModelError for one that has no exits."""
    horizon = (min(config.window, config.steps) - 1) * round(pipe.scheduler.config.num_train_timesteps / config.steps)
    return ExitHeads.for_unet(pipe.unet, horizon=0 if config.alone else horizon)


def train_heads(pipe: Any, requests: list[GenerationConfig], config: ExitTraining, say: Progress) -> None:
    """Train the heads alone: the network is frozen, its features and its answers were kept."""
    torch.manual_seed(0)
    heads, calls, guidance = untrained(pipe, config), Calls(config.run), requests[0].guidance_scale
    training = Training(config.run, stage_name(config), heads, lr=config.lr, ema_decay=0.998, seed=1, on_progress=say)
    sums: dict[str, list[float]] = {}
    while training.step < config.train_steps:
        now, since, between = calls.pairs(config.rows // 2, training.rng)
        carried: dict[str, Any] = (
            {} if config.alone else {"since": since, "timesteps": between, "guidance_scale": guidance}
        )
        of_u, of_layers, errors = exit_losses(heads, now, now.output, **carried)
        training.update(config.weight_u * of_u + config.weight_ual * of_layers, training.step / config.train_steps)
        training.save(every_seconds=60)
        values = {"u": float(of_u.detach()), "ual": float(of_layers.detach())}
        for name, value in (values | {f"error_{i}": e for i, e in enumerate(errors)}).items():
            sums.setdefault(name, []).append(value)
        if training.step % 100 == 0:
            training.log(**{name: round(float(np.mean(v)), 6) for name, v in sums.items()})
            sums.clear()
    training.save()


def trained_heads(pipe: Any, config: ExitTraining, path: Path | None = None) -> ExitHeads:
    """The heads of these losses, or of the checkpoint at `path`, ready to use with the network of `pipe`. Raises
    ConfigError where they were not trained."""
    heads, path = untrained(pipe, config), path or config.run / f"{stage_name(config)}.safetensors"
    if not path.is_file():
        raise ConfigError(f"{config.run} holds no {path.name}; run the stage heads{' with alone' * config.alone} first")
    heads.load_state_dict({k.removeprefix("ema."): v for k, v in read_tensors(path).items() if k.startswith("ema.")})
    heads.to(pipe.unet.device, pipe.unet.dtype).eval().requires_grad_(False)
    return heads


def tune(pipe: Any, config: ExitTraining, out: Path, say: Progress) -> TrainedExits:
    """Write the heads to `out` with the largest threshold that keeps the target PSNR on prompts not collected.

    A file beside the checkpoint holds the multiply-adds and the PSNR of every threshold that was tried.
    """
    heads, requests = trained_heads(pipe, config), with_recommended(pipe, requests_of(config, held_out=True))
    path = config.run / f"{stage_name(config)}-curve.json"
    known = json.loads(path.read_text()) if path.is_file() else {}
    trained = hashlib.sha256((config.run / f"{stage_name(config)}.safetensors").read_bytes()).hexdigest()
    curve = known["points"] if known.get("heads") == trained else []
    wanted = thresholds_of(pipe, heads, requests[: config.batch_size])
    waiting = [threshold for threshold in wanted if threshold not in {point["threshold"] for point in curve}]
    no_skipping = SkipConfig(policy="none")
    videos = generate(pipe, requests, skip=no_skipping, batch_size=config.batch_size) if waiting else []
    for threshold in waiting:
        values, shares, left = [], [], [0] * len(heads.heads)
        for first in range(0, len(requests), config.batch_size):
            batch = requests[first : first + config.batch_size]
            with scheduler_of(pipe, "ddim"), early_exit(pipe.unet, heads, threshold, guided=True) as trace:
                generated, _ = call_pipeline(pipe, batch)
            left = [count + sum(call.count(exit) for call in trace.calls) for exit, count in enumerate(left)]
            shares += [trace.share([call[i] for call in trace.calls]) for i in range(len(batch))]
            for video, (full, _) in zip(generated, videos[first:], strict=False):
                psnr = paired_fidelity(video.frames, full.frames, flow=False).psnr
                values.append(CAP if psnr is None else min(psnr, CAP))
        curve.append({"threshold": threshold, "macs": float(np.mean(shares)), "psnr": float(np.mean(values)),
                      "worst": min(values), "left": left})  # fmt: skip
        say(json.dumps(curve[-1]))
        curve.sort(key=lambda point: point["threshold"])
        path.write_text(json.dumps({"heads": trained, "points": curve}, indent=1))
    good = [point["threshold"] for point in curve if point["psnr"] >= config.target_psnr]
    if not good:
        say(f"no threshold keeps {config.target_psnr:g} dB: the file gets the smallest tried")
    heads.threshold = max(good) if good else curve[0]["threshold"]
    [left] = [point["left"] for point in curve if point["threshold"] == heads.threshold]
    heads.asked = [exit for exit, count in enumerate(left) if count >= RARELY * sum(left)]
    heads.model = trained_for(pipe, pipe.unet)
    heads.save(out)
    return TrainedExits(out, heads.threshold)


def thresholds_of(pipe: Any, heads: ExitHeads, batch: list[GenerationConfig]) -> list[float]:
    """Thresholds to try: quantiles of the first exit's uncertainties over full runs, and some beyond."""
    with scheduler_of(pipe, "ddim"), early_exit(pipe.unet, heads, 1e-9, guided=True) as trace:
        call_pipeline(pipe, batch)
    seen = [prompt[0] for call in trace.uncertainties for prompt in call if prompt[0] < 1]
    quantiles = [float(q) for q in np.quantile(seen, QUANTILES)]
    found = [*quantiles, *(quantiles[-1] * more for more in BEYOND)]
    return sorted({min(float(f"{value:.3g}"), 1.0) for value in found})
