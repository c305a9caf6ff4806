"""What exit heads learn from: calls of the network kept with their features, and the losses.

Losses of Tang et al. (arXiv 2309.17074, section 3.3). L_u = Σ_i ‖u_i − û_i‖² with û_i = tanh|g_i(L_i) − ε|, L_UAL =
Σ_i (1 − u_i)·‖g_i(L_i) − ε‖²; each a mean over elements here, so that they do not grow with the video. Heads that carry
on learn the same of what they carry on to, from pairs of calls of one run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from videoada.learned.exit_heads import ExitHeads, finest, in_rows, movement
from videoada.patching import replaced


@dataclass(frozen=True)
class Features:
    """Of one denoiser call: what each exit sees, and what the network answered. Rows R, frames F."""

    deep: list[Tensor]  # (R·F, C_i, h_i, w_i) at each exit
    fine: Tensor  # (R·F, S, H, W)
    time: Tensor  # (R·F, T)
    output: Tensor  # (R, C, F, H, W)

    @property
    def num_frames(self) -> int:
        frames: int = self.output.shape[2]
        return frames

    def to(self, dtype: torch.dtype, device: str | torch.device | None = None) -> Features:
        fine, time, output = (x.to(device, dtype) for x in (self.fine, self.time, self.output))
        return Features([x.to(device, dtype) for x in self.deep], fine, time, output)

    def rows(self, indices: list[int]) -> Features:
        """Those rows of the batch alone."""

        def some(x: Tensor) -> Tensor:
            return x.unflatten(0, (-1, self.num_frames))[indices].flatten(0, 1)

        return Features([some(x) for x in self.deep], some(self.fine), some(self.time), self.output[indices])


def joined(parts: list[Features]) -> Features:
    """The rows of all as one batch."""
    return Features(
        [torch.cat(each) for each in zip(*(p.deep for p in parts), strict=True)],
        torch.cat([p.fine for p in parts]), torch.cat([p.time for p in parts]), torch.cat([p.output for p in parts]),
    )  # fmt: skip


@contextmanager
def watched(unet: Any) -> Iterator[list[Features]]:
    """The UNet's calls run as they are; the list fills with the features of each, newest last.

    A call that early exit ends before the last exit has no features of all of them, and is left out.
    """
    found: list[Features] = []
    parts: dict[str, Any] = {}
    exits = [unet.mid_block, *list(unet.up_blocks)[:-1]]

    def network(inherited: Callable[..., Any], unet: Any, *args: Any, **kwargs: Any) -> Any:
        parts["deep"] = []
        result = inherited(*args, **kwargs)
        if len(parts["deep"]) == len(exits):
            output = result[0] if isinstance(result, tuple) else result.sample
            found.append(Features(parts["deep"], parts["fine"], parts["time"], output))
        return result

    def first_down(inherited: Callable[..., Any], block: Any, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        result = inherited(hidden_states, *args, **kwargs)
        parts["fine"] = finest(result[1], hidden_states)
        return result

    def at_exit(inherited: Callable[..., Any], block: Any, *args: Any, **kwargs: Any) -> Any:
        features = inherited(*args, **kwargs)
        parts["time"] = kwargs["temb"] if "temb" in kwargs else args[1]
        parts["deep"].append(features)
        return features

    with ExitStack() as stack:
        stack.enter_context(replaced(unet, "forward", network))
        stack.enter_context(replaced(unet.down_blocks[0], "forward", first_down))
        for block in exits:
            stack.enter_context(replaced(block, "forward", at_exit))
        yield found


def exit_losses(
    heads: ExitHeads, features: Features, target: Tensor, since: Features | None = None,
    timesteps: Tensor | None = None, guidance_scale: float | None = None,
) -> tuple[Tensor, Tensor, list[float]]:  # fmt: skip
    """(L_u, L_UAL, mean square error of each exit) against `target` (R, C, F, H, W).

    û_i teaches u_i and u_i weighs the errors, each without a gradient through the other: else a head could lower its
    loss by being unsure. For heads that carry on, `since` are the same rows at an earlier full call, `timesteps` (R,)
    before; errors are then in units of what has changed since, so that no step outweighs the others. With a guidance
    scale the rows are [unconditional …, conditional …] and the error is the guided one, for both halves.
    """
    frames, of_u, of_layers, errors = features.num_frames, [], [], []
    weight: Tensor | float = 1.0
    if since is not None:
        changed = guided(target - since.output, guidance_scale)
        weight = 1 / (changed.square().mean((1, 2, 3, 4), keepdim=True).sqrt() + 0.01)
    for i, (head, uncertainty, deep) in enumerate(zip(heads.heads, heads.uncertainties, features.deep, strict=True)):
        made, moved = head(deep, features.fine, features.time, frames), None
        if since is not None and timesteps is not None:
            change = made - head(since.deep[i], since.fine, since.time, frames)
            made, moved = since.output + change, movement(change.detach(), timesteps)
        error = guided(made - target, guidance_scale)
        u = uncertainty(deep, features.time, frames, moved)
        u = nn.functional.interpolate(u.flatten(0, 1)[:, None], target.shape[-2:], mode="bilinear")
        u = in_rows(u, frames)  # (R, 1, F, H, W)
        wanted = error.detach().abs().tanh().mean(1, keepdim=True)
        of_u.append((weight * (u - wanted).square()).mean())
        of_layers.append((weight * (1 - u.detach()) * error.square()).mean())
        errors.append(float(error.detach().square().mean()))
    return torch.stack(of_u).sum(), torch.stack(of_layers).sum(), errors


def guided(x: Tensor, guidance_scale: float | None) -> Tensor:
    """[unconditional …, conditional …] → the guided combination, once for each half."""
    if guidance_scale is None:
        return x
    without, conditional = x.chunk(2)
    together = without + guidance_scale * (conditional - without)
    return torch.cat([together, together])
