"""The two FVDs of cd-fvd's README (I3D's and VideoMAE's, of its 16 example videos to UCF-101) by its code and by ours.

    pip install cd-fvd                             # needs torchvision; fetches weights and statistics when first used
    python scripts/experiments/cd_fvd.py EXAMPLES              # the folder that its download_example_videos.sh fills
    python scripts/experiments/cd_fvd.py EXAMPLES --model i3d --device cuda

Ge et al., "On the Content Bias in Fréchet Video Distance", arXiv 2404.12391; github.com/songweige/content-debiased-fvd.
Features, statistics of UCF-101 and resampling are cd-fvd's; what is compared is the distance: its scipy.linalg.sqrtm
against our singular values, of the same means and covariances. cd-fvd divides covariances by N, where our metrics
divide by N − 1: of 16 videos that alone makes 6 % of a trace. Its README shows the calls and no values, so none stand
here; ends with 1 where both ways differ by more than --tolerance.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch

from videoada.metrics import gaussian_distance

MODELS = ("i3d", "videomae")


def evaluator_of(model: str, examples: Path, device: str) -> Any:
    """cd-fvd's, with statistics of UCF-101 and of the examples, as its README makes them."""
    from cdfvd import fvd

    evaluator = fvd.cdfvd(model, ckpt_path=None, n_fake="full", device=device)
    evaluator.load_videos("ucf101", data_type="stats_pkl", resolution=128, sequence_length=16)
    videos = evaluator.load_videos(str(examples), data_type="video_folder", resolution=128, sequence_length=16)
    evaluator.compute_fake_stats(videos)
    return evaluator


def both(evaluator: Any) -> tuple[float, float]:
    """cd-fvd's distance of the statistics that it holds, and ours of the same."""
    moments = (stats.get_mean_cov() for stats in (evaluator.real_stats, evaluator.fake_stats))
    ours = gaussian_distance(*(torch.from_numpy(part) for pair in moments for part in pair))
    return float(evaluator.compute_fvd_from_stats()), float(ours)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("examples", type=Path)
    parser.add_argument("--model", choices=MODELS, action="append", help="both, if left out")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--tolerance", type=float, default=1e-4, help="relative: sqrtm is of a singular product")
    args = parser.parse_args()
    worst = 0.0
    for model in args.model or MODELS:
        theirs, ours = both(evaluator_of(model, args.examples, args.device))
        worst = max(worst, abs(ours / theirs - 1))
        print(f"{model}: cd-fvd {theirs:.6f}, videoada {ours:.6f}, relative difference {abs(ours / theirs - 1):.1e}")
    return int(worst > args.tolerance)


if __name__ == "__main__":
    sys.exit(main())
