"""replayed(): all steps of a run taken again before its last one, with the skipped outputs estimated from all calls."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor

from videoada.benchmarks.baselines.step_level import StepLevel
from videoada.patching import replaced
from videoada.skipping.rewind import Rewind, TakenStep
from videoada.skipping.step_call import StepArguments, StepCall, carried_of, latents_of

# Of the steps of the calls and their outputs (N,), ascending, a step between them and the number of steps: its output.
Estimate = Callable[[Sequence[int], Sequence[Tensor], int, int], Tensor]


@contextmanager
def replayed(scheduler: Any, rule: StepLevel, estimate: Estimate) -> Iterator[None]:
    """Inside the block, the last step of a run begins where the steps before it lead with the outputs of `estimate`.

    Calls keep their outputs, though they were made for other latents. The last step has to be a call. `rule.trace` says
    which steps are, before the scheduler takes its second.
    """
    rewind = Rewind()
    takes = StepArguments(scheduler.step)

    def begin(inherited: Callable[..., Any], scheduler: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal rewind
        rewind = Rewind()
        return inherited(*args, **kwargs)

    def step(inherited: Callable[..., Any], scheduler: Any, *args: Any, **kwargs: Any) -> Any:
        call = StepCall(takes, inherited, args, kwargs)
        output, sample, index = call.output, call.sample, len(rewind.taken)
        rewind.carried = None
        if index and len(rule.trace.decisions) + 1 == rule.trace.num_steps:
            computed = [[*own[-index:], True] for own in rule.trace.computed]
            outputs = [taken.outputs for taken in rewind.taken] + [output]
            sample = rewind.again(scheduler, 0, sample, functools.partial(estimated, outputs, computed, estimate))

        def take(outputs: Tensor, x: Tensor, carried: Any) -> tuple[Tensor, Any]:
            result = call.take(outputs, x, carried)
            return latents_of(result), carried_of(result)

        carried = rewind.carried
        rewind.keep(scheduler, index, output.clone(), sample, take, call.generator)
        result = call.take(output, sample, carried)
        rewind.took(latents_of(result))
        return result

    with ExitStack() as stack:
        stack.enter_context(replaced(scheduler, "set_timesteps", begin))
        stack.enter_context(replaced(scheduler, "step", step))
        yield


def estimated(
    outputs: Sequence[Tensor], computed: Sequence[Sequence[bool]], estimate: Estimate, taken: TakenStep, sample: Tensor
) -> Tensor:
    """The outputs to take a step again with, as the scheduler has those of all prompts in `outputs`, one each step."""
    rows = [output.reshape(len(computed), -1) for output in outputs]
    found = rows[taken.step].clone()
    for prompt, own in enumerate(computed):
        calls = [step for step, called in enumerate(own) if called]
        if not own[taken.step]:
            values = [rows[step][prompt] for step in calls]
            found[prompt] = estimate(calls, values, taken.step, len(outputs)).to(found.dtype)
    return found
