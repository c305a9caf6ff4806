"""The grammar of the shapes world: prompts to scenes and back."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from videoada.errors import PromptError, counted

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (220, 40, 40),
    "green": (40, 180, 60),
    "blue": (50, 100, 240),
    "yellow": (240, 215, 50),
    "white": (245, 245, 245),
    "purple": (160, 60, 200),
}
BACKGROUNDS: dict[str, tuple[int, int, int]] = {
    "black": (12, 12, 12),
    "gray": (120, 120, 120),
    "navy": (15, 20, 85),
    "brown": (110, 65, 30),
}
SHAPES = ("circle", "square", "triangle")
MOTIONS = (
    "moving right",
    "moving left",
    "moving up",
    "moving down",
    "standing still",
    "growing",
    "shrinking",
    "bouncing",
)
SPEEDS = ("slowly", "", "quickly")
MAX_OBJECTS = 4
WORDS = tuple(
    sorted({*COLOURS, *BACKGROUNDS, *SHAPES, *SPEEDS[::2], *" ".join(MOTIONS).split(), "a", "and", "on", "background"})
)


@dataclass(frozen=True)
class ShapeObject:
    """One object of a prompt. A measured one may hold None where the rules could not tell."""

    colour: str | None
    shape: str | None
    motion: str | None
    speed: str = ""

    def __str__(self) -> str:
        return " ".join(filter(None, ("a", self.colour, self.shape, self.motion, self.speed)))


@dataclass(frozen=True)
class Scene:
    objects: tuple[ShapeObject, ...]
    background: str

    def __str__(self) -> str:
        return f"{' and '.join(map(str, self.objects))} on a {self.background} background"


_OBJECT = re.compile(rf"an? ({'|'.join(COLOURS)}) ({'|'.join(SHAPES)}) ({'|'.join(MOTIONS)})(?: (slowly|quickly))?")


def parse(prompt: str) -> Scene:
    """Read a prompt of the grammar. Raises PromptError, saying which part does not fit."""
    text = " ".join(prompt.lower().split()).rstrip(".")
    head, separator, tail = text.rpartition(" on a ")
    background = tail.removesuffix(" background")
    if not separator or background == tail or background not in BACKGROUNDS:
        raise PromptError(f"prompt must end in 'on a {'|'.join(BACKGROUNDS)} background': {prompt!r}")
    objects = []
    for part in head.split(" and "):
        match = _OBJECT.fullmatch(part)
        if not match or (match[3] == "standing still" and match[4]):
            raise PromptError(f"not 'a COLOUR SHAPE MOTION [slowly|quickly]': {part!r}")
        objects.append(ShapeObject(match[1], match[2], match[3], match[4] or ""))
    if len(objects) > MAX_OBJECTS:
        raise PromptError(f"{counted(len(objects), 'object')}; the shapes world holds 1 to {MAX_OBJECTS}")
    return Scene(tuple(objects), background)


def is_scene(prompt: str) -> bool:
    """Whether a prompt is of the shapes world's grammar."""
    try:
        return bool(parse(prompt))
    except PromptError:
        return False


def random_scene(rng: np.random.Generator, num_objects: int = 1) -> Scene:
    """A scene whose every attribute is drawn uniformly."""

    def pick(options: Any) -> str:
        return str(options[int(rng.integers(len(options)))])

    objects = []
    for _ in range(num_objects):
        motion = pick(MOTIONS)
        speed = "" if motion == "standing still" else pick(SPEEDS)
        objects.append(ShapeObject(pick(tuple(COLOURS)), pick(SHAPES), motion, speed))
    return Scene(tuple(objects), pick(tuple(BACKGROUNDS)))
