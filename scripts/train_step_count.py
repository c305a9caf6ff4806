"""Train the step-count policy: render candidates once, then learn which number of steps each prompt is worth.

    python scripts/train_step_count.py all --run runs/steps                     # tiny-t2v, its policy as it ships
    python scripts/train_step_count.py all --model modelscope-t2v --prompts prompts.txt --out policy.safetensors

`render` draws every prompt with every count and keeps quality against the full run, which has the largest count, in a
file, going on where it was stopped; `train` learns from that by policy gradient, in minutes on a CPU, once for each
price λ of T steps; `evaluate` compares all on prompts held out, with fixed counts and with a random policy of the same
distribution, and writes the one whose choices are nearest to `--ship-steps` on average to `--out`. Quality is SSIM or
PSNR (capped at 50 dB and divided by it) to the full run, prompt agreement on the shapes world, or a scorer of yours:
--scorer module:function (frames (F, H, W, 3) uint8, prompt) -> float. Not tried on the large models.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from step_count_points import Candidates, by_objects, compared, markdown
from training import Training, as_it_is, identity, same_run, split
from training_videos import requests_in

import videoada
from videoada.config.prompts import read_requests
from videoada.config.run import GenerationConfig
from videoada.errors import PromptError
from videoada.files import append_row, read_appended, write_text
from videoada.learned.parts import trained_for
from videoada.learned.step_policy import COUNTS, StepPolicy, prompt_embedding
from videoada.metrics import paired_fidelity
from videoada.models.pipelines import model_info
from videoada.shapes import agreement, measure, parse, random_scene
from videoada.training.policy_loss import policy_loss

ROOT = Path(__file__).parent.parent
SHIPPED_POLICY = ROOT / "videoada" / "assets" / "step_count" / "tiny-t2v.safetensors"
RESULTS = ROOT / "samples" / "results" / "step-count"
CAP = 50.0  # dB
COSTS = (0.05, 0.06, 0.08, 0.1, 0.13)
ACTIONS = 4  # tried for a prompt at once: each is held against the mean of the others


def requests_of(args: argparse.Namespace) -> tuple[list[GenerationConfig], list[GenerationConfig]]:
    """To learn from, and to judge on: scenes of one to four objects; a third of those held out are of the stress set,
    as often as it takes with another seed."""
    if args.prompts:
        return split(requests_in(args.prompts), args.videos, args.held_out)
    learnt, held_out = (np.random.default_rng(seed) for seed in (70_000, 80_000))
    train = [
        GenerationConfig(prompt=str(random_scene(learnt, (1, 2, 3 + i % 2)[i % 3])), seed=70_000 + i)
        for i in range(args.videos)
    ]
    known, judged = {request.prompt for request in train}, []
    stress = read_requests(ROOT / "samples" / "prompts_stress.jsonl")
    while len(judged) < args.held_out - args.held_out // 3:
        prompt = str(random_scene(held_out, 1 + len(judged) % 2))
        if prompt not in known:
            judged.append(GenerationConfig(prompt=prompt, seed=80_000 + len(judged)))
    for i in range(args.held_out // 3):
        again = stress[i % len(stress)]
        judged.append(again.model_copy(update={"seed": again.seed + 1000 * (i // len(stress))}))
    return train, judged


def render(pipe: Any, args: argparse.Namespace) -> None:
    """rewards.jsonl: a row for each prompt and count, held-out ones among them."""
    skip, path = videoada.SkipConfig(policy="none"), args.run / "rewards.jsonl"
    scorer = _scorer(args.scorer)
    for held_out, requests in zip((False, True), requests_of(args), strict=True):
        known = {key_of(row) for row in read_rewards(args.run)}
        for first in range(0, len(requests), args.batch_size):
            batch = requests[first : first + args.batch_size]
            if all((*identity(r), n) in known for r in batch for n in args.counts):
                continue
            drawn = {
                n: [v for v, _ in videoada.generate(
                    pipe, [r.model_copy(update={"num_inference_steps": n}) for r in batch], skip=skip,
                    batch_size=len(batch))]
                for n in args.counts
            }  # fmt: skip
            for i, request in enumerate(batch):
                for n, videos in drawn.items():
                    full = drawn[max(args.counts)][i].frames
                    fidelity = paired_fidelity(videos[i].frames, full, flow=False)
                    append_row(path, {
                        "prompt": request.prompt, "seed": request.seed, "image": identity(request)[2], "steps": n,
                        "held_out": held_out, "psnr": CAP if fidelity.psnr is None else min(fidelity.psnr, CAP),
                        "ssim": fidelity.ssim, "agreement": _agreement(pipe, request.prompt, videos[i].frames),
                        "score": scorer(videos[i].frames, request.prompt) if scorer else None,
                    })  # fmt: skip
            print(f"{'held out' if held_out else 'training'}: {first + len(batch)} of {len(requests)}", flush=True)


def _scorer(name: str | None) -> Callable[..., float] | None:
    if not name:
        return None
    module, _, function = name.partition(":")
    sys.path.insert(0, os.getcwd())
    try:
        return getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise SystemExit(f"--scorer wants module:function, got {name}: {error}") from None


def _agreement(pipe: Any, prompt: str, frames: Any) -> float | None:
    if not model_info(pipe).embedded or not is_scene(prompt):
        return None
    return sum(agreement(parse(prompt), measure(frames)).values()) / 4


def is_scene(prompt: str) -> bool:
    """Whether a prompt is of the shapes world's grammar."""
    try:
        return bool(parse(prompt))
    except PromptError:
        return False


