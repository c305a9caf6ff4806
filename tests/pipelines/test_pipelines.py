"""Each small build of a diffusers pipeline does what outcomes.yaml says: skipping works, or is refused in one line."""

from __future__ import annotations

import json

import pytest
import yaml
from builders import BUILDS
from conformance import Conformance, state_of
from conftest import ROOT

OUTCOMES = yaml.safe_load((ROOT / "tests" / "pipelines" / "outcomes.yaml").read_text(encoding="utf-8"))
RESULTS = json.loads((ROOT / "samples" / "results" / "pipelines.json").read_text(encoding="utf-8"))
# A UNet, cut timesteps, DPM with memory, two outputs, UniPC, two networks, a scheduler a frame, lists of tensors; the
# others are slow (`make test-families`).
QUICK = {
    "modelscope-t2v", "modelscope-v2v", "cogvideox-dpm", "ltx2", "wan-2.1-t2v", "wan-2.2-a14b", "skyreels-v2-df",
    "z-image",
}  # fmt: skip


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in BUILDS]
)
def test_build_does_what_is_written(name, one_thread):
    results = Conformance(BUILDS[name]).run()
    state, why = state_of(results)
    assert state == OUTCOMES[name]["state"], f"{name} {state}: {why}"


def test_every_build_has_an_outcome():
    assert list(OUTCOMES) == list(BUILDS)
    assert BUILDS.keys() >= QUICK
    for name, outcome in OUTCOMES.items():
        assert outcome["state"] in ("works", "in full", "refused"), f"{name}: nothing else is allowed"
        assert outcome["state"] == "works" or outcome["remark"], f"{name} is refused without a reason"


def test_stored_results_are_of_these_builds():
    """scripts/experiments/pipelines.py wrote them; docs/pipelines.md is made of them."""
    about = ("family", "pipeline", "task")
    assert [row["name"] for row in RESULTS["builds"]] == list(BUILDS)
    for row in RESULTS["builds"]:
        assert {name: row[name] for name in about} == {name: getattr(BUILDS[row["name"]], name) for name in about}
        assert (row["state"], row["remark"]) == (
            OUTCOMES[row["name"]]["state"],
            OUTCOMES[row["name"]].get("remark", ""),
        )


def test_a_wrong_level_is_found(monkeypatch):
    """The check of levels sees a schedule that is shifted by one step, which no count shows."""
    from videoada.skipping import stepping

    read = stepping.read_schedule

    def shifted(*args, **kwargs):
        schedule = read(*args, **kwargs)
        levels = [schedule.levels[0], *schedule.levels[:-1]]
        object.__setattr__(schedule, "levels", levels)
        return schedule

    monkeypatch.setattr(stepping, "read_schedule", shifted)
    results = Conformance(BUILDS["cogvideox-ddim"]).run(only=("every", "levels"))
    assert results["every"] == "ok"
    assert results["levels"].startswith("failed: full run and")
