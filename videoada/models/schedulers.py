"""Schedulers by name, made like the one that a checkpoint ships: nothing changes but what the name implies.

A name goes with the noise that the network was trained on: ᾱ of a diffusion, or the straight paths of flow matching.
What has a process of its own (CogVideoX's shifted signal-to-noise, SVD's continuous timesteps) goes with itself alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from videoada.config.frozen import one_of
from videoada.config.run import SCHEDULERS
from videoada.errors import ConfigError
from videoada.models.sources import quiet

Made = tuple[str, dict[str, Any]]  # a class of diffusers, and what of the configuration the name sets
DIFFUSION: dict[str, Made] = {
    "ddim": ("DDIMScheduler", {}),
    "dpm++": ("DPMSolverMultistepScheduler", {}),
    "dpm++-sde": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler-a": ("EulerAncestralDiscreteScheduler", {}),
}
FLOW: dict[str, Made] = {
    "dpm++": ("DPMSolverMultistepScheduler", {}),
    "dpm++-sde": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "euler": ("FlowMatchEulerDiscreteScheduler", {}),
}
COGVIDEO = {"CogVideoXDDIMScheduler": "ddim", "CogVideoXDPMScheduler": "dpm++"}
# Schedulers of the ᾱ of a diffusion with whole timesteps, between which any name may choose.
COMMON = ("DDIM", "DDPM", "PNDM", "LMSDiscrete", "Euler", "Heun", "KDPM2", "DPMSolver", "DEIS", "UniPC")


def make_scheduler(name: str, like: Any) -> Any:
    """The scheduler of that name with the configuration of `like`; nothing changes but what the name implies.

    Raises ConfigError for a name that does not go with what the network was trained on.
    """
    import diffusers

    own, config = type(like).__name__, dict(like.config)
    table = names_for(like)
    if one_of("scheduler", name, SCHEDULERS) not in table:
        fitting = f"choose {', '.join(table)}, or leave" if table else "leave"
        raise ConfigError(f"`scheduler={name}` does not go with this model's {own}: {fitting} it out")
    class_name, changes = table[name]
    if table is FLOW and class_name != own:
        changes = changes | _flow(config, class_name)
    with quiet():
        return getattr(diffusers, class_name).from_config(config, **changes)


def names_for(like: Any) -> dict[str, Made]:
    """The names that go with the noise process of a scheduler, each with what it makes."""
    own, config = type(like).__name__, dict(like.config)
    predicts_flow = config.get("prediction_type") == "flow_prediction"
    if own.startswith("FlowMatch") or predicts_flow or config.get("use_flow_sigmas"):
        return FLOW
    if own in COGVIDEO:
        return {COGVIDEO[own]: (own, {})}
    if not own.startswith(COMMON) or config.get("timestep_type") == "continuous":
        return {name: made for name, made in DIFFUSION.items() if made[0] == own}
    return DIFFUSION


def _flow(config: Mapping[str, Any], class_name: str) -> dict[str, Any]:
    """What says the same shift of a flow's noise levels in another class's words."""
    shift = config.get("shift", config.get("flow_shift", 1.0))
    if class_name.startswith("FlowMatch"):
        return {"shift": shift}
    return {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": shift}


@contextlib.contextmanager
def scheduler_of(pipe: Any, name: str | None) -> Iterator[Any]:
    """The pipeline with that scheduler for the length of the block; None leaves it as it is."""
    before = pipe.scheduler
    if name is not None:
        pipe.scheduler = make_scheduler(name, before)
    try:
        yield pipe.scheduler
    finally:
        pipe.scheduler = before
