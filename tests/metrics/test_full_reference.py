"""Sharpness, temporal PSNR, motion and colour against numbers worked out otherwise: by hand, NumPy, scikit-image."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy.ndimage import convolve
from skimage.color import rgb2lab

from videoada.errors import MetricError
from videoada.metrics import colour_shift, motion_ratio, sharpness_ratio, temporal_psnr
from videoada.metrics.motion import farthest_from_one
from videoada.shapes import render

PROMPT = "a red circle moving right on a gray background"
FULL = render(PROMPT, seed=1)
NOISY = np.clip(FULL + np.random.default_rng(0).normal(0, 8, FULL.shape), 0, 255).round().astype(np.uint8)
BLURRED = np.stack([cv2.GaussianBlur(frame, (0, 0), 1.0) for frame in FULL])


def as_bytes(clip):
    return np.clip(clip, 0, 255).astype(np.uint8)


def test_equal_clips_are_at_the_best():
    sharp = sharpness_ratio(FULL, FULL)
    assert (sharp.sharpness_ratio, sharp.tenengrad_ratio) == (1, 1)
    assert temporal_psnr(FULL, FULL) is None
    assert motion_ratio(FULL, FULL) == 1
    colour = colour_shift(FULL, FULL)
    assert (colour.colour_shift, colour.colour_delta_e) == (0, 0)


def test_sharpness_is_the_formula():
    """Laplacian and Sobel by scipy's convolution of grey levels, mirrored at the edges."""
    laplacian = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]])
    sobel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])

    def sums(clip):
        grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(float) for frame in clip]
        variance = np.mean([convolve(g, laplacian, mode="mirror").var() for g in grey])
        squares = [convolve(g, k, mode="mirror") ** 2 for g in grey for k in (sobel, sobel.T)]
        return np.array([variance, np.sum(squares) / len(grey) / grey[0].size])

    found = sharpness_ratio(BLURRED, FULL)
    assert [found.sharpness_ratio, found.tenengrad_ratio] == pytest.approx(sums(BLURRED) / sums(FULL), abs=1e-6)


def test_sharpness_falls_by_blur_rises_by_noise_and_does_not_see_where():
    assert sharpness_ratio(BLURRED, FULL).sharpness_ratio < 0.5
    assert sharpness_ratio(BLURRED, FULL).tenengrad_ratio < 1
    assert sharpness_ratio(NOISY, FULL).sharpness_ratio > 1.5
    assert sharpness_ratio(FULL[:, ::-1], FULL).sharpness_ratio == pytest.approx(1, abs=0.01)
    flat = np.full_like(FULL, 90)
    assert sharpness_ratio(FULL, flat).sharpness_ratio is None


def test_temporal_psnr_is_the_formula():
    made, full = NOISY.astype(float), FULL.astype(float)
    error = np.square(np.diff(made, axis=0) - np.diff(full, axis=0)).mean()
    assert temporal_psnr(NOISY, FULL) == pytest.approx(10 * np.log10(255**2 / error), abs=1e-6)


def test_temporal_psnr_sees_flicker_and_not_a_constant():
    bright = as_bytes(FULL.astype(int) // 2 + 20)
    assert temporal_psnr(bright, FULL // 2) is None
    flicker = as_bytes(FULL // 2 + 20 * (np.arange(16) % 2)[:, None, None, None])
    assert temporal_psnr(flicker, FULL // 2) == pytest.approx(10 * np.log10(255**2 / 400), abs=1e-6)
    assert temporal_psnr(FULL[:1], NOISY[:1]) is None


def test_motion_ratio_is_a_speed():
    """A textured picture that moves by whole pixels: twice as fast is twice as much."""
    rng = np.random.default_rng(3)
    picture = cv2.GaussianBlur(rng.integers(0, 256, (64, 160, 3)).astype(np.uint8), (0, 0), 2.0)

    def moving(speed):
        return np.stack([picture[:, t * speed : t * speed + 64] for t in range(8)])

    assert motion_ratio(moving(2), moving(1)) == pytest.approx(2, rel=0.1)
    assert motion_ratio(moving(1), moving(2)) == pytest.approx(0.5, rel=0.1)
    assert motion_ratio(moving(1)[::-1], moving(1)) == pytest.approx(1, rel=0.05)  # nor in which direction


def test_motion_ratio_of_shapes():
    fast = render(PROMPT, seed=1, num_frames=31)
    assert motion_ratio(fast[::2], fast[:16]) > 1.5
    frozen = FULL[np.zeros(16, int)]
    assert motion_ratio(frozen, FULL) < 0.2
    assert motion_ratio(frozen, frozen) == 1
    assert motion_ratio(FULL, frozen) > 5
    assert motion_ratio(as_bytes(FULL.astype(int) + 8), FULL) == pytest.approx(1, abs=0.02)
    assert motion_ratio(FULL[:1], FULL[:1]) is None
    assert motion_ratio(FULL[:, :8, :8], FULL[:, :8, :8]) is None


def test_colour_shift_is_the_formula():
    """Against scikit-image's L*a*b*, whose numbers of D65 are the same."""
    made, full = (np.mean([rgb2lab(frame).mean((0, 1)) for frame in clip], axis=0) for clip in (NOISY, FULL))
    found = colour_shift(NOISY, FULL)
    assert found.colour_delta_e == pytest.approx(float(np.linalg.norm(made - full)), abs=1e-6)
    assert found.colour_shift == pytest.approx(np.abs(NOISY.mean((0, 1, 2)) - FULL.mean((0, 1, 2))).max(), abs=1e-9)


def test_colour_shift_by_hand():
    shifted = as_bytes(FULL // 2 + np.array([0, 8, 0]))
    assert colour_shift(shifted, FULL // 2).colour_shift == pytest.approx(8, abs=1e-9)
    black, white = np.zeros((2, 4, 4, 3), np.uint8), np.full((2, 4, 4, 3), 255, np.uint8)
    assert colour_shift(white, black).colour_delta_e == pytest.approx(100, abs=0.01)
    mirrored = FULL[:, :, ::-1]  # it does not see where
    assert colour_shift(mirrored, FULL).colour_shift == pytest.approx(0, abs=1e-9)


def test_the_worst_ratio_is_the_farthest_from_one():
    assert farthest_from_one(np.array([0.9, 1.3, 0.5])) == 0.5
    assert farthest_from_one(np.array([0.9, 2.5, 0.5])) == 2.5
    assert farthest_from_one(np.array([0.0, 3.0])) == 0


@pytest.mark.parametrize("measure", [sharpness_ratio, temporal_psnr, motion_ratio, colour_shift])
def test_what_are_no_two_clips_of_one_shape_is_refused(measure):
    with pytest.raises(MetricError, match="same shape"):
        measure(FULL, FULL[:8])
    with pytest.raises(MetricError, match="`preds` must be"):
        measure(FULL.astype(float), FULL)
