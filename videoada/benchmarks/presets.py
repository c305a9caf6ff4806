"""The sets of methods that `videoada benchmark --preset` compares."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from videoada.benchmarks.baselines.baseline import KNOBS, TITLES
from videoada.benchmarks.methods import Method, Spacing
from videoada.config.frozen import one_of
from videoada.config.goals import SKIP_FIELDS
from videoada.config.quality import QUALITIES, quality_fields
from videoada.config.run import TARGETS, GenerationConfig, SkipConfig
from videoada.config.settings import SHIPPED
from videoada.errors import ConfigError

FEW_STEPS = (25, 20, 16, 13)
TOLERANCES = (0.004, 0.01, 0.025, 0.05, 0.12, 0.3, 0.6)
RELEASE = (0.005, 0.01, 0.02, 0.04, 0.08, 0.2)
# The spacings that were best for 25 and 20, and for 16 and 13 steps, on the first eight prompts of either sample, among
# leading, trailing and Karras. A solver's curve is the best of those given; Karras fails in diffusers on tiny-i2v.
SPACINGS: dict[str, dict[int, tuple[Spacing, ...]]] = {
    "ddim": {25: ("leading",), 20: ("leading",), 16: ("trailing",), 13: ("trailing",)},
    "dpm++": {25: ("leading", "karras"), 20: ("leading", "karras"), 16: ("leading", "trailing"),
              13: ("leading", "trailing")},
    "unipc": {25: ("leading", "karras"), 20: ("leading",), 16: ("trailing",), 13: ("trailing",)},
}  # fmt: skip
OF_FLOW = ("unipc", "dpm++", "euler")  # the solvers of flow matching, whose steps are spaced by the model's shift


def full(scheduler: str | None = None) -> Method:
    return Method(family="full run", knob="", scheduler=scheduler, full_scheduler=scheduler)


def skipping(family: str, knobs: Iterable[Any], scheduler: str | None = None, **fields: Any) -> list[Method]:
    """A curve: one method for each value of the policy's knob, which is `fields["knob"]`."""
    name = fields.pop("knob")
    return [
        Method(
            family=family, knob=f"{name.replace('_', ' ')} {value:g}", scheduler=scheduler, full_scheduler=scheduler,
            skip=SkipConfig(**(fields | {name: value})),
        )
        for value in knobs
    ]  # fmt: skip


def default(scheduler: str | None = None, tolerances: Iterable[float] = TOLERANCES, **fields: Any) -> list[Method]:
    """The shipped default, at several tolerances."""
    family = fields.pop("family", "videoada")
    return skipping(family, tolerances, scheduler, knob="tolerance", policy="error-controlled", **fields)


def release(scheduler: str | None = None, thresholds: Iterable[float] = RELEASE, **fields: Any) -> list[Method]:
    """The released code's rule, one decision for each prompt."""
    family = fields.pop("family", "AdaptiveDiffusion release")
    return skipping(family, thresholds, scheduler, knob="threshold", policy="third-order-release", **fields)


def few_steps(
    scheduler: str, steps: Iterable[int] = FEW_STEPS, spacings: Mapping[int, Sequence[Spacing]] | None = None
) -> list[Method]:
    """A solver with fewer steps, in its best spacings, measured against the full run of the model's own scheduler."""
    spacings = SPACINGS[scheduler] if spacings is None else spacings
    return [
        Method(
            family=f"{scheduler}, fewer steps",
            knob=f"{n} {spacing}",
            scheduler=scheduler,
            num_inference_steps=n,
            timestep_spacing=spacing,
        )
        for n in steps
        for spacing in spacings.get(n, ("leading",))
    ]


def deepcache(intervals: Iterable[int] = (2, 3, 5, 8)) -> list[Method]:
    return [Method(family="DeepCache", knob=f"interval {n}", cache_interval=n) for n in intervals]


def adaptive_solver(tolerances: Iterable[float] = (0.2, 0.8, 2.5, 8.0)) -> list[Method]:
    return [Method(family="adaptive DPM-Solver", knob=f"rtol {t:g}", solver_tolerance=t) for t in tolerances]


def frontier() -> list[Method]:
    """The headline: the default against the papers' rules, fewer steps, DeepCache, an adaptive solver."""
    return [
        full(), *default(), *release(), *(method for name in SPACINGS for method in few_steps(name)),
        *(method for name in OF_FLOW for method in few_steps(name, spacings=dict.fromkeys(FEW_STEPS, ("shifted",)))),
        *adaptive_solver(), *deepcache(),
        *skipping("AdaptiveDiffusion paper", (0.05, 0.15, 0.4, 1.0), knob="threshold", policy="third-order"),
        *skipping("every n", (2, 3, 4), knob="every", policy="every-n"),
    ]  # fmt: skip


