"""early_exit(): the UNet leaves at the first exit whose mean uncertainty is below a threshold, prompt by prompt.

The layers behind an exit are not run for the prompts that have left, and not at all when all have: blocks are replaced
for the length of a `with`. (The paper's released code runs every layer and chooses afterwards.) Heads with a
`horizon` start from each row's last full call; a row that has none within the horizon runs all layers.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from videoada.errors import ConfigError
from videoada.learned.exit_costs import counting
from videoada.learned.exit_heads import ExitHeads, finest, movement
from videoada.models.denoisers import is_compiled
from videoada.patching import replaced
from videoada.skipping.rows import current_rows

Choice = Callable[[int, int, Sequence[int]], Sequence[bool]]  # call, exit, prompts still here → which leave


class _NobodyLeftError(Exception):
    """Raised when no row is left, so that the rest of the UNet's forward is not run."""


@dataclass
class ExitTrace:
    """Where each prompt of each denoiser call left: the exit's number, or `num_exits` for the full network."""

    num_exits: int
    threshold: float
    counted: list[float] = field(default_factory=list)
    calls: list[list[int]] = field(default_factory=list)  # for each call, for each of its prompts
    uncertainties: list[list[list[float]]] = field(default_factory=list)  # … at each exit that it came to
    maps: list[dict[int, Tensor]] | None = None  # on demand: exit → (rows, F, h, w)
    count: Callable[[], list[float]] | None = None  # once a call has shown the shapes

    @property
    def costs(self) -> list[float]:
        """Share of a full call's multiply-adds for leaving at each exit, the last one for running all layers. Counted
        on first access, as counting takes as long as some calls and is no part of a run's time."""
        if not self.counted and self.count is not None:
            self.counted = self.count()
        return self.counted

    def share(self, calls: Sequence[int]) -> float:
        """Mean share of multiply-adds over exits taken."""
        return sum(self.costs[i] for i in calls) / len(calls) if calls else 1.0


@contextmanager
def early_exit(
    unet: Any,
    heads: ExitHeads,
    threshold: float,
    *,
    choose: Choice | None = None,
    keep_maps: bool = False,
    guided: bool | None = None,
) -> Iterator[ExitTrace]:
    """The UNet with exits, for the length of the block; yields where each call's prompts left.

    A prompt's two guidance halves leave together, by the mean over both; `guided` says whether a batch has them (None:
    if its halves are of equal latents). Threshold 0 leaves the UNet as it is: nothing could be below. `choose` decides
    instead of the uncertainty (for baselines). Raises ConfigError for a threshold outside [0, 1], or a UNet that is
    compiled or moved about.
    """
    if not 0 <= threshold <= 1:
        raise ConfigError(f"the exit threshold must be between 0 and 1, got {threshold}")
    if is_compiled(unet):
        raise ConfigError("early exit replaces blocks of the UNet, which `compile` has frozen: leave one of them out")
    if any(hasattr(module, "_hf_hook") for module in unet.modules()):
        raise ConfigError("early exit replaces blocks of the UNet, which `offload` moves about: leave one of them out")
    trace = ExitTrace(len(heads.heads), threshold, maps=[] if keep_maps else None)
    if threshold == 0 and choose is None:
        yield trace
        return
    run = _Exits(unet, heads, threshold, choose, guided, trace)
    with ExitStack() as stack:
        stack.enter_context(replaced(unet, "forward", run.network))
        stack.enter_context(replaced(unet.down_blocks[0], "forward", run.first_down))
        stack.enter_context(replaced(unet.mid_block, "forward", run.middle))
        for i, block in enumerate(unet.up_blocks):
            stack.enter_context(replaced(block, "forward", functools.partial(run.up, i)))
        yield trace


@dataclass
class _Past:
    """For each row of the batch, its last full call: timestep, output of the network, and outputs of the heads."""

    timesteps: list[float]  # infinite for a row that had none
    outputs: Tensor
    made: dict[int, Tensor]  # by exit


