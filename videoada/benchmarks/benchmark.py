"""benchmark(): methods × prompts, each measured against the full run of the same prompt and seed, resumable.

Every method generates a batch of prompts in one process, right after the full run that it is measured against. A cell,
one line of `cells.jsonl`, holds the measures of one method and one prompt. The full and the reference runs are kept as
lossless videos beside it, so that an interrupted benchmark continues where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from videoada.benchmarks.generated import Generated
from videoada.benchmarks.judged import judged_measures
from videoada.benchmarks.methods import Method, for_model, generate_with, why_not
from videoada.config.run import GenerationConfig
from videoada.config.settings import SHIPPED
from videoada.errors import ConfigError, PromptError
from videoada.files import append_row, model_folder, read_appended, results_folder, written_aside
from videoada.learned.parts import EXIT_HEADS, STEP_POLICY
from videoada.learned.step_policy import with_max_steps
from videoada.media.video import Video
from videoada.metrics import check_coherence, paired_fidelity
from videoada.models.denoisers import device_of, dtype_of
from videoada.models.pipelines import load_config, model_info
from videoada.models.recommended import with_recommended
from videoada.shapes import agreement, is_scene, measure, parse
from videoada.skipping import correction
from videoada.skipping.rules import error_controlled

REFERENCE_STEPS = 500
OWN_RULES = ("error-controlled", "budget")


@dataclass(frozen=True)
class Cell:
    """One method on one prompt. Shares are of the full run; fidelity in dB, None where frames are equal."""

    model: str
    method: str
    family: str
    prompt: int  # its index in the file
    predictions: int
    rows: float
    macs: float
    seconds: float
    seconds_full: float
    psnr: float | None
    ssim: float
    tof: float | None
    psnr_reference: float | None  # to the run of many steps; NaN is never written: missing where there is none
    agreement: float | None  # of the four attributes, on embedded models
    coherent: bool
    reference_steps: int | None = None
    computed: str = ""
    peak_memory_bytes: int | None = None
    denoising: float | None = None  # of `seconds`; a cell of an older version lacks it
    denoising_full: float | None = None
    judged: dict[str, Any] | None = None  # `judged_measures`; a cell of an older version lacks them
    digest: str = ""  # of the method's definition, the weights, the device and its precision

    @property
    def key(self) -> tuple[str, str, int]:
        return self.model, self.method, self.prompt


def benchmark(
    pipe: Any,
    requests: Sequence[GenerationConfig],
    methods: Sequence[Method],
    folder: str | Path,
    *,
    reference_steps: int | None = REFERENCE_STEPS,
    batch_size: int = 8,
    on_cell: Callable[[Cell], None] | None = None,
    on_failure: Callable[[Method, Exception], None] | None = None,
) -> list[Cell]:
    """Measure every method on every request; what `folder` already holds is not generated again. Cells come method by
    method, in their order.

    `reference_steps` adds a run of that many steps, against which all are measured too (None: none). Raises PromptError
    when the folder belongs to other prompts, ConfigError for a method that the pipeline can't do. With `on_failure`, a
    method for another kind of model, or one that fails inside diffusers (some schedulers do with some timesteps), is
    left out and reported to it; ConfigError where none is left.
    """
    folder = results_folder(folder)
    info, requests = model_info(pipe), with_recommended(pipe, requests)
    methods = _that_fit(pipe, [for_model(pipe, method) for method in methods], on_failure)
    _check_full_runs(pipe, requests, methods)
    _check_same(folder / f"requests-{model_folder(info.name)}.json", [_about(r) for r in requests])
    cells = {cell.key: cell for cell in read_cells(folder)}
    for first in range(0, len(requests), batch_size):
        batch = list(requests[first : first + batch_size])
        runs = _Batch(pipe, batch, first, folder / "runs" / model_folder(info.name), batch_size)
        for method in methods:
            own = [i for i in range(len(batch)) if method.is_for(first + i)]
            asked = [batch[i] for i in own]
            definition = digest(method, pipe, asked)
            known = {i: cells.get((info.name, method.name, first + i)) for i in own}
            missing = [i for i in own if not _is_of(known[i], definition, reference_steps)]
            if not missing:
                continue
            for i in missing:  # rows of another definition, which no failure brings back
                cells.pop((info.name, method.name, first + i), None)
            try:  # first, so that a method that fails costs no full run
                generated = None if _is_full(method) else generate_with(pipe, method, asked, batch_size)
            except Exception as error:
                if on_failure is None or not _inside_diffusers(error):
                    raise
                on_failure(method, error)
                continue
            full = runs.full(method.full_scheduler)
            by_prompt = dict(zip(own, generated, strict=True)) if generated else dict(enumerate(full))
            reference = runs.reference(reference_steps) if reference_steps else None
            for i in missing:
                cell = _measure(info.name, info.embedded, method, first + i, batch[i], by_prompt[i], full[i],
                                reference[i].video if reference else None, reference_steps, definition)  # fmt: skip
                cells[cell.key] = cell
                append_row(folder / "cells.jsonl", asdict(cell))
                if on_cell:
                    on_cell(cell)
    of_methods = (
        cells.get((info.name, method.name, i)) for method in methods for i in range(len(requests)) if method.is_for(i)
    )
    return [cell for cell in of_methods if cell is not None]


def _that_fit(
    pipe: Any, methods: Sequence[Method], on_failure: Callable[[Method, Exception], None] | None
) -> list[Method]:
    """The methods that can run this model; the others are reported. Raises ConfigError where none is left."""
    fitting = []
    for method in methods:
        if (error := why_not(pipe, method)) is None:
            fitting.append(method)
        elif on_failure is None or (method is methods[-1] and not fitting):
            raise error
        else:
            on_failure(method, error)
    return fitting


def _check_full_runs(pipe: Any, requests: Sequence[GenerationConfig], methods: Sequence[Method]) -> None:
    """Raises ConfigError where a step policy can choose more or fewer steps at most than the full run has."""
    for policy in {method.step_policy for method in methods} - {None}:
        asked = with_max_steps(pipe, [request.model_copy(update={"step_policy": policy}) for request in requests])
        for request, most in zip(requests, asked, strict=True):
            if request.num_inference_steps != most.num_inference_steps:
                raise ConfigError(
                    f"the step policy chooses up to {most.num_inference_steps} steps, and the full run here has "
                    f"{request.num_inference_steps}: give `num_inference_steps={most.num_inference_steps}`"
                )


def _is_of(cell: Cell | None, definition: str, reference_steps: int | None) -> bool:
    if cell is None or cell.digest != definition:
        return False
    return not reference_steps or cell.reference_steps == reference_steps


def digest(method: Method, pipe: Any, batch: Sequence[GenerationConfig] = ()) -> str:
    """Hash of all that a cell's numbers depend on besides its prompt: a cell with another hash is generated again.

    `batch` are the prompts of its batch, where one decision is for all.
    """
    info, method = model_info(pipe), for_model(pipe, method)
    about: dict[str, Any] = {
        "method": method.model_dump(mode="json", exclude_none=True, exclude={"prompts"}),
        "weights": info.weights_sha256 or f"{info.source} {info.revision}",
        "device": device_of(pipe).type, "dtype": str(dtype_of(pipe)),
    }  # fmt: skip
    loaded = load_config(pipe)
    if loaded and (load := loaded.model_dump(exclude_defaults=True, exclude={"device", "dtype", "lora"})):
        about["load"] = load
    if info.lora:
        about["lora"] = [(weights.sha256, weights.scale) for weights in info.lora]
    if method.skip.corrector:
        about["corrector"] = correction.REVISION
    if method.skip.policy in OWN_RULES and error_controlled.REVISION > 1:  # the first was not noted
        about["rule"] = error_controlled.REVISION
    if method.skip.batch_decision != "prompt":
        size = method.batch_size or len(batch)
        about["batch"] = [(request.prompt, request.seed) for request in batch] + [size]
    if method.skip.early_exit:
        about["exit_heads"] = EXIT_HEADS.sha256(pipe, method.skip.exit_heads)
    if method.step_policy:
        about["step_policy"] = STEP_POLICY.sha256(pipe, None if method.step_policy == SHIPPED else method.step_policy)
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]


def _inside_diffusers(error: Exception) -> bool:
    """Also where `generate` raised one of ours from it."""
    frames = traceback.extract_tb((error.__cause__ or error).__traceback__)
    return bool(frames) and "diffusers" in Path(frames[-1].filename).parts


def read_cells(folder: str | Path) -> list[Cell]:
    """What a benchmark's folder holds; a line cut short by an interruption is left out."""
    cells = []
    for row in read_appended(Path(folder) / "cells.jsonl"):
        try:
            cells.append(Cell(**row))
        except TypeError:  # of another version
            continue
    return cells