def read_rewards(run: Path) -> list[dict[str, Any]]:
    return read_appended(run / "rewards.jsonl")


def key_of(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["prompt"], row["seed"], row.get("image"), row["steps"]


def candidates(pipe: Any, args: argparse.Namespace, held_out: bool) -> Candidates:
    rows = {key_of(r): r for r in read_rewards(args.run) if r["held_out"] is held_out}
    requests = {identity(r): r for r in requests_of(args)[held_out]}
    keys = [key for key in requests if all((*key, n) in rows for n in args.counts)]
    columns = {
        name: np.array([[rows[(*key, n)][name] for n in args.counts] for key in keys], dtype=float)
        for name in ("psnr", "ssim", "agreement", "score") if all(r[name] is not None for r in rows.values())
    }  # fmt: skip
    if not keys or args.quality not in columns:
        raise SystemExit(f"{args.run} holds no {args.quality}; run `render` first, with a new --run for a new --scorer")
    quality = columns["psnr"] / CAP if args.quality == "psnr" else columns[args.quality]
    own = float(np.max(pipe.unet.config.sample_size)) * pipe.vae_scale_factor
    volumes = [r.num_frames * (r.height or own) * (r.width or own) for r in (requests[key] for key in keys)]
    return Candidates([prompt for prompt, *_ in keys], quality, columns, np.array(volumes, dtype=float))


def trained(pipe: Any, args: argparse.Namespace, cost: float) -> StepPolicy:
    """The policy for one price, by REINFORCE on cached rewards; goes on from its checkpoint."""
    torch.manual_seed(0)
    known = candidates(pipe, args, held_out=False)
    embedding = prompt_embedding(pipe, known.prompts)
    policy = StepPolicy(embedding.shape[1], args.counts)
    spread = embedding.std(0).nan_to_num()  # of one prompt there is none
    steps = torch.tensor(args.counts, dtype=torch.float)
    rewards = torch.tensor(known.quality, dtype=torch.float) - cost * steps / steps.max()
    name = f"policy-{args.quality}-{cost:g}-{args.entropy:g}-{args.lr:g}-{args.weight_decay:g}-{args.noise:g}"
    training = Training(args.run, name, policy, args.lr, ema_decay=0.99, seed=4, weight_decay=args.weight_decay)
    while training.step < args.train_steps:
        rng = training.rng
        pick = torch.randint(len(known.prompts), (args.rows,), generator=rng)
        noise = args.noise * torch.randn(args.rows, embedding.shape[1], generator=rng)  # there are few prompts
        logits = policy(embedding[pick] + noise * spread)
        actions = torch.multinomial(logits.detach().softmax(-1), ACTIONS, replacement=True, generator=rng)
        got = rewards[pick].gather(1, actions)
        others = (got.sum(1, keepdim=True) - got) / (ACTIONS - 1)
        loss = policy_loss(logits.repeat_interleave(ACTIONS, 0), actions.flatten(), got.flatten(), others.flatten(),
                           args.entropy)  # fmt: skip
        training.update(loss, training.step / args.train_steps)
        training.save(every_seconds=60)
        if training.step % 200 == 0:
            training.log(reward=round(float(got.mean()), 4), steps=round(float(steps[actions].mean()), 2))
    training.save()
    policy.load_state_dict(training.ema)
    policy.model = trained_for(pipe, pipe.text_encoder)
    return policy.eval()


def train(pipe: Any, args: argparse.Namespace) -> None:
    for cost in args.costs:
        trained(pipe, args, cost)


def evaluate(pipe: Any, args: argparse.Namespace) -> None:
    """Every price's policy on prompts held out; one is written to --out."""
    known = candidates(pipe, args, held_out=True)
    embedding, counts = prompt_embedding(pipe, known.prompts), np.array(args.counts, dtype=float)
    policies = [trained(pipe, args, cost) for cost in args.costs]
    points = []
    for cost, policy in zip(args.costs, policies, strict=True):
        places = np.array([args.counts.index(n) for n in policy.choose(embedding)])
        points.append({"cost": cost} | compared(places, counts, known))
        if model_info(pipe).embedded and all(map(is_scene, known.prompts)):
            points[-1] |= by_objects(counts[places], known.prompts)
    curves = {name: dict(zip(args.counts, map(float, v.mean(0)), strict=True)) for name, v in known.measures.items()}
    result = {"model": model_info(pipe).name, "prompts": len(known.prompts), "different": len(set(known.prompts)),
              "quality": args.quality, "points": points, "curves": curves}  # fmt: skip
    args.results.mkdir(parents=True, exist_ok=True)
    write_text(args.results / "points.json", json.dumps(result, indent=1) + "\n")
    write_text(args.results / "points.md", markdown(result) + "\n")
    print(markdown(result))
    learnt = prompt_embedding(pipe, candidates(pipe, args, held_out=False).prompts)  # λ is chosen by nothing held out
    best = min(policies, key=lambda policy: abs(np.mean(policy.choose(learnt)) - args.ship_steps))
    best.save(args.out)
    print(f"λ {args.costs[policies.index(best)]:g}; wrote {args.out} ({args.out.stat().st_size / 1e6:.2f} MB)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=("all", "render", "train", "evaluate"))
    parser.add_argument("--run", type=Path, default=Path("runs/steps"))
    parser.add_argument("--out", type=Path, help="tiny-t2v: the file that ships")
    parser.add_argument("--results", type=Path, help="tiny-t2v: samples/results/step-count; else the run's folder")
    parser.add_argument("--model", default="tiny-t2v")
    parser.add_argument("--prompts", type=Path, help="a prompt file or a folder of videos; shapes if left out")
    parser.add_argument("--videos", type=int, default=96)
    parser.add_argument("--held-out", type=int, default=64)
    parser.add_argument("--counts", type=int, nargs="+", default=list(COUNTS))
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--quality", choices=("psnr", "ssim", "agreement", "score"), default="ssim")
    parser.add_argument("--scorer")
    parser.add_argument("--costs", type=float, nargs="+", default=list(COSTS), help="λ, in units of the quality")
    parser.add_argument(
        "--weight-decay", type=float, default=1.0, help="best of some, by parts of the training prompts"
    )
    parser.add_argument("--noise", type=float, default=0.3, help="on the embeddings, of their own spread; likewise")
    parser.add_argument("--ship-steps", type=float, default=40, help="mean steps of the policy to write")
    parser.add_argument("--entropy", type=float, default=0.002)
    parser.add_argument("--train-steps", type=int, default=2000)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--lr", type=float, default=3e-3)
    args = parser.parse_args()
    own = args.model == "tiny-t2v"
    if args.out is None and not own:
        parser.error("name the file to write with --out: the one that ships is tiny-t2v's")
    args.out = args.out or SHIPPED_POLICY
    args.results = args.results or (RESULTS if own and args.out == SHIPPED_POLICY else args.run)
    args.counts = sorted(set(args.counts))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    pipe = videoada.load_pipeline(args.model)
    info, prompts = model_info(pipe), as_it_is(args.prompts)
    same_run(args.run, model=info.name, weights=info.weights_sha256, prompts=prompts,
             videos=args.videos, held_out=args.held_out, counts=args.counts, scorer=args.scorer)  # fmt: skip
    stages = {"render": render, "train": train, "evaluate": evaluate}
    for name in stages if args.stage == "all" else (args.stage,):
        stages[name](pipe, args)


if __name__ == "__main__":
    main()
