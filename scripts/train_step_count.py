"""Train the step-count policy: render candidates once, then learn which number of steps each prompt is worth.

    python scripts/train_step_count.py all --run runs/steps                     # tiny-t2v, its policy as it ships
    python scripts/train_step_count.py all --model modelscope-t2v --prompts prompts.txt --out policy.safetensors

`render` draws every prompt with every count and keeps quality against the full run in a file, going on where it was
stopped; `train` learns from that by policy gradient, in minutes on a CPU; `evaluate` compares on prompts held out, with
fixed counts and with a random policy of the same distribution. Quality is PSNR to the full run, capped at 50 dB and
divided by it, or SSIM, or a scorer of yours: --scorer module:function (frames (F, H, W, 3) uint8, prompt) -> float.
Not tried on the large models.
"""

from __future__ import annotations

import argparse
import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from training import Training

import videoada
from videoada.config import GenerationConfig
from videoada.frontier import bootstrap
from videoada.metrics import paired_fidelity
from videoada.pipelines import model_info
from videoada.prompts import read_requests
from videoada.shapes import agreement, measure, parse, random_scene
from videoada.step_count import COUNTS, StepPolicy, policy_loss, prompt_embedding

CAP = 50.0  # dB
STRESS = Path(__file__).parent.parent / "samples" / "prompts_stress.jsonl"


def requests_of(args: argparse.Namespace, held_out: bool) -> list[GenerationConfig]:
    """Prompts to learn from, or to judge on: one to four objects; a third of those held out are of the stress set."""
    count = args.held_out if held_out else args.videos
    if args.prompts:
        found = read_requests(args.prompts)
        return found[-count:] if held_out else found[: len(found) - args.held_out][:count]
    seed = 80_000 if held_out else 70_000
    rng = np.random.default_rng(seed)
    found = [
        GenerationConfig(prompt=str(random_scene(rng, (1, 2, 3 + i % 2)[i % 3])), seed=seed + i) for i in range(count)
    ]
    if held_out:  # at the usual size: the policy sees the text alone
        stress = [GenerationConfig(prompt=r.prompt, seed=r.seed) for r in read_requests(STRESS)]
        for place, request in zip(range(2, count, 3), stress, strict=False):
            found[place] = request
    return found


def render(pipe: Any, args: argparse.Namespace) -> None:
    """rewards.jsonl: a row for each prompt and count, held-out ones among them."""
    skip, path = videoada.SkipConfig(policy="none"), args.run / "rewards.jsonl"
    scorer = _scorer(args.scorer)
    for held_out in (False, True):
        requests = requests_of(args, held_out)
        known = {(r["prompt"], r["seed"], r["steps"]) for r in read_rewards(args.run)}
        for first in range(0, len(requests), args.batch_size):
            batch = requests[first : first + args.batch_size]
            if all((r.prompt, r.seed, n) in known for r in batch for n in args.counts):
                continue
            drawn = {
                n: [v for v, _ in videoada.generate(
                    pipe, [r.model_copy(update={"num_inference_steps": n}) for r in batch], skip=skip,
                    batch_size=len(batch))]
                for n in args.counts
            }  # fmt: skip
            with path.open("a") as file:
                for i, request in enumerate(batch):
                    for n, videos in drawn.items():
                        full = drawn[max(args.counts)][i].frames
                        fidelity = paired_fidelity(videos[i].frames, full, flow=False)
                        row = {
                            "prompt": request.prompt, "seed": request.seed, "steps": n, "held_out": held_out,
                            "psnr": CAP if fidelity.psnr is None else min(fidelity.psnr, CAP), "ssim": fidelity.ssim,
                            "agreement": _agreement(pipe, request.prompt, videos[i].frames),
                            "score": scorer(videos[i].frames, request.prompt) if scorer else None,
                        }  # fmt: skip
                        file.write(json.dumps(row) + "\n")
            print(f"{'held out' if held_out else 'training'}: {first + len(batch)} of {len(requests)}", flush=True)


def _scorer(name: str | None) -> Callable[..., float] | None:
    if not name:
        return None
    module, function = name.split(":")
    return getattr(importlib.import_module(module), function)


def _agreement(pipe: Any, prompt: str, frames: Any) -> float | None:
    if not model_info(pipe).embedded:
        return None
    return sum(agreement(parse(prompt), measure(frames)).values()) / 4


def read_rewards(run: Path) -> list[dict[str, Any]]:
    path = run / "rewards.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def table(args: argparse.Namespace, held_out: bool) -> tuple[list[str], np.ndarray, dict[str, np.ndarray]]:
    """Prompts, quality (N, K) and every measure (N, K)."""
    rows = {(r["prompt"], r["seed"], r["steps"]): r for r in read_rewards(args.run) if r["held_out"] is held_out}
    keys = list(dict.fromkeys((prompt, seed) for prompt, seed, _ in rows))
    columns = {
        name: np.array([[rows[(*key, n)][name] for n in args.counts] for key in keys], dtype=float)
        for name in ("psnr", "ssim", "agreement", "score") if all(r[name] is not None for r in rows.values())
    }  # fmt: skip
    quality = columns["psnr"] / CAP if args.quality == "psnr" else columns[args.quality]
    return [prompt for prompt, _ in keys], quality, columns


