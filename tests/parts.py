"""Trained parts made on the spot."""

from __future__ import annotations

from conftest import PROMPTS

from videoada.learned.step_policy import StepPolicy, prompt_embedding

COUNTS = (3, 4, 5)  # so that a full run has 5


def biased(pipe, tmp_path, place=1):
    """A policy that always chooses COUNTS[place]."""
    policy = StepPolicy(prompt_embedding(pipe, PROMPTS[:1]).shape[1], COUNTS)
    policy.layers[-1].bias.data[place] = 5
    policy.save(tmp_path / "p.safetensors")
    return str(tmp_path / "p.safetensors")
