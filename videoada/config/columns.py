"""Columns of prompt files: which setting each is, by its own name or by that of other tools, and its values' types."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from videoada.config.run import SCHEDULERS
from videoada.config.settings import RunSettings, kind_of, said_of

SOURCES = ("prompt", "image", "video")  # an entry has one at least: some models take no prompt
# Names that benchmarks and other tools have for the same thing; the first of two that say a prompt is taken.
OTHER_NAMES = {
    "prompt_en": "prompt", "text_prompt": "prompt", "caption": "prompt", "text": "prompt",
    "negative": "negative_prompt", "neg_prompt": "negative_prompt", "n_prompt": "negative_prompt",
    "image_name": "image", "image_path": "image", "image_file": "image", "input_image": "image", "first_frame": "image",
    "input_video": "video", "denoising_strength": "strength",
    "num_inference_steps": "steps", "inference_steps": "steps", "sampling_steps": "steps", "sample_steps": "steps",
    "num_sampling_steps": "steps", "num_steps": "steps", "ddim_steps": "steps", "infer_steps": "steps",
    "cfg_scale": "guidance_scale", "cfg": "guidance_scale", "guidance": "guidance_scale",
    "unconditional_guidance_scale": "guidance_scale", "sample_guide_scale": "guidance_scale",
    "frames": "num_frames", "frame_num": "num_frames", "n_frames": "num_frames",
    "resolution": "size", "video_size": "size", "frame_rate": "fps", "framerate": "fps", "video_fps": "fps",
    "random_seed": "seed", "noise_seed": "seed",
    "sampler": "scheduler", "sampler_name": "scheduler", "sample_solver": "scheduler", "scheduler_name": "scheduler",
}  # fmt: skip
OWN = {"id": "id", "size": "size"} | {name: name for name in RunSettings.model_fields if said_of(name).get("column")}
COLUMNS = OWN | OTHER_NAMES
COMMON = ("prompt", "negative_prompt", "image", "video", "seed", "steps", "guidance_scale", "num_frames", "height",
          "width", "size", "fps", "scheduler", "quality", "tolerance", "threshold", "policy")  # fmt: skip
RANK = {name: i for i, name in enumerate(COLUMNS)}
# What other tools call the schedulers, letters and digits alone.
SAMPLERS = {
    "ddimscheduler": "ddim", "cogvideoxddimscheduler": "ddim", "dpm++2m": "dpm++", "dpmpp2m": "dpm++",
    "dpmsolver++": "dpm++", "dpmsolvermultistep": "dpm++", "dpmsolvermultistepscheduler": "dpm++",
    "dpm++2msde": "dpm++-sde", "dpmpp2msde": "dpm++-sde", "unipc": "unipc",
    "unipcmultistep": "unipc", "unipcmultistepscheduler": "unipc", "keuler": "euler", "eulerdiscrete": "euler",
    "eulerdiscretescheduler": "euler", "flowmatcheulerdiscretescheduler": "euler", "eulera": "euler-a",
    "keulera": "euler-a", "eulerancestral": "euler-a", "keulerancestral": "euler-a",
    "eulerancestraldiscrete": "euler-a", "eulerancestraldiscretescheduler": "euler-a",
}  # fmt: skip
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d{1,4})?", re.ASCII | re.IGNORECASE)
MOST_DIGITS = 400  # of a number in text
EXACT = 2**53  # above it a float stands for more than one whole number
SHOWN = 40  # characters of a value in a message
TRUE, FALSE = ("true", "1", "1.0", "yes"), ("false", "0", "0.0", "no")


class Columns:
    """The columns of one file; `not_used` counts the entries in which a column says something that nothing reads."""

    def __init__(self) -> None:
        self.not_used: Counter[str] = Counter()
        self._known: dict[str, str | None] = {}

    def fields(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The settings that an entry's values are, with `id` and without what is empty.

        Raises ValueError for a value that its column can't have, for two that contradict each other, and for an
        unknown column that looks like a slip of one that the entry does not have.
        """
        taken: dict[str, tuple[str, Any]] = {}
        unknown = []
        for key, value in values.items():
            if is_empty(value):
                continue
            if key not in self._known:
                self._known[key] = COLUMNS.get(plain(key))
            name = self._known[key]
            if name is None:
                unknown.append(key)
                continue
            given = (key, _typed(name, key, value))
            before = taken.setdefault(name, given)
            if before is not given and name == "prompt":  # benchmarks keep other wordings beside it
                taken[name], other = sorted((before, given), key=lambda pair: RANK[plain(pair[0])])
                unknown.append(other[0])
            elif before[1] != given[1]:
                raise ValueError(f"the columns '{_short(before[0])}' and '{_short(key)}' say different things: "
                                 f"'{_short(before[1])}' and '{_short(value)}'")  # fmt: skip
        fields = {name: value for name, (_, value) in taken.items()}
        for side, pixels in zip(("width", "height"), fields.pop("size", ()), strict=False):
            if fields.setdefault(side, pixels) != pixels:
                raise ValueError(
                    f"the columns '{taken['size'][0]}' and '{taken[side][0]}' say different things of the {side}: "
                    f"{pixels} and {fields[side]}"
                )
        for key in unknown:
            self.not_used[key] += 1
            if plain(key) not in COLUMNS and (meant := _slip(plain(key), fields)):
                raise ValueError(f"unknown key '{_short(key)}'; did you mean '{meant}'?")
        return fields


