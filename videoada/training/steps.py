"""train_steps(): a step policy, which learns how many steps each prompt is worth.

The stage `render` generates every prompt with every count and keeps quality against the full run, which has the largest
count, in a file, continuing where it was stopped; `train` learns from that by policy gradient, in minutes on a CPU,
once for each price λ of T steps; `evaluate` compares all on prompts held out, with fixed counts and with a random
policy of the same distribution, and writes the one whose choices are nearest to `ship_steps` on average. Quality is
SSIM or PSNR (capped at 50 dB and divided by it) to the full run, prompt agreement on the shapes world, or a scorer of
yours. Not tried on the large models.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from videoada.config.prompts import read_requests
from videoada.config.run import GenerationConfig, SkipConfig
from videoada.errors import ConfigError, PromptError
from videoada.files import append_row, read_appended, results_folder, write_text
from videoada.generation.generate import generate
from videoada.learned.parts import trained_for
from videoada.learned.step_policy import StepPolicy, prompt_embedding
from videoada.metrics import paired_fidelity
from videoada.models.denoisers import denoiser_of
from videoada.models.pipelines import model_info
from videoada.models.recommended import with_recommended
from videoada.shapes import agreement, is_scene, measure, parse, random_scene
from videoada.training.config import SAMPLES, STEP_STAGES, StepTraining
from videoada.training.points import Candidates, by_objects, compared, markdown
from videoada.training.run import Progress, Training, contents, identity, same_run, split, stages_of
from videoada.training.videos import requests_in

STRESS = SAMPLES / "prompts_stress.jsonl"
CAP = 50.0  # dB
ACTIONS = 4  # tried for a prompt at once: each is compared with the mean of the others

Requests = tuple[list[GenerationConfig], list[GenerationConfig]]  # to learn from, to judge on


@dataclass(frozen=True)
class TrainedSteps:
    """What was written: the file of the policy, its λ, the results of all policies and their table in Markdown."""

    path: Path
    cost: float
    results: dict[str, Any]
    table: str


def train_steps(
    pipe: Any, stage: str = "all", config: StepTraining | None = None, *, on_progress: Progress | None = None,
    **fields: Any,
) -> TrainedSteps | None:  # fmt: skip
    """What the stage `evaluate` wrote; None for `render` and `train`, which write into the run's folder only.

    `stage` is render, train, evaluate or all of these (`all`), for the model of `pipe`. Give a StepTraining or its
    fields. `on_progress` gets lines for people. Raises ConfigError for options that do not fit, for a run folder of
    another run and for a stage whose earlier one was not run, PromptError for prompts that can't be learned from,
    ModelError for a pipeline without a text encoder, OutputError for a folder that can't be written to.
    """
    if config is not None and fields:
        raise ConfigError("give a StepTraining or its fields, not both")
    stages, info = stages_of(stage, STEP_STAGES), model_info(pipe)
    config = config or StepTraining(**fields)
    out, folder = config.file(info.name), config.folder(info.name)
    say = on_progress or (lambda line: None)
    _scorer(config.scorer)  # a wrong one is known before anything is written
    train, judged = requests_of(config, say)
    requests = with_recommended(pipe, train), with_recommended(pipe, judged)
    results_folder(out.parent)
    same_run(config.run, model=info.name, weights=info.weights_sha256, prompts=contents(config.prompts),
             videos=config.videos, held_out=config.held_out, counts=config.counts, scorer=config.scorer)  # fmt: skip
    for name in stages:
        match name:
            case "render":
                render(pipe, requests, config, say)
            case "train":
                for cost in config.costs:
                    trained(pipe, requests[0], config, cost, say)
            case "evaluate":
                return evaluate(pipe, requests, config, out, folder, say)
    return None


def requests_of(config: StepTraining, on_message: Progress | None = None) -> Requests:
    """To learn from, and to judge on: scenes of one to four objects; a third of those held out are of the stress set,
    as often as it takes with another seed. Raises PromptError for a file that can't be used."""
    if config.prompts:
        unused = ("num_inference_steps", "fps")  # `counts` says how many steps are tried
        return split(requests_in(config.prompts, on_message, unused), config.videos, config.held_out)
    learnt, held_out = (np.random.default_rng(seed) for seed in (70_000, 80_000))
    train = [
        GenerationConfig(prompt=str(random_scene(learnt, (1, 2, 3 + i % 2)[i % 3])), seed=70_000 + i)
        for i in range(config.videos)
    ]
    known = {request.prompt for request in train}
    judged: list[GenerationConfig] = []
    if not STRESS.is_file():
        raise PromptError(
            "the prompts that ship are in a source checkout only; name a prompt file or a folder of videos"
        )
    stress = read_requests(STRESS)
    while len(judged) < config.held_out - config.held_out // 3:
        prompt = str(random_scene(held_out, 1 + len(judged) % 2))
        if prompt not in known:
            judged.append(GenerationConfig(prompt=prompt, seed=80_000 + len(judged)))
    for i in range(config.held_out // 3):
        again = stress[i % len(stress)]
        judged.append(again.model_copy(update={"seed": again.seed + 1000 * (i // len(stress))}))
    return train, judged


def render(pipe: Any, both: Requests, config: StepTraining, say: Progress) -> None:
    """Write rewards.jsonl: a row for each prompt and count, held-out ones among them."""
    skip, path = SkipConfig(policy="none"), config.run / "rewards.jsonl"
    scorer = _scorer(config.scorer)
    for held_out, requests in zip((False, True), both, strict=True):
        known = {key_of(row) for row in read_rewards(config.run)}
        for first in range(0, len(requests), config.batch_size):
            batch = requests[first : first + config.batch_size]
            if all((*identity(r), n) in known for r in batch for n in config.counts):
                continue
            generated = {
                n: [v for v, _ in generate(
                    pipe, [r.model_copy(update={"num_inference_steps": n}) for r in batch], skip=skip,
                    batch_size=len(batch))]
                for n in config.counts
            }  # fmt: skip
            for i, request in enumerate(batch):
                for n, videos in generated.items():
                    full = generated[max(config.counts)][i].frames
                    fidelity = paired_fidelity(videos[i].frames, full, flow=False)
                    append_row(path, {
                        "prompt": request.prompt, "seed": request.seed, "image": identity(request)[2], "steps": n,
                        "held_out": held_out, "psnr": CAP if fidelity.psnr is None else min(fidelity.psnr, CAP),
                        "ssim": fidelity.ssim, "agreement": _agreement(pipe, request.prompt, videos[i].frames),
                        "score": scorer(videos[i].frames, request.prompt) if scorer else None,
                    })  # fmt: skip
            say(f"{'held out' if held_out else 'training'}: {first + len(batch)} of {len(requests)}")


def _scorer(name: str | None) -> Callable[..., float] | None:
    if not name:
        return None
    module, _, function = name.partition(":")
    sys.path.insert(0, os.getcwd())
    try:
        found: Callable[..., float] = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"a scorer is named module:function, got {name}: {error}") from None
    return found


def _agreement(pipe: Any, prompt: str, frames: Any) -> float | None:
    if not model_info(pipe).embedded or not is_scene(prompt):
        return None
    return sum(agreement(parse(prompt), measure(frames)).values()) / 4


def read_rewards(run: Path) -> list[dict[str, Any]]:
    """The rows that `render` wrote so far."""
    return read_appended(run / "rewards.jsonl")


def key_of(row: dict[str, Any]) -> tuple[Any, ...]:
    """By these the rows differ; those of older runs have no image."""
    return row["prompt"], row["seed"], row.get("image"), row["steps"]


def candidates(pipe: Any, requests: list[GenerationConfig], config: StepTraining, held_out: bool) -> Candidates:
    """What was rendered of these requests with every count. Raises ConfigError where the quality was not measured."""
    rows = {key_of(r): r for r in read_rewards(config.run) if r["held_out"] is held_out}
    by_identity = {identity(r): r for r in requests}
    keys = [key for key in by_identity if all((*key, n) in rows for n in config.counts)]
    columns = {
        name: np.array([[rows[(*key, n)][name] for n in config.counts] for key in keys], dtype=float)
        for name in ("psnr", "ssim", "agreement", "score") if all(r[name] is not None for r in rows.values())
    }  # fmt: skip
    if not keys or config.quality not in columns:
        raise ConfigError(
            f"{config.run} holds no {config.quality} of these prompts; run the stage render first, "
            "for a new scorer in a new run folder"
        )
    quality = columns["psnr"] / CAP if config.quality == "psnr" else columns[config.quality]
    own = float(np.max(denoiser_of(pipe).config.sample_size)) * pipe.vae_scale_factor
    volumes = [(r.num_frames or 1) * (r.height or own) * (r.width or own) for r in (by_identity[key] for key in keys)]
    return Candidates([prompt for prompt, *_ in keys], quality, columns, np.array(volumes, dtype=float))


def trained(
    pipe: Any, requests: list[GenerationConfig], config: StepTraining, cost: float, say: Progress
) -> StepPolicy:
    """The policy for one price, by REINFORCE on cached rewards; continues from its checkpoint."""
    torch.manual_seed(0)
    known = candidates(pipe, requests, config, held_out=False)
    embedding = prompt_embedding(pipe, known.prompts)
    policy = StepPolicy(embedding.shape[1], config.counts)
    spread = embedding.std(0).nan_to_num()  # of one prompt there is none
    steps = torch.tensor(config.counts, dtype=torch.float)
    rewards = torch.tensor(known.quality, dtype=torch.float) - cost * steps / steps.max()
    name = f"policy-{config.quality}-{cost:g}-{config.entropy:g}-{config.lr:g}-{config.weight_decay:g}-{config.noise:g}"
    training = Training(config.run, name, policy, config.lr, ema_decay=0.99, seed=4, weight_decay=config.weight_decay,
                        on_progress=say)  # fmt: skip
    while training.step < config.train_steps:
        rng = training.rng
        pick = torch.randint(len(known.prompts), (config.rows,), generator=rng)
        noise = config.noise * torch.randn(config.rows, embedding.shape[1], generator=rng)  # there are few prompts
        logits = policy(embedding[pick] + noise * spread)
        actions = torch.multinomial(logits.detach().softmax(-1), ACTIONS, replacement=True, generator=rng)
        got = rewards[pick].gather(1, actions)
        others = (got.sum(1, keepdim=True) - got) / (ACTIONS - 1)
        loss = policy_loss(logits.repeat_interleave(ACTIONS, 0), actions.flatten(), got.flatten(), others.flatten(),
                           config.entropy)  # fmt: skip
        training.update(loss, training.step / config.train_steps)
        training.save(every_seconds=60)
        if training.step % 200 == 0:
            training.log(reward=round(float(got.mean()), 4), steps=round(float(steps[actions].mean()), 2))
    training.save()
    policy.load_state_dict(training.ema)
    policy.model = trained_for(pipe, pipe.text_encoder)
    policy.eval()
    return policy


def policy_loss(logits: Tensor, actions: Tensor, rewards: Tensor, baseline: Tensor, entropy_weight: float) -> Tensor:
    """REINFORCE (Williams 1992) with a baseline and an entropy bonus. Logits (N, K), the others (N,)."""
    log_probabilities = logits.log_softmax(-1)
    chosen = log_probabilities.gather(-1, actions[:, None])[:, 0]
    entropy = -(log_probabilities.exp() * log_probabilities).sum(-1)
    return -((rewards - baseline) * chosen + entropy_weight * entropy).mean()


def evaluate(
    pipe: Any, requests: Requests, config: StepTraining, out: Path, folder: Path, say: Progress
) -> TrainedSteps:
    """Measure every price's policy on prompts held out; write points.json and points.md, and one policy to `out`."""
    known = candidates(pipe, requests[1], config, held_out=True)
    embedding, counts = prompt_embedding(pipe, known.prompts), np.array(config.counts, dtype=float)
    policies = [trained(pipe, requests[0], config, cost, say) for cost in config.costs]
    points: list[dict[str, Any]] = []
    for cost, policy in zip(config.costs, policies, strict=True):
        indices = np.array([config.counts.index(n) for n in policy.choose(embedding)])
        points.append({"cost": cost} | compared(indices, counts, known))
        if model_info(pipe).embedded and all(map(is_scene, known.prompts)):
            points[-1] |= by_objects(counts[indices], known.prompts)
    curves = {name: dict(zip(config.counts, map(float, v.mean(0)), strict=True)) for name, v in known.measures.items()}
    result = {"model": model_info(pipe).name, "prompts": len(known.prompts), "different": len(set(known.prompts)),
              "quality": config.quality, "points": points, "curves": curves}  # fmt: skip
    table = markdown(result)
    results_folder(folder)
    write_text(folder / "points.json", json.dumps(result, indent=1) + "\n")
    write_text(folder / "points.md", table + "\n")
    # λ is chosen by nothing held out
    learnt = prompt_embedding(pipe, candidates(pipe, requests[0], config, held_out=False).prompts)
    best = min(policies, key=lambda policy: abs(np.mean(policy.choose(learnt)) - config.ship_steps))
    best.save(out)
    return TrainedSteps(out, config.costs[policies.index(best)], result, table)
