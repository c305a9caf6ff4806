"""Stepping: what happens at each denoiser call and each scheduler step inside a `skip_steps` block.

A loop begins where the pipeline sets the timesteps. Within a step the denoiser may be called once with both guidance
halves, or several times. On a skipped step it returns the last rows, which `Correction` exchanges for an approximation
at the scheduler's step. Where the calls change (guidance turned off midway, the second of two networks), the histories
begin again, with a warm-up of their own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from torch import Tensor

from videoada.config.run import SkipConfig
from videoada.errors import ConfigError, counted
from videoada.models.denoisers import is_compiled
from videoada.skipping.caches import check_cache, check_rows
from videoada.skipping.calls import MOST_CALLS, DenoiserCalls
from videoada.skipping.clock import Clock
from videoada.skipping.correction import Correction
from videoada.skipping.halves import GuidedHalves
from videoada.skipping.loop import Loop
from videoada.skipping.rows import (
    batch_of,
    called_for,
    can_be_cut,
    count_prompts,
    names_of_arguments,
    rows_of,
    select_rows,
)
from videoada.skipping.rules.budget import Budget
from videoada.skipping.rules.decision import Decision, Policy, SkipState
from videoada.skipping.rules.level import Level
from videoada.skipping.rules.predictors import Predictor
from videoada.skipping.rules.window import check_budget
from videoada.skipping.schedule import RunSchedule, read_schedule
from videoada.skipping.step_call import Listeners, StepArguments, StepCall, carried_of, latents_of
from videoada.skipping.trace import StepTrace


class Stepping:
    """The state of one `with`: forgotten when a new loop sets its timesteps and when the block is left."""

    def __init__(self, policy: Policy, predictor: Predictor, config: SkipConfig, listeners: Listeners):
        self.policy, self.config, self.listeners = policy, config, listeners
        self.trace = StepTrace(config)
        self.clock = Clock(self.trace)
        self.correction = Correction(config, policy, predictor)
        looks = getattr(policy, "num_predictions", 0), getattr(policy, "warmup_steps", None) or 1
        # where histories begin again, but for a budget, which may have nothing left for that
        self.warmup_steps = 0 if isinstance(policy, Budget) else max(policy.num_latents - 1, *looks)
        self.forget()

    def forget(self) -> None:
        self.loop: Loop | None = None
        self.step = 0
        self._begin_histories()

    def _begin_histories(self) -> None:
        self.begun = self.step
        self.restart = False
        self.num_prompts = 0  # unknown until the next scheduler step
        self.latents: list[Tensor] = []  # (B, N), newest last, at most policy.num_latents
        self.latent_levels: list[Level] = []
        self.correction.forget()
        self.halves = GuidedHalves(self.config)
        self.calls = DenoiserCalls()
        self.cut: set[int] = set()  # networks that were called with some of the rows
        self.decision: Decision | None = None

    @property
    def schedule(self) -> RunSchedule:
        assert self.loop is not None
        assert self.loop.schedule is not None
        return self.loop.schedule

    # ---- the scheduler ----

    def begin_loop(self, scheduler: Any, steps_said: Callable[[], int | None]) -> None:
        """Call it when the scheduler's timesteps were set. Raises ConfigError for a mask or a budget that can't fit."""
        self.forget()
        self.loop = Loop(scheduler, read_schedule(scheduler), steps_said)
        self.before = len(self.trace.decisions)  # of earlier loops
        self.step_takes = StepArguments(scheduler.step)
        if self.config.mask and len(self.config.mask) > self.loop.num_steps:
            raise _wrong_mask(self.config.mask, self.loop.num_steps)
        if (self.config.num_predictions or 0) > self.loop.num_steps:
            check_budget(self.config, self.loop.num_steps)
        self.trace.expect(self.loop.num_steps)

    def on_scheduler_step(
        self, inherited: Callable[..., Any], scheduler: Any, *args: Any, **kwargs: Any
    ) -> Any:  # fmt: skip
        call = StepCall(self.step_takes, inherited, args, kwargs)
        self._arrive(scheduler, call)
        if not self.calls.held or not self.calls.in_step:  # another network's step, or too many calls to hold
            self.calls.end_step()
            self.step, self.restart = self.step + 1, True
            return call.take(call.output, call.sample)
        schedule = self.correction.schedule = self.schedule
        output, sample = call.output, call.sample
        if self.step == self.begun:
            self._learn(output, sample)
        decision = self.decision or Decision.all(self._state())

        def take(outputs: Tensor, x: Tensor, carried: Any) -> tuple[Tensor, Any]:
            with self.clock.own():  # a step taken again is the skipping's cost
                result = call.take(outputs, x, carried)
            return latents_of(result), carried_of(result)

        corrected: list[Tensor] = []
        if self.calls.changed:  # guidance turned on or off: what was learned is of another output than this
            self.restart = True
        else:
            output, sample, corrected = self.correction.outputs(
                scheduler, self.step, schedule.read(output), sample, decision.compute
            )
            self._observe_again(corrected)
            output = schedule.written(output)
            self.correction.keep(scheduler, self.step, output, sample, take, call.generator)
        clean = functools.partial(schedule.clean, output, sample, self.step)
        result = call.take(output, sample, self.correction.rewind.carried if corrected else None)
        latents = latents_of(result)
        self.correction.rewind.took(latents)
        self._observe(latents, self.step + 1)
        again = self.correction.again_now(len(decision.compute)) if corrected else ()
        self.trace.add(decision, self.calls.rows, self.halves.alone, again)
        self.step += 1
        self.decision, self.halves.alone = None, frozenset()
        self.calls.end_step()
        with self.clock.callers():
            self.listeners.report(self.trace, latents, clean)
        return result

    def _arrive(self, scheduler: Any, call: StepCall) -> None:
        assert self.loop is not None
        before = self.loop.begun
        if not before and self.loop.of_all is not None:
            self.loop.of_all = call.read(self.loop.of_all)
        if self.loop.arrive(scheduler, self.step, call.timestep):
            self.restart = True  # the histories are of other steps
        if not before:
            check_budget(self.config, self.loop.num_steps)
            if self.config.mask and len(self.config.mask) != self.loop.num_steps:
                raise _wrong_mask(self.config.mask, self.loop.num_steps)
            self.trace.expect(self.loop.num_steps)
        call.off_the_gpu(self.loop, scheduler)

    def _learn(self, output: Tensor, sample: Tensor) -> None:
        """At the first step of a history: how many prompts there are, and whether guidance is in one call."""
        held = self.calls.held[0]
        self.num_prompts = count_prompts(held.num_rows, held.shape, output.shape, self.calls.share)
        check_cache(held.network(), self.num_prompts, self.policy, self.config)
        self.correction.begin(self.num_prompts)
        self._observe(sample, self.step)
        if held.output is not None and self.calls.in_step == 1:
            self.halves.learn_scale(output, held.output, self.num_prompts, self.schedule.levels[self.step])
        if self.halves.rule is not None and self.halves.guidance_scale is None:
            self.trace.not_use("`guidance_tolerance`: the network is not called with both guidance halves at once")

    def _flat(self, tensor: Tensor) -> Tensor:
        return tensor.reshape(self.num_prompts, -1)

    def _observe(self, latents: Tensor, index: int) -> None:
        if self.policy.num_latents:  # a copy: some pipelines write into theirs
            self.latents.append(self.schedule.rescaled(self._flat(latents.detach().clone()), index))
            # after the last step there is no level, and no decision either
            self.latent_levels.append(self.schedule.levels[min(index, len(self.schedule.levels) - 1)])
            del self.latents[: -self.policy.num_latents], self.latent_levels[: -self.policy.num_latents]

    def _observe_again(self, corrected: list[Tensor]) -> None:
        """A policy sees the corrected latents, too: those before the present step, before the one before it, …"""
        for back in range(1, min(len(self.latents), len(corrected)) + 1):
            self.latents[-back] = self.schedule.rescaled(self._flat(corrected[-back]), self.step + 1 - back)

    # ---- the denoiser ----

    def on_denoiser_call(self, inherited: Callable[..., Any], denoiser: Any, *args: Any, **kwargs: Any) -> Any:
        if self.loop is None or self.step >= self.loop.num_steps or self.calls.in_step > MOST_CALLS:
            return inherited(*args, **kwargs)  # outside a denoising loop: not ours
        batch = num_rows, _ = batch_of(args, kwargs)
        if self.calls.in_step == 0 and (self.restart or not self._goes_on(denoiser, num_rows)):
            self._begin_histories()
        call = self.calls.begin(num_rows)
        if call == MOST_CALLS:
            self.calls.forget()
        held = self.calls.fitting(call, denoiser, num_rows)
        alone: frozenset[int] = frozenset()
        if call == 0 and held is not None:
            cuttable = held.shares_rows and can_be_cut(kwargs)
            self.decision = self._decide(cuttable)
            if cuttable and held.output is not None:
                kind = self.schedule.kind
                alone = self.halves.conditional_alone(self.decision.compute, self.schedule.levels[self.step], kind)
        if held is None or self.decision is None or (all(self.decision.compute) and not alone):
            return self._compute_all(inherited, call, denoiser, batch, args, kwargs)
        compute = self.decision.compute
        if any(compute):
            if not (held.shares_rows and can_be_cut(kwargs)):
                return self._compute_all(inherited, call, denoiser, batch, args, kwargs)
            check_rows(denoiser, look_inside=id(denoiser) not in self.cut)
            self.cut.add(id(denoiser))
            rows = rows_of(compute, num_rows, without_first_half=alone)
            called = rows.padded(num_rows) if is_compiled(denoiser) else rows
            args, kwargs = select_rows(args, kwargs, called, num_rows, names_of_arguments(denoiser))
            with called_for(called.numbers, num_rows):
                held.put(rows, inherited(*args, **kwargs))
            self.trace.unet_rows += len(called.numbers)
            self.trace.padded_rows += len(called.numbers) - len(rows.numbers)
            if held.output is not None and self.halves.rule is not None:
                level = self.schedule.levels[self.step]
                self.halves.fill(held.output, alone, level)
                both = tuple(c and i not in alone for i, c in enumerate(compute))
                self.halves.remember(held.output, both, level)
        return held.rebuilt()

    def _compute_all(
        self, inherited: Callable[..., Any], call: int, denoiser: Any, batch: tuple[int, bool], args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:  # fmt: skip
        result = inherited(*args, **kwargs)
        self.trace.unet_rows += batch[0]
        if call < MOST_CALLS:
            held = self.calls.keep(call, denoiser, batch, result)
            if self.decision is not None and held.output is not None:
                self.halves.remember(held.output, self.decision.compute, self.schedule.levels[self.step])
        return result

    def _goes_on(self, denoiser: Any, num_rows: int) -> bool:
        """Whether the first call of this step is that of the step before, by the same network for as many rows."""
        return self.step == self.begun or self.calls.fitting(0, denoiser, num_rows) is not None

    def _decide(self, cuttable: bool) -> Decision:
        state = self._state(cuttable)
        if self.begun and self.step - self.begun < self.warmup_steps:
            return Decision.all(state)
        guard = self.correction.guard
        decided = self.policy.decide(state)  # its transfer, if any, is after what the guard reads
        self.trace.fall_back(guard.look(self.step))
        decision, fallen = guard.apply(state, self._checked(decided, state.num_prompts))
        self.trace.fall_back(fallen)
        if any(decision.compute) and not all(decision.compute) and not cuttable:
            decision = Decision((True,) * len(decision.compute), decision.signal, decision.schedule_signal)
        return decision

    def _checked(self, decision: Decision, num_prompts: int) -> Decision:
        """The same decision. Raises ConfigError for what a policy of one's own can't answer."""
        if not isinstance(decision, Decision) or {len(decision.compute), len(decision.signal)} != {num_prompts}:
            raise ConfigError(
                f"{type(self.policy).__name__}.decide must return a Decision with `compute` and `signal` for each of "
                f"the {num_prompts} prompts, not {decision!r:.80}"
            )
        return decision

    def _state(self, cuttable: bool = True) -> SkipState:
        prompts = self.num_prompts or 1
        return SkipState(
            self.step,
            len(self.schedule.levels),
            prompts,
            tuple(self.latents),
            self.trace.skipped_in_a_row(prompts),
            tuple(self.latent_levels),
            tuple(self.correction.past),
            tuple(self.schedule.levels),
            self.schedule.end,
            self.trace.computed_since(self.before, prompts),
            not cuttable,
        )


def _wrong_mask(mask: tuple[bool, ...], num_steps: int) -> ConfigError:
    return ConfigError(
        f"the mask has {counted(len(mask), 'entry', 'entries')} but the run has {counted(num_steps, 'step')}"
    )