def train(pipe: Any, args: argparse.Namespace) -> None:
    torch.manual_seed(0)
    prompts, quality, _ = table(args, held_out=False)
    embedding = prompt_embedding(pipe, prompts)
    policy = StepPolicy(embedding.shape[1], args.counts)
    steps = torch.tensor(args.counts, dtype=torch.float)
    rewards = torch.tensor(quality, dtype=torch.float) - args.cost * steps / steps.max()
    training = Training(args.run, f"policy-{args.cost:g}", policy, lr=args.lr, ema_decay=0.99, seed=4)
    baseline = torch.zeros(len(prompts))
    while training.step < args.train_steps:
        pick = torch.randint(len(prompts), (args.rows,), generator=training.rng)
        noise = 0.1 * torch.randn(args.rows, embedding.shape[1], generator=training.rng)  # there are few prompts
        logits = policy(embedding[pick] + noise * embedding.std(0))
        actions = torch.multinomial(logits.detach().softmax(-1), 1, generator=training.rng)[:, 0]
        got = rewards[pick, actions]
        loss = policy_loss(logits, actions, got, baseline[pick], args.entropy)
        baseline[pick] += 0.05 * (got - baseline[pick])
        training.update(loss, training.step / args.train_steps)
        training.save(every_seconds=60)
        if training.step % 200 == 0:
            training.log(reward=round(float(got.mean()), 4), steps=round(float(steps[actions].mean()), 2))
    training.save()
    policy.load_state_dict(training.ema)
    info = model_info(pipe)
    policy.model = {"name": info.name, "weights_sha256": info.weights_sha256}
    policy.save(args.out)
    print(f"wrote {args.out} ({args.out.stat().st_size / 1e6:.2f} MB)")


def evaluate(pipe: Any, args: argparse.Namespace) -> None:
    """On prompts held out: against fixed counts, and a random policy that chooses each count as often."""
    prompts, _, columns = table(args, held_out=True)
    policy = StepPolicy.load(args.out, prompt_embedding(pipe, prompts[:1]).shape[1], model_info(pipe).weights_sha256)
    chosen = policy.choose(prompt_embedding(pipe, prompts))
    places, counts = np.array([args.counts.index(n) for n in chosen]), np.array(args.counts, dtype=float)
    objects = np.array([len(parse(p).objects) if model_info(pipe).embedded else 1 for p in prompts])
    result: dict[str, Any] = {"prompts": len(prompts), "mean_steps": float(counts[places].mean()), "quality": {}}
    for name, values in columns.items():
        own = values[np.arange(len(prompts)), places]
        fixed = np.array(
            [np.interp(counts[places].mean(), counts, row) for row in values]
        )  # the curve, prompt by prompt
        shares = np.bincount(places, minlength=len(counts)) / len(places)
        by_chance = values @ shares
        result["quality"][name] = {
            "policy": float(own.mean()), "fixed": float(fixed.mean()), "random": float(by_chance.mean()),
            "above_fixed": [round(v, 4) for v in (float((own - fixed).mean()), *bootstrap(own - fixed))],
            "above_random": [round(v, 4) for v in (float((own - by_chance).mean()), *bootstrap(own - by_chance))],
            "curve": {int(n): float(v) for n, v in zip(counts, values.mean(0), strict=True)},
        }  # fmt: skip
    for name, which in (("one_object", objects == 1), ("many_objects", objects > 2)):
        if which.any():
            taken = counts[places][which]
            result[name] = [round(v, 2) for v in (float(taken.mean()), *bootstrap(taken))]
    result["chosen"] = {int(n): int((places == i).sum()) for i, n in enumerate(counts)}
    (args.run / "evaluation.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=("all", "render", "train", "evaluate"))
    parser.add_argument("--run", type=Path, default=Path("runs/steps"))
    parser.add_argument("--out", type=Path, default=Path("videoada/assets/step_count/tiny-t2v.safetensors"))
    parser.add_argument("--model", default="tiny-t2v")
    parser.add_argument("--prompts", type=Path, help="a prompt file; scenes of the shapes world if left out")
    parser.add_argument("--videos", type=int, default=96)
    parser.add_argument("--held-out", type=int, default=64)
    parser.add_argument("--counts", type=int, nargs="+", default=list(COUNTS))
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--quality", choices=("psnr", "ssim", "agreement", "score"), default="psnr")
    parser.add_argument("--scorer")
    parser.add_argument("--cost", type=float, default=0.4, help="λ: what T steps cost, in units of the quality")
    parser.add_argument("--entropy", type=float, default=0.01)
    parser.add_argument("--train-steps", type=int, default=3000)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--lr", type=float, default=3e-3)
    args = parser.parse_args()
    for folder in (args.run, args.out.parent):
        folder.mkdir(parents=True, exist_ok=True)
    pipe = videoada.load_pipeline(args.model)
    stages = {"render": render, "train": train, "evaluate": evaluate}
    for name in stages if args.stage == "all" else (args.stage,):
        stages[name](pipe, args)


if __name__ == "__main__":
    main()
