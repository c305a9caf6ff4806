"""Whatever a metric is given: a number, or one line that says what it takes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import videoada.metrics
from videoada.errors import MetricError, VideoAdaError
from videoada.metrics import (
    CoherenceLimits,
    FrechetVideoDistance,
    KernelVideoDistance,
    VideoStatistics,
    check_coherence,
    colour_shift,
    frame_consistency,
    frechet_distance,
    frechet_infinity,
    gaussian_distance,
    jackknife_error,
    jedi_distance,
    kernel_distance,
    learned_similarity,
    load_cut_detector,
    load_extractor,
    load_frame_features,
    motion_ratio,
    multiscale_ssim,
    paired_feature_distance,
    paired_fidelity,
    sharpness_ratio,
    temporal_flow_error,
    temporal_psnr,
    vmaf_score,
)
from videoada.metrics.coherence import CoherenceMeter
from videoada.metrics.paired import FidelityMeter

CLIP = np.random.default_rng(0).integers(0, 255, (3, 16, 16, 3), dtype=np.uint8)
SET = torch.rand(8, 3, generator=torch.Generator().manual_seed(0))
NO_CLIPS = {
    "None": None, "text": "clip.mp4", "list": [CLIP[0], CLIP[1]], "tensor": torch.from_numpy(CLIP),
    "channels first": np.moveaxis(CLIP, -1, 1), "floats": CLIP / 255, "int64": CLIP.astype(np.int64),
    "a frame": CLIP[0],
    "a batch": CLIP[None], "grey": CLIP[..., :1], "alpha": np.concatenate([CLIP, CLIP[..., :1]], -1),
    "no frame": CLIP[:0], "no pixel": CLIP[:, :0], "scalar": np.uint8(3),
}  # fmt: skip
NO_FEATURES = {
    "None": None, "array": SET.numpy(), "list": [[1.0, 2.0]], "vector": SET[0], "three": SET[None], "one": SET[:1],
    "no dimension": SET[:, :0], "NaN": SET / 0 * 0, "complex": SET.to(torch.complex64), "bool": SET > 0, "text": "x",
}  # fmt: skip
VIDEOS = torch.randint(0, 255, (2, 3, 3, 16, 16), dtype=torch.uint8)
NO_VIDEOS = {
    "None": None, "array": VIDEOS.numpy(), "channels last": VIDEOS.permute(0, 1, 3, 4, 2), "one": VIDEOS[0],
    "list": [VIDEOS[0]], "int": VIDEOS.int(), "above 1": VIDEOS.float(), "NaN": VIDEOS.float() / 0, "none": VIDEOS[:0],
    "no pixel": VIDEOS[..., :0], "grey": VIDEOS[:, :, :1],
}  # fmt: skip


OF_CLIPS = (
    paired_fidelity, temporal_flow_error, multiscale_ssim, learned_similarity, sharpness_ratio, temporal_psnr,
    motion_ratio, colour_shift, vmaf_score,
)  # fmt: skip
OF_SETS = (frechet_distance, frechet_infinity, jedi_distance, kernel_distance, paired_feature_distance)


def refused(call, *words):
    with pytest.raises(MetricError) as caught:
        call()
    said = str(caught.value)
    assert isinstance(caught.value, VideoAdaError)
    assert "\n" not in said
    assert "object has no" not in said
    for word in words:
        assert word in said, said


def test_every_public_metric_is_here():
    seen = {*OF_CLIPS, *OF_SETS, check_coherence, frame_consistency, gaussian_distance, jackknife_error, load_extractor}
    seen |= {
        load_cut_detector,
        load_frame_features,
        CoherenceLimits,
        FrechetVideoDistance,
        KernelVideoDistance,
        VideoStatistics,
    }
    assert {each.__name__ for each in seen} | {"ColourShift", "CutDetector", "Fidelity", "Sharpness"} == set(
        videoada.metrics.__all__
    )


@pytest.mark.parametrize("kind", NO_CLIPS)
def test_what_is_no_clip(kind):
    given = NO_CLIPS[kind]
    refused(lambda: check_coherence(given), "`frames` must", "got ")
    for metric in OF_CLIPS:
        refused(lambda metric=metric: metric(given, CLIP), "`preds` must", "got ")
        refused(lambda metric=metric: metric(CLIP, given), "`target` must", "got ")
    if kind != "a frame":
        refused(lambda: CoherenceMeter().add(given), "`frame` must be a NumPy array (H, W, 3) of uint8")
        refused(lambda: FidelityMeter().add(CLIP[0], given), "`target` must")


def test_what_becomes_a_clip_is_said():
    refused(lambda: check_coherence(NO_CLIPS["tensor"]), "give frames.cpu().numpy()")
    refused(lambda: check_coherence(torch.from_numpy(NO_CLIPS["channels first"]) / 255), "permute(0, 2, 3, 1).mul(255)")
    refused(lambda: check_coherence(NO_CLIPS["channels first"]), "np.moveaxis(frames, 1, -1)")
    refused(lambda: check_coherence(NO_CLIPS["floats"]), "np.rint(frames * 255)")
    fixed = np.rint(NO_CLIPS["floats"] * 255).astype(np.uint8)
    assert check_coherence(fixed) == check_coherence(CLIP)


def test_shapes_that_differ():
    for other in (CLIP[:2], CLIP[:, :8]):
        for metric in OF_CLIPS:
            refused(lambda metric=metric, other=other: metric(CLIP, other), "the same shape", "(3, 16, 16, 3)")
    meter = CoherenceMeter()
    meter.add(CLIP[0])
    refused(lambda: meter.add(CLIP[0, :8]), "16×16 as the others are")
    refused(lambda: FidelityMeter().result(), "must have a frame")
    for metric in (frechet_distance, kernel_distance, jedi_distance, frechet_infinity):
        refused(lambda metric=metric: metric(SET, SET[:, :2]), "3 and 2")
    refused(lambda: paired_feature_distance(SET, SET[:5]), "(8, 3) and (5, 3)")
    refused(lambda: gaussian_distance(SET[0], SET[:3], SET[0, :2], SET[:2, :2]), "3 and 2")


@pytest.mark.parametrize("kind", NO_FEATURES)
def test_what_is_no_set_of_features(kind, tmp_path):
    given = NO_FEATURES[kind]
    for metric in OF_SETS:
        if not (kind == "one" and metric is paired_feature_distance):
            refused(lambda metric=metric: metric(given, SET), "features")
            refused(lambda metric=metric: metric(SET, given), "features")
    refused(lambda: jackknife_error(frechet_distance, given, SET), "features")
    if kind != "one":
        refused(lambda: frame_consistency(given), "features")
        with pytest.raises(VideoAdaError, match="features"):
            VideoStatistics(given, {}).save(tmp_path / "a.safetensors")
    refused(lambda: gaussian_distance(given, given, SET[0], SET[:3]))
    assert not list(tmp_path.iterdir())


class Flat(torch.nn.Module):
    num_features = 4

    def forward(self, videos):
        return videos.float().flatten(1)[:, :4]


@pytest.mark.parametrize("kind", NO_VIDEOS)
def test_what_is_no_batch_of_videos(kind):
    for metric in (FrechetVideoDistance(Flat()), KernelVideoDistance(Flat())):
        refused(lambda metric=metric: metric.update(NO_VIDEOS[kind], real=True), "`videos` must")
        refused(metric.compute, "at least two real and two generated videos")
    refused(lambda: load_extractor()(NO_VIDEOS[kind]), "`videos` must")


@pytest.mark.parametrize("name", [None, 3, "", ["i3d"], CLIP])
def test_what_names_no_model(name):
    for load in (load_extractor, load_frame_features):
        refused(lambda load=load: load(name), "named by text or a path")
    if not isinstance(name, str):
        refused(lambda: FrechetVideoDistance(feature=name), "must be an extractor's name or an nn.Module")
