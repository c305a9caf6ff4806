"""Train exit heads and their uncertainties for a UNet3DConditionModel or an I2VGenXLUNet.

    python scripts/train_early_exit.py all --run runs/exits                    # tiny-t2v, its heads as they ship
    python scripts/train_early_exit.py all --model modelscope-t2v --prompts prompts.txt --out heads.safetensors
    python scripts/train_early_exit.py all --model modelscope-t2v --prompts videos/ --out heads.safetensors
    python scripts/train_early_exit.py joint --run runs/exits --weight-ual 1   # fine-tune the network along with them

`collect` lets the model draw its own videos in full and keeps what the exits see at some stretches of each run (of a
folder of videos: those videos under noise, for text-to-video models); `heads` trains on that, the network frozen, what
heads carry on from one call to a later one (--alone: each prediction by itself, as in the paper); `tune` tries
thresholds on prompts that were not collected and writes the file. Each goes on where it was stopped. `joint` fine-tunes
a copy of the network on its own videos with the paper's three losses, and tells what that does to its loss on videos
held out. None was tried on the large models.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from training import Training, as_it_is, same_run, split
from training_calls import Calls, collect_batch, collect_videos
from training_videos import requests_in

import videoada
from videoada.config.run import GenerationConfig
from videoada.learned.exit_heads import ExitHeads
from videoada.learned.exit_network import early_exit
from videoada.learned.parts import trained_for
from videoada.metrics import paired_fidelity
from videoada.models.call import draw_batch
from videoada.models.pipelines import model_info, scheduler_of
from videoada.shapes import random_scene
from videoada.training.exit_losses import Features, exit_losses, watched

SHIPPED_HEADS = Path(__file__).parent.parent / "videoada" / "assets" / "early_exit" / "tiny-t2v.safetensors"
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.785, 0.82, 0.9)  # of the uncertainties seen: where thresholds are tried
BEYOND = (1.3, 1.7, 2.2)  # and these multiples of the last
RARELY = 0.2  # of those that leave: an exit that fewer take is not asked, which would cost more than they save
CAP = 60.0  # dB: an identical video does not make up for others


def requests_of(args: argparse.Namespace, held_out: bool = False) -> list[GenerationConfig]:
    """The prompts to learn from, or as many others to tune on."""
    count, seed = (args.tune_videos, 90_000) if held_out else (args.videos, 50_000)
    if args.prompts:
        found = requests_in(args.prompts, num_inference_steps=args.steps)
        if len({r.model_dump_json(exclude={"prompt", "negative_prompt", "image", "seed"}) for r in found}) > 1:
            raise SystemExit("these rows differ in steps, size, guidance or the like; give rows that differ in prompts")
        if found[0].guidance_scale <= 1:
            raise SystemExit(
                "these rows are without guidance; heads learn guided errors: give a guidance_scale above 1"
            )
        return split(found, args.videos, args.tune_videos)[held_out]
    rng = np.random.default_rng(seed)
    return [
        GenerationConfig(prompt=str(random_scene(rng, 1 + i % 2)), seed=seed + i, num_inference_steps=args.steps)
        for i in range(count)
    ]


# ---- what is learnt from -------------------------------------------------------------------------------------------


def collect(pipe: Any, args: argparse.Namespace) -> None:
    """One file for each batch of prompts."""
    requests = requests_of(args)
    for first in range(0, len(requests), args.batch_size):
        path = args.run / f"calls-{first:05d}.safetensors"
        if not path.exists():
            own = collect_videos if args.prompts and args.prompts.is_dir() else collect_batch
            tensors = own(pipe, requests[first : first + args.batch_size], first, args)
            save_file({k: v.contiguous() for k, v in tensors.items()}, path.with_suffix(".part"))
            path.with_suffix(".part").replace(path)
            print(f"collected {min(first + args.batch_size, len(requests))} of {len(requests)} prompts", flush=True)


# ---- training ------------------------------------------------------------------------------------------------------


def stage_name(args: argparse.Namespace) -> str:
    return f"heads{'-alone' * args.alone}-u{args.weight_u:g}-ual{args.weight_ual:g}-lr{args.lr:g}"


def untrained(pipe: Any, args: argparse.Namespace) -> ExitHeads:
    reach = (min(args.window, args.steps) - 1) * round(pipe.scheduler.config.num_train_timesteps / args.steps)
    return ExitHeads.for_unet(pipe.unet, reach=0 if args.alone else reach)


def train_heads(pipe: Any, args: argparse.Namespace) -> None:
    """The network is frozen: its features and its answers were kept."""
    torch.manual_seed(0)
    heads, calls, guidance = untrained(pipe, args), Calls(args.run), requests_of(args)[0].guidance_scale
    training = Training(args.run, stage_name(args), heads, lr=args.lr, ema_decay=0.998, seed=1)
    sums: dict[str, list[float]] = {}
    while training.step < args.train_steps:
        now, since, between = calls.pairs(args.rows // 2, training.rng)
        carried = {} if args.alone else {"since": since, "timesteps": between, "guidance_scale": guidance}
        of_u, of_layers, errors = exit_losses(heads, now, now.output, **carried)
        training.update(args.weight_u * of_u + args.weight_ual * of_layers, training.step / args.train_steps)
        training.save(every_seconds=60)
        values = {"u": float(of_u.detach()), "ual": float(of_layers.detach())}
        for name, value in (values | {f"error_{i}": e for i, e in enumerate(errors)}).items():
            sums.setdefault(name, []).append(value)
        if training.step % 100 == 0:
            training.log(**{name: round(float(np.mean(v)), 6) for name, v in sums.items()})
            sums.clear()
    training.save()


def trained_heads(pipe: Any, args: argparse.Namespace) -> ExitHeads:
    """Of these losses; to be fine-tuned along with the network, the latest of any."""
    heads, path = untrained(pipe, args), args.run / f"{stage_name(args)}.safetensors"
    if args.stage == "joint":
        path = max(args.run.glob("heads-alone-*.safetensors"), key=lambda p: p.stat().st_mtime, default=path)
    if not path.is_file():
        raise SystemExit(f"{args.run} holds no {path.name}; run `heads{' --alone' * args.alone}` first")
    heads.load_state_dict({k.removeprefix("ema."): v for k, v in load_file(path).items() if k.startswith("ema.")})
    return heads.eval().requires_grad_(False).to(pipe.unet.device, pipe.unet.dtype)


def tune(pipe: Any, args: argparse.Namespace) -> None:
    """Thresholds on prompts that were not collected: multiply-adds and PSNR; the largest that keeps the target."""
    heads, requests = trained_heads(pipe, args), requests_of(args, held_out=True)
    path = args.run / f"{stage_name(args)}-curve.json"
    known = json.loads(path.read_text()) if path.is_file() else {}
    trained = hashlib.sha256((args.run / f"{stage_name(args)}.safetensors").read_bytes()).hexdigest()
    curve = known["points"] if known.get("heads") == trained else []
    wanted = thresholds_of(pipe, heads, requests[: args.batch_size])
    waiting = [threshold for threshold in wanted if threshold not in {point["threshold"] for point in curve}]
    full = videoada.SkipConfig(policy="none")
    videos = videoada.generate(pipe, requests, skip=full, batch_size=args.batch_size) if waiting else []
    for threshold in waiting:
        values, shares, left = [], [], [0] * len(heads.heads)
        for first in range(0, len(requests), args.batch_size):
            batch = requests[first : first + args.batch_size]
            with scheduler_of(pipe, "ddim"), early_exit(pipe.unet, heads, threshold, guided=True) as trace:
                drawn, _ = draw_batch(pipe, batch)
            left = [count + sum(call.count(exit) for call in trace.calls) for exit, count in enumerate(left)]
            shares += [trace.share([call[i] for call in trace.calls]) for i in range(len(batch))]
            for video, (full, _) in zip(drawn, videos[first:], strict=False):
                psnr = paired_fidelity(video.frames, full.frames, flow=False).psnr
                values.append(CAP if psnr is None else min(psnr, CAP))
        curve.append({"threshold": threshold, "macs": float(np.mean(shares)), "psnr": float(np.mean(values)),
                      "worst": min(values), "left": left})  # fmt: skip
        print(json.dumps(curve[-1]), flush=True)
        curve.sort(key=lambda point: point["threshold"])
        path.write_text(json.dumps({"heads": trained, "points": curve}, indent=1))
    good = [point["threshold"] for point in curve if point["psnr"] >= args.target_psnr]
    if not good:
        print(f"no threshold keeps {args.target_psnr:g} dB: the file gets the smallest tried", flush=True)
    heads.threshold = max(good) if good else curve[0]["threshold"]
    [left] = [point["left"] for point in curve if point["threshold"] == heads.threshold]
    heads.asked = [exit for exit, count in enumerate(left) if count >= RARELY * sum(left)]
    heads.model = trained_for(pipe, pipe.unet)
    heads.save(args.out)
    print(f"threshold {heads.threshold:g}; wrote {args.out} ({args.out.stat().st_size / 1e6:.2f} MB)")


def thresholds_of(pipe: Any, heads: ExitHeads, batch: list[GenerationConfig]) -> list[float]:
    """Where the first exit's uncertainties lie along whole runs, and beyond."""
    with scheduler_of(pipe, "ddim"), early_exit(pipe.unet, heads, 1e-9, guided=True) as trace:
        draw_batch(pipe, batch)
    seen = [prompt[0] for call in trace.uncertainties for prompt in call if prompt[0] < 1]
    quantiles = [float(q) for q in np.quantile(seen, QUANTILES)]
    found = [*quantiles, *(quantiles[-1] * more for more in BEYOND)]
    return sorted({min(float(f"{value:.3g}"), 1.0) for value in found})


