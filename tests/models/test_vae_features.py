"""Features of a model's own VAE: against the formula, on damaged clips, for both kinds of VAE, by name, in errors."""

from __future__ import annotations

import hashlib
import json

import diffusers
import numpy as np
import pytest
import torch
from commandline import command
from folders import make_folder
from torch import nn

from videoada.errors import ConfigError, ModelError
from videoada.media.video import Video
from videoada.metrics.features import describe
from videoada.models.catalogue import ASSETS
from videoada.models.vae_features import VaeFeatures, load_vae_extractor, pool_latents, statistics_of
from videoada.shapes import render


def clip(seed=0, prompt="a red circle moving right on a black background"):
    return torch.from_numpy(render(prompt, seed=seed)).permute(0, 3, 1, 2)  # (F, 3, H, W)


@pytest.fixture(scope="module")
def extractor():
    return load_vae_extractor("tiny-t2v")


def test_the_features_are_the_formula(extractor):
    """Cells' means over time, and roots of cells' mean squared changes, of latents as diffusers encodes them."""
    vae = diffusers.AutoencoderKL.from_pretrained(ASSETS / "tiny-t2v" / "vae").float().eval()
    with torch.inference_mode():
        z = vae.encode(clip().float() / 127.5 - 1).latent_dist.mean * vae.config.scaling_factor  # (16, 4, 8, 8)
    cells = z.unflatten(2, (4, 2)).unflatten(4, (4, 2))  # (16, 4, 4, 2, 4, 2)
    means = cells.mean((0, 3, 5))
    changes = (cells[1:] - cells[:-1]).square().mean((0, 3, 5)).sqrt()
    expected = torch.cat([means.flatten(), changes.flatten()])
    found = extractor(clip()[None])[0]
    assert found.shape == (extractor.num_features,) == (128,)
    assert torch.allclose(found, expected, atol=1e-4)


