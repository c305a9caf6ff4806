"""The verdict on a benchmark's method: by hand, of clips, and in its table."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from made_videos import PROMPTS
from test_frontier import cell

from videoada.benchmarks.frontier import Point, points_table, summarize
from videoada.benchmarks.judged import judged_measures, verdict_of
from videoada.metrics import colour_shift, motion_ratio, sharpness_ratio
from videoada.shapes import render

GOOD = {"sharpness_ratio": 1.0, "motion_ratio": 1.0, "colour_shift": 0.1, "lost_coherence": []}


def test_a_methods_verdict_names_the_measures_that_fail():
    cells = [cell(prompt=i, ssim=0.99, judged=GOOD) for i in range(3)]
    assert verdict_of(cells) == "pass"
    worse = cell(prompt=3, ssim=0.5, judged=GOOD | {"colour_shift": 9.0, "lost_coherence": ["still_share"]})
    verdict = verdict_of([*cells, worse])
    for part in ("fail: ", "worst SSIM 0.5", "worst colour shift 9", "share that lost coherence 0.25 (still share)"):
        assert part in verdict
    assert "sharpness" not in verdict
    assert verdict_of([cell(psnr=None, ssim=1.0, judged=GOOD)]) == "pass"
    assert verdict_of([*cells, cell(prompt=4)]) is None  # of an older version


def test_the_table_has_a_verdict_where_cells_have_it():
    old, new = summarize([cell(ssim=0.99)]), summarize([cell(ssim=0.99, judged=GOOD)])
    assert "verdict" not in points_table(old)
    assert "verdict" not in old[0].as_dict()
    lines = points_table([*old, *new]).splitlines()
    assert lines[0].endswith("| coherent | verdict |")
    assert lines[3].endswith("| pass |")
    assert {line.count("|") for line in lines} == {13}
    assert [Point(**json.loads(json.dumps(point.as_dict()))).verdict for point in new] == ["pass"]


def test_measures_are_those_of_the_functions():
    full = render(PROMPTS[0], seed=0)
    blurred = np.stack([cv2.GaussianBlur(frame, (0, 0), 1.0) for frame in full])
    found = judged_measures(blurred, full)
    assert found["sharpness_ratio"] == pytest.approx(sharpness_ratio(blurred, full).sharpness_ratio, abs=1e-4)
    assert found["motion_ratio"] == pytest.approx(motion_ratio(blurred, full), abs=1e-4)
    assert found["colour_shift"] == pytest.approx(colour_shift(blurred, full).colour_shift, abs=1e-4)
    assert found["lost_coherence"] == []
    assert "still_share" in judged_measures(full[np.zeros(len(full), int)], full)["lost_coherence"]
    verdict = verdict_of([cell(ssim=0.98, judged=found)])
    assert verdict.startswith("fail: mean sharpness ratio")