def joint(pipe: Any, args: argparse.Namespace) -> None:
    """Fine-tune network and heads together on the model's own videos; its loss on held-out ones, before and after.

    For text-to-video models of square latents, on the CPU: what it answers is whether L_UAL helps the full model.
    """
    if not hasattr(pipe.unet, "transformer_in") or hasattr(pipe, "image_encoder"):
        raise SystemExit("joint fine-tuning knows text-to-video models with a UNet3DConditionModel only")
    pipe = pipe.to("cpu", torch.float32)
    requests = requests_of(args)
    finals = torch.cat([load_file(p)["final"] for p in sorted(args.run.glob("calls-*.safetensors"))]).float()
    shape = (requests[0].num_frames, pipe.unet.config.in_channels)  # as the scheduler sees them
    side = math.isqrt(finals.shape[1] // math.prod(shape))
    finals = finals.view(-1, *shape, side, side).transpose(1, 2)
    held = max(1, len(finals) // 8)
    if held == len(finals):
        raise SystemExit(f"{args.run} holds one video: joint fine-tuning wants others to hold out")
    texts = torch.cat([pipe.encode_prompt(r.prompt, "cpu", 1, False)[0] for r in requests[: len(finals)]]).detach()
    args.alone = True  # the paper's loss is of each prediction by itself
    heads, name = trained_heads(pipe, args).requires_grad_(True), f"joint-ual-{args.weight_ual:g}"
    model = nn.ModuleDict({"unet": pipe.unet.train().requires_grad_(True), "heads": heads.train()})
    training = Training(args.run, name, model, lr=args.joint_lr, ema_decay=0.99, seed=2)
    alphas = pipe.scheduler.alphas_cumprod

    def losses(places: Tensor, rng: torch.Generator) -> tuple[Tensor, Features, Tensor]:
        x0, noise = finals[places], torch.randn(finals[places].shape, generator=rng)
        t = torch.randint(1000, (len(places),), generator=rng)
        a = alphas[t].view(-1, 1, 1, 1, 1)
        target = noise if pipe.scheduler.config.prediction_type == "epsilon" else a.sqrt() * noise - (1 - a).sqrt() * x0
        with watched(pipe.unet) as calls:
            pipe.unet(a.sqrt() * x0 + (1 - a).sqrt() * noise, t, encoder_hidden_states=texts[places], return_dict=False)
        return (calls[0].output - target).square().mean(), calls[0], target

    @torch.no_grad()
    def on_held_out() -> float:
        model.eval()  # the temporal layers have dropout
        rng = torch.Generator().manual_seed(7)
        places = torch.arange(len(finals) - held, len(finals))
        found = float(np.mean([float(losses(places, rng)[0]) for _ in range(args.evaluations)]))
        model.train()
        return found

    if training.step == 0:
        training.log(held_out=round(on_held_out(), 5))
    while training.step < args.joint_steps:
        rng = training.rng
        simple, features, target = losses(torch.randint(len(finals) - held, (args.joint_rows,), generator=rng), rng)
        of_u, of_layers, _ = exit_losses(heads, features, target)
        loss = simple + args.weight_u * of_u + args.weight_ual * of_layers
        training.update(loss, training.step / args.joint_steps)
        training.save(every_seconds=120)
        if training.step % 20 == 0:
            training.log(simple=round(float(simple.detach()), 5), ual=round(float(of_layers.detach()), 5))
    training.save()
    model.load_state_dict(training.ema)
    training.log(held_out=round(on_held_out(), 5))
    pipe.unet.save_pretrained(args.run / name)
    heads.model = trained_for(pipe, pipe.unet) | {"name": name, "weights_sha256": None}  # of weights that changed
    heads.save(args.run / name / "exit-heads.safetensors")
    print(f"wrote {args.run / name}: a UNet as diffusers loads it, and its exit heads")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=("all", "collect", "heads", "tune", "joint"))
    parser.add_argument("--run", type=Path, default=Path("runs/exits"))
    parser.add_argument("--out", type=Path, help="tiny-t2v: the file that ships")
    parser.add_argument("--model", default="tiny-t2v")
    parser.add_argument("--prompts", type=Path, help="a prompt file or a folder of videos; shapes if left out")
    parser.add_argument("--videos", type=int, default=96, help="prompts to collect")
    parser.add_argument("--tune-videos", type=int, default=8)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--keep", type=float, default=0.28, help="share of the calls that is kept")
    parser.add_argument(
        "--window", type=int, default=7, help="steps in a row; a prediction is carried on over one less"
    )
    parser.add_argument("--alone", action="store_true", help="heads that carry nothing on, as in the paper")
    parser.add_argument("--train-steps", type=int, default=1500)
    parser.add_argument("--rows", type=int, default=16, help="rows of a batch of features")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--weight-u", type=float, default=1.0, help="λ")
    parser.add_argument("--weight-ual", type=float, default=1.0, help="β")
    parser.add_argument("--target-psnr", type=float, default=40.0, help="dB that the shipped threshold keeps")
    parser.add_argument("--joint-steps", type=int, default=300)
    parser.add_argument("--joint-rows", type=int, default=8)
    parser.add_argument("--joint-lr", type=float, default=2e-5)
    parser.add_argument("--evaluations", type=int, default=8, help="passes over the held-out videos")
    args = parser.parse_args()
    if min(args.window, args.steps) < 2:
        parser.error("heads learn from pairs of calls: give a --window and --steps of two or more")
    if args.out is None:
        if args.model != "tiny-t2v":
            parser.error("name the file to write with --out: the one that ships is tiny-t2v's")
        args.out = args.run / "alone.safetensors" if args.alone else SHIPPED_HEADS
    args.out.parent.mkdir(parents=True, exist_ok=True)
    pipe = videoada.load_pipeline(args.model)
    info, prompts = model_info(pipe), as_it_is(args.prompts)
    same_run(args.run, model=info.name, weights=info.weights_sha256, prompts=prompts, videos=args.videos,
             steps=args.steps, batch_size=args.batch_size, keep=args.keep, window=args.window,
             tune_videos=args.tune_videos)  # fmt: skip
    stages = {"collect": collect, "heads": train_heads, "tune": tune, "joint": joint}
    for name in ("collect", "heads", "tune") if args.stage == "all" else (args.stage,):
        stages[name](pipe, args)


if __name__ == "__main__":
    main()
