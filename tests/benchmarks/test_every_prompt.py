"""What nearly every prompt takes, by arithmetic that can be done by hand."""

from __future__ import annotations

import dataclasses

import pytest

from videoada.benchmarks.benchmark import Cell
from videoada.benchmarks.every_prompt import needs, needs_table


def cell(family, knob, prompt, macs, psnr):
    return Cell(
        model="m", method=f"{family} {knob}", family=family, prompt=prompt, predictions=1, rows=macs, macs=macs,
        seconds=1.0, seconds_full=1.0, psnr=psnr, ssim=1.0, tof=0.0, psnr_reference=None, agreement=None, coherent=True,
    )  # fmt: skip


def of_family(family, by_setting):
    return [cell(family, k, i, macs, p) for k, (macs, values) in enumerate(by_setting) for i, p in enumerate(values)]


def test_one_setting_serves_the_hardest_prompt_and_hindsight_serves_each():
    """Two prompts: an easy one that has 40 dB at the cheap setting, a hard one that is midway at 30 % of the run."""
    cells = of_family("a", [(0.2, (40.0, 30.0)), (0.4, (60.0, 50.0))])
    at40, at45 = needs(cells)
    worst = (30 + 0.05 * 10, 50 + 0.05 * 10)  # the 5 % quantile of two values, a twentieth of the way up
    assert at40.one_setting == pytest.approx(0.2 + 0.2 * (40 - worst[0]) / (worst[1] - worst[0]))
    assert at40.hindsight == pytest.approx((0.2 + 0.3) / 2)
    assert at45.hindsight == pytest.approx((0.25 + 0.35) / 2)
    assert at45.one_setting > at40.one_setting


def test_what_no_setting_does_is_a_dash_and_the_full_run_in_hindsight():
    """A prompt that is never near goes along the line to the full run, which counts as 100 dB."""
    [at40, at45] = needs(of_family("a", [(0.5, (20.0, 45.0))]))
    assert at40.one_setting is None
    assert at40.hindsight == pytest.approx(((0.5 + 0.5 * 20 / 80) + 0.5) / 2)
    assert needs_table([at40, at45]).splitlines()[-1].startswith("| a | — (56.2%) | — ")


def test_settings_that_lack_a_prompt_and_full_runs_do_not_count():
    cells = of_family("a", [(0.2, (50.0, 50.0)), (0.1, (50.0,))]) + of_family("full run", [(1.0, (None, None))])
    found = needs(cells)
    assert {need.family for need in found} == {"a"}
    assert {need.one_setting for need in found} == {0.2}


def test_equal_frames_are_near_enough():
    cells = [dataclasses.replace(c, psnr=None) for c in of_family("a", [(0.3, (1.0, 1.0))])]
    assert {(need.one_setting, need.hindsight) for need in needs(cells)} == {(0.3, 0.3)}
