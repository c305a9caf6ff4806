"""A configuration's policy and predictor: the two registries, and the one file here that knows configurations."""

from __future__ import annotations

from collections.abc import Callable

from videoada.config.run import SkipConfig
from videoada.skipping.rules.budget import Budget
from videoada.skipping.rules.decision import EveryN, Mask, Never, Policy
from videoada.skipping.rules.error_controlled import ErrorControlled
from videoada.skipping.rules.predictors import Hold, HoldOutput, Linear, LinearEps, Predictor, Taylor2
from videoada.skipping.rules.third_order import ThirdOrder, ThirdOrderRelease

PREDICTORS: dict[str, Callable[[float | None], Predictor]] = {
    "hold": lambda damping: Hold(),
    "hold-output": lambda damping: HoldOutput(),
    "linear": Linear,
    "linear-eps": LinearEps,
    "taylor2": Taylor2,
}


def build_policy(config: SkipConfig) -> Policy:
    """The policy that a configuration names. Threshold or tolerance 0 is `none`, before any rule is asked."""
    if config.threshold == 0 or config.tolerance == 0:
        return Never()
    numbers = config.max_skip_steps or 1, config.warmup_steps or 1, config.final_steps or 0
    limits = *numbers, config.batch_decision, config.skip_from, config.skip_to
    own = config.warmup_steps, *limits[2:]  # None: these two rules have a way of their own to begin
    match config.policy:
        case "error-controlled":
            return ErrorControlled(config.tolerance or 0, limits[0], *own)
        case "budget":
            return Budget(config.num_predictions or 1, *own)
        case "every-n":
            return EveryN(config.every or 1)
        case "mask":
            return Mask(config.mask or ())
        case "third-order":
            return ThirdOrder(config.threshold or 0, *limits)
        case "third-order-release":
            return ThirdOrderRelease(config.threshold or 0, *limits)
        case _:
            return Never()


def build_predictor(config: SkipConfig) -> Predictor:
    """The predictor that a configuration names: what approximates the network's output on skipped steps."""
    return PREDICTORS[config.predictor](config.damping)
