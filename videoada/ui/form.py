"""The form: a run's settings as controls, in the words and with the defaults of `generate`; and back to runs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videoada.config.merging import merged
from videoada.config.prompt_forms import read_lines
from videoada.config.quality import QUALITIES
from videoada.config.run import DEFAULT_MODEL, POLICIES, PREDICTORS, SCHEDULERS
from videoada.config.seeds import RANDOM, seed_after
from videoada.config.settings import MODEL, SKIPPING, VIDEO, RunSettings, kind_of, said_of
from videoada.errors import ConfigError
from videoada.ui.uploads import Uploads

PANELS = (VIDEO, SKIPPING, MODEL)
EXACTLY, SPEED, AS_SET = "exactly N predictions", "a speed", "as set under Skipping"
DEFAULT_AMOUNT = "default"  # the tolerance of every model, which need not be one of its levels
AMOUNTS = (DEFAULT_AMOUNT, *QUALITIES, EXACTLY, SPEED, AS_SET)
OWN = ("prompt", "model", "image", "seed", "quality", "num_predictions", "target_speedup")  # controls of their own
CALIBRATED = {"target_speedup", "target_psnr"}  # are met by a calibration: the model's own, or that of a video
LEFT_OUT = ("batch_size", "batch_decision")  # one video at a time
FILES = ("video", "strength", "step_policy", "exit_heads", "mask", "lora")  # name files of the server's machine
CHOICES = {
    "policy": POLICIES, "predictor": PREDICTORS, "scheduler": SCHEDULERS, "codec": ("h264", "vp9", "av1", "ffv1"),
    "dtype": ("auto", "float32", "float16", "bfloat16"), "offload": ("none", "model", "sequential"),
    "quantize": ("none", "int8"),
}  # fmt: skip
OF_SKIPPING = [name for name in RunSettings.model_fields if said_of(name).get("panel") == SKIPPING]


@dataclass(frozen=True)
class Field:
    """A setting as a control. `shown` is its default in words, `choices` what it can be where that is a short list."""

    name: str
    panel: str
    text: str
    shown: str
    choices: tuple[str, ...]

    @property
    def label(self) -> str:
        # "video" alone is a key of Gradio's translations
        return "video file" if self.name == "video" else self.name.replace("_", " ")


def fields(local: bool = True) -> list[Field]:
    """The settings that are folded away, in their order; those that name files only for a page of this machine."""
    hidden = (*OWN, *LEFT_OUT, *(() if local else FILES))
    return [
        Field(
            name, said["panel"], RunSettings.model_fields[name].description or "", said["shown"] or "",
            ("yes", "no") if kind_of(name) is bool else CHOICES.get(name, ()),
        )
        for name in RunSettings.model_fields
        if (said := said_of(name)) and name not in hidden
    ]  # fmt: skip


@dataclass(frozen=True)
class Entered:
    """What is in the form. `prompts` has one a line; `more` are the folded fields by name, empty where not given."""

    prompts: str
    model: str
    amount: str = DEFAULT_AMOUNT
    number: float | None = None
    speed: float | None = None
    seed: str = ""
    image: str | None = None  # an id of `Uploads`
    file: str | None = None  # likewise, of a prompt file, which is then taken for the prompts
    calibration: Mapping[str, Any] | None = None  # of the video whose settings are used again
    more: Mapping[str, Any] | None = None


def runs_of(entered: Entered, uploads: Uploads) -> list[RunSettings]:
    """The runs that a form asks for, the one of entry i with the seed `seed + i`.

    Raises ConfigError or PromptError, in one line, for what can't be read."""
    values = {name: value for name, text in (entered.more or {}).items() if (value := _read(name, text)) is not None}
    values["model"] = entered.model or DEFAULT_MODEL
    values |= _amount(entered)
    seed = entered.seed.strip() or "0"
    values["seed"] = RANDOM if seed == RANDOM else _read("seed", seed)
    if entered.image:
        if entered.image not in uploads.pictures:
            raise ConfigError("the image is no longer here: choose it again")
        values["image"] = str(uploads.pictures[entered.image][0])
    entries: Sequence[Mapping[str, Any]]
    if entered.file:
        entries = uploads.prompts(entered.file).entries
    else:
        from collections import Counter

        entries = [{"prompt": row.values} for row in read_lines(entered.prompts, Counter())]
        if not entries and "image" in values:
            entries = [{}]  # for a model without prompts
    if not entries:
        raise ConfigError("there is no prompt: write what the video shows")
    first = RunSettings(**values).with_seed().first_seed
    several = RunSettings(**values).num_videos
    asked = [merged({**values, "seed": seed_after(first, i * several)}, dict(entry)) for i, entry in enumerate(entries)]
    return [RunSettings(**_with_calibration(run, entered.calibration)) for run in asked]