def predictors() -> list[Method]:
    """Each predictor, which approximates skipped predictions, with and without the corrector, under the same rule."""
    few = (0.025, 0.12)
    return [
        full(),
        *(m for name in ("hold", "linear", "linear-eps", "taylor2")
          for m in default(tolerances=few, predictor=name, corrector=False, family=f"{name}, no corrector")),
        *(m for name in ("hold", "linear", "linear-eps", "taylor2")
          for m in default(tolerances=few, predictor=name, family=f"{name}, corrector")),
        *(m for d in (0.3, 0.5, 0.7, 1.0) for m in default(tolerances=few, damping=d, family=f"linear, damping {d:g}")),
    ]  # fmt: skip


def guidance() -> list[Method]:
    """The frontier with predictions that go without their unconditional half."""
    return [
        full(), *default(tolerances=(0.025, 0.05, 0.12)),
        *(m for g in (0.003, 0.01, 0.03)
          for m in default(tolerances=(0.025, 0.05), guidance_tolerance=g, family=f"guidance tolerance {g:g}")),
    ]  # fmt: skip


def schedulers(names: Iterable[str] = ("dpm++", "euler")) -> list[Method]:
    """The default and the release rule under other schedulers, each against its own full run."""
    methods = []
    for name in names:
        methods += [full(name).model_copy(update={"family": f"full run {name}"})]
        methods += default(name, (0.025, 0.05, 0.12), family=f"videoada {name}")
        methods += release(name, (0.01, 0.04, 0.1), family=f"AdaptiveDiffusion release {name}")
    return methods


def batches(size: int = 8) -> list[Method]:
    """One decision for each prompt against one for the batch, under both rules."""
    methods = [full(), *default(tolerances=(0.01, 0.025, 0.05, 0.12)), *release(thresholds=(0.02, 0.04, 0.08))]
    for way in ("mean", "any"):
        methods += default(tolerances=(0.025, 0.05, 0.12, 0.3), batch_decision=way, family=f"videoada, batch {way}")
        methods += release(thresholds=(0.02, 0.04, 0.08), batch_decision=way, family=f"release, batch {way}")
    return [m.model_copy(update={"batch_size": size}) for m in methods]


def qualities(model: str | None = None) -> list[Method]:
    """The levels of --quality, of a model that has its own."""
    levels = {name: SkipConfig(**quality_fields(name, model)) for name in QUALITIES}
    return [full(), *(Method(family="quality", knob=name, skip=skip) for name, skip in levels.items())]


def systems(exit_heads: str | None = None, step_policy: str | None = None) -> list[Method]:
    """Skipping, the number of steps and early exit, each, in pairs and together: files of one's own, or what ships."""
    parts = ("skipping", "step count", "early exit")
    exits: dict[str, Any] = {"early_exit": True, "exit_heads": exit_heads}
    methods = [full()]
    for chosen in (c for count in (1, 2, 3) for c in itertools.combinations(parts, count)):
        policy: dict[str, Any] = {} if "skipping" in chosen else {"policy": "none"}
        skip = SkipConfig(**policy, **exits if "early exit" in chosen else {})
        chooser = (step_policy or SHIPPED) if "step count" in chosen else None
        methods.append(Method(family=" + ".join(chosen), knob="", skip=skip, step_policy=chooser))
    return methods


def budgets(counts: Iterable[int] = (10, 13, 17, 20, 25)) -> list[Method]:
    """Exactly so many predictions for every prompt, beside what one tolerance makes of each."""
    return [full(), *default(), *skipping("budget", counts, knob="num_predictions", policy="budget")]


def baselines() -> list[Method]:
    """The default and exact budgets against other people's accelerators of 2024 to 2026, in their step-level forms."""
    methods = budgets()
    for name, (knob, values) in KNOBS.items():
        methods += [
            Method(family=TITLES[name], knob=f"{knob} {value:g}", baseline=name, baseline_knob=value)
            for value in values
        ]
    return methods


def paper_video() -> list[Method]:
    """The paper's video table: AdaptiveDiffusion as released and DeepCache against the full run of 50 DDIM steps."""
    return [full(), *release(thresholds=(0.008, 0.01)), *deepcache((2, 3)), *default(tolerances=(0.05,))]