def test_damages_in_time_change_the_second_half(extractor):
    whole, half = clip(), 64
    features = extractor(whole[None])[0]
    frozen = extractor(whole[[5] * 16][None])[0]
    assert frozen[half:].abs().max() < 1e-4
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    shuffled = extractor(whole[order][None])[0]
    assert torch.allclose(shuffled[:half], features[:half], atol=1e-4)
    assert (shuffled[half:] - features[half:]).norm() > 0.3 * features[half:].norm()
    repeated = extractor(whole[torch.arange(16) // 2 * 2][None])[0]
    assert (repeated[half:] - features[half:]).norm() > 0.1 * features[half:].norm()
    other = extractor(clip(prompt="a blue circle moving right on a black background")[None])[0]
    assert (other[:half] - features[:half]).norm() > 0.1 * features[:half].norm()


def test_pooling_by_hand():
    """Two frames of one channel, 4 × 4: every cell is a pixel."""
    z = torch.stack([torch.zeros(1, 4, 4), torch.arange(16.0).view(1, 4, 4)])[None]
    found = pool_latents(z)[0]
    assert torch.equal(found[:16], torch.arange(16.0) / 2)
    assert torch.equal(found[16:], torch.arange(16.0))
    assert torch.equal(pool_latents(z[:, :1])[0, 16:], torch.zeros(16))


def test_latents_are_scaled_as_the_vae_says():
    shift, scale = statistics_of({"scaling_factor": 0.5, "shift_factor": 2.0})
    assert (float(shift), float(scale)) == (2.0, 0.5)
    shift, scale = statistics_of({"latents_mean": [1.0, 2.0], "latents_std": [4.0, 5.0], "scaling_factor": 9.0})
    assert shift.tolist() == [1, 2]
    assert torch.allclose(scale, torch.tensor([0.25, 0.2]))
    assert [float(v) for v in statistics_of({})] == [0, 1]


def test_a_video_vae_encodes_clips():
    torch.manual_seed(0)
    vae = diffusers.AutoencoderKLWan(base_dim=8, z_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1,
                                     latents_mean=[0.0] * 4, latents_std=[1.0] * 4)  # fmt: skip
    network = VaeFeatures(vae)
    assert network.is_video
    with torch.inference_mode():
        x = clip()[None, :9].float() / 127.5 - 1
        latents = network.latents(x)
        assert latents.shape == (1, 3, 4, 8, 8)  # of 9 frames: the first, and two of four
        assert torch.equal(latents.transpose(1, 2), vae.encode(x.transpose(1, 2)).latent_dist.mean)
        assert network(x).shape == (1, 128)


def test_batches_and_bytes_change_nothing(extractor):
    both = torch.stack([clip(1), clip(2), clip(3)])
    found = extractor(both)
    assert torch.allclose(found[1:2], extractor(both[1:2]), atol=1e-5)
    assert torch.allclose(found, extractor(both.float() / 255), atol=1e-5)
    with pytest.raises(ValueError, match="at least 2 frames, got 1"):
        extractor(both[:, :1])


def test_what_it_is_called(extractor, tmp_path):
    about = describe(extractor)
    [weights] = (ASSETS / "tiny-t2v" / "vae").glob("*.safetensors")
    assert about["name"] == "vae:tiny-t2v"
    assert about["embedded"]
    assert about["weights_sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert not about["i3d"]
    folder = make_folder(tmp_path / "small", "modelscope-t2v")
    about = describe(load_vae_extractor(str(folder)))
    assert (about["name"], about["embedded"]) == ("vae:small", False)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("no model", "is not a diffusers folder"),
        ("no vae", "has no VAE that encodes frames"),
        ("other class", "has no VAE that encodes frames"),
        ("broken", "can't load the VAE"),
    ],
)
def test_what_has_no_vae_is_a_line(damage, message, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    if damage != "no model":
        make_folder(folder, "modelscope-t2v")
    if damage in ("no vae", "other class"):
        index = json.loads((folder / "model_index.json").read_text())
        index["vae"] = [None, None] if damage == "no vae" else ["diffusers", "DDIMScheduler"]
        (folder / "model_index.json").write_text(json.dumps(index))
    if damage == "broken":
        next((folder / "vae").glob("*.safetensors")).write_bytes(b"0" * 30)
    with pytest.raises(ModelError, match=message) as caught:
        load_vae_extractor(str(folder))
    assert "\n" not in str(caught.value)


def test_a_device_that_is_not_there_is_a_line():
    with pytest.raises(ConfigError, match="can't use the device"):
        load_vae_extractor("tiny-t2v", "cuda:99")


def test_evaluation_takes_them_by_name(tmp_path):
    for name, seeds in (("made", range(4)), ("real", range(10, 15))):
        (tmp_path / name).mkdir()
        for seed in seeds:
            frames = clip(seed).permute(0, 2, 3, 1).numpy()
            Video(np.ascontiguousarray(frames)).write(tmp_path / name / f"{seed}.mkv")
    done = command("evaluate", "--generated", tmp_path / "made", "--reference", tmp_path / "real", "--extractor",
                   "vae:tiny-t2v", "--metrics", "fvd,kvd", "--json")  # fmt: skip
    metrics = json.loads(done.stdout)["metrics"]
    assert list(metrics) == ["FVD[vae:tiny-t2v]", "KVD[vae:tiny-t2v]"]
    for row in metrics.values():
        assert (row["n_generated"], row["n_reference"]) == (4, 5)
        assert row["standard_error"] > 0
    done = command("evaluate", "--generated", tmp_path / "made", "--reference", tmp_path / "real", "--extractor",
                   "vae:no-such", code=2)  # fmt: skip
    assert "unknown model 'no-such'" in done.stderr


def test_damages_are_ordered(extractor):
    """Of the same clips, a set with noise is farther away than the set itself decoded from its latents."""
    from videoada.metrics import kernel_distance

    clips = torch.stack([clip(seed) for seed in range(12)])
    others = torch.stack([clip(100 + seed) for seed in range(12)])
    rng = torch.Generator().manual_seed(0)
    noisy = (clips + 40 * torch.randn(clips.shape, generator=rng)).clamp(0, 255).byte()
    near, far = (float(kernel_distance(extractor(others), extractor(x))[0]) for x in (clips, noisy))
    assert far > near
    assert isinstance(extractor.network, nn.Module)
