"""Early exit for a pipeline: which heads, for how long, and what a record says of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from videoada.config.run import SkipConfig
from videoada.errors import ModelError
from videoada.learned.exit_heads import ExitHeads
from videoada.learned.exit_network import ExitTrace
from videoada.learned.exit_network import early_exit as exits_of_unet
from videoada.learned.parts import EXIT_HEADS
from videoada.models.pipelines import model_info

DEFAULT_THRESHOLD = 0.1  # of heads that were never tuned


def _unet_of(pipe: Any) -> Any:
    """Raises ModelError for a pipeline without one."""
    unet = getattr(pipe, "unet", None)
    if unet is None:
        raise ModelError(f"{type(pipe).__name__} has no unet; early exit knows no other denoiser")
    return unet


def find_heads(pipe: Any, path: str | Path | None = None) -> ExitHeads:
    """The heads of a file, or those shipped for this model; read once for each network. Raises ModelError."""
    unet = _unet_of(pipe)
    weights = model_info(pipe).weights_sha256
    return EXIT_HEADS.find(pipe, unet, path, lambda file: ExitHeads.load(file, unet, weights))


@contextmanager
def early_exit(
    pipe: Any, threshold: float | None = None, heads: str | Path | ExitHeads | None = None, **options: Any
) -> Iterator[ExitTrace]:
    """Every denoiser call of the pipeline leaves at the first exit that is sure enough; yields where they left.

    `threshold` in [0, 1] (None: what the heads were tuned to; 0: nowhere, bit for bit the plain pipeline) is held
    against the mean uncertainty of each prompt; `heads` are a file's, or those shipped for the model. Goes inside or
    outside `skip_steps`. Raises ModelError for heads of another network, ConfigError for a threshold out of range.
    """
    unet = _unet_of(pipe)
    found = heads if isinstance(heads, ExitHeads) else find_heads(pipe, heads)
    if threshold is None:
        threshold = DEFAULT_THRESHOLD if found.threshold is None else found.threshold
    with exits_of_unet(unet, found, threshold, **options) as trace:
        yield trace


@contextmanager
def exits_of(
    pipe: Any, skip: SkipConfig, guided: bool | None = None, heads: ExitHeads | None = None
) -> Iterator[ExitTrace | None]:
    """Inside the block, early exit as `skip` configures it, if at all; `heads` saves loading them again."""
    if not skip.early_exit:
        yield None
        return
    with early_exit(pipe, skip.exit_threshold, heads or skip.exit_heads, guided=guided) as trace:
        yield trace


def exits_by_step(trace: ExitTrace, computed: Sequence[Sequence[bool]], prompt: int) -> list[int | None]:
    """For each step of a prompt, the exit that its call took; None for a skipped step. `computed` is of the batch."""
    calls = iter(trace.calls)
    found: list[int | None] = []
    for step in range(len(computed[prompt])):
        asked = [i for i in range(len(computed)) if computed[i][step]]
        exits = next(calls, None) if asked else None
        if prompt not in asked:
            found.append(None)
        else:  # at threshold 0 no call was watched, and all were full calls
            found.append(trace.num_exits if exits is None else exits[asked.index(prompt)])
    return found


def exit_record(trace: ExitTrace, computed: Sequence[Sequence[bool]], prompt: int) -> dict[str, Any]:
    """A record's `early_exit`: where each step left, and the share of a full call's multiply-adds that ran."""
    steps = exits_by_step(trace, computed, prompt)
    taken = [exit for exit in steps if exit is not None]
    return {
        "threshold": trace.threshold, "num_exits": trace.num_exits, "steps": steps,
        "macs": round(trace.share(taken), 4) if taken and trace.costs else 1.0,
    }  # fmt: skip
