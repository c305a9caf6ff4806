"""What skipping costs in FVD: render a prompt set in full and skipped, evaluate one against the other, report.

    python scripts/experiments/fvd.py runs/fvd                      # 256 prompts of the shapes world, tiny-t2v
    python scripts/experiments/fvd.py runs/fvd --prompts VBench_full_info.json --model modelscope-t2v --extractor i3d \\
        -- --steps 50 --batch-size 4 --workers 2                        # what follows -- goes to `videoada render`

Killed or stopped, it goes on where it was: rendered videos stay. Ends with FOLDER/evaluation.json and report.html. The
reference are full runs of the same prompts and seeds, not real videos; with --real DATASET both sides are compared with
those as well.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np

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
          "--exit-threshold", "--exit-heads", "--step-policy"}  # fmt: skip


def in_full(flags: list[str]) -> list[str]:
    """The flags without those that say what may be left out."""
    kept, rest = [], iter(flags)
    for flag in rest:
        if flag in VALUES or (flag == "--steps" and flags[flags.index(flag) + 1 :][:1] == ["auto"]):
            next(rest, None)
        elif flag not in ("--early-exit", "--corrector"):
            kept.append(flag)
    return kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--prompts", type=Path, help="a prompt file; scenes of the shapes world if left out")
    parser.add_argument("--count", type=int, default=256, help="of those scenes")
    parser.add_argument("--model", default="tiny-t2v")
    parser.add_argument("--extractor", help="as for `videoada evaluate`")
    parser.add_argument("--real", type=Path, help="a folder of real videos")
    own, rest = sys.argv[1:], []
    if "--" in own:
        at = own.index("--")
        own, rest = own[:at], own[at + 1 :]
    args = parser.parse_args(own)
    args.folder.mkdir(parents=True, exist_ok=True)
    prompts = args.prompts or shapes(args.folder / "prompts.txt", args.count)
    common = ["--model", args.model, "--format", "mkv", "--continue-on-error", *rest]
    common = [part for flag in common for part in (flag.split("=", 1) if flag.startswith("--") else [flag])]
    full = in_full(common)
    videoada("render", prompts, "--out", args.folder / "full", *full, "--policy", "none")
    videoada("render", prompts, "--out", args.folder / "skipped", *common)
    extractor = ["--extractor", args.extractor] if args.extractor else []
    for name, generated, reference in (
        ("evaluation", "skipped", args.folder / "full"), ("full-real", "full", args.real),
        ("skipped-real", "skipped", args.real),
    ):  # fmt: skip
        if reference is not None:
            report = ["--report", args.folder / "report.html"] if name == "evaluation" else []
            videoada("evaluate", "--generated", args.folder / generated, "--reference", reference, *extractor, *report,
                     "--json", output=args.folder / f"{name}.json")  # fmt: skip
            print((args.folder / f"{name}.json").read_text())


if __name__ == "__main__":
    main()
