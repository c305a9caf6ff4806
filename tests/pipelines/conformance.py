"""The checks that each build goes through, and what came of them.

A build works if every check says ok, runs in full if nothing is skipped and the trace says so, is refused if skipping
ends in one line of a VideoAdaError and leaves the pipeline as it was, and fails otherwise.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from builders import Build
from comparing import CLOSE, CheckError, RefusedError, Run, bits, close, error_of, one_line, require, same
from watching import StoppedError, ideal, tensors_of, watched

from videoada import skip_steps
from videoada.errors import VideoAdaError
from videoada.models.denoisers import denoisers_of
from videoada.skipping.rules.decision import Decision, SkipState

NONE = {"policy": "none"}
MOST = {"tolerance": 1e6}  # skips whatever may be skipped
# What a trace says of steps that are not taken with the pipeline's own scheduler, which then are not skipped.
IN_FULL = re.compile("with copies or others|scheduler was replaced")
SKIPPING = ("every", "mask", "default", "huge", "unguided", "levels", "batch")


@dataclass(frozen=True)
class Masks:
    """One mask for each prompt."""

    masks: tuple[tuple[bool, ...], ...]
    num_latents = 0

    def decide(self, state: SkipState) -> Decision:
        if state.num_prompts != len(self.masks):
            return Decision.all(state)
        return Decision(tuple(mask[state.step] for mask in self.masks), (None,) * state.num_prompts)


class Conformance:
    """All checks of one build, on one pipeline."""

    def __init__(self, build: Build):
        self.build, self.pipe = build, build.make()
        self.types = [type(part) for part in self._patched()]
        self.results: dict[str, str] = {}

    def run(self, only: tuple[str, ...] = ()) -> dict[str, str]:
        """{check: 'ok', 'in full: …', 'refused: …', 'failed: …' or 'not applicable: …'}."""
        checks = self._checks()
        for name in list(checks):
            if name == "zero" and self.runs_in_full():  # then nothing that skips is asked for
                checks |= dict.fromkeys(SKIPPING, self.in_full)
            check = checks[name]
            if only and name not in only and name != "plain":
                continue
            try:
                said = check() or "ok"
                self._as_before()
            except RefusedError as error:
                said = f"refused: {error}"
            except CheckError as error:
                said = f"failed: {error}"
            except Exception as error:
                said = f"failed: {type(error).__name__}: {error}"
            self.results[name] = " ".join(said.split())
            if name == "plain" and said != "ok":
                break
        return self.results

    def _checks(self) -> dict[str, Callable[[], str | None]]:
        return {
            "plain": self.plain, "none": self.none, "zero": self.zero, "every": self.every, "mask": self.mask,
            "default": self.default, "huge": self.huge, "twice": self.twice, "exception": self.exception,
            "unguided": self.unguided, "levels": self.levels, "batch": self.batch,
        }  # fmt: skip

    # ---- the checks ----

    def runs_in_full(self) -> bool:
        """Whether a block's trace says that this pipeline's steps can't be skipped."""
        try:
            return any(IN_FULL.search(text) for text in self.call(MOST).trace.warnings)
        except Exception:
            return False  # the checks tell

    def in_full(self) -> str:
        run = self.call(MOST)
        same(run, self.reference, "a run that skips nothing and plain")
        require(any(IN_FULL.search(text) for text in run.trace.warnings), "nothing was skipped, without a word")
        run.trace.summary()
        return f"in full: {run.trace.warnings[0]}"

    def plain(self) -> None:
        self.reference = self.call()
        same(self.call(), self.reference, "two plain calls")
        steps, calls = self.reference.seen.steps, len(self.reference.seen.rows)
        require(steps > 0 and calls % steps == 0, f"{calls} network calls in {steps} scheduler steps")

    def none(self) -> None:
        same(self.call(NONE), self.reference, "`none` and plain")

    def zero(self) -> None:
        same(self.call({"tolerance": 0}), self.reference, "`tolerance=0` and plain")

    def every(self) -> None:
        run = self.call({"policy": "every-n", "every": 2})
        self.counted(run)
        self.skipped(run)
        found = run.trace.computed[0]
        begins = self.reference.seen.first_steps.values()  # a network that was never called has nothing to hold
        wanted = [i % 2 == 0 or i in begins for i in range(len(found))]
        require(found == wanted, f"every second step is {bits(wanted)}, not {bits(found)}")
        differ = any(not torch.equal(a, b) for a, b in zip(run.tensors, self.reference.tensors, strict=True))
        require(differ, "skipping every second step changes nothing")

    def mask(self) -> None:
        wanted = self.wanted_mask(3)
        run = self.call({"policy": "mask", "mask": wanted})
        self.counted(run)
        require(run.trace.computed[0] == list(wanted), f"{bits(wanted)} was asked, {bits(run.trace.computed[0])} came")

    def default(self) -> None:
        run = self.call({})
        self.counted(run)
        require(all(torch.isfinite(t).all() for t in run.tensors), "the result is not finite")

    def huge(self) -> None:
        run = self.call(MOST)
        self.counted(run)
        self.skipped(run)
        found = run.trace.computed[0]
        require(found[0] and found[-1], f"the first and the last step are not computed: {bits(found)}")
        for network, step in self.reference.seen.first_steps.items():
            require(found[step], f"the first step of {network}, {step}, is not computed: {bits(found)}")

    def twice(self) -> None:
        with self.block(MOST) as trace:
            first, of_first = self.call_inside(), trace.computed
            second, of_second = self.call_inside(), trace.computed
        same(second, first, "two calls in one block")
        require(of_first == of_second, "the trace of the second call differs")
        same(self.call(MOST), first, "a block and the next block")

    def exception(self) -> None:
        before = self.call(MOST)
        try:
            self.call(MOST, fail_at=max(len(before.seen.rows) // 2, 1))
        except StoppedError:
            pass
        else:
            raise CheckError("the network's exception did not come out")
        self._as_before()
        same(self.call(), self.reference, "plain after an exception and plain")
        same(self.call(MOST), before, "a block after an exception and one before")

    def unguided(self) -> str | None:
        if self.build.unguided is None:
            return "not applicable: guidance can't be turned off"
        if self.build.guide:
            self.build.guide(self.pipe, False)
        try:
            plain = self.call(guided=False)
            same(self.call(NONE, guided=False), plain, "`none` and plain without guidance")
            run = self.call(MOST, guided=False)
            self.counted(run, plain)
            self.skipped(run)
        finally:
            if self.build.guide:
                self.build.guide(self.pipe, True)
        return None

    def levels(self) -> str | None:
        """A network whose x̂₀ never changes: skipping must be exact."""
        scheduler = self.pipe.scheduler
        if not hasattr(scheduler, "add_noise") and not hasattr(scheduler, "scale_noise"):
            return f"not applicable: {type(scheduler).__name__} adds no noise"
        full = self.call(known=True)
        every = {"policy": "every-n", "every": 2, "predictor": "linear"}
        for name, skip in (("every second step", every), ("most steps", MOST)):
            run = self.call(skip, known=True)
            self.skipped(run)
            some = 1 if len(full.seen.by_scheduler) > 1 else None  # copies of the scheduler are not given it
            close(run.tensors[:some], full.tensors[:some], f"full run and {name} skipped, x̂₀ constant,")
        return None

    def batch(self) -> str | None:
        if not self.build.at_once:
            return "not applicable: the pipeline takes one prompt at a time"
        plain = self.call(prompts=(0, 1))
        masks = self.wanted_mask(2), self.wanted_mask(3)
        both = self.call({"policy": Masks(masks)}, prompts=(0, 1))
        require(both.trace.computed == [list(mask) for mask in masks], f"computed {both.trace.computed}")
        total, counted = (both.trace.unet_rows, both.trace.unet_rows_full), (sum(both.seen.rows), sum(plain.seen.rows))
        require(total == counted, f"rows (run, full) by the trace {total}, counted {counted}")
        per_step = sum(plain.seen.rows) // (2 * plain.seen.steps)
        needed = per_step * sum(map(sum, masks))
        require(sum(both.seen.rows) == needed, f"{sum(both.seen.rows)} rows ran, {needed} were needed")
        for i in (0, 1):
            self._as_alone(i, masks[i], both, plain)
        return None

    def _as_alone(self, i: int, mask: tuple[bool, ...], both: Run, plain: Run) -> None:
        """Prompt i of two is what it is alone, or, where diffusers' own batch of two is not each prompt alone, what it
        is in a batch where all have its mask."""
        found = [tensor[i] for tensor in both.tensors]
        alone = self.call(prompts=(i,))
        if error_of([tensor[i] for tensor in plain.tensors], [tensor[0] for tensor in alone.tensors]) < CLOSE:
            single = self.call({"policy": Masks((mask,))}, prompts=(i,))
            close(found, [tensor[0] for tensor in single.tensors], f"prompt {i} of two and alone")
        else:
            of_one_mask = self.call({"policy": Masks((mask, mask))}, prompts=(0, 1))
            close(found, [tensor[i] for tensor in of_one_mask.tensors], f"prompt {i} of two on two masks and on one")

    # ---- calls ----

    def call(self, skip: dict[str, Any] | None = None, **how: Any) -> Run:
        """One call, inside a block of these settings, or plain."""
        if skip is None:
            return self.call_inside(**how)
        with self.block(skip) as trace:
            return self.call_inside(trace=trace, **how)

    @contextmanager
    def block(self, skip: dict[str, Any]) -> Iterator[Any]:
        with ExitStack() as stack:
            try:
                trace = stack.enter_context(skip_steps(self.pipe, **skip))
            except VideoAdaError as error:
                raise RefusedError(one_line(error)) from error
            yield trace

    def call_inside(self, prompts=(0,), guided=True, fail_at=None, known=False, trace=None) -> Run:
        torch.manual_seed(0)  # some pipelines encode their image with noise of the global generator
        with watched(self.pipe, fail_at, self.build.in_turn) as seen, warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            try:
                with ideal(self.pipe, seen) if known else nullcontext(), torch.no_grad():
                    result = self.pipe(**self.build.arguments(prompts, guided))
            except VideoAdaError as error:
                raise RefusedError(one_line(error)) from error
        said = [str(w.message) for w in warned if "videoada" in str(w.filename) or "skip" in str(w.message)]
        return Run(tensors_of(tuple(result.values()) if hasattr(result, "values") else result), seen, trace, said)

    # ---- what must hold ----

    def wanted_mask(self, period: int) -> tuple[bool, ...]:
        """Of the steps that run: computed but for every `period`-th; the last and each network's first computed."""
        steps, begins = self.reference.seen.steps, self.reference.seen.first_steps.values()
        return tuple(i % period != period - 1 or i == steps - 1 or i in begins for i in range(steps))

    def counted(self, run: Run, plain: Run | None = None) -> None:
        plain = plain or self.reference
        steps = len(run.trace.computed[0])
        require(steps == plain.seen.steps, f"the trace has {steps} steps, {plain.seen.steps} ran")
        calls = len(plain.seen.rows) // plain.seen.steps * sum(run.trace.computed[0])
        require(len(run.seen.rows) == calls, f"{len(run.seen.rows)} network calls, by the trace {calls}")
        total = run.trace.unet_rows, run.trace.unet_rows_full
        counted = sum(run.seen.rows), sum(plain.seen.rows)
        require(total == counted, f"rows (run, full) by the trace {total}, counted {counted}")

    def skipped(self, run: Run) -> None:
        nothing = all(map(all, run.trace.computed))
        require(not nothing or run.warned, "nothing was skipped, without a word")

    def _patched(self) -> list[Any]:
        return [*denoisers_of(self.pipe), self.pipe.scheduler]

    def _as_before(self) -> None:
        require([type(part) for part in self._patched()] == self.types, "a class of the pipeline's parts has changed")


def state_of(results: dict[str, str]) -> tuple[str, str]:
    """(works | in full | refused | fails, one line: the warning, the refusal or the first failures)."""
    failed = [f"{name}: {said.removeprefix('failed: ')}" for name, said in results.items() if said.startswith("failed")]
    if failed:
        return "fails", "; ".join(failed)
    full = [said.removeprefix("in full: ") for said in results.values() if said.startswith("in full")]
    if full:
        return "in full", full[0]
    refused = [said.removeprefix("refused: ") for said in results.values() if said.startswith("refused")]
    return ("refused", refused[0]) if refused else ("works", "")