def _is_full(method: Method) -> bool:
    return method.model_copy(update={"family": "", "knob": ""}) == Method(
        family="", knob="", scheduler=method.scheduler, full_scheduler=method.scheduler
    )


class _Batch:
    """The full and the reference runs of a few requests, generated once and kept as lossless videos."""

    def __init__(self, pipe: Any, batch: list[GenerationConfig], first: int, folder: Path, size: int):
        self.pipe, self.batch, self.first, self.folder, self.size = pipe, batch, first, folder, size
        self.known: dict[str, list[Generated]] = {}

    def full(self, scheduler: str | None) -> list[Generated]:
        return self._run(f"full-{scheduler or 'own'}", Method(family="full", knob="", scheduler=scheduler))

    def reference(self, num_steps: int) -> list[Generated]:
        return self._run(f"reference-{num_steps}", Method(family="reference", knob="", num_inference_steps=num_steps))

    def _run(self, name: str, method: Method) -> list[Generated]:
        if name not in self.known:
            paths = [self.folder / name / f"{self.first + i:03d}.mkv" for i in range(len(self.batch))]
            definition = digest(method, self.pipe)
            if not all(path.is_file() and _kept(path).get("digest") == definition for path in paths):
                for path, generated in zip(paths, generate_with(self.pipe, method, self.batch, self.size), strict=True):
                    about = {name: value for name, value in vars(generated).items() if name != "video"}
                    about["digest"] = definition
                    path.parent.mkdir(parents=True, exist_ok=True)
                    with written_aside(path.with_suffix(".json")) as about_aside, written_aside(path) as aside:
                        generated.video.encode(aside)
                        about_aside.write_text(json.dumps(about), encoding="utf-8")
            self.known[name] = [
                Generated(video=Video.read(path), **{k: v for k, v in _kept(path).items() if k != "digest"})
                for path in paths
            ]
        return self.known[name]


