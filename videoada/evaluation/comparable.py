"""Whether sets of videos can be compared: same frame size, number of frames, frame rate, and loss by their codecs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from videoada.errors import ConfigError
from videoada.evaluation.form import Form
from videoada.evaluation.set_metrics import SETS
from videoada.evaluation.tables import PAIRS

OF_MOTION = ("motion-ratio",)  # measures of pairs that a frame rate is part of
PARTS = ("size", "num_frames", "fps", "codec")
REMEDIES = {
    "size": "`match_size={}` brings all to one size",
    "num_frames": "`num_frames={}` takes as many of each",
    "fps": "`match_fps={}` takes frames of each at one rate",
    "codec": "the loss of a codec counts as a difference; `any_codec` compares them all the same",
}


@dataclass
class Comparable:
    """What videos must have in common for the measures that are wanted; raises ConfigError at the first that differs.

    Distances of sets need all PARTS alike, measures of pairs the codec, those of motion also the rate. (Partners of
    other sizes or lengths are never compared, and listed.)
    """

    parts: tuple[str, ...]
    first: dict[str, tuple[str, Form]] = field(default_factory=dict)
    codecs: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, wanted: set[str], statistics: bool, any_codec: bool) -> Comparable:
        """For these metrics; with `statistics`, features of a set are kept for later."""
        parts = set(PARTS) if statistics or wanted & set(SETS) else set()
        parts |= {"codec"} if wanted & set(PAIRS) else set()
        parts |= {"fps"} if wanted & set(OF_MOTION) else set()
        return cls(tuple(part for part in PARTS if part in parts and not (any_codec and part == "codec")))

    def add(self, name: str, form: Form) -> None:
        """The next video, by a name for messages."""
        self.codecs.add(form.codec)
        for part in self.parts:
            before, other = self.first.setdefault(part, (name, form))
            if other.differs(form, part):
                smaller = min((other, form), key=lambda one: getattr(one, part))
                value = {"size": "{}x{}".format(*smaller.size), "num_frames": smaller.num_frames,
                         "fps": f"{smaller.fps:.6g}"}.get(part, "")  # fmt: skip
                raise ConfigError(
                    f"can't be compared: {before} has {other.shown(part)}, {name} {form.shown(part)}; "
                    f"{REMEDIES[part].format(value)}"
                )

    def as_dict(self) -> dict[str, Any]:
        """What all videos have in common, for a file of statistics; {} where nothing was asked of them."""
        if "size" not in self.first:
            return {}
        form = self.first["size"][1]
        codec = "+".join(sorted(self.codecs))
        return {"size": list(form.size), "num_frames": form.num_frames, "fps": form.fps, "codec": codec}
