"""What a scheduler's noise schedule says of each step: α, σ, the latents' scale, and what the network predicts.

Schedulers are known by class and configuration, each by what its own code does. Of any other nothing is assumed:
`read_schedule` refuses it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from videoada.errors import ConfigError
from videoada.skipping.rules.level import CLEAN, Level
from videoada.skipping.rules.prediction import PredictionType, read_prediction

KINDS: dict[str, PredictionType] = {
    "epsilon": "epsilon", "v_prediction": "v_prediction", "sample": "sample", "flow_prediction": "flow_prediction"
}  # fmt: skip
ADVICE = "give the pipeline a DDIM, DPM++, UniPC, Euler or flow-match Euler scheduler, or turn skipping off"


@dataclass(frozen=True)
class RunSchedule:
    """Of S steps: the level of each, S + 1 scales of the latents, what the network predicts, and the result's level.

    Latents over their scale are α·x₀ + σ·ε; `factor` times what the scheduler gets is the output of a network of
    `kind` for them. `unit` is x₀'s: the scheduler's x₀ is `unit` times ours.
    """

    levels: list[Level]
    scales: list[float]
    kind: PredictionType
    factor: float = 1.0
    unit: float = 1.0
    end: Level = CLEAN
    by_timestep: tuple[Level, ...] = ()  # where the scheduler may be given a timestep for each token, and goes by that

    def rescaled(self, latents: Tensor, step: int) -> Tensor:
        """Latents before a step, of any shape, at the scale that all steps share."""
        scale = self.scales[step]
        return latents if scale == 1 else latents / scale

    def read(self, output: Tensor) -> Tensor:
        """What the scheduler gets, as the output of a network of `kind`."""
        return output if self.factor == 1 else output * self.factor

    def written(self, output: Tensor) -> Tensor:
        """The output of a network of `kind` as the scheduler gets it."""
        return output if self.factor == 1 else output / self.factor

    def clean(self, output: Tensor, latents: Tensor, step: int) -> Tensor | None:
        """x̂₀ that `output`, as the scheduler gets it, says of the latents before a step, in the unit of the result.

        Float32; None where one is not of the other's shape.
        """
        if output.shape != latents.shape:
            return None
        level, sample = self.levels[step], self.rescaled(latents, step)
        return self.unit * read_prediction(step, self.read(output), sample, level, self.kind).x0

    def of_steps(self, indices: Sequence[int]) -> RunSchedule:
        """The schedule of the steps at these indices alone."""
        ends = [*indices, indices[-1] + 1] if indices else []
        end = self.levels[ends[-1]] if indices and ends[-1] < len(self.levels) else self.end
        return replace(self, levels=[self.levels[i] for i in indices], scales=[self.scales[i] for i in ends], end=end)

    def of_tokens(self) -> RunSchedule:
        """For pipelines that give the scheduler a timestep for each token, and the network's output times −1 (LTX)."""
        return replace(self, levels=list(self.by_timestep) or self.levels, factor=-self.factor)

    def of_clean(self) -> RunSchedule:
        """For pipelines that read x₀ out of the network's output themselves and give the scheduler that."""
        return replace(self, kind="sample", factor=1 / self.unit)


def read_schedule(scheduler: Any) -> RunSchedule:
    """The schedule for which the scheduler's timesteps are set. Raises ConfigError for a scheduler not known here."""
    read = _reader_of(scheduler)
    if read is None:
        raise ConfigError(f"{_name_of(scheduler)} is not a scheduler that skipping knows; {ADVICE}")
    return read(scheduler)


def check_scheduler(scheduler: Any) -> None:
    """Raises ConfigError for a scheduler whose steps can't be skipped, in words of its class and configuration."""
    name = _name_of(scheduler)
    if calls_twice(scheduler):
        raise ConfigError(
            f"{name} calls the network more than once a step, which step skipping can't count; use DDIM, DPM++, "
            "UniPC or Euler"
        )
    if _reader_of(scheduler) is None:
        raise ConfigError(f"{name} is not a scheduler that skipping knows; {ADVICE}")
    if reason := _unfit(scheduler):
        raise ConfigError(f"{name} with {reason} is not a configuration that skipping knows; {ADVICE}")


