"""Measures by shared views of frames: the same as each alone, and as the plain formulas that they follow."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from made_videos import noisy
from torchmetrics.functional.image import structural_similarity_index_measure

from videoada.metrics import check_coherence, paired_fidelity
from videoada.metrics.coherence import CoherenceMeter
from videoada.metrics.frame_memo import FrameMemo
from videoada.metrics.paired import FidelityMeter
from videoada.metrics.ssim import frame_ssim
from videoada.shapes import render

FULL = render("a red circle moving right quickly on a navy background", seed=3, num_frames=6)
NOISY = noisy(FULL, level=4)
RNG = np.random.default_rng(0)
PICTURES = [
    (FULL[0], FULL[3]),
    (FULL[0], NOISY[0]),
    (FULL[0], FULL[0]),
    tuple(RNG.integers(0, 256, (2, 11, 37, 3)).astype(np.uint8)),
    (np.zeros((20, 33, 3), np.uint8), np.full((20, 33, 3), 255, np.uint8)),
    tuple(RNG.integers(0, 256, (2, 8, 30, 3)).astype(np.uint8)),
]


@pytest.mark.parametrize("pair", PICTURES, ids=range(6))
def test_ssim_is_that_of_torchmetrics_in_double_precision(pair):
    gaussian, side = min(pair[0].shape[:2]) >= 11, 7
    planes = [torch.from_numpy(frame.copy()).permute(2, 0, 1)[None].double() for frame in pair]
    reference = structural_similarity_index_measure(
        *planes, gaussian_kernel=gaussian, kernel_size=11 if gaussian else side, data_range=255.0
    )
    assert frame_ssim(*pair) == pytest.approx(float(reference), abs=1e-9 if gaussian else 1e-4)


def plain_flow(frames):
    """Warping error, magnitude and dynamic degree of two frames, by arrays with a last axis of two."""
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    first, second = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames)
    forth, back = dis.calc(first, second, None), dis.calc(second, first, None)
    height, width = first.shape
    target = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).astype(np.float32) + forth
    back, warped = (
        cv2.remap(v, target[..., 0], target[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        for v in (back, frames[1].astype(np.float32) / 255)
    )
    length = (forth**2).sum(-1) + (back**2).sum(-1)
    hidden = ((forth + back) ** 2).sum(-1) > 0.01 * length + 0.5
    hidden |= sum((g**2).sum(-1) for g in np.gradient(forth, axis=(0, 1))) > 0.01 * (back**2).sum(-1) + 0.002
    hidden |= (target < 0).any(-1) | (target[..., 0] > width - 1) | (target[..., 1] > height - 1)
    magnitude = np.sort(np.sqrt((forth**2).sum(-1)).ravel())
    error = ((warped - frames[0] / 255) ** 2).sum(-1)[~hidden].mean()
    return error, magnitude.mean(), magnitude[-(len(magnitude) // 20) :].mean()


def test_coherence_is_that_of_the_plain_formulas():
    found = check_coherence(NOISY)
    x = NOISY.astype(np.float64)
    step, error = np.abs(np.diff(x, axis=0)).mean((1, 2, 3)), np.square(np.diff(x, axis=0)).mean((1, 2, 3))
    flows = np.array([plain_flow(NOISY[i : i + 2]) for i in range(len(NOISY) - 1)])
    psnr = 10 * np.log10(255**2 / error)
    for name, value in {
        "temporal_flickering": (255 - step.mean()) / 255,
        "second_difference": np.abs(np.diff(x, n=2, axis=0)).mean(),
        "luma_flicker": np.abs(np.diff(x.mean((1, 2, 3)), n=2)).mean(),
        "adjacent_psnr_min": psnr.min(),
        "adjacent_psnr_mean": psnr.mean(),
        "warping_error": flows[:, 0].mean(),
        "flow_magnitude": flows[:, 1].mean(),
        "dynamic_degree": flows[:, 2].mean(),
    }.items():
        assert found[name] == pytest.approx(value, abs=1e-6), name


def test_still_pairs_are_found_block_by_block():
    """One pixel that changes by 192 / 3 moves its block of 8×8 by 1 on average, and no other; by less it is still."""
    for change, still in ((64, 0.0), (63, 1.0)):
        frames = np.full((2, 20, 20, 3), 50, np.uint8)
        frames[1, 9, 9] += change
        found = check_coherence(frames)
        assert found["freeze_share"] == 1.0
        assert found["still_share"] == still


def test_measures_that_share_a_memo_are_those_of_each_alone():
    memo = FrameMemo()
    own, partner, pair = CoherenceMeter(memo=memo), CoherenceMeter(memo=memo), FidelityMeter(memo=memo)
    for preds, target in zip(NOISY, FULL, strict=True):
        own.add(preds)
        partner.add(target)
        pair.add(preds, target)
    assert own.result() == check_coherence(NOISY)
    assert partner.result() == check_coherence(FULL)
    assert pair.result() == paired_fidelity(NOISY, FULL)


def test_a_memo_computes_each_view_once_and_keeps_few(monkeypatch):
    calls = []
    create = cv2.DISOpticalFlow.create

    class Counted:
        def __init__(self, preset):
            self.dis = create(preset)

        def calc(self, *frames):
            calls.append(frames)
            return self.dis.calc(*frames)

    monkeypatch.setattr(cv2.DISOpticalFlow, "create", Counted)
    memo = FrameMemo()
    first, second = FULL[0], FULL[1]
    assert memo.flow(first, second) is memo.flow(first, second)
    assert memo.moments(first) is memo.moments(first)
    memo.flow(second, first)
    assert len(calls) == 2
    for _ in range(4):
        memo.grey(FULL[2].copy())
    memo.flow(first, second)  # long gone
    assert len(calls) == 3


def test_meters_alone_may_be_given_one_buffer_again_and_again():
    coherence, pair = CoherenceMeter(), FidelityMeter()
    buffers = np.empty_like(FULL[0]), np.empty_like(FULL[0])
    for preds, target in zip(NOISY, FULL, strict=True):
        np.copyto(buffers[0], preds)
        np.copyto(buffers[1], target)
        coherence.add(buffers[0])
        pair.add(*buffers)
    assert coherence.result() == check_coherence(NOISY)
    assert pair.result() == paired_fidelity(NOISY, FULL)
