"""How exit heads and step policies are trained: what to learn from, for how long, what to write where."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from videoada.config.frozen import FrozenConfig
from videoada.config.run import DEFAULT_MODEL, MOST
from videoada.errors import ConfigError
from videoada.learned.parts import EXIT_HEADS, STEP_POLICY
from videoada.learned.step_policy import COUNTS
from videoada.models.catalogue import ASSETS

EXIT_STAGES = ("collect", "heads", "tune")  # that `all` runs, one after the other
STEP_STAGES = ("render", "train", "evaluate")
SAMPLES = ASSETS.parent.parent / "samples"  # of a source checkout
Count = Annotated[int, Field(ge=1, le=MOST)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class ExitTraining(FrozenConfig):
    """Training of exit heads. `run` is the folder of the run: what it holds is continued.

    `prompts` is a prompt file or a folder of videos; without one, random scenes of the shapes world. `out` is the file
    to write; only for tiny-t2v it can be left out: the file that ships, or with `alone` one in the run's folder.
    """

    run: Path = Path("runs/exits")
    out: Path | None = None
    prompts: Path | None = None
    videos: Count = 96  # prompts to collect
    tune_videos: Count = 8  # other prompts, to choose the threshold on
    steps: Count = 50  # of the scheduler
    batch_size: Count = 8  # prompts at once
    keep: float = Field(default=0.28, gt=0, le=1)  # share of the calls that is kept
    window: Count = 7  # steps in a row; a prediction is carried on over one less
    alone: bool = False  # heads that carry nothing on, as in the paper
    train_steps: Count = 1500
    rows: int = Field(default=16, ge=2, le=MOST)  # of a batch of features
    lr: Positive = 2e-3
    weight_u: Weight = 1.0  # λ of the paper
    weight_ual: Weight = 1.0  # β
    target_psnr: float = Field(default=40.0, ge=0, le=100)  # dB that the threshold keeps
    joint_steps: Count = 300
    joint_rows: Count = 8  # videos of a batch
    joint_lr: Positive = 2e-5
    evaluations: Count = 8  # passes over the videos held out

    @model_validator(mode="after")
    def _pairs_of_calls(self) -> ExitTraining:
        if min(self.window, self.steps) < 2:
            raise ValueError("heads learn from pairs of calls: give a window and steps of two or more")
        return self

    def file(self, model: str) -> Path:
        """The file to write for the model of that name. Raises ConfigError where it has to be named."""
        shipped = _file_that_ships(EXIT_HEADS.folder, model, self.out)
        return self.run / "alone.safetensors" if self.alone and self.out is None else shipped


class StepTraining(FrozenConfig):
    """Training of a step policy. `run` and `prompts` as for ExitTraining.

    `out` is the file to write, `results` the folder of the table; without `out` (tiny-t2v only) they are the file that
    ships and, in a source checkout, the folder of its results; without `results` else the run's folder.
    """

    run: Path = Path("runs/steps")
    out: Path | None = None
    results: Path | None = None
    prompts: Path | None = None
    videos: Count = 96  # prompts to learn from
    held_out: Count = 64  # other prompts, to judge on
    counts: tuple[Count, ...] = Field(default=COUNTS, min_length=1)  # numbers of steps to choose from
    batch_size: Count = 8  # prompts at once
    quality: Literal["psnr", "ssim", "agreement", "score"] = "ssim"
    scorer: str | None = None  # module:function (frames (F, H, W, 3) uint8, prompt) -> float
    costs: tuple[Weight, ...] = Field(default=(0.05, 0.06, 0.08, 0.1, 0.13), min_length=1)  # λ, in units of the quality
    weight_decay: Weight = 1.0  # best of some, by parts of the training prompts
    noise: Weight = 0.3  # on the embeddings, of their own spread; likewise
    ship_steps: Positive = 40.0  # mean steps of the policy to write
    entropy: Weight = 0.002
    train_steps: Count = 2000
    rows: Count = 64  # prompts of a batch
    lr: Positive = 3e-3

    @field_validator("counts")
    @classmethod
    def _ascending(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sorted(set(value)))

    def file(self, model: str) -> Path:
        """The file to write for the model of that name. Raises ConfigError where it has to be named."""
        return _file_that_ships(STEP_POLICY.folder, model, self.out)

    def folder(self, model: str) -> Path:
        """The folder of the table."""
        ours = SAMPLES / "results" / "step-count"
        ships = model == DEFAULT_MODEL and self.file(model) == _file_that_ships(STEP_POLICY.folder, model)
        return self.results or (ours if ships and ours.is_dir() else self.run)


def _file_that_ships(folder: str, model: str, instead: Path | None = None) -> Path:
    if instead is None and model != DEFAULT_MODEL:
        raise ConfigError(f"name the file to write as `out`: the one that ships is for {DEFAULT_MODEL}")
    return instead or ASSETS / folder / f"{model}.safetensors"
