"""Noise levels of every scheduler on the list, held to what its own `add_noise` and `step` do."""

from __future__ import annotations

import inspect

import diffusers
import pytest
import torch

from videoada.errors import ConfigError
from videoada.skipping.rules.prediction import output_of, read_prediction
from videoada.skipping.schedule import check_scheduler, read_schedule

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
ZERO_SNR = {"beta_schedule": "squaredcos_cap_v2", "rescale_betas_zero_snr": True}
KINDS = ("epsilon", "v_prediction", "sample")
SPACED = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas")
FLOW = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": 3.0}


def _cases():
    """(class, configuration, whether its steps are random) of every entry of the list."""
    for name in ("DDIMScheduler", "DDIMParallelScheduler", "CogVideoXDDIMScheduler"):
        for kind in KINDS:
            yield name, {**BETAS, "clip_sample": False, "prediction_type": kind}, False
        yield name, {**ZERO_SNR, "clip_sample": False, "timestep_spacing": "trailing",
                     "prediction_type": "v_prediction"}, False  # fmt: skip
    for name in ("DDPMScheduler", "DDPMParallelScheduler"):
        for kind in KINDS:
            yield name, {**BETAS, "clip_sample": False, "prediction_type": kind}, True
    for kind in KINDS:
        yield "CogVideoXDPMScheduler", {**BETAS, "clip_sample": False, "prediction_type": kind}, True
    for name in ("LCMScheduler", "TCDScheduler"):
        yield name, {**BETAS, "prediction_type": "epsilon"}, True
    for name in ("DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler", "DEISMultistepScheduler",
                 "UniPCMultistepScheduler"):  # fmt: skip
        for kind in KINDS:
            yield name, {**BETAS, "prediction_type": kind, "lower_order_final": True}, False
        for spaced in SPACED:
            yield name, {**BETAS, "prediction_type": "epsilon", "lower_order_final": True, spaced: True}, False
        yield name, {**FLOW, "lower_order_final": True}, False
    yield "DPMSolverMultistepScheduler", {**BETAS, "use_lu_lambdas": True}, False
    yield "DPMSolverMultistepScheduler", {**BETAS, "algorithm_type": "sde-dpmsolver++"}, True
    for kind in KINDS[:2]:
        for spaced in ("", *SPACED):
            fields = {**BETAS, "prediction_type": kind} | ({spaced: True} if spaced else {})
            yield "EulerDiscreteScheduler", fields, False
            yield "LMSDiscreteScheduler", fields, False
        yield "EulerAncestralDiscreteScheduler", {**BETAS, "prediction_type": kind}, True
    yield "EulerDiscreteScheduler", {
        **BETAS, "prediction_type": "v_prediction", "timestep_type": "continuous", "use_karras_sigmas": True,
        "sigma_min": 0.002, "sigma_max": 700.0, "timestep_spacing": "leading", "steps_offset": 1,
    }, False  # fmt: skip
    for kind in KINDS[:2]:
        for name in ("EDMEulerScheduler", "EDMDPMSolverMultistepScheduler"):
            yield name, {"prediction_type": kind}, False
        yield "EDMEulerScheduler", {"prediction_type": kind, "sigma_data": 1.0, "final_sigmas_type": "sigma_min"}, False
    for fields in ({}, {"shift": 3.0}, {"shift": 7.0}, {"use_karras_sigmas": True}, {"use_beta_sigmas": True},
                   {"shift_terminal": 0.1}, {"invert_sigmas": True, "shift": 1.0}):  # fmt: skip
        yield "FlowMatchEulerDiscreteScheduler", fields, False
    yield "FlowMatchEulerDiscreteScheduler", {"stochastic_sampling": True}, True
    yield "FlowMatchLCMScheduler", {}, True
    yield "LTXEulerAncestralRFScheduler", {}, True
    yield "LTXEulerAncestralRFScheduler", {"eta": 0.0}, False
    yield "HeliosScheduler", {"scheduler_type": "euler", "stages": 1, "stage_range": [0, 1]}, False
    yield "HeliosScheduler", {"scheduler_type": "unipc", "stages": 1, "stage_range": [0, 1]}, False