def plain(key: str) -> str:
    """A column's name as it is compared: small letters, `_` for spaces and hyphens."""
    return key.strip().lower().replace("-", "_").replace(" ", "_")


def is_source(key: str) -> bool:
    """Whether a column says what a video is of."""
    return COLUMNS.get(plain(key)) in SOURCES


def is_empty(value: Any) -> bool:
    """Whether a value says nothing: null, no text, or the NaN that pandas has for a missing one."""
    return value is None or value != value or (isinstance(value, str) and not value.strip())


def _slip(name: str, fields: Mapping[str, Any]) -> str | None:
    """The column that was meant, if a name looks like a slip of one that the entry does not have."""
    near = [own for own in OWN if own not in fields and own[0] == name[:1]]  # `weight` is no slip of `height`
    common = [own for own in near if own in COMMON]  # `prediction` is no slip of `predictor`
    found = difflib.get_close_matches(name, common, n=1, cutoff=0.8) or difflib.get_close_matches(name, near, 1, 0.9)
    return found[0] if found else None


def _typed(name: str, key: str, value: Any) -> Any:
    """A value of the type that its setting has; CSV holds text alone. Raises ValueError, which names the column."""
    try:
        return _convert(name, value)
    except ValueError as error:
        raise ValueError(f"column '{_short(key)}': {error}") from None


def _convert(name: str, value: Any) -> Any:
    if name == "size":
        return _size(value)
    kind = str if name == "id" else kind_of(name)
    if kind in (int, float):
        words = said_of(name).get("words") if name != "id" else None  # a pattern
        if words and isinstance(value, str) and re.fullmatch(words, value.strip()):
            return value.strip()
        return _number(value, kind, or_integer=name == "fps")
    if kind is bool:
        text = str(value).strip().lower()
        if text not in TRUE + FALSE:
            raise ValueError(f"'{_short(value)}' is neither true nor false")
        return text in TRUE
    if name == "mask" and isinstance(value, list):
        return value
    if name == "id" and isinstance(value, int | float) and not isinstance(value, bool):
        return str(_number(value, int))
    if not isinstance(value, str):
        raise ValueError(f"'{_short(value)}' is no text")
    if name == "scheduler" and value not in SCHEDULERS:
        return SAMPLERS.get(re.sub(r"[^a-z0-9+]", "", value.lower()), value)
    return value


def _size(value: Any) -> tuple[int, int]:
    """(width, height) of 640x480, 640×480 or 640*480."""
    text = str(value).strip()
    if isinstance(value, list) and len(value) == 2 and value[0] == value[1]:  # of two others, which is the width?
        text = f"{value[0]}x{value[1]}"
    found = re.fullmatch(r"(\d{1,5})\s*[x×*]\s*(\d{1,5})", text, re.IGNORECASE | re.ASCII)
    if not found:
        raise ValueError(f"give the size as WIDTHxHEIGHT, got '{_short(value)}'")
    return int(found[1]), int(found[2])


def _number(value: Any, kind: type, or_integer: bool = False) -> int | float:
    """A number of that kind, never another than is written: 42.0, as pandas writes, is 42, and 42.5 is no whole one."""
    text = repr(value) if isinstance(value, float) else str(value).strip()
    if isinstance(value, bool) or not NUMBER.fullmatch(text) or len(text) > MOST_DIGITS:
        hint = f": write it with a point, as {text.replace(',', '.')}" if re.fullmatch(r"-?\d+,\d+", text) else ""
        wanted = "whole number" if isinstance(value, bool | float) and kind is int else "number"
        raise ValueError(f"'{_short(value)}' is no {wanted}{hint}")
    exact = Decimal(text)
    if kind is float and not (or_integer and abs(exact) < EXACT and exact == int(exact)):
        number = float(exact)
        if abs(number) == float("inf") or (not number and exact):
            raise ValueError(f"'{_short(value)}' is too {'large' if number else 'small'} a number")
        return number
    if not text.lstrip("+-").isdigit():
        if abs(exact) >= EXACT:
            raise ValueError(f"'{_short(value)}' is too large to be exact: write it without a point or exponent")
        if exact != int(exact):
            raise ValueError(f"'{_short(value)}' is no whole number")
    return int(exact)


def _short(value: Any) -> str:
    return str(value)[:SHOWN]
