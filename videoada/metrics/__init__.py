"""Measurements on videos. Never imports diffusers."""

from videoada.metrics.change import temporal_psnr
from videoada.metrics.coherence import CoherenceLimits, check_coherence
from videoada.metrics.colour import ColourShift, colour_shift
from videoada.metrics.consistency import frame_consistency, load_frame_features
from videoada.metrics.features import load_extractor
from videoada.metrics.frechet import (
    FrechetVideoDistance,
    frechet_distance,
    frechet_infinity,
    gaussian_distance,
    jackknife_error,
    paired_feature_distance,
)
from videoada.metrics.jedi import jedi_distance
from videoada.metrics.kernel import KernelVideoDistance, kernel_distance
from videoada.metrics.motion import motion_ratio
from videoada.metrics.paired import (
    Fidelity,
    learned_similarity,
    multiscale_ssim,
    paired_fidelity,
    temporal_flow_error,
)
from videoada.metrics.sharpness import Sharpness, sharpness_ratio
from videoada.metrics.statistics import VideoStatistics
from videoada.metrics.transnet import CutDetector, load_cut_detector
from videoada.metrics.vmaf import vmaf_score

__all__ = [
    "CoherenceLimits",
    "ColourShift",
    "CutDetector",
    "Fidelity",
    "FrechetVideoDistance",
    "KernelVideoDistance",
    "Sharpness",
    "VideoStatistics",
    "check_coherence",
    "colour_shift",
    "frame_consistency",
    "frechet_distance",
    "frechet_infinity",
    "gaussian_distance",
    "jackknife_error",
    "jedi_distance",
    "kernel_distance",
    "learned_similarity",
    "load_cut_detector",
    "load_extractor",
    "load_frame_features",
    "motion_ratio",
    "multiscale_ssim",
    "paired_feature_distance",
    "paired_fidelity",
    "sharpness_ratio",
    "temporal_flow_error",
    "temporal_psnr",
    "vmaf_score",
]