CASES = list(_cases())
NAMES = [f"{name}-{'-'.join(str(v) for k, v in fields.items() if k not in BETAS)}" for name, fields, _ in CASES]


def pair(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 4, 4, 4, generator=generator), torch.randn(2, 4, 4, 4, generator=generator)


def scheduled(name, fields, steps=12):
    scheduler = getattr(diffusers, name)(**fields)
    if name == "LTXEulerAncestralRFScheduler":
        scheduler.set_timesteps(steps, mu=None)
    else:
        scheduler.set_timesteps(steps)
    check_scheduler(scheduler)
    return scheduler, read_schedule(scheduler)


def mixed(schedule, step, x0, eps):
    """The scheduler's latents before `step` that hold this pair."""
    level = schedule.levels[step]
    return schedule.scales[step] * (level.alpha * x0 / schedule.unit + level.sigma * eps)


def adds_noise(name, fields):
    """`scale_noise` does not know of inverted sigmas; two have nothing of the kind. The next test knows all."""
    return not fields.get("invert_sigmas") and name not in ("HeliosScheduler", "LTXEulerAncestralRFScheduler")


@pytest.mark.parametrize(
    ("name", "fields"),
    [(name, fields) for name, fields, _ in CASES if adds_noise(name, fields)],
    ids=[known for known, (name, fields, _) in zip(NAMES, CASES, strict=True) if adds_noise(name, fields)],
)
def test_levels_are_those_of_the_schedulers_own_noise(name, fields):
    scheduler, schedule = scheduled(name, fields)
    assert len(schedule.levels) == len(scheduler.timesteps) == len(schedule.scales) - 1
    x0, eps = pair()
    add = getattr(scheduler, "scale_noise", None) or scheduler.add_noise
    for step in (0, 1, 5, len(schedule.levels) - 1):
        timestep = scheduler.timesteps[step].repeat(len(x0))
        own = add(x0, timestep, eps) if name.startswith("FlowMatch") else add(x0, eps, timestep)
        size = float(own.abs().max())
        torch.testing.assert_close(mixed(schedule, step, x0, eps), own.float(), rtol=2e-3, atol=2e-3 * size)


@pytest.mark.parametrize(("name", "fields", "random"), CASES, ids=NAMES)
def test_an_unchanging_pair_stays_on_the_path_of_the_schedulers_own_steps(name, fields, random):
    """x̂₀ and ε̂ that never change: each step leads from one level's mix of the two to the next one's; where steps are
    random, x̂₀ is what the last one ends at."""
    scheduler, schedule = scheduled(name, fields)
    x0, eps = pair()
    x, old = mixed(schedule, 0, x0, eps), None
    for step, t in enumerate(scheduler.timesteps):
        level = schedule.levels[step]
        if not random:
            size = float(mixed(schedule, step, x0, eps).abs().max())
            torch.testing.assert_close(x, mixed(schedule, step, x0, eps), rtol=5e-3, atol=5e-3 * max(size, 1))
        ours = schedule.rescaled(x, step)
        held = (ours - level.alpha * x0 / schedule.unit) / max(level.sigma, 1e-4)
        output = output_of(x0 / schedule.unit, held if random else eps, level, schedule.kind)
        again = read_prediction(step, output, ours, level, schedule.kind)
        if level.alpha > 0.02:
            torch.testing.assert_close(again.x0 * schedule.unit, x0, rtol=1e-2, atol=1e-2)
        given = schedule.written(output)
        noise = {"generator": torch.Generator().manual_seed(step)} if takes_noise(scheduler) else {}
        if name == "CogVideoXDPMScheduler":
            back = scheduler.timesteps[step - 1] if step else None
            x, old = scheduler.step(given, old, t, back, x, **noise)
        else:
            x = scheduler.step(given, t, scheduler_sample(scheduler, x, t), **noise, return_dict=False)[0]
    if not random:
        result = schedule.scales[-1] * (schedule.end.alpha * x0 / schedule.unit + schedule.end.sigma * eps)
        torch.testing.assert_close(x, result, rtol=5e-3, atol=5e-3 * max(float(result.abs().max()), 1))
    if schedule.levels[-1].alpha > 0.95:
        torch.testing.assert_close(x, x0, rtol=0.05, atol=0.3 if random else 0.05)