def _unfit(scheduler: Any) -> str | None:
    """What in the configuration gives steps or outputs another meaning."""
    config = scheduler.config
    kind = getattr(config, "prediction_type", None)
    if kind is not None and kind not in KINDS:
        return f"`prediction_type` {kind!r}"
    flow, straight = kind == "flow_prediction", _has(scheduler, "use_flow_sigmas")
    if _reader_of(scheduler) is not _of_straight_path and flow != straight:
        return f"`prediction_type` {kind!r} and {'' if straight else 'no '}`use_flow_sigmas`"
    if getattr(config, "stages", 1) != 1:
        return "several stages"
    if getattr(config, "scheduler_type", None) == "dmd":
        return "`scheduler_type` 'dmd'"
    if getattr(scheduler, "_scale_factors", None):
        return "`scale_factors`"
    return None


# ---- families of schedulers: what their latents are, read as their own code has it ----


def _of_alpha_bar(scheduler: Any) -> RunSchedule:
    """x = α·x₀ + σ·ε with α² = ᾱ_t, interpolated between timesteps; or with the σ/α of a chosen spacing; or σ of a
    straight path (UniPC and DPM++ as Wan has them)."""
    timesteps = np.asarray(scheduler.timesteps.tolist(), dtype=np.float64)
    if _has(scheduler, "use_flow_sigmas"):
        levels = [Level(1 - s, s) for s in _sigmas(scheduler)[: len(timesteps)]]
    elif any(_has(scheduler, f"use_{name}") for name in _SPACINGS):
        levels = [_at_equal_scale(s) for s in _sigmas(scheduler)[: len(timesteps)]]
    else:
        levels = noise_levels(scheduler, timesteps)
    return RunSchedule(levels, [1.0] * (len(levels) + 1), prediction_type(scheduler), end=_end_of(scheduler))


def _end_of(scheduler: Any) -> Level:
    """The level of the result: DDIM's may keep the noise of the first training step, DEIS's keeps its last σ."""
    if (kept := getattr(scheduler, "final_alpha_cumprod", None)) is not None:
        return Level(float(kept) ** 0.5, (1 - float(kept)) ** 0.5)
    if not hasattr(scheduler, "sigmas"):  # DDPM
        return CLEAN
    last = _sigmas(scheduler)[-1]
    return Level(1 - last, last) if _has(scheduler, "use_flow_sigmas") else _at_equal_scale(last)


def _of_plain_sum(scheduler: Any) -> RunSchedule:
    """x = x₀ + σ·ε (Euler): the network is given that over √(1 + σ²)."""
    sigmas = _sigmas(scheduler)
    levels = [_at_equal_scale(s) for s in sigmas[: len(scheduler.timesteps)]]
    scales = [float(np.sqrt(1 + s**2)) for s in sigmas]
    return RunSchedule(levels, scales, prediction_type(scheduler), end=_at_equal_scale(sigmas[-1]))


def _of_preconditioned(scheduler: Any) -> RunSchedule:
    """x = x₀ + σ·ε, the network's output weighted as in EDM (Karras et al., arXiv 2206.00364): v of x₀ in units of
    σ_data, turned where it is called ε."""
    unit, sigmas = float(scheduler.config.sigma_data), _sigmas(scheduler)
    scales = [float(np.hypot(unit, s)) for s in sigmas]
    levels = [
        Level(unit / scale, s / scale)
        for s, scale in zip(sigmas[: len(scheduler.timesteps)], scales, strict=False)
    ]  # fmt: skip
    factor = -1.0 if scheduler.config.prediction_type == "epsilon" else 1.0
    return RunSchedule(levels, scales, "v_prediction", factor, unit, _at_equal_scale(sigmas[-1] / unit))


