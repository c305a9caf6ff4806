"""Caches inside the network (diffusers' `enable_cache`), whose state is of the whole batch: what goes with them."""

from __future__ import annotations

from typing import Any

from videoada.config.run import SkipConfig
from videoada.errors import ConfigError
from videoada.skipping.rules.decision import Policy


def active_cache(network: Any, look_inside: bool = True) -> str | None:
    """The name of a cache that is on for a network; None without one.

    A look inside also finds what was hooked to its modules without `enable_cache`. It walks all of them: milliseconds.
    """
    config = getattr(network, "_cache_config", None)
    if config is not None:
        return type(config).__name__.removesuffix("Config")
    for module in network.modules() if look_inside and hasattr(network, "modules") else ():
        registry = getattr(module, "_diffusers_hook", None)
        for hook in getattr(registry, "hooks", {}).values():
            if getattr(hook, "_is_stateful", False):
                return type(hook).__name__.removesuffix("Hook")
    return None


def check_cache(network: Any, num_prompts: int, policy: Policy, config: SkipConfig) -> None:
    """Raises ConfigError where a cache is on and the network would be called with some of the batch's rows.

    With one prompt, or one decision for all, each call is of all rows or is not made.
    """
    apart = num_prompts > 1 and getattr(policy, "batch_decision", None) == "prompt"
    if not apart and not config.guidance_tolerance:
        return
    name = active_cache(network)
    if name is None:
        return
    if apart:
        raise ConfigError(
            f"{name} keeps one state for the whole batch, and {num_prompts} prompts would skip apart: give "
            "`batch_decision=any`, one prompt a call, or turn the cache off (`disable_cache()`)"
        )
    raise ConfigError(
        f"{name} keeps one state for both guidance halves: leave out `guidance_tolerance`, or turn the cache off "
        "(`disable_cache()`)"
    )


def check_rows(network: Any, look_inside: bool) -> None:
    """Raises ConfigError where a cache is on: call it before a network is called with some of the batch's rows."""
    name = active_cache(network, look_inside)
    if name is not None:
        raise ConfigError(
            f"{name} keeps one state for the whole batch, and this policy's prompts skip apart: decide for all at "
            "once, give one prompt a call, or turn the cache off (`disable_cache()`)"
        )
