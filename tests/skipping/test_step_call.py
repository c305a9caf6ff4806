"""A scheduler's step by the names of its arguments, and what one step carries to the next."""

from __future__ import annotations

import diffusers
import pytest
import torch

from videoada.errors import ConfigError
from videoada.skipping.rewind import Rewind
from videoada.skipping.step_call import StepArguments, StepCall, carried_of, check_step, latents_of


def steps_of_cogvideo():
    """(scheduler, outputs, sample, a function that makes the call of step i)."""
    scheduler = diffusers.CogVideoXDPMScheduler(prediction_type="v_prediction", timestep_spacing="trailing")
    scheduler.set_timesteps(8)
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(8, 1, 2, 4, 2, 2, generator=generator)
    takes = StepArguments(scheduler.step)

    def call(i, output, old, x):
        back = scheduler.timesteps[i - 1] if i else None
        arguments = (output, old, scheduler.timesteps[i], back, x)
        return StepCall(takes, scheduler.step, arguments, {"generator": generator, "return_dict": False})

    return scheduler, outputs, torch.randn(1, 2, 4, 2, 2, generator=generator), call


def test_what_a_step_carries_is_carried_again_by_steps_taken_again():
    scheduler, outputs, x, call = steps_of_cogvideo()
    rewind, old, began = Rewind(), None, None
    for i in range(6):
        made = call(i, outputs[i], old, x)
        assert torch.equal(made.output, outputs[i])
        assert made.sample is x

        def take(output, sample, carried, made=made):
            result = made.take(output, sample, carried)
            return latents_of(result), carried_of(result)

        rewind.keep(scheduler, i, outputs[i].reshape(1, -1), x, take, made.generator)
        result = made.take(outputs[i], x)
        x, old = result
        rewind.took(x)
        if i == 1:
            began = old
    again = rewind.again(scheduler, 2, x, lambda taken, sample: taken.outputs)
    assert torch.equal(again, x)
    assert torch.equal(rewind.carried, old)
    assert not torch.equal(began, old)
    other = rewind.again(scheduler, 2, x, lambda taken, sample: taken.outputs + (taken.step == 2))
    assert not torch.equal(other, x)
    _, outputs, x, call = steps_of_cogvideo()  # the same, once, with the other outputs
    old = None
    for i in range(6):
        x, old = call(i, outputs[i] + (i == 2), old, x).take(outputs[i] + (i == 2), x)
    torch.testing.assert_close(other, x)
    torch.testing.assert_close(rewind.carried, old)


def test_a_clean_prediction_that_the_pipeline_reads_itself_is_the_output():
    """As Cosmos: the scheduler gets x₀ and takes no look at the network's output."""
    scheduler = diffusers.EDMEulerScheduler(sigma_data=1.0)
    scheduler.set_timesteps(6)
    x, clean = torch.ones(1, 4), torch.full((1, 4), 0.25)
    scheduler.scale_model_input(x, scheduler.timesteps[0])
    takes = StepArguments(scheduler.step)
    kwargs = {"return_dict": False, "pred_original_sample": clean}
    made = StepCall(takes, scheduler.step, (torch.zeros(1, 4), scheduler.timesteps[0], x), kwargs)
    assert made.output is clean
    [other, seen] = made.take(2 * clean, x)
    assert torch.equal(seen, 2 * clean)
    sigma, following = scheduler.sigmas[:2]
    torch.testing.assert_close(other, 2 * clean + (x - 2 * clean) * (following / sigma))


def test_a_step_without_a_sample_is_refused():
    class Other:
        def step(self, model_output, timestep):
            pass

    with pytest.raises(ConfigError, match="Other's step takes no sample"):
        check_step(Other())


def test_a_step_is_taken_with_its_arguments_as_they_were_given():
    """A method that others put around a scheduler's sees the same positions and names."""
    seen = []

    def step(model_output, timestep, sample, eta=0.0, generator=None):
        return (sample,)

    def around(*args, **kwargs):
        seen.append((args, kwargs))
        return step(*args, **kwargs)

    output, x = torch.zeros(2), torch.ones(2)
    made = StepCall(StepArguments(step), around, (output, 7), {"sample": x, "eta": 0.5})
    assert (made.timestep, made.sample, made.generator) == (7, x, None)
    made.take(output + 1, x + 1)
    [(args, kwargs)] = seen
    assert args[1:] == (7,)
    assert torch.equal(args[0], output + 1)
    assert kwargs.keys() == {"sample", "eta"}
    assert torch.equal(kwargs["sample"], x + 1)


def test_what_a_step_takes_beyond_its_names_is_passed_on():
    def step(model_output, timestep, sample, *rest, **others):
        return (sample, rest, others)

    made = StepCall(StepArguments(step), step, (torch.zeros(2), 7, torch.ones(2), 4, 5), {"eta": 0.5})
    assert made.take(torch.ones(2), torch.zeros(2))[1:] == ((4, 5), {"eta": 0.5})


@pytest.mark.parametrize(
    ("args", "kwargs", "said"),
    [((1, 2), {}, "missing a required argument: 'sample'"), ((1, 2, 3), {"sample": 3}, "multiple values"),
     ((1, 2, 3, 4), {}, "too many positional"), ((1, 2, 3), {"etta": 0.5}, "unexpected keyword"),
     ((1, 2, 3), {}, "missing a required argument: 'eta'")],
)  # fmt: skip
def test_a_step_called_wrongly_says_so_as_python_does(args, kwargs, said):
    def step(model_output, timestep, sample, *, eta):
        pass

    kwargs = {"eta": 0.0} | kwargs if "eta" not in said else kwargs
    with pytest.raises(TypeError, match=said):
        StepCall(StepArguments(step), step, args, kwargs)
