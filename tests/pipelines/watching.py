"""What a pipeline really does while it is called: network calls, their rows, scheduler steps; and a known right answer.

`ideal` puts into the scheduler what a network would predict whose data is a single video: then x̂₀ is the same at each
step, any predictor that holds or extrapolates x̂₀ is exact, and a run with skipped steps ends where the full run does if
and only if α, σ and the kind of prediction are right at every step.
"""

from __future__ import annotations

import functools
import inspect
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from videoada.models.denoisers import names_of_denoisers
from videoada.patching import replaced, unpatched


@dataclass
class Watched:
    """Of one block: the rows of each network call, and how many steps each scheduler took."""

    rows: list[int] = field(default_factory=list)
    by_scheduler: Counter[int] = field(default_factory=Counter)
    fail_at: int | None = None  # the network call that raises
    in_turn: bool = False
    first_steps: dict[str, int] = field(default_factory=dict)  # of each network

    @property
    def steps(self) -> int:
        """A pipeline with several schedulers, copies of one, steps each of them in each of its steps, or in turn."""
        taken = self.by_scheduler.values()
        return sum(taken) if self.in_turn else max(taken, default=0)


class StoppedError(Exception):
    """What `fail_at` raises."""


@contextmanager
def watched(pipe: Any, fail_at: int | None = None, in_turn: bool = False) -> Iterator[Watched]:
    """Counts below whatever wraps the networks and the scheduler; leaves both as they were."""
    seen = Watched(fail_at=fail_at, in_turn=in_turn)
    with ExitStack() as stack:
        for name in names_of_denoisers(pipe):
            network = getattr(pipe, name)
            network.forward = _counted(network.forward, name, seen)
            stack.callback(delattr, network, "forward")
        kind = unpatched(type(pipe.scheduler))
        own = kind.step

        @functools.wraps(own)
        def step(self: Any, *args: Any, **kwargs: Any) -> Any:
            seen.by_scheduler[id(self)] += 1
            return own(self, *args, **kwargs)

        kind.step = step
        stack.callback(setattr, kind, "step", own)
        yield seen


def _counted(forward: Any, name: str, seen: Watched) -> Any:
    @functools.wraps(forward)
    def counted(*args: Any, **kwargs: Any) -> Any:
        if len(seen.rows) == seen.fail_at:
            raise StoppedError
        first = next(value for value in (*args, *kwargs.values()) if isinstance(value, (Tensor, list)))
        seen.rows.append(len(first))
        seen.first_steps.setdefault(name, seen.steps)
        return forward(*args, **kwargs)

    return counted


@contextmanager
def ideal(pipe: Any, seen: Watched) -> Iterator[None]:
    """Inside a `skip_steps` block or without one: each step that the network was called for gets the right output.

    Steps that it was not called for keep what came: whoever skips them has to put something in its place.
    """
    calls = 0

    def step(inherited: Any, scheduler: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        computed, calls = len(seen.rows) > calls, len(seen.rows)
        if computed:
            given = inspect.signature(unpatched(type(scheduler)).step).bind(scheduler, *args, **kwargs)
            values = given.arguments
            output = right_output(scheduler, values["timestep"], values["sample"])
            if values.get("per_token_timesteps") is not None:  # these steps run the other way
                output = -output
            values["model_output"] = output.to(values["model_output"].dtype)
            args, kwargs = given.args[1:], given.kwargs
        return inherited(*args, **kwargs)

    with replaced(pipe.scheduler, "step", step):
        yield


def right_output(scheduler: Any, timestep: Any, sample: Tensor) -> Tensor:
    """What the network should predict for this sample, from the scheduler's own word on α and σ."""
    x0 = torch.randn(sample.shape, generator=torch.Generator().manual_seed(7))
    alpha, sigma = own_level(scheduler, timestep)
    kind = getattr(scheduler.config, "prediction_type", None)
    if kind is None and not hasattr(scheduler, "alphas_cumprod"):
        kind = "flow_prediction"
    if alpha == 1 and sigma > 0 and hasattr(scheduler, "sigmas") and kind != "flow_prediction":  # carries x₀ + σ·ε
        scale = (1 + sigma**2) ** 0.5
        alpha, sigma, sample = 1 / scale, sigma / scale, sample / scale
    if getattr(scheduler.config, "invert_sigmas", False):  # Mochi's σ says how much of x₀ there is; v = x₀ − ε
        return x0 - (sample.float() - sigma * x0) / alpha
    noise = (sample.float() - alpha * x0) / sigma
    return {"flow_prediction": noise - x0, "v_prediction": alpha * noise - sigma * x0, "sample": x0}.get(kind, noise)


def own_level(scheduler: Any, timestep: Any) -> tuple[float, float]:
    """(α, σ) of x = α·x₀ + σ·ε, as the scheduler itself adds noise."""
    add = getattr(scheduler, "add_noise", None)
    t = torch.as_tensor(timestep).reshape(-1)[:1]
    one, nothing = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    if add is not None:
        return float(add(one, nothing, t)), float(add(nothing, one, t))
    return float(scheduler.scale_noise(one, t, nothing)), float(scheduler.scale_noise(nothing, t, one))


def tensors_of(result: Any) -> list[Tensor]:
    """All tensors that a pipeline returned, as float64."""
    if isinstance(result, Tensor):
        return [result.detach().double()]
    if isinstance(result, dict):
        result = list(result.values())
    if isinstance(result, (list, tuple)):
        return [tensor for item in result for tensor in tensors_of(item)]
    return [torch.as_tensor(result).double()] if hasattr(result, "shape") else []