class _Exits:
    """The state of one call: which rows still run, and the outputs of those that left."""

    def __init__(
        self, unet: Any, heads: ExitHeads, threshold: float, choose: Choice | None, guided: bool | None,
        trace: ExitTrace,
    ):  # fmt: skip
        self.heads, self.threshold, self.choose, self.guided, self.trace = heads, threshold, choose, guided, trace
        self.last = len(unet.up_blocks) - 1
        self.fine: Tensor
        self.past: _Past | None = None
        self.num_rows, self.timestep, self.paired = 0, 0.0, False

    def network(
        self, plain: Callable[..., Any], unet: Any, sample: Tensor, timestep: Any, *args: Any, **kwargs: Any
    ) -> Any:
        self._begin(sample, timestep)
        if self.trace.count is None:
            self.trace.count = counting(unet, self.heads, sample, *args, **kwargs)
        try:
            result = plain(sample, timestep, *args, **kwargs)
        except _NobodyLeftError:
            result = None
        return self._merged(result, kwargs.get("return_dict", True))

    def first_down(
        self, plain: Callable[..., Any], block: Any, hidden_states: Tensor, *args: Any, **kwargs: Any
    ) -> Any:
        result = plain(hidden_states, *args, **kwargs)
        self.fine = finest(result[1], hidden_states)
        return result

    def middle(
        self, plain: Callable[..., Any], block: Any, hidden_states: Tensor, temb: Tensor, *args: Any, **kwargs: Any
    ) -> Any:
        self.time = temb
        return self._at_exit(0, plain(hidden_states, temb, *args, **kwargs))

    def up(self, index: int, plain: Callable[..., Any], block: Any, **kwargs: Any) -> Any:
        kwargs["temb"] = self._here(kwargs["temb"])
        kwargs["res_hidden_states_tuple"] = tuple(self._here(x) for x in kwargs["res_hidden_states_tuple"])
        if kwargs.get("encoder_hidden_states") is not None:
            kwargs["encoder_hidden_states"] = self._here(kwargs["encoder_hidden_states"])
        features = plain(**kwargs)
        return features if index == self.last else self._at_exit(index + 1, features)

    def _begin(self, sample: Tensor, timestep: Any) -> None:
        rows, self.num_frames = sample.shape[0], sample.shape[2]
        self.numbers, num_rows = current_rows(rows)  # of the batch's rows, those that this call is for
        if rows == num_rows:
            half = rows // 2
            self.paired = bool(rows % 2 == 0 and torch.equal(sample[:half], sample[half:]))
        if self.guided is not None:
            self.paired = self.guided
        before, self.timestep = self.timestep, float(torch.as_tensor(timestep).flatten()[0])
        if self.timestep >= before or num_rows != self.num_rows:  # another generation
            self.past = None
        self.num_rows, prompts = num_rows, num_rows // 2 if self.paired else num_rows
        of_prompt: dict[int, list[int]] = {}
        for row, number in enumerate(self.numbers):
            of_prompt.setdefault(number % prompts, []).append(row)
        self.prompts = [tuple(of_prompt[i]) for i in sorted(of_prompt)]
        self.rows = list(range(rows))  # still on their way
        self.left: dict[int, Tensor] = {}  # row → what it left with
        self.made: dict[int, tuple[list[int], Tensor]] = {}  # at each exit asked, rows and what its head says of them
        self.trace.calls.append([self.trace.num_exits] * len(self.prompts))
        self.trace.uncertainties.append([[] for _ in self.prompts])
        if self.trace.maps is not None:
            self.trace.maps.append({})

    def _here(self, x: Tensor) -> Tensor:
        """Of (R·F, …), the frames of the rows that are still here."""
        return x if len(self.rows) * self.num_frames == len(x) else self._of(x, self.rows)

    def _at_exit(self, exit: int, features: Tensor) -> Tensor:
        if exit not in self.heads.asked:
            return features
        here = [i for i, rows in enumerate(self.prompts) if rows[0] in self.rows]
        time, fine = self._here(self.time), self._here(self.fine)
        may, carried, moved = set(here), None, None
        if self.heads.horizon:
            made = self.heads.heads[exit](features, fine, time, self.num_frames)
            self.made[exit] = self.rows, made
            carried, moved, known = self._carried(exit, made)
            may = {i for i in here if known.issuperset(self.prompts[i])}
        means = self._uncertain(exit, features, time, moved, here, may)
        for i, mean in zip(here, means, strict=True):
            self.trace.uncertainties[-1][i].append(mean)
        if self.choose is not None:
            leaves = self.choose(len(self.trace.calls) - 1, exit, here)
        else:
            leaves = [mean < self.threshold for mean in means]
        leaving = [i for i, leave in zip(here, leaves, strict=True) if leave and i in may]
        if not leaving:
            return features
        for i in leaving:
            self.trace.calls[-1][i] = exit
        gone = {row for i in leaving for row in self.prompts[i]}
        positions = [position for position, row in enumerate(self.rows) if row in gone]
        if carried is not None:
            answers = carried[positions]
        else:
            picked, finest_of, times = (self._of(x, positions) for x in (features, fine, time))
            answers = self.heads.heads[exit](picked, finest_of, times, self.num_frames)
        self.left |= {self.rows[position]: answers[k] for k, position in enumerate(positions)}
        staying = [position for position in range(len(self.rows)) if position not in positions]
        self.rows = [self.rows[position] for position in staying]
        if not self.rows:
            raise _NobodyLeftError
        return self._of(features, staying)

    def _carried(self, exit: int, made: Tensor) -> tuple[Tensor, Tensor | None, set[int]]:
        """Predictions that start from each row's last full call, their `movement`, and the rows within the horizon."""
        numbers = [self.numbers[row] for row in self.rows]
        ages = [self.past.timesteps[n] - self.timestep for n in numbers] if self.past else [math.inf] * len(numbers)
        near = {row for row, age in zip(self.rows, ages, strict=True) if age <= self.heads.horizon}
        if self.past is None or not near:
            return made, None, near
        change = made - _some(self.past.made[exit], numbers)
        moved = movement(change, torch.tensor(ages).clamp_max(1e3))  # a number also for rows that had no such call
        return _some(self.past.outputs, numbers) + change, moved, near

    def _uncertain(
        self, exit: int, features: Tensor, time: Tensor, moved: Tensor | None, here: list[int], may: set[int]
    ) -> list[float]:
        """Mean uncertainty of each prompt here; 1 for those that may not leave."""
        if not may:
            return [1.0] * len(here)
        uncertainty = self.heads.uncertainties[exit](features, time, self.num_frames, moved)  # (rows here, F, h, w)
        if self.trace.maps is not None:
            self.trace.maps[-1][exit] = uncertainty.float().cpu()
        of_row = dict(zip(self.rows, uncertainty.float().mean((1, 2, 3)).tolist(), strict=True))
        return [sum(of_row[row] for row in self.prompts[i]) / len(self.prompts[i]) if i in may else 1.0 for i in here]

    def _remember(self, full: Tensor) -> None:
        """Keep the present call for the rows that ran all layers."""
        past = self.past or _Past([math.inf] * self.num_rows, full.new_zeros(self.num_rows, *full.shape[1:]), {})
        numbers = [self.numbers[row] for row in self.rows]
        for number in numbers:
            past.timesteps[number] = self.timestep
        past.outputs = _put(past.outputs, numbers, full)
        for exit, (rows, made) in self.made.items():
            stayed = made if rows == self.rows else made[[rows.index(row) for row in self.rows]]
            past.made[exit] = _put(past.made.get(exit, torch.zeros_like(past.outputs)), numbers, stayed)
        self.past = past

    def _of(self, x: Tensor, positions: list[int]) -> Tensor:
        """Of (R·F, …), the frames of some of the rows."""
        return x.unflatten(0, (-1, self.num_frames))[positions].flatten(0, 1)

    def _merged(self, result: Any, as_object: bool) -> Any:
        """The network's output with the rows that left early put back in order."""
        rows = self.left.copy()
        if result is not None:
            full = result[0] if isinstance(result, tuple) else result.sample
            rows |= {row: full[k] for k, row in enumerate(self.rows)}
            if self.heads.horizon:
                self._remember(full)
        if not self.left:
            return result
        sample = torch.stack([rows[i] for i in sorted(rows)])
        if not as_object:
            return (sample,)
        from diffusers.models.unets.unet_3d_condition import UNet3DConditionOutput

        return UNet3DConditionOutput(sample=sample)


def _some(x: Tensor, numbers: list[int]) -> Tensor:
    """Rows of a batch; all of them as they are."""
    return x if len(numbers) == len(x) else x[numbers]


def _put(x: Tensor, numbers: list[int], values: Tensor) -> Tensor:
    """The batch with other values in some rows; what it was before may still be in use elsewhere."""
    if len(numbers) == len(x):
        return values
    x = x.clone()
    x[numbers] = values
    return x
