"""Results of whole evaluations against those kept in results/: names, values, their order, warnings word by word.

`python tests/evaluation/test_results_stay.py` writes them again, for a change of results that is wanted.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from torch import nn

import videoada
from videoada.metrics import VideoStatistics

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))
from made_videos import PROMPTS, noisy, record, write, write_sets

from videoada.evaluation.config import DEFAULT_METRICS
from videoada.shapes import render

KEPT = Path(__file__).parent / "results"
ALL = ("coherence", "agreement", "ms-ssim", "tof", "ssim", "psnr", "paired-feature-distance", "fvd-infinity", "kvd",
       "fvd")  # fmt: skip
# LPIPS is left out: it needs torchvision's weights.


class Corners(nn.Module):
    """Two numbers of a clip: few enough for FVD∞ of a few videos."""

    def forward(self, videos):
        grey = videos.float().mean((1, 2))
        return grey[:, ::7, ::5].flatten(1)[:, [3, 40]]


def larger(frames, times=3):
    return frames.repeat(times, axis=1).repeat(times, axis=2)


def paired(root):
    """Every metric of pairs of 192 pixels, enough for MS-SSIM; one pair equal, one clip frozen."""
    for seed in range(5):
        prompt, fields = PROMPTS[seed % 4], {"height": 192, "width": 192, "num_frames": 8}
        full = larger(render(prompt, seed=seed, num_frames=8))
        write(root / "full", f"{seed}.mkv", full, record(prompt, seed, "none", **fields))
        made = full if seed == 1 else noisy(full, seed) if seed else full[[0] * 8]
        write(root / "made", f"{seed}.mkv", made, record(prompt, seed, **fields))
    return videoada.evaluate(root / "made", root / "full", metrics=ALL, extractor=Corners())


def unpaired(root):
    """Strangers, twins, a shorter partner and a broken file; two clips of each."""
    write_sets(root)
    write(root / "skipped", "stranger.mkv", render(PROMPTS[0], seed=77), record("two dancers", 77))
    write(root / "skipped", "nameless.mkv", render(PROMPTS[0], seed=78))
    write(root / "skipped", "short.mkv", render(PROMPTS[1], seed=5, num_frames=8), record(PROMPTS[1], 5, num_frames=8))
    write(root / "full", "long.mkv", render(PROMPTS[1], seed=5), record(PROMPTS[1], 5, "none", guidance_scale=7.0))
    for name in ("twin-a.mkv", "twin-b.mkv"):
        write(root / "full", name, render(PROMPTS[3], seed=50), record(PROMPTS[3], 50, "none"))
    (root / "skipped" / "broken.mp4").write_bytes(b"\0" * 500)
    return videoada.evaluate(
        root / "skipped", root / "full", metrics=ALL, num_frames=6, clips_per_video=2, bad_videos="skip", seed=4,
        extractor=Corners(),
    )  # fmt: skip


def default(root):
    """The default metrics and FVD∞, for which there are too few videos; a protocol that asks for more of them."""
    write_sets(root)
    return videoada.evaluate(
        root / "skipped", root / "full", protocol="fvd2048_16f", metrics=(*DEFAULT_METRICS, "fvd-infinity")
    )


def cached(root):
    """Against cached features: no pairs."""
    write_sets(root)
    videoada.evaluate(reference=root / "full", save_statistics=root / "full.safetensors")
    return videoada.evaluate(root / "skipped", VideoStatistics.load(root / "full.safetensors"))


def alone(root):
    """One folder: its videos alone."""
    write_sets(root)
    return videoada.evaluate(root / "skipped")


def saved(root):
    """A reference alone, its features kept."""
    write_sets(root)
    return videoada.evaluate(reference=root / "full", save_statistics=root / "full.safetensors")


CASES = (paired, unpaired, default, cached, alone, saved)


def result_of(case, root):
    """A result's JSON without what a machine and the day put into it."""
    text = json.dumps(json.loads(case(root).model_dump_json(exclude={"created", "versions"})))
    result = json.loads(text.replace(str(root.resolve()), "ROOT"))
    for skipped in result["skipped"]:
        skipped["reason"] = skipped["reason"].split(": ")[0]  # the rest is PyAV's
    result["not_used"] = [re.sub(r"(can't read a video from \S+): .*", r"\1", line) for line in result["not_used"]]
    return result


def assert_same(found, kept, where="result"):
    assert type(found) is type(kept), where
    if isinstance(kept, dict):
        assert list(found) == list(kept), where
        for name in kept:
            assert_same(found[name], kept[name], f"{where}.{name}")
    elif isinstance(kept, list):
        assert len(found) == len(kept), where
        for i, parts in enumerate(zip(found, kept, strict=True)):
            assert_same(*parts, f"{where}[{i}]")
    elif isinstance(kept, float):  # other kernels round otherwise
        assert found == pytest.approx(kept, rel=1e-3, abs=1e-6), where
    else:
        assert found == kept, where


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_the_result_stays(case, tmp_path):
    assert_same(result_of(case, tmp_path), json.loads((KEPT / f"{case.__name__}.json").read_text(encoding="utf-8")))


def write_kept(to):
    import tempfile

    to.mkdir(exist_ok=True)
    for case in CASES:
        with tempfile.TemporaryDirectory() as root:
            text = json.dumps(result_of(case, Path(root)), indent=1, ensure_ascii=False)
        (to / f"{case.__name__}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_kept(Path(sys.argv[1]) if len(sys.argv) > 1 else KEPT)