def paper_steps() -> list[Method]:
    """50, 25, 15 and 10 steps, full and skipping (the paper's few-step study); all against the 50-step run."""
    methods = [full()]
    for n in (50, 25, 15, 10):
        skips = {
            "AdaptiveDiffusion release": SkipConfig(policy="third-order-release", threshold=0.01),
            "AdaptiveDiffusion paper": SkipConfig(policy="third-order"), "videoada": SkipConfig(),
            "no skipping": SkipConfig(policy="none"),
        }  # fmt: skip
        for family, skip in skips.items():
            if n != 50 or family != "no skipping":
                methods.append(Method(family=family, knob=f"{n} steps", num_inference_steps=n, skip=skip))
    return methods


def paper_ablation() -> list[Method]:
    """δ × C_max of the released rule."""
    return [
        full(),
        *(m for cap in (2, 4, 6, 8)
          for m in release(thresholds=(0.005, 0.01, 0.02, 0.04), max_skip_steps=cap, family=f"C_max {cap}")),
    ]  # fmt: skip


def paper_schedulers() -> list[Method]:
    """DDIM, SDE-DPM++ and Euler, as in the paper's scheduler study, and DPM++ 2M."""
    return schedulers(("ddim", "dpm++-sde", "euler", "dpm++"))


PRESETS = {
    "frontier": frontier, "baselines": baselines, "quality": qualities, "predictors": predictors, "guidance": guidance,
    "schedulers": schedulers, "batches": batches, "systems": systems, "budgets": budgets, "paper-video": paper_video,
    "paper-steps": paper_steps, "paper-ablation": paper_ablation, "paper-schedulers": paper_schedulers,
}  # fmt: skip
OWN_SCHEDULERS = ("schedulers", "paper-schedulers")  # presets that compare them
ADAPTIVITY = "adaptivity"  # whose methods depend on what the first of them measure: benchmarks/adaptivity/


def preset(
    name: str, families: str | None = None, model: str | None = None, scheduler: str | None = None, **parts: str | None
) -> list[Method]:
    """The methods of a preset; `model` may have levels of its own, and `parts`, of `systems`, are files.

    `families`, separated by commas, or by semicolons for names that hold commas, keeps those methods whose name holds
    one. Under `scheduler` are the full run and all methods but solvers with fewer steps and the adaptive one, which are
    schedulers of their own. Raises ConfigError for an unknown preset or scheduler, for one of a preset that compares
    them, or where no method is left.
    """
    try:
        name = one_of("preset", name, (*PRESETS, ADAPTIVITY))
    except ValueError as error:
        raise ConfigError(str(error)) from None
    if name == ADAPTIVITY:
        raise ConfigError("the methods of preset 'adaptivity' are found while it runs: call `adaptivity`")
    chosen = PRESETS[name]
    own: dict[str, Any] = parts if chosen is systems else {"model": model} if chosen is qualities else {}
    methods = chosen(**own)
    if scheduler:
        if name in OWN_SCHEDULERS:
            raise ConfigError(f"preset '{name}' compares schedulers of its own: leave `scheduler` out")
        scheduler = GenerationConfig(scheduler=scheduler).scheduler
        methods = [
            m.model_copy(update={
                "full_scheduler": scheduler, "scheduler": None if m.solver_tolerance else m.scheduler or scheduler,
            })
            for m in methods
        ]  # fmt: skip
    wanted = [part.strip() for part in families.split(";" if ";" in families else ",")] if families else [""]
    methods = [method for method in methods if any(part in method.name for part in wanted)]
    if not methods:
        raise ConfigError(f"no method of preset '{name}' has {' or '.join(wanted)[:80]} in its name")
    return methods


def check_settings(name: str, given: Mapping[str, Any]) -> None:
    """Raises ConfigError for a setting that is for timing: a preset names its own methods."""
    if given.get("steps") == "auto":
        raise ConfigError("`steps=auto` is for timing; the preset systems has a step policy among its methods")
    parts = {"exit_heads", "step_policy"}
    if name != "systems" and parts & set(given):
        raise ConfigError("`exit_heads` and `step_policy` are for timing and `preset=systems`")
    if name == ADAPTIVITY and "scheduler" in given:
        raise ConfigError("`preset=adaptivity` is measured under the model's own scheduler: leave `scheduler` out")
    methods_own = {"quality", *TARGETS, *SKIP_FIELDS} - parts
    if used := [each for each in given if each in methods_own]:
        raise ConfigError(f"`{used[0]}` is for timing; a preset names its own methods")
