"""Correction: approximations in place of skipped outputs, and skipped steps taken again once the next output is known.

Both happen at the scheduler's step, where the guided output and the latents are known. Of each prompt the last few
computed outputs are kept; a predictor makes the approximation from them. With the corrector, the first output that is
computed after a gap says what lay between: the gap's steps are taken again with x̂₀ interpolated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import Tensor

from videoada.config.run import SkipConfig
from videoada.errors import ConfigError
from videoada.skipping.guard import Guard
from videoada.skipping.rewind import Rewind, TakenStep
from videoada.skipping.rules.decision import Policy
from videoada.skipping.rules.level import Level
from videoada.skipping.rules.prediction import Past, Prediction, noise_in, output_of, read_prediction
from videoada.skipping.rules.predictors import HoldOutput, Predictor, gap_start, interpolate
from videoada.skipping.schedule import RunSchedule

REVISION = 2  # of what corrected runs come to, to be raised when that changes: figures of another are measured again


class Correction:
    """Of one history: `past` holds each prompt's last computed outputs, oldest first. Outputs are those of a network of
    the schedule's kind, as `schedule` reads them."""

    schedule: RunSchedule

    def __init__(self, config: SkipConfig, policy: Policy, predictor: Predictor):
        self.policy = policy
        self.again = config.corrector
        self.predictor = predictor
        looks = getattr(policy, "num_predictions", 0)
        self.num_past = max(self.predictor.num_predictions, looks, 3 if config.corrector else 1)
        self.needs_latents = not isinstance(predictor, HoldOutput) or config.corrector or bool(looks)
        self.forget()

    def forget(self) -> None:
        self.past: list[Past] = []
        self.gaps: dict[int, int] = {}  # of the present step: for each prompt, how many steps before it are taken again
        self.rewind = Rewind()
        self.guard = Guard(self.policy)

    def begin(self, num_prompts: int) -> None:
        """Call it with a `schedule` set, at the first step of a history."""
        self.num_prompts = num_prompts
        self.past = [Past() for _ in range(num_prompts)]

    def outputs(
        self, scheduler: Any, step: int, model_output: Tensor, sample: Tensor, compute: tuple[bool, ...]
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """The outputs and the sample to take this step with, and the samples before this and earlier steps, newest
        last, where they were corrected (else none).

        Outputs are approximate where skipped and in terms of the corrected sample where computed. Raises ConfigError
        where a model's output has not the latents' shape and the settings need that.
        """
        corrected: list[Tensor] = []
        if model_output.numel() != sample.numel():
            if self.needs_latents:
                raise ConfigError(
                    "this model's output has not the latents' shape, so all that works is "
                    "`policy=third-order` with `predictor=hold-output` and `corrector=False`, or every-n with the same"
                )
            return model_output, sample, corrected
        outputs = self._flat(model_output).clone()  # it is kept, and others write into theirs
        level, kind = self.schedule.levels[step], self.schedule.kind
        latents = self.schedule.rescaled(self._flat(sample), step)
        computed = {
            i: read_prediction(step, outputs[i], latents[i], level, kind) for i, needed in enumerate(compute) if needed
        }
        gaps = [i for i in computed if self.past[i] and self.past[i][-1].step < step - 1]
        self._compare({i: computed[i] for i in gaps}, latents)
        gaps = gaps if self.again else []
        self.gaps = {i: step - 1 - self.past[i][-1].step for i in gaps}
        if gaps:
            sample = self._corrected(scheduler, sample, {i: computed[i] for i in gaps})
            corrected = [*self.rewind.samples(), sample]
            latents = self.schedule.rescaled(self._flat(sample), step)
        for i, past in enumerate(self.past):
            if i not in computed:
                outputs[i] = self._approximation(past, latents[i], level)
                continue
            if i in gaps:  # the same x̂₀, in the corrected latents
                eps = noise_in(latents[i], computed[i].x0, level)
                outputs[i] = output_of(computed[i].x0, eps, level, kind)
                computed[i] = Prediction(step, level, outputs[i], computed[i].x0, eps)
            self.past[i] = past.then(computed[i], self.num_past)
        self.rewind.forget_before(min(past[-1].step for past in self.past))
        return outputs.reshape(model_output.shape), sample, corrected

    def again_now(self, num_prompts: int) -> tuple[int, ...]:
        """For each prompt, how many of the steps just before the present one were taken again at it."""
        return tuple(self.gaps.get(i, 0) for i in range(num_prompts))

    def keep(
        self, scheduler: Any, step: int, model_output: Tensor, sample: Tensor,
        take: Callable[[Tensor, Tensor, Any], tuple[Tensor, Any]], generator: Any,
    ) -> None:  # fmt: skip
        """Call it before the scheduler takes the step with what it gets; `take` takes it again."""
        if self.again:
            self.rewind.keep(scheduler, step, self._flat(model_output), sample, take, generator)

    def _compare(self, real: dict[int, Prediction], latents: Tensor) -> None:
        """Tell the guard what the calls after a gap say of the approximations before."""
        if self.guard.tolerance is None:
            return
        for i, prediction in real.items():
            level, kind = prediction.level, self.schedule.kind
            output = self.predictor.predict(self.past[i], latents[i], level, kind)
            x0 = read_prediction(prediction.step, output, latents[i], level, kind).x0
            self.guard.met(i, self.past[i], prediction, x0, self.schedule.levels)

    def _approximation(self, past: Past, sample: Tensor, level: Level) -> Tensor:
        """The predictor's output (N,); the last computed one where that is not finite, without a look from the host.

        Raises ConfigError for a predictor of one's own that gives another shape.
        """
        output = self.predictor.predict(past, sample, level, self.schedule.kind)
        if output.shape != sample.shape:
            raise ConfigError(
                f"{type(self.predictor).__name__}.predict must return {tuple(sample.shape)} numbers, not "
                f"{tuple(output.shape)}"
            )
        return output.where(output.isfinite().all(), past[-1].output.to(output.dtype))

    def _corrected(self, scheduler: Any, present: Tensor, after: dict[int, Prediction]) -> Tensor:
        """The sample of this step as it would be if the skipped steps had been taken with the interpolated x̂₀."""
        before = {i: replace(self.past[i][-1], x0=gap_start(self.past[i], call)) for i, call in after.items()}

        def outputs_of(taken: TakenStep, sample: Tensor) -> Tensor:
            latents, outputs = self.schedule.rescaled(self._flat(sample), taken.step), taken.outputs
            level, kind = self.schedule.levels[taken.step], self.schedule.kind
            between = [i for i in after if before[i].step < taken.step]
            if between:
                outputs = outputs.clone()
            for i in between:
                x0 = interpolate(before[i], after[i], level)
                outputs[i] = self.schedule.written(output_of(x0, noise_in(latents[i], x0, level), level, kind))
            return outputs

        return self.rewind.again(scheduler, min(p.step for p in before.values()), present, outputs_of)

    def _flat(self, tensor: Tensor) -> Tensor:
        return tensor.reshape(self.num_prompts, -1)