def _of_straight_path(scheduler: Any) -> RunSchedule:
    """x = (1 − σ)·x₀ + σ·ε (flow matching); with inverted sigmas (Mochi) σ is the data's share and v is turned."""
    sigmas = _sigmas(scheduler)[: len(scheduler.timesteps)]
    inverted = _has(scheduler, "invert_sigmas")
    levels = [Level(s, 1 - s) if inverted else Level(1 - s, s) for s in sigmas]
    shares = [float(t) / scheduler.config.num_train_timesteps for t in scheduler.timesteps.tolist()]
    by_timestep = tuple(Level(1 - s, s) for s in shares)
    factor = -1.0 if inverted else 1.0
    return RunSchedule(levels, [1.0] * (len(levels) + 1), "flow_prediction", factor, by_timestep=by_timestep)


_SPACINGS = ("karras_sigmas", "exponential_sigmas", "beta_sigmas", "lu_lambdas")
_READERS: dict[str, Callable[[Any], RunSchedule]] = {
    **dict.fromkeys(
        ("DDIMScheduler", "DDIMParallelScheduler", "DDPMScheduler", "DDPMParallelScheduler", "CogVideoXDDIMScheduler",
         "CogVideoXDPMScheduler", "LCMScheduler", "TCDScheduler", "DPMSolverMultistepScheduler",
         "DPMSolverSinglestepScheduler", "DEISMultistepScheduler", "UniPCMultistepScheduler"),
        _of_alpha_bar,
    ),
    **dict.fromkeys(
        ("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "LMSDiscreteScheduler"), _of_plain_sum
    ),
    **dict.fromkeys(("EDMEulerScheduler", "EDMDPMSolverMultistepScheduler"), _of_preconditioned),
    **dict.fromkeys(
        ("FlowMatchEulerDiscreteScheduler", "FlowMatchLCMScheduler", "LTXEulerAncestralRFScheduler",
         "HeliosScheduler"),
        _of_straight_path,
    ),
}  # fmt: skip


def _reader_of(scheduler: Any) -> Callable[[Any], RunSchedule] | None:
    for kind in type(scheduler).__mro__:
        if kind.__name__ in _READERS:
            return _READERS[kind.__name__]
    return None


def _has(scheduler: Any, option: str) -> bool:
    """Whether an option is on; configurations made from another scheduler's also hold what this one does not know."""
    known = inspect.signature(type(scheduler).__init__).parameters
    return option in known and bool(getattr(scheduler.config, option, False))


def _name_of(scheduler: Any) -> str:
    return type(scheduler).__name__


def _sigmas(scheduler: Any) -> list[float]:
    return [float(s) for s in scheduler.sigmas.tolist()]


def _at_equal_scale(sigma: float) -> Level:
    return Level(float(1 / np.hypot(1, sigma)), float(sigma / np.hypot(1, sigma)))


def noise_levels(scheduler: Any, timesteps: Any) -> list[Level]:
    """√ᾱ_t and √(1 − ᾱ_t) at any timesteps of a scheduler with ᾱ, interpolated between its own."""
    alpha_bar = scheduler.alphas_cumprod.cpu().double().numpy()
    at_step = np.interp(np.asarray(timesteps, dtype=np.float64), np.arange(len(alpha_bar)), alpha_bar)
    return [Level(float(np.sqrt(a)), float(np.sqrt(1 - a))) for a in at_step]


def prediction_type(scheduler: Any) -> PredictionType:
    """What the network predicts, by the scheduler's configuration; ε where it says nothing."""
    return KINDS[getattr(scheduler.config, "prediction_type", None) or "epsilon"]


def calls_twice(scheduler: Any) -> bool:
    """PNDM, Heun, KDPM2, DPM-SDE: more than one network call for a step, or a step that comes twice."""
    return getattr(scheduler, "order", 1) > 1 or type(scheduler).__name__.startswith("PNDM")


def one_for_each_row(generators: list[Any], num_rows: int) -> list[Any]:
    """Generators of B videos for a scheduler that is given B·F rows, F frames of each video in turn.

    Sampled row by row from its video's generator, the noise is that of the video alone (exactly, where a row holds a
    multiple of 16 numbers: frames whose sides are multiples of 16 pixels).
    """
    frames = num_rows // len(generators)
    if len(generators) == 1 or frames <= 1:
        return generators
    return [generator for generator in generators for _ in range(frames)]