def is_of(calibration: Mapping[str, Any], model: str) -> bool:
    """Whether a calibration is of that model, which may have been calibrated as a folder elsewhere."""
    return Path(str(calibration.get("model"))).name == Path(model).name


def _with_calibration(run: dict[str, Any], calibration: Mapping[str, Any] | None) -> dict[str, Any]:
    """The settings with the calibration where they have a target, and their model is that of the calibration."""
    fits = calibration and CALIBRATED & run.keys() and is_of(calibration, str(run.get("model", DEFAULT_MODEL)))
    return run | {"calibration": calibration} if fits else run


def entered_of(settings: Mapping[str, Any], uploads: Uploads, local: bool = True) -> Entered:
    """The form that asks for a run of these settings again."""
    amount, quality = DEFAULT_AMOUNT, settings.get("quality")
    way = [name for name in OF_SKIPPING if settings.get(name) is not None]
    if quality in QUALITIES and way == ["quality"]:
        amount = quality
    elif settings.get("target_speedup") is not None:
        amount = SPEED
    elif settings.get("num_predictions") is not None:
        amount = EXACTLY
    elif way:
        amount = AS_SET
    image = settings.get("image")
    return Entered(
        prompts=settings.get("prompt") or "", model=settings.get("model") or DEFAULT_MODEL, amount=amount,
        number=settings.get("num_predictions"), speed=settings.get("target_speedup"),
        seed=str(settings.get("seed", 0)), image=uploads.know(Path(image)) if isinstance(image, str) else None,
        more={field.name: _written(settings.get(field.name)) for field in fields(local)},
        calibration=settings.get("calibration"),
    )  # fmt: skip


def as_labels(message: str) -> str:
    """A library's message with the form's labels for the parameters that it names, as one line."""
    found = re.sub(
        r"`([a-z][a-z_0-9]*)(?:=([^`\s]+))?`",
        lambda m: f"“{m[1].replace('_', ' ')}”" + (f" {m[2]}" if m[2] else ""), message,
    )  # fmt: skip
    return " ".join(found.split())


def _amount(entered: Entered) -> dict[str, Any]:
    """How much is computed, as settings; none for the default and for what is set under Skipping."""
    if entered.amount == EXACTLY:
        if not entered.number:
            raise ConfigError("say how many predictions, or choose another amount")
        return {"num_predictions": int(entered.number)}
    if entered.amount == SPEED:
        if not entered.speed:
            raise ConfigError("say how many times as fast, or choose another amount")
        return {"target_speedup": float(entered.speed)}
    return {"quality": entered.amount} if entered.amount in QUALITIES else {}


def _read(name: str, value: Any) -> Any:
    """A setting from the text of its control; None for an empty one. Raises ConfigError for no number."""
    text = value.strip() if isinstance(value, str) else value
    if text in (None, "", []):
        return None
    kind, said = kind_of(name), said_of(name)
    if kind is bool:
        return {"yes": True, "no": False}.get(text, text)
    if said["several"]:
        return tuple(part for part in re.split(r"[\n,]\s*", text) if part)
    if kind in (int, float) and not said["words"]:
        try:
            return kind(text)
        except ValueError:
            raise ConfigError(f"`{name}`: give a number, got '{text[:40]}'") from None
    return int(text) if name == "seed" and text.isdecimal() else text


def _written(value: Any) -> str:
    """A setting as the text of its control."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (tuple, list)):
        masked = all(isinstance(part, bool) for part in value)
        return "".join("1" if part else "0" for part in value) if masked and value else ", ".join(map(str, value))
    return str(value)
