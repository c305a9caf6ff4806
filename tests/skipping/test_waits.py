"""How often the host waits for a GPU, by a stand-in for one: once for a decision, never for the scheduler."""

from __future__ import annotations

import functools

import pytest
import torch
from conftest import PROMPTS
from pretended_gpu import Items, OnGpu, PretendedGpu, on_gpu, plain
from test_schedule import _cases

from videoada import skip_steps
from videoada.benchmarks.closed_form import SCHEDULERS, ClosedForm, Mixture
from videoada.models.schedulers import DIFFUSION, make_scheduler
from videoada.skipping.loop import LOOK_UP, Loop
from videoada.skipping.schedule import _READERS

MASK = [True] * 4 + [False, False, True, False, True, True, False, False, False, True]
SDE = ("dpm++-sde", "euler-a")


@pytest.fixture
def there(pipe, monkeypatch):
    """The embedded model, whose timesteps and network outputs are on the GPU; its network itself runs as it does."""

    def set_timesteps(inherited, *args, **kwargs):
        inherited(*args, **kwargs)
        pipe.scheduler.timesteps = on_gpu(pipe.scheduler.timesteps)

    def forward(inherited, *args, **kwargs):
        with torch._C.DisableTorchFunction():
            found = inherited(*map(plain, args), **{k: plain(v) for k, v in kwargs.items()})
        return (on_gpu(found[0]),)

    def with_scheduler(name):
        scheduler = make_scheduler(name, pipe.scheduler)
        monkeypatch.setattr(pipe, "scheduler", scheduler)
        monkeypatch.setattr(scheduler, "set_timesteps", functools.partial(set_timesteps, scheduler.set_timesteps))
        return pipe

    monkeypatch.setattr(pipe.unet, "forward", functools.partial(forward, pipe.unet.forward))
    monkeypatch.setattr("videoada.skipping.rewind.random_state", lambda device: torch.get_rng_state())
    monkeypatch.setattr("videoada.skipping.rewind.set_random_state", lambda state, device: torch.set_rng_state(state))
    return with_scheduler


def run(pipe, gpu, steps, batch=1, **fields):
    """For each step but the first the waits in it, and the latents."""
    counts = []
    generators = [torch.Generator().manual_seed(3 + i) for i in range(batch)]
    with gpu, skip_steps(pipe, on_step=lambda *_: counts.append(len(gpu.waits)), **fields) as trace:
        latents = pipe(
            list(PROMPTS[:batch]), num_inference_steps=steps, num_frames=2, generator=generators, guidance_scale=9.0,
            output_type="latent",
        ).frames  # fmt: skip
    return [b - a for a, b in zip(counts, counts[1:], strict=False)], plain(latents), trace


@pytest.mark.parametrize("batch", [1, 2])
def test_a_default_run_waits_once_a_step_for_its_decision(there, batch):
    waits, _, trace = run(there("ddim"), PretendedGpu(), 30, batch)
    assert 0 < sum(trace.num_predictions) < 30 * batch
    assert max(waits) == 1
    assert waits[0] == waits[1] == 0  # of the warm-up, where nothing is decided


def test_a_full_run_of_diffusers_waits_six_times_a_step(there):
    """What this counting sees: without skipping, nothing is changed."""
    waits, _, _ = run(there("ddim"), PretendedGpu(), 4, policy="none")
    assert waits == [6, 6, 4]  # the last finds no table at a negative timestep


@pytest.mark.parametrize("name", DIFFUSION)
def test_no_scheduler_waits_and_all_do_the_same_bit_for_bit(there, name, monkeypatch):
    """Also steps that the corrector takes again. UniPC waits for numbers of its own, which it reads off the GPU."""
    fields = {"policy": "mask", "mask": MASK, "predictor": "linear", "corrector": True}
    waits, latents, _ = run(there(name), PretendedGpu(), len(MASK), **fields)
    assert max(waits) == 0 or name == "unipc"
    monkeypatch.setattr(Loop, "on_host", lambda self, scheduler, timestep: timestep)
    monkeypatch.setattr("videoada.skipping.step_call.StepCall.off_the_gpu", lambda *_: None)
    waits_before, before, _ = run(there(name), PretendedGpu(), len(MASK), **fields)
    assert torch.equal(latents, before)
    assert sum(waits_before) > sum(waits) or name not in ("ddim",)


