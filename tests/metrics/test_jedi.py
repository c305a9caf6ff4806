"""JEDi against its formula, written out, and by a small network of V-JEPA's layout."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from commandline import command
from made_videos import PROMPTS, write
from torch import Tensor, nn

import videoada
from videoada.errors import ModelError
from videoada.metrics import jedi_distance, load_extractor
from videoada.shapes import render


def written_out(real, fake):
    """100 · (mean k(x, x') + mean k(y, y') − 2 mean k(x, y)), k = (x·y / D)², pair by pair."""

    def mean(left, right):
        return np.mean([[(float(a @ b) / len(a)) ** 2 for b in right] for a in left])

    return 100 * (mean(real, real) + mean(fake, fake) - 2 * mean(real, fake))


@pytest.mark.parametrize(("count", "other", "dimensions"), [(2, 2, 1), (5, 9, 3), (12, 7, 40)])
def test_the_distance_is_the_formula(count, other, dimensions):
    rng = np.random.default_rng(count)
    real, fake = rng.normal(0.3, 1, (count, dimensions)), rng.normal(0, 2, (other, dimensions))
    found = float(jedi_distance(torch.from_numpy(real), torch.from_numpy(fake)))
    assert found == pytest.approx(written_out(real, fake), rel=1e-9)
    assert float(jedi_distance(torch.from_numpy(real), torch.from_numpy(real))) == 0


def test_it_is_the_number_that_the_authors_code_notes():
    """Their mmd_polynomial.py notes 270.7 for these two sets, by scikit-learn's kernel; JEDi is 100 times that."""
    real = torch.arange(1.0, 10.0).reshape(3, 3)
    fake = torch.tensor([[7.0, 6, 5], [4, 3, 2], [1, 1, 8], [0, 2, 5]])
    assert float(jedi_distance(real, fake)) / 100 == pytest.approx(270.7, abs=0.05)


class Small(nn.Module):
    """V-JEPA's layout: tubelets of 2×16×16 to tokens, a block, and the attentive pooler with its one query."""

    def __init__(self, pooled: bool):
        super().__init__()
        torch.manual_seed(0)
        self.patches, self.norm = nn.Conv3d(3, 8, (2, 16, 16), (2, 16, 16)), nn.LayerNorm(8)
        self.query, self.key_value, self.pooled = nn.Parameter(torch.randn(1, 1, 8)), nn.Linear(8, 16), pooled

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] != 3 or x.shape[2] != 16 or x.shape[3] != 224 or x.shape[4] != 224:
            raise RuntimeError("wants (B, 3, 16, 224, 224)")
        tokens = self.norm(self.patches(x).flatten(2).transpose(1, 2))
        if not self.pooled:
            return tokens
        key, value = self.key_value(tokens).chunk(2, -1)
        return nn.functional.scaled_dot_product_attention(self.query.expand(len(x), 1, 8), key, value)[:, 0]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    where = tmp_path_factory.mktemp("jedi")
    for name, pooled in (("pooled", True), ("tokens", False)):
        torch.jit.script(Small(pooled)).save(str(where / f"{name}.pt"))
    return where


@pytest.mark.parametrize("name", ["pooled", "tokens"])
def test_the_network_gets_what_v_jepa_takes(files, name):
    extractor = load_extractor(f"jedi:{files / name}.pt")
    assert (extractor.name, extractor.num_features) == ("jedi", 8)
    video = torch.from_numpy(render(PROMPTS[0], seed=0)).permute(0, 3, 1, 2)[None]
    frames = nn.functional.interpolate(video[0].float() / 255, (224, 224), mode="bilinear", antialias=True)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = ((frames.clamp(0, 1) - mean.view(3, 1, 1)) / std.view(3, 1, 1)).transpose(0, 1)[None]
    with torch.inference_mode():
        expected = Small(name == "pooled")(x)
        found = extractor(video)
    assert torch.allclose(found, expected if name == "pooled" else expected.mean(1), atol=1e-4)


def test_jedi_beside_fvd_through_the_command_line(files, tmp_path):
    for seed in range(3):
        clip = render(PROMPTS[seed], seed=seed)
        write(tmp_path / "full", f"{seed}.mkv", clip)
        write(tmp_path / "made", f"{seed}.mkv", clip[::-1])
    sides = tmp_path / "made", tmp_path / "full"
    command("evaluate", "--generated", sides[0], "--reference", sides[1], "--metrics", "jedi,fvd,kvd", "--extractor",
            f"jedi:{files / 'pooled.pt'}", "--output", tmp_path / "result.json")  # fmt: skip
    result = videoada.EvaluationResult.from_file(tmp_path / "result.json")
    assert list(result.metrics) == ["FVD[jedi]", "KVD[jedi]", "JEDi"]
    row = result.metrics["JEDi"]
    assert (row["n_generated"], row["n_reference"]) == (3, 3)
    assert row["value"] > 0
    assert row["standard_error"] >= 0
    assert not any("JEDi" in text for text in result.warnings)
    other = videoada.evaluate(*sides, metrics=("jedi",))
    assert list(other.metrics) == ["JEDi[tiny-shapes-v1]"]
    assert any("can't be held against published values" in text for text in other.warnings)


def test_what_is_no_v_jepa_is_a_line(files, tmp_path):
    (tmp_path / "noise.pt").write_bytes(b"PK\x03\x04 noise")
    torch.jit.script(nn.Linear(3, 3)).save(str(tmp_path / "linear.pt"))
    for name, message in (
        ("none.pt", "can't read V-JEPA"), ("noise.pt", "no TorchScript file"), ("linear.pt", r"maps \(B, 3, 16, 224"),
    ):  # fmt: skip
        with pytest.raises(ModelError, match=message) as caught:
            load_extractor(f"jedi:{tmp_path / name}")
        assert "\n" not in str(caught.value)
