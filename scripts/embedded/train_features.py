"""Train tiny-shapes-v1, the embedded feature extractor: a small VideoMAE that names what is in a clip of shapes.

    python scripts/embedded/train_features.py all --run runs/features

The stages (`train`, `export`, `measure`) can be run one by one. Clips are rendered as they are needed; the run is
seeded, saves a checkpoint every few minutes and goes on from it when started again.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from training import FRAMES, SIZE, launch, random_scenes, say
from transformers import VideoMAEConfig, VideoMAEModel

from videoada.shapes import BACKGROUNDS, COLOURS, MOTIONS, SHAPES, SPEEDS, Scene, render
from videoada.training.run import Training

GROUPS = {
    "colour": tuple(COLOURS), "shape": SHAPES, "motion": MOTIONS, "speed": SPEEDS, "background": tuple(BACKGROUNDS)
}  # fmt: skip
MEAN, STD = (0.3, 0.27, 0.27), (0.25, 0.25, 0.25)  # about those of the clips
HELD_OUT = 3_000_000


class Namer(nn.Module):
    """Clips (B, F, 3, H, W) in [0, 1] → logits of every attribute, side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.model = VideoMAEModel(
            VideoMAEConfig(
                image_size=SIZE, patch_size=16, num_frames=FRAMES, tubelet_size=2, hidden_size=128, num_hidden_layers=4,
                num_attention_heads=4, intermediate_size=384, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
            )
        )  # fmt: skip
        self.head = nn.Linear(128, sum(map(len, GROUPS.values())))

    def forward(self, clips: Tensor) -> Tensor:
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (MEAN, STD))
        return self.head(self.model(pixel_values=(clips - mean) / std).last_hidden_state.mean(1))


def labels(scene: Scene) -> Tensor:
    """1 for each attribute that an object of the scene has."""
    values = []
    for name, options in GROUPS.items():
        found = {scene.background} if name == "background" else {getattr(item, name) for item in scene.objects}
        values += [float(option in found) for option in options]
    return torch.tensor(values)


def clips_of(scenes: list[Scene], first_seed: int) -> Tensor:
    clips = np.stack([render(scene, seed=first_seed + i) for i, scene in enumerate(scenes)])
    return torch.from_numpy(clips).permute(0, 1, 4, 2, 3).float() / 255


def train(run: Path, steps: int, batch: int, lr: float) -> None:
    """Cross-entropy of each attribute's presence; a fifth of the clips has two objects."""
    torch.manual_seed(6)
    model = Namer()
    training = Training(run, "features", model, lr=lr, ema_decay=0.995, seed=7, on_progress=say)
    started, losses = time.monotonic(), []
    while training.step < steps:
        seed = int(torch.randint(2**31, (1,), generator=training.rng))
        scenes = random_scenes(seed, batch, 0.2)
        clips = clips_of(scenes, 10_000_000 + seed)
        clips = (clips + 0.02 * torch.rand(batch, 1, 1, 1, 1, generator=training.rng) * torch.randn(clips.shape)).clamp(
            0, 1
        )
        loss = nn.functional.binary_cross_entropy_with_logits(model(clips), torch.stack([labels(s) for s in scenes]))
        losses.append(loss.item())
        training.update(loss, training.step / steps, warmup=200)
        training.save(every_seconds=120)
        if training.step % 100 == 0:
            training.log(loss=round(float(np.mean(losses)), 4), seconds=round(time.monotonic() - started))
            losses.clear()
    training.save()


def load(run: Path) -> Namer:
    saved = load_file(run / "features.safetensors")
    model = Namer().eval()
    model.load_state_dict({k.removeprefix("ema."): v for k, v in saved.items() if k.startswith("ema.")})
    return model


@torch.inference_mode()
def accuracy(model: Namer, count: int = 1000) -> dict[str, float]:
    """Share of held-out clips of one object whose attribute is named right."""
    scenes = random_scenes(99, count, 0.0)
    right: dict[str, list[float]] = {name: [] for name in GROUPS}
    for first in range(0, count, 50):
        part = scenes[first : first + 50]
        logits = model(clips_of(part, HELD_OUT + first)).split([len(v) for v in GROUPS.values()], 1)
        target = torch.stack([labels(s) for s in part]).split([len(v) for v in GROUPS.values()], 1)
        for name, found, wanted in zip(GROUPS, logits, target, strict=True):
            right[name] += (found.argmax(1) == wanted.argmax(1)).float().tolist()
    return {name: round(float(np.mean(values)), 4) for name, values in right.items()}


def export(run: Path, out: Path) -> None:
    """The averaged encoder as a transformers folder, its normalisation beside it; the head stays in the run folder."""
    load(run).model.save_pretrained(out)
    values = {"image_mean": MEAN, "image_std": STD}
    (out / "preprocessor_config.json").write_text(json.dumps(values, indent=2) + "\n")
    (out / "model.safetensors").chmod(0o644)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=("all", "train", "export", "measure"))
    parser.add_argument("--run", type=Path, default=Path("runs/features"))
    parser.add_argument("--out", type=Path, default=Path("videoada/assets/tiny-features"))
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    args.run.mkdir(parents=True, exist_ok=True)
    if args.stage in ("all", "train"):
        launch(args.processes, args.run, train, args.steps, args.batch_size // args.processes, args.lr)
    if args.stage in ("all", "export"):
        export(args.run, args.out)
    if args.stage in ("all", "measure"):
        print(accuracy(load(args.run)))


if __name__ == "__main__":
    main()