def test_numbers_read_one_by_one_in_a_default_run(pipe):
    """On the CPU, also where torch's own code does: the schedulers' tables are not looked up by tensors."""
    counts = []
    with Items() as items, skip_steps(pipe, on_step=lambda *_: counts.append(items.count)) as trace:
        pipe(PROMPTS[0], num_inference_steps=50, num_frames=2, generator=torch.Generator().manual_seed(3),
             guidance_scale=9.0, output_type="latent")  # fmt: skip
    assert trace.num_predictions[0] < 30
    assert max(b - a for a, b in zip(counts, counts[1:], strict=False)) <= 1


class CarriedOn(ClosedForm):
    """As CogVideoX with its DPM scheduler: a step takes the timestep before, and what that step returned."""

    before = None, None

    def take(self, output, t, x):
        old, back = self.before if self.step else (None, None)
        x, old = self.scheduler.step(output, old, t, back, x, return_dict=False)
        self.before = old, t
        return x


CASES = [(name, fields) for name, fields, _ in _cases()]


@pytest.mark.parametrize(("name", "fields"), CASES, ids=[f"{i}-{name}" for i, (name, _) in enumerate(CASES)])
def test_every_known_scheduler_takes_the_same_steps(name, fields, monkeypatch):
    import diffusers

    made = getattr(diffusers, name)
    monkeypatch.setitem(SCHEDULERS, "this", lambda: made(**fields))
    found = []
    for changed in (True, False):
        if not changed:
            monkeypatch.setattr("videoada.skipping.step_call.StepCall.off_the_gpu", lambda *_: None)
        torch.manual_seed(5)
        pipe = (CarriedOn if name == "CogVideoXDPMScheduler" else ClosedForm)("this", Mixture(1))
        with skip_steps(pipe, "every-n", every=2, corrector=True):
            try:
                found.append(pipe(10))
            except Exception as error:
                found.append(str(error))
    assert torch.equal(*found) if isinstance(found[0], torch.Tensor) else found[0] == found[1]
    assert isinstance(found[0], torch.Tensor) or "Custom" in found[0], found[0]


def test_the_list_is_of_known_schedulers():
    assert set(LOOK_UP) < set(_READERS)
    assert set(_READERS) - set(LOOK_UP) == {"LCMScheduler", "HeliosScheduler"}  # these compute with it


class Own(__import__("diffusers").DDIMScheduler):
    """Somebody's own scheduler, which may do anything with its timestep."""

    seen = None

    def step(self, model_output, timestep, sample, **options):
        self.seen = timestep
        return super().step(model_output, timestep, sample, **options)


def test_somebodys_own_scheduler_gets_what_it_got(pipe, monkeypatch):
    monkeypatch.setattr(pipe, "scheduler", Own.from_config(pipe.scheduler.config))
    with skip_steps(pipe):
        pipe(PROMPTS[0], num_inference_steps=6, num_frames=2, output_type="latent")
    assert isinstance(pipe.scheduler.seen, torch.Tensor)


@pytest.mark.parametrize("name", ["dpm++", "euler"])
def test_the_first_step_finds_its_index_without_a_wait(there, name):
    """It looks its timestep up in the scheduler's list, and waits for what is on the GPU of it."""
    pipe, gpu, seen = there(name), PretendedGpu(), []
    step = pipe.scheduler.step

    def watched(*args, **kwargs):
        seen.append(str(pipe.scheduler.timesteps.device))
        return step(*args, **kwargs)

    pipe.scheduler.step = watched
    run(pipe, gpu, 6, policy="every-n", every=2)
    assert set(seen) == {"cpu"}
    assert isinstance(pipe.scheduler.timesteps, OnGpu)  # put back
