"""analyse(): the paper's analysis of when to skip, against a greedy oracle, on a few prompts of a model.

The oracle tries masks by the hundred. Runs of two masks are the same up to the first step at which the masks differ, so
the network's outputs are kept under the part of the mask that led to them, and only what follows is computed again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from videoada.benchmarks.oracle.search import Mask, OracleStep, greedy_masks
from videoada.config.run import GenerationConfig, SkipConfig
from videoada.files import append_row, read_appended, results_folder
from videoada.generation.generate import check_request
from videoada.models.call import call_pipeline
from videoada.models.denoisers import denoisers_of, device_of, dtype_of
from videoada.models.images import image_name
from videoada.models.pipelines import model_info
from videoada.models.recommended import with_recommended
from videoada.models.schedulers import scheduler_of
from videoada.patching import replaced
from videoada.skipping import correction
from videoada.skipping.outputs import first_tensor
from videoada.skipping.rules import error_controlled
from videoada.skipping.skip_steps import skip_steps

PROTECTED = 3  # first steps, which every policy computes; so is the last


def forced_steps(num_steps: int) -> tuple[int, ...]:
    """The steps that the oracle and every policy compute."""
    return (*range(PROTECTED), num_steps - 1)


@dataclass
class PromptAnalysis:
    """One prompt: masks and errors of the oracle and of policies, and what the full run's latents did."""

    prompt: str
    oracle: list[OracleStep]
    policies: dict[str, list[OracleStep]]  # by name: a mask and its error for each value of its knob
    differences: list[list[float | None]]  # relative first, second and third difference, by step
    latent_errors: dict[str, list[float]]  # of some runs, by step


class _BrokenOffError(Exception):
    """Breaks a run off whose further steps are not needed."""


class MaskError:
    """mask → relative error of the final latents against the full run, with outputs kept by the mask's beginning."""

    def __init__(self, pipe: Any, request: GenerationConfig, predictor: SkipConfig):
        self.pipe, self.request, self.predictor = pipe, request, predictor
        self.kept: dict[tuple[Mask, int], Tensor] = {}  # by the mask's beginning and the call within its last step
        self.network_calls = 0
        self.full = self.latents(SkipConfig(policy="none"))

    def __call__(self, mask: Mask) -> float:
        return self.of(self.latents(self._config(mask), mask))

    def of(self, latents: Sequence[Tensor]) -> float:
        return float((latents[-1] - self.full[-1]).norm() / self.full[-1].norm())

    def by_step(self, latents: Sequence[Tensor]) -> list[float]:
        return [float((a - b).norm() / b.norm()) for a, b in zip(latents, self.full, strict=True)]

    def forget_other_than(self, mask: Mask) -> None:
        """Keep only outputs that runs with the beginning of `mask` share."""
        self.kept = {key: output for key, output in self.kept.items() if key[0] == mask[: len(key[0])]}

    def latents(self, skip: SkipConfig, mask: Mask | None = None, until: int | None = None) -> list[Tensor]:
        """The latents after each step; with `mask`, from kept outputs as long as there are any.

        The run is broken off after step `until`, where one is given.
        """
        found: list[Tensor] = []

        def keep(step: int, x: Tensor) -> None:
            found.append(x[0].float().cpu())
            if step == until:
                raise _BrokenOffError

        with (
            suppress(_BrokenOffError),
            scheduler_of(self.pipe, self.request.scheduler),
            kept_outputs(self.pipe, self.kept, mask, self._count),
            without_decoding(self.pipe),
            skip_steps(self.pipe, skip, on_latents=keep) as trace,
        ):
            call_pipeline(self.pipe, [self.request])
            self.computed = tuple(trace.computed[0])
        return found

    def _config(self, mask: Mask) -> SkipConfig:
        p = self.predictor
        return SkipConfig(policy="mask", mask=mask, predictor=p.predictor, damping=p.damping, corrector=p.corrector)

    def _count(self) -> None:
        self.network_calls += 1