def _kept(path: Path) -> dict[str, Any]:
    """What was noted of a kept run; {} where nothing was."""
    about = path.with_suffix(".json")
    return json.loads(about.read_text()) if about.is_file() else {}


def _measure(
    model: str, embedded: bool, method: Method, index: int, request: GenerationConfig, generated: Generated,
    full: Generated,
    reference: Video | None, reference_steps: int | None, definition: str,
) -> Cell:  # fmt: skip
    fidelity = paired_fidelity(generated.video.frames, full.video.frames)
    to_reference = paired_fidelity(generated.video.frames, reference.frames, flow=False) if reference else None
    agrees = None
    if embedded and is_scene(request.prompt):
        agrees = sum(agreement(parse(request.prompt), measure(generated.video.frames)).values()) / 4
    return Cell(
        model=model, method=method.name, family=method.family, prompt=index, predictions=generated.predictions,
        rows=round(generated.rows / full.rows, 4), macs=round(generated.macs_in_rows / full.macs_in_rows, 4),
        seconds=round(generated.seconds, 3), seconds_full=round(full.seconds, 3),
        psnr=_rounded(fidelity.psnr), ssim=round(fidelity.ssim, 5), tof=_rounded(fidelity.tof),
        psnr_reference=_rounded(to_reference.psnr) if to_reference else None, agreement=agrees,
        reference_steps=reference_steps if reference else None,
        coherent=bool(check_coherence(generated.video.frames)["passed"]),
        computed="".join("01"[step] for step in generated.computed), peak_memory_bytes=generated.peak_memory_bytes,
        denoising=_rounded(generated.denoising_seconds), denoising_full=_rounded(full.denoising_seconds),
        judged=judged_measures(generated.video.frames, full.video.frames), digest=definition,
    )  # fmt: skip


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _about(request: GenerationConfig) -> dict[str, Any]:
    values = request.model_dump(exclude={"image", "scheduler"})
    return values | {"image": str(request.image) if request.image is not None else None}


def _check_same(path: Path, requests: list[dict[str, Any]]) -> None:
    """The folder's requests must begin as these do: more of them may be added, none exchanged."""
    before = json.loads(path.read_text()) if path.is_file() else []
    before, named = ([{k: v for k, v in r.items() if v is not None} for r in rs] for rs in (before, requests))
    count = min(len(before), len(requests))
    if before[:count] != named[:count]:
        raise PromptError(f"{path.parent} holds a benchmark of other prompts or settings; name another folder")
    if len(requests) > len(before):
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_aside(path) as aside:
            aside.write_text(json.dumps(requests, indent=1))
