"""How well a model of the shapes world must follow its prompts."""

from __future__ import annotations

import numpy as np

import videoada
from videoada.shapes import agreement, measure, random_scene


def check_that_it_follows_prompts(pipe):
    """64 prompts with one object, the model's own settings, nothing skipped: shares of what is right."""
    rng = np.random.default_rng(640)
    rows = []
    for seed in range(64):
        scene = random_scene(rng)
        [(video, _)] = videoada.generate(pipe, prompt=str(scene), seed=seed, skip=videoada.SkipConfig(policy="none"))
        rows.append(agreement(scene, measure(video.frames)))
    share = {name: np.mean([row[name] for row in rows]) for name in rows[0]}
    assert share["background"] >= 0.95
    assert share["colour"] >= 0.90
    assert share["motion"] >= 0.80
    assert share["shape"] >= 0.70