def takes_noise(scheduler):
    return "generator" in inspect.signature(scheduler.step).parameters


def scheduler_sample(scheduler, x, timestep):
    """Some demand that the network's input was scaled before a step."""
    if hasattr(scheduler, "scale_model_input"):
        scheduler.scale_model_input(x, timestep)
    return x


REFUSED = {
    "CMStochasticIterativeScheduler": {}, "IPNDMScheduler": {}, "SASolverScheduler": {}, "DDIMInverseScheduler": {},
    "DPMSolverMultistepInverseScheduler": {}, "UnCLIPScheduler": {}, "SCMScheduler": {},
    "FlowMatchHeunDiscreteScheduler": {}, "HeunDiscreteScheduler": {}, "PNDMScheduler": {},
    "HeliosDMDScheduler": {}, "FlowMatchLCMScheduler": {"scale_factors": [0.5, 1.0]},
    "UniPCMultistepScheduler": {"use_flow_sigmas": True, "prediction_type": "epsilon"},
    "DPMSolverMultistepScheduler": {"prediction_type": "flow_prediction"},
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_on_the_list_is_refused_in_one_line(name):
    with pytest.raises(ConfigError, match=name) as refused:
        check_scheduler(getattr(diffusers, name)(**REFUSED[name]))
    assert "\n" not in str(refused.value)


def test_a_subclass_is_known_by_the_class_that_it_extends():
    class Own(diffusers.DDIMScheduler):
        pass

    scheduler = Own(**BETAS)
    scheduler.set_timesteps(4)
    check_scheduler(scheduler)
    assert len(read_schedule(scheduler).levels) == 4


def test_the_results_level_is_the_schedulers_own():
    ends = {("DDIMScheduler", 0.0): {**BETAS}, ("DDIMScheduler", 0.0292): {**BETAS, "set_alpha_to_one": False},
            ("DPMSolverMultistepScheduler", 0.0): BETAS,
            ("DPMSolverMultistepScheduler", 0.0292): {**BETAS, "final_sigmas_type": "sigma_min"},
            ("FlowMatchEulerDiscreteScheduler", 0.0): {}}  # fmt: skip
    for (name, angle), fields in ends.items():
        _, schedule = scheduled(name, fields)
        assert schedule.end.angle == pytest.approx(angle, abs=1e-4)
    assert schedule.of_steps([0, 1, 2]).end == schedule.levels[3]
    assert schedule.of_steps([10, 11]).end == schedule.end


def test_options_that_come_from_another_schedulers_configuration_are_not_taken_for_its_own():
    spaced = diffusers.EulerDiscreteScheduler(**BETAS, use_karras_sigmas=True)
    scheduler = diffusers.DDIMScheduler.from_config(spaced.config)
    scheduler.set_timesteps(6)
    check_scheduler(scheduler)
    plain = diffusers.DDIMScheduler(**BETAS)
    plain.set_timesteps(6)
    assert read_schedule(scheduler).levels == read_schedule(plain).levels
    flow = diffusers.UniPCMultistepScheduler(**FLOW)
    for kind in (diffusers.DDIMScheduler, diffusers.EulerDiscreteScheduler):
        with pytest.raises(ConfigError, match="`prediction_type` 'flow_prediction' and no `use_flow_sigmas`"):
            check_scheduler(kind.from_config(flow.config))
    other = diffusers.FlowMatchEulerDiscreteScheduler.from_config(flow.config)
    other.set_timesteps(6)
    check_scheduler(other)
    assert read_schedule(other).kind == "flow_prediction"
