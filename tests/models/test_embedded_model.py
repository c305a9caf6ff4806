"""The embedded model does what its card says, and the shipped default keeps what it draws."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import ROOT
from following import check_that_it_follows_prompts

import videoada
from videoada.metrics import paired_fidelity
from videoada.shapes import agreement, measure, parse

SAMPLES = ROOT / "samples" / "prompts.txt"
FULL = videoada.SkipConfig(policy="none")


def full_and_default(pipe, prompt, seed):
    [(full, _)] = videoada.generate(pipe, prompt=prompt, seed=seed, skip=FULL)
    [(video, record)] = videoada.generate(pipe, prompt=prompt, seed=seed)
    return full, video, record


def test_the_sample_prompts_are_32_with_a_quarter_of_two_objects():
    scenes = [parse(line) for line in SAMPLES.read_text().splitlines()]
    assert len(scenes) == len({str(s) for s in scenes}) == 32
    assert sum(len(s.objects) == 2 for s in scenes) == 8


@pytest.mark.slow
def test_half_of_the_predictions_draw_the_same_video(pipe):
    counts = set()
    for seed, prompt in list(enumerate(SAMPLES.read_text().splitlines()))[:3]:
        full, video, record = full_and_default(pipe, prompt, seed)
        assert record.num_predictions <= 30
        assert paired_fidelity(video.frames, full.frames).psnr >= 26
        right = agreement(parse(prompt), measure(video.frames))
        assert right["background"]
        assert right["colour"]
        counts.add(tuple(record.computed))
    assert len(counts) > 1


@pytest.mark.slow
def test_the_shipped_default_over_all_sample_prompts(pipe):
    predictions, psnr = [], []
    for seed, prompt in enumerate(SAMPLES.read_text().splitlines()):
        full, video, record = full_and_default(pipe, prompt, seed)
        predictions.append(record.num_predictions)
        psnr.append(paired_fidelity(video.frames, full.frames).psnr or 100.0)
    assert np.mean(predictions) <= 28
    assert np.mean(psnr) >= 34
    assert min(psnr) >= 26
    assert len(set(predictions)) > 1


@pytest.mark.slow
def test_the_model_follows_its_prompts(pipe):
    check_that_it_follows_prompts(pipe)
