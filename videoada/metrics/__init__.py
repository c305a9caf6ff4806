"""Measurements on videos. Never imports diffusers."""

from videoada.metrics.coherence import CoherenceLimits, check_coherence
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
from videoada.metrics.kernel import KernelVideoDistance, kernel_distance
from videoada.metrics.paired import (
    Fidelity,
    learned_similarity,
    multiscale_ssim,
    paired_fidelity,
    temporal_flow_error,
)
from videoada.metrics.statistics import VideoStatistics

__all__ = [
    "CoherenceLimits",
    "Fidelity",
    "FrechetVideoDistance",
    "KernelVideoDistance",
    "VideoStatistics",
    "check_coherence",
    "frame_consistency",
    "frechet_distance",
    "frechet_infinity",
    "gaussian_distance",
    "jackknife_error",
    "kernel_distance",
    "learned_similarity",
    "load_extractor",
    "load_frame_features",
    "multiscale_ssim",
    "paired_feature_distance",
    "paired_fidelity",
    "temporal_flow_error",
]
