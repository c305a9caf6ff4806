"""Train the embedded model emoji-t2v: animated emoji, from the npm packages that hold them to a diffusers folder.

    python scripts/embedded/train_emoji.py all --run runs/emoji --out videoada/assets/emoji-t2v --device cuda
    python scripts/embedded/train_emoji.py measure --clips runs/emoji/clips --count 8

The stages (`prepare`, `vae`, `frames`, `clips`, `export`) can be run one by one. Each is seeded, saves a checkpoint
every few minutes and goes on from it when started again; logs and sample sheets appear in the run folder. The defaults
are about the shipped model's, 17 minutes of an H100. `measure` judges a model against the clips. `prepare` needs the
extra `train`.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from videoada.errors import ConfigError, VideoAdaError
from videoada.files import results_folder, write_text

STAGES = ("prepare", "vae", "frames", "clips", "export")
PROMPTS = Path(__file__).parents[2] / "samples" / "prompts_emoji.txt"


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--run", type=Path, default=Path("runs/emoji"), help="the folder of checkpoints and logs")
    common.add_argument("--clips", type=Path, help="prepared clips, names.json beside the folder; RUN/clips by itself")
    source = argparse.ArgumentParser(add_help=False)
    source.add_argument("--webp", type=Path, help="a folder of the packages' .webp files; downloaded if left out")
    source.add_argument("--size", type=int, default=128, help="pixels of a clip's side, a multiple of 8")
    source.add_argument("--processes", type=positive, default=2, help="for reading the animations")
    device = argparse.ArgumentParser(add_help=False)
    device.add_argument("--device", default="auto", help="cpu, cuda, or cuda where it is there")
    training = argparse.ArgumentParser(add_help=False)
    training.add_argument("--out", type=Path, default=Path("videoada/assets/emoji-t2v"), help="the exported folder")
    training.add_argument("--seed", type=int, default=1)
    training.add_argument("--save-seconds", type=float, default=180, help="seconds between checkpoints")
    training.add_argument("--sheet", type=int, default=8, help="sample videos after a stage, on its sheet; 0 for none")
    training.add_argument("--vae-channels", type=numbers, default=(32, 64, 96, 128), metavar="N,N,N,N")
    training.add_argument("--unet-channels", type=numbers, default=(96, 144, 192), metavar="N,N,N")
    training.add_argument("--text-width", type=int, default=192)
    for stage, steps, batch, lr in (("vae", 4300, 48, 1.2e-3), ("frames", 2032, 256, 1e-3), ("clips", 1551, 32, 8e-4)):
        training.add_argument(f"--{stage}-steps", type=positive, default=steps)
        training.add_argument(f"--{stage}-seconds", type=float, help="train that long instead, of all runs together")
        training.add_argument(f"--{stage}-batch", type=positive, default=batch)
        training.add_argument(f"--{stage}-lr", type=float, default=lr)
    for stage in STAGES:
        of_stage = [source] if stage == "prepare" else [device, training]
        commands.add_parser(stage, parents=[common, *of_stage])
    commands.add_parser("all", parents=[common, source, device, training], help="all stages, one after another")
    judge = commands.add_parser("measure", parents=[common, device], help="judge a model against the clips")
    judge.add_argument("--model", default="emoji-t2v", help="a name or a diffusers folder")
    judge.add_argument("--prompts", type=Path, default=PROMPTS)
    judge.add_argument("--count", type=positive, default=8, help="of the prompts, the first ones")
    judge.add_argument("--steps", type=int, help="num_inference_steps of the videos; the model's own if left out")
    judge.add_argument("--videos", type=Path, help="judge these videos, with their records, instead of generating some")
    judge.add_argument("--vae", default="emoji-t2v", metavar="MODEL", help="the model in whose VAE clips are compared")
    judge.add_argument("--samples", type=int, default=64, help="for the denoising loss; 0 for none")
    judge.add_argument("--output", type=Path, help="the JSON file; RUN/measure.json if left out")
    return parser.parse_args(argv)


def positive(text: str) -> int:
    if (value := int(text)) < 1:
        raise ValueError
    return value


def numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))


def prepare(args: argparse.Namespace, clips: Path) -> None:
    from emoji_t2v.packages import download
    from emoji_t2v.prepare import prepare as prepare_clips

    from videoada.training.run import same_run

    if args.size < 8 or args.size % 8:
        raise ConfigError(f"`size`: a multiple of 8 is needed, got {args.size}")
    sources = [args.webp] if args.webp else download(args.run / "packages")
    same_run(args.run, **{"size of clips": args.size})
    names, left = prepare_clips(sources, clips, args.size, args.processes)
    write_text(clips.parent / "left-out.json", json.dumps(left, indent=1) + "\n")
    print(json.dumps({"clips": len(names), "left out": {reason: len(stems) for reason, stems in left.items()}}))


def train(args: argparse.Namespace, stages: tuple[str, ...], folder: Path) -> None:
    import torch
    from emoji_t2v.autoencoder import encode, train_vae
    from emoji_t2v.clips import Clips
    from emoji_t2v.denoiser import train_unet
    from emoji_t2v.export import export, sheet
    from emoji_t2v.network import Sizes
    from training import Budget

    from videoada.devices import find_device
    from videoada.training.run import contents, same_run

    sizes = Sizes(args.vae_channels, args.unet_channels, args.text_width)
    device = find_device(args.device)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.benchmark = True
    clips = Clips.load(folder)
    given = {"sizes": sizes, "seed": args.seed, "clips": str(contents(folder)).split()[-1]}
    for stage in stages:
        if stage == "export":
            same_run(args.run, **given)
            export(args.run, args.out, clips.subjects, sizes)
            continue
        steps, seconds, batch, lr = (getattr(args, f"{stage}_{name}") for name in ("steps", "seconds", "batch", "lr"))
        budget = Budget(steps, seconds)
        same_run(args.run, **given, **{f"training of {stage}": [None if seconds else steps, seconds, batch, lr]})
        if stage == "vae":
            on_device = clips.to(device)
            train_vae(args.run, on_device, sizes, budget, batch, lr, args.seed, args.save_seconds)
            encode(args.run, on_device, sizes)
        else:
            seed = args.seed + STAGES.index(stage)
            train_unet(args.run, stage, clips.subjects, sizes, budget, batch, lr, seed, device, args.save_seconds)
            if args.sheet:
                sheet(args.run, stage, clips.subjects, sizes, args.sheet, device)


def measure(args: argparse.Namespace, folder: Path) -> None:
    from emoji_t2v.clips import Clips
    from emoji_t2v.measure import measure as measure_model
    from emoji_t2v.measure import table

    from videoada import load_pipeline, render_prompts

    clips = Clips.load(folder)
    options: dict[str, Any] = {"model": args.model, "device": args.device}
    steps = {} if args.steps is None else {"steps": args.steps}
    videos = args.videos or args.run / "measured"
    if not args.videos:
        render_prompts(args.prompts, videos, **options, policy="none", format="mkv", limit=args.count, **steps,
                       on_message=lambda text: print(text, file=sys.stderr))  # fmt: skip
    found = measure_model(load_pipeline(**options), videos, clips, args.run / "features", args.vae, args.samples)
    found = {"model": args.model, **found}
    write_text(args.output or args.run / "measure.json", json.dumps(found, indent=1) + "\n")
    print(json.dumps(found))
    print(table(found), file=sys.stderr)


def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    clips = args.clips or args.run / "clips"
    try:
        results_folder(args.run)
        if args.command in ("prepare", "all") and not (args.command == "all" and args.clips):
            prepare(args, clips)
        if args.command == "measure":
            measure(args, clips)
        elif stages := STAGES[1:] if args.command == "all" else tuple({args.command} - {"prepare"}):
            train(args, stages, clips)
    except VideoAdaError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
