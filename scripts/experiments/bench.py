"""Everything in samples/results that a preset of `videoada benchmark`, or `videoada analyse`, prints: `make bench`.

    python scripts/experiments/bench.py                     # all of it
    python scripts/experiments/bench.py baselines budgets   # the tables of these folders

Rows at hand (`cells.py unpack`) that are of today's methods, weights and corrector are not measured again: where all
are, it takes minutes. What is not at hand takes hours.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PROMPTS = {"emoji-t2v": "prompts_emoji.txt", "tiny-i2v": "prompts_i2v.jsonl"}  # of others prompts.txt
TINY = ("tiny-t2v", "tiny-i2v", "tiny-wan")
UNETS = TINY[:2]
# Under the zero terminal SNR of tiny-i2v, Karras' sigmas fail inside diffusers, at the end of the run.
NO_KARRAS = "full run;videoada;AdaptiveDiffusion;every n;DeepCache;adaptive DPM;leading;trailing"


class Table(NamedTuple):
    """What one command prints of a model: samples/results/FOLDER/MODEL.md, with its figures and plot."""

    folder: str
    model: str
    options: tuple[str, ...] = ()
    preset: str | None = None  # where the folder has another name
    prompts: str | None = None  # where the file is not the model's own

    @property
    def printed(self) -> str:
        """The file in the folder of `--output` that holds what is printed."""
        return "analysis.md" if self.folder == "analysis" else f"{self.model}.md"

    def command(self, results: Path) -> list[str]:
        """Arguments of `videoada`, with `results` instead of samples/results."""
        prompts = self.prompts or PROMPTS.get(self.model, "prompts.txt")
        common = ["--model", self.model, "--prompts", f"samples/{prompts}"]
        if self.folder == "analysis":
            return ["analyse", *common, *self.options, "--output", str(results / self.folder / self.model)]
        preset = ["--preset", self.preset or self.folder]
        return ["benchmark", *preset, *common, *self.options, "--output", str(results / self.folder)]


def first(count: int) -> tuple[str, ...]:
    """The first prompts of the file."""
    return "--limit", str(count)


def few(count: int, *names: str) -> tuple[str, ...]:
    """A full run of emoji-t2v takes minutes on a CPU: the first prompts, methods whose names hold one of these."""
    return *first(count), "--families", ";".join(names)


TABLES = [
    Table("frontier", "emoji-t2v", few(
        16, "full run", "tolerance 0.01", "tolerance 0.025", "tolerance 0.05", "tolerance 0.12", "tolerance 0.3",
        "tolerance 0.6", *(f"release threshold {t}" for t in (0.02, 0.04, 0.08, 0.2)), "paper threshold 0.15",
        "paper threshold 0.4", "every 2", "every 3", "DeepCache interval 2", "DeepCache interval 3", "fewer steps 25",
        "dpm++, fewer steps 20 leading", "fewer steps 16 trailing",
    )),
    Table("frontier", "tiny-t2v", ("--reference-steps", "500")),
    Table("frontier", "tiny-i2v", ("--reference-steps", "500", "--families", NO_KARRAS)),
    Table("frontier", "tiny-wan"),
    Table("default", "emoji-t2v", few(32, "full run", "tolerance 0.05"), preset="frontier"),
    *(
        Table("adaptivity", model, ("--calibration-prompts", "samples/" + (
            "prompts_calibration_i2v.jsonl" if model == "tiny-i2v" else "prompts_calibration.jsonl"
        )))
        for model in TINY
    ),
    *(Table("budgets", model) for model in TINY),
    Table("baselines", "emoji-t2v", few(
        4, "full run", *(f"videoada tolerance {t}" for t in (0.01, 0.025, 0.05, 0.12, 0.3, 0.6)),
        *(f"EasyCache threshold {t}" for t in (0.07, 0.1, 0.2)), "TeaCache threshold 0.065", "TeaCache threshold 0.1",
        *(f"SeaCache threshold {t}" for t in (0.08, 0.14, 0.3)), *(f"TaylorSeer interval {n}" for n in (2, 3, 4)),
        "Spectrum growth 0.1", "Spectrum growth 0.5", *(f"MeanCache calls {n}" for n in (25, 20, 17, 13)),
    )),
    Table("baselines", "tiny-t2v"),
    Table("baselines", "tiny-i2v", first(16)),
    Table("baselines", "tiny-wan"),
    *(Table("baselines-dpm", model, (*first(8), "--scheduler", "dpm++"), "baselines") for model in UNETS),
    Table("baselines-dpm", "tiny-wan", (*first(16), "--scheduler", "dpm++"), "baselines"),
    Table("baselines-euler", "tiny-t2v", (*first(8), "--scheduler", "euler"), "baselines"),
    Table("baselines-euler", "tiny-i2v", (*first(8), "--scheduler", "euler"), "baselines"),
    Table("baselines-euler", "tiny-wan", (*first(16), "--scheduler", "euler"), "baselines"),
    *(Table("baselines-unipc", model, (*first(8), "--scheduler", "unipc"), "baselines") for model in UNETS),
    *(Table("quality", model) for model in TINY),
    Table("quality", "emoji-t2v", first(8)),
    Table("quality-stress", "tiny-t2v", preset="quality", prompts="prompts_stress.jsonl"),
    Table("quality-stress", "tiny-i2v", preset="quality", prompts="prompts_stress_i2v.jsonl"),
    *(Table("predictors", model, first(8)) for model in UNETS),
    *(Table("guidance", model) for model in UNETS),
    *(Table("schedulers", model) for model in UNETS),
    Table("schedulers", "emoji-t2v", few(8, "full run", "tolerance 0.05", "threshold 0.04")),
    *(Table("batches", model) for model in UNETS),
    Table("batches", "emoji-t2v", few(
        8, "full run", "videoada tolerance 0.05", "release threshold 0.04", "mean tolerance 0.05",
        "mean threshold 0.04", "any tolerance 0.12", "any threshold 0.08",
    )),
    *(Table("analysis", model, first(8)) for model in UNETS),
    Table("analysis", "tiny-wan", first(4)),
]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", metavar="FOLDER", help="Only these of samples/results.")
    folders = parser.parse_args().folders
    known = dict.fromkeys(table.folder for table in TABLES)
    if unknown := [folder for folder in folders if folder not in known]:
        parser.error(f"no table is of {', '.join(unknown)}; there are {', '.join(known)}")
    for table in TABLES:
        if not folders or table.folder in folders:
            print(f"\n{table.folder}, {table.model}", flush=True)
            command = [sys.executable, "-m", "videoada", *table.command(Path("samples/results"))]
            subprocess.run(command, cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
