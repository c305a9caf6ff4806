"""Stepping: what happens at each denoiser call and each scheduler step inside a `skip_steps` block.

A run begins where the pipeline sets the timesteps. Within a step the denoiser may be called once with both guidance
halves, or once for each. On a skipped step it hands back the last rows; what stands in for them is put in their place
at the scheduler's step, where the guided output and the latents are both known. There, too, steps that were skipped are
taken again once the next prediction says what lay between.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from videoada.config.run import SkipConfig
from videoada.errors import ConfigError
from videoada.skipping.halves import GuidedHalves
from videoada.skipping.rewind import Rewind, TakenStep
from videoada.skipping.rows import called_for, rows_of, select_rows, take_output
from videoada.skipping.rules.build import PREDICTORS
from videoada.skipping.rules.level import Level
from videoada.skipping.rules.policy import Decision, Never, Policy, SkipState
from videoada.skipping.rules.prediction import Prediction, PredictionType, noise_in, output_of, read_prediction
from videoada.skipping.rules.predictors import interpolate
from videoada.skipping.schedule import latent_scales, noise_levels, one_for_each_row, prediction_type
from videoada.skipping.trace import StepTrace

StepCallback = Callable[[int, int, tuple[bool, ...]], None]  # step, number of steps, computed for each prompt
LatentsCallback = Callable[[int, Tensor], None]  # step, latents after it: (B, N), one row for each prompt


class Stepping:
    """The state of one `with`: forgotten when a new generation sets its timesteps and when the block is left."""

    def __init__(
        self, policy: Policy, config: SkipConfig, on_step: StepCallback | None, on_latents: LatentsCallback | None
    ):
        self.policy, self.config = policy, config
        self.predictor = PREDICTORS[config.predictor](config.damping)
        self.num_past = max(self.predictor.num_predictions, getattr(policy, "num_predictions", 0), 1)
        self.on_step, self.on_latents = on_step, on_latents
        self.trace = StepTrace(config)
        self.forget()

    def forget(self) -> None:
        self.step = 0
        self.num_prompts = 0  # unknown until the first scheduler step
        self.latents: list[Tensor] = []  # (B, N), newest last, at most policy.num_latents
        self.latent_levels: list[Level] = []
        self.past: list[list[Prediction]] = []  # for each prompt, oldest first, at most num_past
        self.halves = GuidedHalves(self.config)
        self.rewind = Rewind()
        self.held: dict[int, Tensor] = {}  # the last rows of the n-th denoiser call of a step
        self.rebuild: dict[int, Callable[[Tensor], Any]] = {}  # puts a tensor into what that call returned
        self.calls = 0  # denoiser calls since the last scheduler step
        self.numel = 0  # of the denoiser's outputs within this step
        self.rows = 0
        self.kept_share = 1  # 2 for networks whose second half of channels never reaches the scheduler
        self.decision: Decision | None = None
        self.levels: list[Level] = []
        self.scales: list[float] = []
        self.kind: PredictionType = "epsilon"

    def timed(self, method: Callable[..., Any], of_denoiser: bool = False) -> Callable[..., Any]:
        """`method`, whose own time (all but the inherited call's) adds to the trace."""

        def measured(inherited: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            inside = 0.0

            def outside(*args: Any, **kwargs: Any) -> Any:
                nonlocal inside
                self._synchronize()  # what was queued before is not the call's
                began = time.perf_counter()
                result = inherited(*args, **kwargs)
                self._synchronize()
                inside += time.perf_counter() - began
                return result

            began = time.perf_counter()
            result = method(outside, *args, **kwargs)
            self.trace.own_seconds += time.perf_counter() - began - inside
            if of_denoiser:
                self.trace.denoiser_seconds += inside
            return result

        return measured

    def _synchronize(self) -> None:
        if self.trace.synchronize and torch.cuda.is_available():
            torch.cuda.synchronize()

    # ---- the scheduler ----

    def on_set_timesteps(self, inherited: Callable[..., Any], scheduler: Any, *args: Any, **kwargs: Any) -> Any:
        result = inherited(*args, **kwargs)
        self.forget()
        steps = scheduler.timesteps.tolist()
        if self.config.mask and len(self.config.mask) != len(steps):
            raise ConfigError(f"the mask has {len(self.config.mask)} entries but the run has {len(steps)} steps")
        self.levels = noise_levels(scheduler, steps)
        self.scales = latent_scales(scheduler, len(steps))
        self.kind = prediction_type(scheduler)
        self.trace.begin(len(steps))
        return result

    def on_scheduler_step(
        self, inherited: Callable[..., Any], scheduler: Any, model_output: Tensor, timestep: Any, sample: Tensor,
        *args: Any, **kwargs: Any,
    ) -> Any:  # fmt: skip
        if self.step == 0:
            self.num_prompts = self._count_prompts(model_output)
            self.past = [[] for _ in range(self.num_prompts)]
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
                began = time.perf_counter()
                result = inherited(outputs, timestep, x, *args, **kwargs)
                self.trace.own_seconds += time.perf_counter() - began  # a step taken again is the skipping's cost
                return result

            model_output, sample = self._predict(scheduler, model_output, sample, decision)
            if self.config.corrector:
                self.rewind.keep(scheduler, self.step, self._flat(model_output), sample, take, kwargs.get("generator"))
        result = inherited(model_output, timestep, sample, *args, **kwargs)
        latents = result[0] if isinstance(result, tuple) else result.prev_sample
        self.rewind.took(latents)
        self._observe(latents, self.step + 1)
        self.trace.add(decision, self.rows * self.calls, self.halves.alone)
        self.step += 1
        self.calls, self.numel, self.decision, self.halves.alone = 0, 0, None, frozenset()
        if self.on_step or self.on_latents:
            began = time.perf_counter()
            if self.on_latents:
                self.on_latents(self.step - 1, self._flat(latents.detach()))
            if self.on_step:
                self.on_step(self.step - 1, len(self.levels), decision.compute)
            self.trace.own_seconds -= time.perf_counter() - began  # the caller's time, not ours
        return result

    def _predict(
        self, scheduler: Any, model_output: Tensor, sample: Tensor, decision: Decision
    ) -> tuple[Tensor, Tensor]:
        """The outputs and the sample to take this step with: stand-ins where skipped, corrected where computed."""
        if model_output.numel() != sample.numel():
            looks = getattr(self.policy, "num_predictions", 0)
            if self.config.predictor != "hold-output" or self.config.corrector or looks:
                raise ConfigError(
                    "this model's output has not the latents' shape, so all that works is "
                    "`policy=third-order` with `predictor=hold-output` and `corrector=False`, or every-n with the same"
                )
            return model_output, sample
        outputs, level = self._flat(model_output), self.levels[self.step]
        computed = {i: self._read(outputs[i], sample, i) for i, needed in enumerate(decision.compute) if needed}
        gaps = [i for i in computed if self.past[i] and self.past[i][-1].step < self.step - 1]
        if gaps and self.config.corrector:
            sample = self._correct(scheduler, sample, {i: computed[i] for i in gaps})
        outputs = outputs.clone() if len(computed) < self.num_prompts or (gaps and self.config.corrector) else outputs
        rows = self._flat(sample) / self.scales[self.step] if self.scales[self.step] != 1 else self._flat(sample)
        for i, past in enumerate(self.past):
            if i not in computed:
                outputs[i] = self.predictor.predict(past, rows[i], level, self.kind)
                continue
            if i in gaps and self.config.corrector:  # the same x̂₀, in the corrected latents
                eps = noise_in(rows[i], computed[i].x0, level)
                outputs[i] = output_of(computed[i].x0, eps, level, self.kind)
                computed[i] = Prediction(self.step, level, outputs[i], computed[i].x0, eps)
            past.append(computed[i])
            del past[: -self.num_past]
        self.rewind.forget_before(min(past[-1].step for past in self.past))
        return outputs.reshape(model_output.shape), sample

    def _read(self, output: Tensor, sample: Tensor, prompt: int) -> Prediction:
        latents = self._flat(sample)[prompt] / self.scales[self.step]
        return read_prediction(self.step, output, latents, self.levels[self.step], self.kind)

    def _correct(self, scheduler: Any, present: Tensor, after: dict[int, Prediction]) -> Tensor:
        """The sample of this step, had the skipped steps before it been taken with what is known now."""
        before = {i: self.past[i][-1] for i in after}

        def outputs_of(taken: TakenStep, sample: Tensor) -> Tensor:
            rows, outputs, level = self._flat(sample) / self.scales[taken.step], taken.outputs, self.levels[taken.step]
            between = [i for i in after if before[i].step < taken.step]
            if between:
                outputs = outputs.clone()
            for i in between:
                x0 = interpolate(before[i], after[i], level)
                outputs[i] = output_of(x0, noise_in(rows[i], x0, level), level, self.kind)
            return outputs

        sample = self.rewind.again(scheduler, min(p.step for p in before.values()), present, outputs_of)
        known = [*self.rewind.samples(), sample]
        for back in range(1, min(len(self.latents), len(known)) + 1):  # a policy sees the corrected latents, too
            self.latents[-back] = self._flat(known[-back]) / self.scales[self.step + 1 - back]
        return sample

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
            flat, scale = self._flat(latents.detach()), self.scales[index]
            self.latents.append(flat if scale == 1 else flat / scale)
            # after the last step there is no level, and no decision either
            self.latent_levels.append(self.levels[min(index, len(self.levels) - 1)])
            del self.latents[: -self.policy.num_latents], self.latent_levels[: -self.policy.num_latents]

    # ---- the denoiser ----

    def on_denoiser_call(self, inherited: Callable[..., Any], denoiser: Any, *args: Any, **kwargs: Any) -> Any:
        if self.step >= len(self.levels):  # outside a denoising loop: not ours
            return inherited(*args, **kwargs)
        call, self.calls = self.calls, self.calls + 1
        if call == 0:
            self.decision = self.policy.decide(self._state())
        if call not in self.held:
            self.decision = Decision.all(self._state())  # nothing to hold yet
        assert self.decision is not None
        compute, level = self.decision.compute, self.levels[self.step]
        alone = self.halves.conditional_alone(compute, level, self.kind) if call == 0 else frozenset()

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
            len(self.levels),
            prompts,
            tuple(self.latents),
            self.trace.skipped_in_a_row(prompts),
            tuple(self.latent_levels),
            tuple(tuple(past) for past in self.past),
            tuple(self.levels),
        )