@contextmanager
def kept_outputs(
    pipe: Any, kept: dict[tuple[Mask, int], Tensor], mask: Mask | None, on_call: Callable[[], None]
) -> Iterator[None]:
    """Inside the block, denoisers return the outputs in `kept`, by the mask up to this step and the call within it.

    A missing output is computed, reported to `on_call` and kept; without a mask none is kept.
    """
    steps = [i for i, computed in enumerate(mask or ()) if computed]
    index, call, new_step = -1, 0, True  # of the computed steps, and of the calls within one: guidance may take two

    def forward(inherited: Callable[..., Any], denoiser: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal index, call, new_step
        index, call, new_step = (index + 1, 0, False) if new_step else (index, call + 1, False)
        part = (mask[: steps[index] + 1], call) if mask is not None else None
        if part is not None and part in kept:
            return (kept[part],)
        result = inherited(*args, **kwargs)
        on_call()
        if part is not None:
            kept[part] = first_tensor(result)
        return result

    def step(inherited: Callable[..., Any], scheduler: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal new_step
        new_step = True
        return inherited(*args, **kwargs)

    with ExitStack() as stack:
        for denoiser in denoisers_of(pipe):
            stack.enter_context(replaced(denoiser, "forward", forward))
        stack.enter_context(replaced(pipe.scheduler, "step", step))
        yield


@contextmanager
def without_decoding(pipe: Any) -> Iterator[None]:
    """Inside the block, pipelines with a method that decodes latents return grey frames of 8×8 pixels instead."""

    def decode(inherited: Callable[..., Tensor], pipe: Any, latents: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return torch.zeros(len(latents), 3, latents.shape[2], 8, 8)

    with replaced(pipe, "decode_latents", decode) if hasattr(pipe, "decode_latents") else nullcontext():
        yield


def analyse_prompt(
    pipe: Any,
    request: GenerationConfig,
    policies: Mapping[str, Sequence[SkipConfig]],
    *,
    predictor: SkipConfig,
    max_skips: int | None = None,
    max_skip_steps: int | None = 8,
    on_oracle: Callable[[OracleStep, int], None] | None = None,
) -> PromptAnalysis:
    """The oracle's masks with `predictor`, and each policy's masks with its own and with the same predictor.

    Policies' errors are under the oracle's predictor, so that only the choice of steps differs; the shipped runs' own
    errors are in `latent_errors`. `on_oracle` is called with each mask and the network calls so far.
    """
    [request] = with_recommended(pipe, [request])
    error = MaskError(pipe, request, predictor)
    num_steps = request.num_steps
    protected = forced_steps(num_steps)
    oracle = []
    for found in greedy_masks(
        num_steps, error, protected=protected, max_skips=max_skips, max_skip_steps=max_skip_steps
    ):
        oracle.append(found)
        error.forget_other_than(found.mask)
        if on_oracle:
            on_oracle(found, error.network_calls)
    error.kept.clear()
    masks: dict[str, list[OracleStep]] = {}
    by_step: dict[str, list[float]] = {}
    for name, configs in policies.items():
        for config in configs:
            latents = error.latents(config)
            mask = error.computed
            by_step[f"{name} {config.limit:g}" if config.limit else name] = error.by_step(latents)
            masks.setdefault(name, []).append(OracleStep(mask, error(mask)))
            error.kept.clear()
    return PromptAnalysis(request.prompt, oracle, masks, relative_differences(error.full), by_step)


def relative_differences(latents: Sequence[Tensor]) -> list[list[float | None]]:
    """‖Δx‖/‖x‖, ‖Δ²x‖/‖Δx‖ and ‖Δ³x‖/‖Δx‖ after each step of a run; None where there are too few steps before."""
    rows: list[list[float | None]] = []
    for k in range(len(latents)):
        d = [latents[j] - latents[j - 1] for j in range(max(k - 2, 1), k + 1)]
        first = float(d[-1].norm() / latents[k].norm()) if d else None
        second = float((d[-1] - d[-2]).norm() / d[-1].norm()) if len(d) > 1 else None
        third = float((d[-1] - 2 * d[-2] + d[-3]).norm() / d[-1].norm()) if len(d) > 2 else None
        rows.append([first, second, third])
    return rows


@dataclass
class Analysis:
    """All prompts of one model; `settings` says with what the oracle searched."""

    model: str
    settings: dict[str, Any]
    prompts: list[PromptAnalysis] = field(default_factory=list)


POLICIES: dict[str, list[SkipConfig]] = {
    "AdaptiveDiffusion release": [
        SkipConfig(policy="third-order-release", threshold=t) for t in (0.005, 0.01, 0.02, 0.04, 0.08)
    ],
    "AdaptiveDiffusion paper": [SkipConfig(policy="third-order", threshold=t) for t in (0.1, 0.2, 0.4, 0.8)],
    "every n": [SkipConfig(policy="every-n", every=n) for n in (2, 3, 4)],
    "videoada": [SkipConfig(tolerance=t) for t in (0.004, 0.01, 0.025, 0.05, 0.12)],
}


def analyse(
    pipe: Any,
    requests: Sequence[GenerationConfig],
    folder: str | Path,
    *,
    predictor: str = "linear",
    corrector: bool = True,
    max_skips: int | None = None,
    on_progress: Callable[[str], None] | None = None,
) -> Analysis:
    """Every prompt's oracle and policies; what is done is kept in `folder`/prompts.jsonl and not searched again.

    Raises ConfigError for a request that the pipeline can't run, OutputError for a folder that can't be written to.
    """
    folder, say = results_folder(folder), on_progress or (lambda text: None)
    with_what = SkipConfig(policy="every-n", predictor=predictor, corrector=corrector)
    settings = {"predictor": predictor, "corrector": corrector, "max_skips": max_skips}
    info = model_info(pipe)
    found = Analysis(info.name, settings)
    network = {
        "model": info.name, "weights": info.weights_sha256 or f"{info.source} {info.revision}",
        "device": device_of(pipe).type, "dtype": str(dtype_of(pipe)),
        "revisions": {"corrector": correction.REVISION, "rule": error_controlled.REVISION},
    }  # fmt: skip
    requests = with_recommended(pipe, requests)
    for request in requests:
        check_request(pipe, request, with_what)
    path = folder / "prompts.jsonl"
    kept = {json.dumps(row.pop("about", None), sort_keys=True): row for row in read_appended(path)}
    for i, request in enumerate(requests):
        about = network | settings | request.model_dump(exclude={"image"}, mode="json") | {
            "image": image_name(request.image),
            "policies": {
                name: [c.model_dump(mode="json", exclude_none=True) for c in each] for name, each in POLICIES.items()
            },
        }  # fmt: skip
        if known := kept.get(json.dumps(about, sort_keys=True)):
            found.prompts.append(_from_json(known))
            continue

        def report(step: OracleStep, calls: int, i: int = i) -> None:
            if step.num_skips % 5 == 0:
                say(f"prompt {i}: {step.num_skips} skips, error {step.cost:.2e}, {calls} network calls")

        analysed = analyse_prompt(
            pipe, request, POLICIES, predictor=with_what, max_skips=max_skips, on_oracle=report
        )  # fmt: skip
        append_row(path, asdict(analysed) | {"about": about})
        found.prompts.append(analysed)
    return found


def _from_json(values: dict[str, Any]) -> PromptAnalysis:
    def steps(rows: list[dict[str, Any]]) -> list[OracleStep]:
        return [OracleStep(tuple(row["mask"]), row["cost"]) for row in rows]

    return PromptAnalysis(
        values["prompt"], steps(values["oracle"]), {k: steps(v) for k, v in values["policies"].items()},
        values["differences"], values["latent_errors"],
    )  # fmt: skip
