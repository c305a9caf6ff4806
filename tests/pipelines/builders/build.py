"""Build: how one small pipeline is made and called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import diffusers
import torch

from .parts import NEGATIVE, PROMPTS, seeds


def quiet(pipe: Any) -> Any:
    """The same pipeline, without a progress bar and its parts in evaluation mode."""
    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval()
    pipe.set_progress_bar_config(disable=True)
    return pipe


@dataclass(frozen=True)
class Build:
    """A pipeline with random weights, a second or less to make, and how to call it.

    `parts` makes the pipeline's arguments; `call` are keyword arguments that all calls share, `each` a function from
    the numbers of the prompts to those that depend on them. `guided` and `unguided` turn guidance on and off: None
    where the pipeline has no such thing.
    """

    name: str
    family: str
    pipeline: str  # its class
    task: str
    parts: Callable[[], dict[str, Any]]
    call: dict[str, Any] = field(default_factory=dict)
    each: Callable[[tuple[int, ...]], dict[str, Any]] | None = None
    guided: dict[str, Any] | None = field(default_factory=lambda: {"guidance_scale": 5.0})
    unguided: dict[str, Any] | None = field(default_factory=lambda: {"guidance_scale": 1.0})
    guide: Callable[[Any, bool], None] | None = None  # where guidance is a part of the pipeline, not of the call
    tune: Callable[[Any], None] | None = None  # settings that a pipeline holds as attributes
    prompted: bool = True  # False for pipelines that take no text
    steps: str = "num_inference_steps"
    num_steps: int = 8
    at_once: bool = True  # False where diffusers itself takes one prompt at a time
    in_turn: bool = False  # whether copies of the scheduler take their steps one after the other, not all in each step

    def make(self) -> Any:
        torch.manual_seed(0)
        pipe = quiet(getattr(diffusers, self.pipeline)(**self.parts()))
        if self.tune:
            self.tune(pipe)
        return pipe

    def arguments(self, prompts: tuple[int, ...] = (0,), guided: bool = True) -> dict[str, Any]:
        """Keyword arguments for the prompts of these numbers, each with its seed."""
        generators = [seeds(1, first=i)[0] for i in prompts]
        values: dict[str, Any] = {self.steps: self.num_steps, "output_type": "latent"} | self.call
        values["generator"] = generators if len(generators) > 1 else generators[0]
        if self.prompted:
            values["prompt"] = [PROMPTS[i] for i in prompts] if self.at_once else PROMPTS[prompts[0]]
            values["negative_prompt"] = [NEGATIVE] * len(prompts) if self.at_once else NEGATIVE
        values |= (self.guided if guided else self.unguided) or {}
        return values | (self.each(prompts) if self.each else {})
