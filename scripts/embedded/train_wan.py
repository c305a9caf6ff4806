"""Train the embedded model tiny-wan on the shapes world: a WanPipeline, from nothing to a diffusers folder.

    OMP_NUM_THREADS=1 python scripts/embedded/train_wan.py all --run runs/tiny-wan --out videoada/assets/tiny-wan
    python scripts/embedded/measure_model.py --model tiny-wan

The stages (`vae`, `encode`, `frames`, `transformer`, `decoder`, `export`) can be run one by one. Each is seeded,
saves a checkpoint every two minutes and goes on from it when started again; logs and sample sheets appear in the run
folder.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from videoada.errors import VideoAdaError
from videoada.files import results_folder
from videoada.training.run import same_run, stages_of

STAGES = ("vae", "encode", "frames", "transformer", "decoder", "export")


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=("all", *STAGES))
    parser.add_argument("--run", type=Path, default=Path("runs/tiny-wan"), help="the folder of checkpoints and logs")
    parser.add_argument("--out", type=Path, default=Path("videoada/assets/tiny-wan"), help="the exported folder")
    parser.add_argument("--vae-clips", type=positive, default=1200, help="that the autoencoder is trained on")
    parser.add_argument("--clips", type=positive, default=3000, help="whose latents the transformer is trained on")
    for stage, steps in (("vae", 3200), ("frames", 400), ("transformer", 4000), ("decoder", 2000)):
        parser.add_argument(f"--{stage}-steps", type=positive, default=steps)
    parser.add_argument("--vae-lr", type=float, default=2e-3)
    parser.add_argument("--decoder-lr", type=float, default=1e-3)
    parser.add_argument("--frames-batch", type=positive, default=64)
    parser.add_argument("--transformer-batch", type=positive, default=24)
    parser.add_argument("--lr", type=float, default=1e-3, help="of the transformer and its text encoder")
    parser.add_argument("--gate", type=positive, default=150, help="held-out clips that judge the autoencoder")
    parser.add_argument("--evaluate-minutes", type=float, default=12, help="minutes between sample sheets")
    parser.add_argument("--save-seconds", type=float, default=120, help="seconds between checkpoints")
    parser.add_argument("--samples", type=int, default=24, help="prompts of a sample sheet; 0 for none")
    return parser.parse_args(argv)


def positive(text: str) -> int:
    if (value := int(text)) < 1:
        raise ValueError
    return value


def train(args: argparse.Namespace, stage: str) -> None:
    from wan.autoencoder import train_vae
    from wan.denoiser import encode, train_transformer
    from wan.sampling import export

    if stage in ("vae", "decoder"):
        steps, lr = getattr(args, f"{stage}_steps"), getattr(args, f"{stage}_lr")
        same_run(args.run, **{f"training of {stage}": [steps, lr, args.vae_clips]})
        train_vae(args.run, stage, steps, lr, args.vae_clips, args.save_seconds, args.gate)
    elif stage == "encode":
        same_run(args.run, clips=args.clips)
        encode(args.run, args.clips)
    elif stage in ("frames", "transformer"):
        steps, batch = (getattr(args, f"{stage}_{name}") for name in ("steps", "batch"))
        same_run(args.run, **{f"training of {stage}": [batch, args.lr]})  # with more steps it goes on
        every = args.save_seconds, args.evaluate_minutes
        train_transformer(args.run, stage, steps, batch, args.lr, *every, args.samples)
    else:
        export(args.run, args.out)


def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    try:
        results_folder(args.run)
        for stage in stages_of(args.stage, STAGES):
            train(args, stage)
    except VideoAdaError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
