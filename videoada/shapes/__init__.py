"""The captioned shapes world: a grammar, a renderer and a judge that uses no network.

It teaches the embedded models and tests them: `render` draws what a prompt says, `measure` reads colour, shape,
motion and background back from any clip by fixed rules, so a generated clip can be compared with its prompt.

Lengths are in units of the frame's shorter side, time runs from 0 (first frame) to 1 (last frame), y points down.
"""

from videoada.shapes.grammar import (
    BACKGROUNDS,
    COLOURS,
    MOTIONS,
    SHAPES,
    SPEEDS,
    WORDS,
    Scene,
    ShapeObject,
    is_scene,
    parse,
    random_scene,
)
from videoada.shapes.judge import agreement, measure
from videoada.shapes.renderer import coverage, render

__all__ = [
    "BACKGROUNDS",
    "COLOURS",
    "MOTIONS",
    "SHAPES",
    "SPEEDS",
    "WORDS",
    "Scene",
    "ShapeObject",
    "agreement",
    "coverage",
    "is_scene",
    "measure",
    "parse",
    "random_scene",
    "render",
]
