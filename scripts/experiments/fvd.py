"""What skipping costs in FVD: render a prompt set in full and skipped, evaluate one against the other, report.

    python scripts/experiments/fvd.py runs/fvd                      # 256 prompts of the shapes world, tiny-t2v
    python scripts/experiments/fvd.py runs/fvd --prompts VBench_full_info.json --model modelscope-t2v --extractor i3d \\
        -- --steps 50 --batch-size 4 --workers 2                        # what follows -- goes to `videoada render`
    python scripts/experiments/fvd.py runs/fvd-emoji --real-emoji runs/emoji/clips     # emoji-t2v against its data

Killed or stopped, it goes on where it was: rendered videos and features stay. Ends with FOLDER/evaluation.json and
report.html. The reference are full runs of the same prompts and seeds, not real videos; with --real DATASET both sides
are compared with those as well, in FOLDER/to-data.json and to-data.md. --real-emoji takes the clips that
scripts/embedded/train_emoji.py prepares: the prompts are of emoji then, the features tiny-shapes-v1's and those of the
model's VAE; name more with --extractor, as transnetv2 (extra films).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
from to_data import distances, emoji_sets, report

from videoada.errors import VideoAdaError
from videoada.files import write_text
from videoada.shapes import random_scene


def videoada(*args: str | Path, output: Path | None = None) -> None:
    """The command line, stopping with it; what it prints goes to `output` where one is given."""
    command = [sys.executable, "-m", "videoada", *map(str, args)]
    done = subprocess.run(command, stdout=subprocess.PIPE if output else None)
    if done.returncode not in (0, 1):  # 1: some videos failed, or a check did
        raise SystemExit(done.returncode if done.returncode > 0 else 1)
    if output:
        write_text(output, done.stdout.decode())


def shapes(path: Path, count: int) -> Path:
    """A file of prompts of the shapes world, a quarter with two objects; always the same."""
    rng = np.random.default_rng(256)
    write_text(path, "".join(f"{random_scene(rng, 1 + (i % 4 == 3))}\n" for i in range(count)))
    return path


VALUES = {"--policy", "--quality", "--tolerance", "--threshold", "--target-psnr", "--predictor", "--guidance-tolerance",
          "--damping", "--max-skip-steps", "--warmup-steps", "--final-steps", "--every", "--mask", "--exit-threshold",
          "--exit-heads", "--step-policy"}  # fmt: skip


def in_full(flags: list[str]) -> list[str]:
    """The flags without those that say what may be left out."""
    kept, rest = [], iter(flags)
    for flag in rest:
        if flag in VALUES or (flag == "--steps" and flags[flags.index(flag) + 1 :][:1] == ["auto"]):
            next(rest, None)
        elif flag not in ("--early-exit", "--corrector"):
            kept.append(flag)
    return kept


def parse(own: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--prompts", type=Path, help="a prompt file; scenes of the shapes world, or emoji, if left out")
    parser.add_argument("--count", type=int, default=256, help="of those scenes or emoji")
    parser.add_argument("--model", help="tiny-t2v, with --real-emoji emoji-t2v, if left out")
    parser.add_argument("--extractor", action="append", help="as for `videoada evaluate`; several for --real")
    real = parser.add_mutually_exclusive_group()
    real.add_argument("--real", type=Path, help="a folder of real videos")
    real.add_argument("--real-emoji", type=Path, metavar="CLIPS", help="a folder of prepared clips of emoji")
    args = parser.parse_args(own)
    args.model = args.model or ("emoji-t2v" if args.real_emoji else "tiny-t2v")
    own_features = [f"vae:{args.model}"] if args.real_emoji else []
    args.extractor = args.extractor or [*own_features, "tiny-shapes-v1"]
    return args


def main() -> None:
    own, rest = sys.argv[1:], []
    if "--" in own:
        at = own.index("--")
        own, rest = own[:at], own[at + 1 :]
    args = parse(own)
    args.folder.mkdir(parents=True, exist_ok=True)
    data, sets = args.real, {"full": args.folder / "full", "skipped": args.folder / "skipped"}
    if args.real_emoji:  # before hours of rendering: its clips may not be there
        prompts, data, of_data = emoji_sets(args.real_emoji, args.prompts, args.count, args.folder)
        sets |= of_data
    else:
        prompts = args.prompts or shapes(args.folder / "prompts.txt", args.count)
    common = ["--model", args.model, "--format", "mkv", "--continue-on-error", *rest]
    common = [part for flag in common for part in (flag.split("=", 1) if flag.startswith("--") else [flag])]
    full = in_full(common)
    videoada("render", prompts, "--out", sets["full"], *full, "--policy", "none")
    videoada("render", prompts, "--out", sets["skipped"], *common)
    videoada("evaluate", "--generated", sets["skipped"], "--reference", sets["full"], "--extractor", args.extractor[0],
             "--report", args.folder / "report.html", "--json", output=args.folder / "evaluation.json")  # fmt: skip
    print((args.folder / "evaluation.json").read_text())
    if data:
        print(report(distances(sets, data, args.extractor, args.folder), f"the {data.name} videos", args.folder))


if __name__ == "__main__":
    try:
        main()
    except VideoAdaError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
