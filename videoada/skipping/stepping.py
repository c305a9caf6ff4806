"""Stepping: what happens at each denoiser call and each scheduler step inside a `skip_steps` block.

A run begins where the pipeline sets the timesteps. Within a step the denoiser may be called once with both guidance
halves, or once for each. On a skipped step it returns the last rows, which `Correction` exchanges for an approximation
at the scheduler's step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from videoada.config.run import SkipConfig
from videoada.errors import ConfigError
from videoada.skipping.clock import Clock
from videoada.skipping.correction import Correction
from videoada.skipping.halves import GuidedHalves
from videoada.skipping.rows import called_for, rows_of, select_rows, take_output
from videoada.skipping.rules.decision import Decision, Never, Policy, SkipState
from videoada.skipping.rules.level import Level
from videoada.skipping.rules.predictors import Predictor
from videoada.skipping.schedule import RunSchedule, one_for_each_row, read_schedule
from videoada.skipping.trace import StepTrace

StepCallback = Callable[[int, int, tuple[bool, ...]], None]  # step, number of steps, computed for each prompt
LatentsCallback = Callable[[int, Tensor], None]  # step, latents after it: (B, N), one row for each prompt


class Stepping:
    """The state of one `with`: forgotten when a new generation sets its timesteps and when the block is left."""

    def __init__(
        self, policy: Policy, predictor: Predictor, config: SkipConfig, on_step: StepCallback | None,
        on_latents: LatentsCallback | None,
    ):  # fmt: skip
        self.policy, self.config = policy, config
        self.on_step, self.on_latents = on_step, on_latents
        self.trace = StepTrace(config)
        self.clock = Clock(self.trace)
        self.correction = Correction(config, policy, predictor)
        self.forget()

    def forget(self) -> None:
        self.step = 0
        self.num_prompts = 0  # unknown until the first scheduler step
        self.schedule = RunSchedule([], [], "epsilon")  # no steps: outside a denoising loop
        self.latents: list[Tensor] = []  # (B, N), newest last, at most policy.num_latents
        self.latent_levels: list[Level] = []
        self.correction.forget()
        self.halves = GuidedHalves(self.config)
        self.held: dict[int, Tensor] = {}  # the last rows of the n-th denoiser call of a step
        self.rebuild: dict[int, Callable[[Tensor], Any]] = {}  # puts a tensor into what that call returned
        self.calls = 0  # denoiser calls since the last scheduler step
        self.numel = 0  # of the denoiser's outputs within this step
        self.rows = 0
        self.kept_share = 1  # 2 for networks whose second half of channels never reaches the scheduler
        self.decision: Decision | None = None

    # ---- the scheduler ----

    def on_set_timesteps(self, inherited: Callable[..., Any], scheduler: Any, *args: Any, **kwargs: Any) -> Any:
        result = inherited(*args, **kwargs)
        self.forget()
        num_steps = len(scheduler.timesteps)
        if self.config.mask and len(self.config.mask) != num_steps:
            raise ConfigError(f"the mask has {len(self.config.mask)} entries but the run has {num_steps} steps")
        self.schedule = read_schedule(scheduler)
        self.trace.begin(num_steps)
        return result

    def on_scheduler_step(
        self, inherited: Callable[..., Any], scheduler: Any, model_output: Tensor, timestep: Any, sample: Tensor,
        *args: Any, **kwargs: Any,
    ) -> Any:  # fmt: skip
        if self.step == 0:
            self.num_prompts = self._count_prompts(model_output)
            self.correction.begin(self.schedule, self.num_prompts)
            self._observe(sample, 0)
            self.halves.learn_scale(model_output, self.held, self.num_prompts)
        generators = kwargs.get("generator")
        if isinstance(generators, list):
            kwargs["generator"] = one_for_each_row(generators, len(sample))
        decision = self.decision or Decision.all(self._state())
        if len(decision.compute) != self.num_prompts:  # the first step did not know yet how many prompts there are
            decision = Decision.all(self._state())
        if not isinstance(self.policy, Never):

            def take(outputs: Tensor, x: Tensor) -> Any:
                with self.clock.own():  # a step taken again is the skipping's cost
                    return inherited(outputs, timestep, x, *args, **kwargs)

            model_output, sample, corrected = self.correction.outputs(
                scheduler, self.step, model_output, sample, decision.compute
            )
            self._observe_again(corrected)
            self.correction.keep(scheduler, self.step, model_output, sample, take, kwargs.get("generator"))
        result = inherited(model_output, timestep, sample, *args, **kwargs)
        latents = result[0] if isinstance(result, tuple) else result.prev_sample
        self.correction.rewind.took(latents)
        self._observe(latents, self.step + 1)
        self.trace.add(decision, self.rows * self.calls, self.halves.alone)
        self.step += 1
        self.calls, self.numel, self.decision, self.halves.alone = 0, 0, None, frozenset()
        with self.clock.callers():
            if self.on_latents:
                self.on_latents(self.step - 1, self._flat(latents.detach()))
            if self.on_step:
                self.on_step(self.step - 1, len(self.schedule.levels), decision.compute)
        return result

    def _flat(self, tensor: Tensor) -> Tensor:
        return tensor.reshape(self.num_prompts, -1)

    def _count_prompts(self, model_output: Tensor) -> int:
        """Rows of one denoiser call ÷ its guidance halves, which are its outputs ÷ what reached the scheduler.

        A network that also predicts the noise's variance gives twice the channels, of which half reaches it.
        """
        halves: int = max(self.numel // self.kept_share // model_output.numel() // max(self.calls, 1), 1)
        return max(self.rows // halves, 1)

    def _observe(self, latents: Tensor, index: int) -> None:
        if self.policy.num_latents:
            self.latents.append(self.schedule.rescaled(self._flat(latents.detach()), index))
            # after the last step there is no level, and no decision either
            self.latent_levels.append(self.schedule.levels[min(index, len(self.schedule.levels) - 1)])
            del self.latents[: -self.policy.num_latents], self.latent_levels[: -self.policy.num_latents]

    def _observe_again(self, corrected: list[Tensor]) -> None:
        """A policy sees the corrected latents, too: those before the present step, before the one before it, …"""
        for back in range(1, min(len(self.latents), len(corrected)) + 1):
            self.latents[-back] = self.schedule.rescaled(self._flat(corrected[-back]), self.step + 1 - back)

    # ---- the denoiser ----

    def on_denoiser_call(self, inherited: Callable[..., Any], denoiser: Any, *args: Any, **kwargs: Any) -> Any:
        if self.step >= len(self.schedule.levels):  # outside a denoising loop: not ours
            return inherited(*args, **kwargs)
        call, self.calls = self.calls, self.calls + 1
        if call == 0:
            self.decision = self.policy.decide(self._state())
        if call not in self.held:
            self.decision = Decision.all(self._state())  # nothing to hold yet
        assert self.decision is not None
        compute, level = self.decision.compute, self.schedule.levels[self.step]
        alone = self.halves.conditional_alone(compute, level, self.schedule.kind) if call == 0 else frozenset()

        if all(compute) and not alone:
            result = inherited(*args, **kwargs)
            output, self.rebuild[call] = take_output(result)
            self.rows, self.numel = len(output), self.numel + output.numel()
            channels = getattr(denoiser, "config", None)
            ins, outs = (getattr(channels, name, None) for name in ("in_channels", "out_channels"))
            self.kept_share = 2 if ins and outs == 2 * ins else 1
            if not isinstance(self.policy, Never):
                self.held[call] = output
                self.halves.remember(output, compute, level)
            self.trace.unet_rows += len(output)
            return result

        held = self.held[call].clone()
        if any(compute):
            rows = rows_of(compute, len(held), held.device, without_first_half=alone)
            args, kwargs = select_rows(args, kwargs, rows, len(held))
            with called_for(rows, len(held)):
                output, _ = take_output(inherited(*args, **kwargs))
            held[rows] = output
            self.halves.fill(held, alone, level)
            self.halves.remember(held, tuple(c and i not in alone for i, c in enumerate(compute)), level)
            self.trace.unet_rows += len(output)
        self.held[call] = held
        return self.rebuild[call](held)

    def _state(self) -> SkipState:
        prompts = self.num_prompts or 1
        return SkipState(
            self.step,
            len(self.schedule.levels),
            prompts,
            tuple(self.latents),
            self.trace.skipped_in_a_row(prompts),
            tuple(self.latent_levels),
            tuple(tuple(past) for past in self.correction.past),
            tuple(self.schedule.levels),
        )
