"""Feature extractors: the embedded one, transformers folders, TorchScript I3D stand-ins, modules of one's own."""

from __future__ import annotations

import hashlib
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import save_file
from torch import Tensor, nn

from videoada.errors import ConfigError, MetricError, ModelError
from videoada.metrics import (
    FrechetVideoDistance,
    check_coherence,
    frame_consistency,
    load_extractor,
    load_frame_features,
)
from videoada.metrics.features import describe
from videoada.metrics.weights import _with_biases
from videoada.models.catalogue import ASSETS
from videoada.shapes import render


def clips(count=3, num_frames=16, size=64):
    frames = [render("a red circle moving right on a black background", seed=i, size=size, num_frames=num_frames)
              for i in range(count)]  # fmt: skip
    return torch.from_numpy(np.stack(frames)).permute(0, 1, 4, 2, 3)


SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "image_size": 32,
         "patch_size": 16}  # fmt: skip
FOLDERS = {
    "videomae": transformers.VideoMAEConfig(num_frames=8, tubelet_size=2, **SMALL),
    "timesformer": transformers.TimesformerConfig(num_frames=4, **SMALL),
    "vivit": transformers.VivitConfig(num_frames=4, tubelet_size=[2, 16, 16], **SMALL),
    "vjepa2": transformers.VJEPA2Config(
        crop_size=32, patch_size=16, frames_per_clip=4, hidden_size=48, num_attention_heads=2, num_hidden_layers=1,
        pred_hidden_size=48, pred_num_attention_heads=2, pred_num_hidden_layers=1, mlp_ratio=2,
    ),
}  # fmt: skip


def make_folder(path, kind):
    torch.manual_seed(0)
    transformers.AutoModel.from_config(FOLDERS[kind]).save_pretrained(path)
    return path


@pytest.mark.parametrize("kind", FOLDERS)
def test_transformers_video_models_load_from_folders(kind, tmp_path):
    folder = make_folder(tmp_path / kind, kind)
    extractor = load_extractor(str(folder))
    found = extractor(clips())
    assert found.shape == (3, extractor.num_features)
    assert found.dtype == torch.float32
    assert torch.allclose(found, extractor(clips().float() / 255), atol=1e-5)
    assert torch.allclose(found[1:2], extractor(clips()[1:2]), atol=1e-5)
    assert extractor.weights_sha256 == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert describe(extractor)["name"] == kind
    assert not describe(extractor)["embedded"]


def test_preprocessing_is_the_formula(tmp_path):
    """Resize to the model's side, normalise with the folder's numbers, mean over the tokens: written out."""
    folder = make_folder(tmp_path / "videomae", "videomae")
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.1, 0.2, 0.3], "image_std": [0.5] * 3})
    )
    video = clips(1, num_frames=8)
    x = nn.functional.interpolate(video[0].float() / 255, (32, 32), mode="bilinear", antialias=True)
    x = (x - torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)) / 0.5
    model = transformers.VideoMAEModel.from_pretrained(folder)
    with torch.inference_mode():
        expected = model(pixel_values=x[None]).last_hidden_state.mean(1)
        assert torch.allclose(load_extractor(str(folder))(video), expected, atol=1e-5)


def test_longer_clips_give_evenly_spaced_frames(tmp_path):
    extractor = load_extractor(str(make_folder(tmp_path / "videomae", "videomae")))
    video = clips(1, num_frames=29)
    chosen = torch.linspace(0, 28, 8).round().long()
    assert torch.equal(extractor(video), extractor(video[:, chosen]))
    with pytest.raises(ValueError, match="at least 8 frames, got 7"):
        extractor(video[:, :7])


class StandIn(nn.Module):
    """What StyleGAN-V's file looks like from outside: told to, it resizes and rescales 0…255 by itself."""

    def forward(self, x: Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False) -> Tensor:
        if not (rescale and resize and return_features):
            return x.new_full((x.shape[0], 400), -1.0)
        if x.shape[1] != 3 or x.shape[2] < 10:
            raise RuntimeError("needs B C T H W with ten frames")
        small = torch.nn.functional.adaptive_avg_pool3d(x * (2.0 / 255.0) - 1.0, [1, 10, 13])
        return torch.cat([small.flatten(1), small.new_zeros(x.shape[0], 10)], 1)


def test_i3d_is_fed_as_its_file_expects(tmp_path):
    file = tmp_path / "i3d_torchscript.pt"
    torch.jit.script(StandIn()).save(str(file))
    for name in (f"i3d:{file}", str(file)):
        extractor = load_extractor(name)
        found = extractor(clips())
        assert found.shape == (3, 400)
        assert extractor.name == "i3d"
        assert -1.01 <= float(found.min()) < -0.5
        assert float(found.max()) <= 1.01
    with pytest.raises(ValueError, match="at least 10 frames, got 9"):
        extractor(clips(num_frames=9))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tiny-shape-v1", "did you mean 'tiny-shapes-v1'"),
        ("vae:emoji-t2v", "use load_vae_extractor of videoada.models.vae_features"),
        ("i3d:{tmp}/none.pt", "can't read I3D: "),
        ("i3d:{tmp}/noise.pt", "is no TorchScript file"),
        ("{tmp}/empty", "it has no config.json"),
        ("{tmp}/text", "no video model known here"),
        ("{tmp}/pickle", "pickles are not read"),
        ("{tmp}/broken", "can't load the model"),
        ("{tmp}/other", "lack .* parts of a 'videomae'"),
    ],
)
def test_what_is_no_extractor_is_refused_in_a_line(name, message, tmp_path):
    (tmp_path / "noise.pt").write_bytes(b"PK\x03\x04 noise")
    (tmp_path / "empty").mkdir()
    for folder, kind in (("text", "clip_text_model"), ("pickle", "videomae"), ("broken", "videomae")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "config.json").write_text(json.dumps({"model_type": kind}))
    (tmp_path / "pickle" / "pytorch_model.bin").write_bytes(b"0")
    FOLDERS["videomae"].save_pretrained(tmp_path / "other")
    save_file({"something": torch.zeros(3)}, tmp_path / "other" / "model.safetensors", {"format": "pt"})
    (tmp_path / "broken" / "model.safetensors").write_bytes(b"0" * 20)
    with pytest.raises(ModelError, match=message) as caught:
        load_extractor(name.format(tmp=tmp_path))
    assert "\n" not in str(caught.value)


def test_a_hub_that_can_not_be_reached_is_a_line(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for name in ("videomae", "i3d", "someone/some-model"):
        with pytest.raises(ModelError, match="can't fetch"):
            load_extractor(name)


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_a_device_that_is_not_there_is_a_line(device):
    with pytest.raises(ConfigError, match="can't use the device"):
        load_extractor(device=device)


def test_only_i3d_makes_a_plain_fvd(tmp_path):
    """A folder that happens to be called i3d does not."""
    extractor = load_extractor(str(make_folder(tmp_path / "i3d", "videomae")))
    assert extractor.name == "./i3d"
    assert not describe(extractor)["i3d"]


# ---- single frames -------------------------------------------------------------------------------------------------


def test_consistency_by_hand():
    """Features at 0°, 60° and 180°: cosines 0.5 (1, 2), −1 (1, 3), −0.5 (2, 3)."""
    angles = torch.tensor([0.0, torch.pi / 3, torch.pi])
    found = frame_consistency(torch.stack([angles.cos(), angles.sin()], 1))
    assert found["consistency"] == pytest.approx(((0.5 + 0.5) / 2 + 0) / 2)
    assert found["adjacent_cosine"] == pytest.approx((0.5 - 0.5) / 2, abs=1e-7)
    assert found["all_pairs_cosine"] == pytest.approx((0.5 - 1 - 0.5) / 3)
    assert set(frame_consistency(torch.ones(1, 3)).values()) == {None}


@pytest.mark.parametrize("kind", ["clip", "vit", "dinov2"])
def test_image_models_load_from_folders(kind, tmp_path):
    small = {k: v for k, v in SMALL.items() if k != "hidden_size"} | {"hidden_size": 16}
    config = {
        "clip": lambda: transformers.CLIPConfig(
            text_config={"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
                         "vocab_size": 50}, vision_config=small, projection_dim=8),
        "vit": lambda: transformers.ViTConfig(**small),
        "dinov2": lambda: transformers.Dinov2Config(**small),
    }[kind]()  # fmt: skip
    torch.manual_seed(0)
    transformers.AutoModel.from_config(config).save_pretrained(tmp_path)
    frames = render("a red circle moving right on a black background", size=40)
    features = load_frame_features(str(tmp_path))
    assert features(frames).shape == (16, 8 if kind == "clip" else 16)
    found = check_coherence(frames, frame_features=features)
    assert 0 < found["consistency"] <= 1
    still = check_coherence(frames[[0] * 4], frame_features=features)
    assert still["consistency"] == pytest.approx(1, abs=1e-6)
    with pytest.raises(ModelError, match="no image model"):
        load_frame_features(str(make_folder(tmp_path / "video", "videomae")))


def test_a_module_of_ones_own():
    class Mean(nn.Module):
        def forward(self, videos):
            return videos.float().mean((1, 3, 4))

    metric = FrechetVideoDistance(feature=Mean())
    metric.update(clips(4), real=True)
    metric.update(clips(4), real=False)
    with pytest.warns(UserWarning, match="bias"):
        assert float(metric.compute()) == pytest.approx(0, abs=1e-9)
    about = describe(Mean())
    assert about["name"] == "Mean"
    assert len(about["weights_sha256"]) == 64
    with pytest.raises(MetricError, match=r"extractor's name or an nn\.Module"):
        FrechetVideoDistance(feature=3)


# ---- tiny-shapes-v1 ------------------------------------------------------------------------------------------------


def test_the_embedded_extractor_is_small_and_named():
    folder = ASSETS / "tiny-features"
    files = [f for f in folder.iterdir() if f.is_file()]
    assert sum(f.stat().st_size for f in files) <= 6e6
    assert {f.suffix for f in files} <= {".json", ".safetensors", ".md"}
    extractor = load_extractor()
    assert describe(extractor)["embedded"]
    assert extractor.name == "tiny-shapes-v1"
    assert extractor(clips()).shape == (3, extractor.num_features)


def test_the_embedded_extractor_tells_attributes_apart():
    """Features of unseen clips: the nearest mean of five clips names the motion, the shape and the colour."""
    extractor = load_extractor()

    def features(prompt, seeds):
        frames = np.stack([render(prompt, seed=s) for s in seeds])
        return extractor(torch.from_numpy(frames).permute(0, 1, 4, 2, 3))

    for prompts in (
        [f"a red circle {m} on a gray background" for m in ("moving right", "moving left", "growing", "bouncing")],
        [f"a red {s} moving up on a gray background" for s in ("circle", "square", "triangle")],
        [f"a {c} square moving up on a black background" for c in ("red", "green", "blue", "yellow")],
    ):
        centres = torch.stack([features(p, range(7_000, 7_005)).mean(0) for p in prompts])
        for i, prompt in enumerate(prompts):
            nearest = torch.cdist(features(prompt, range(8_000, 8_006)), centres).argmin(1)
            assert (nearest == i).float().mean() >= 0.8, prompt


def test_biases_are_found_under_the_names_that_some_versions_have(tmp_path):
    """As transformers 5.5 to 5.17, which miss VideoMAE's q_bias, v_bias, and a bias of the keys that it never had."""
    names = [f"encoder.layer.0.attention.attention.{part}.bias" for part in ("query", "key", "value")]
    tensors = {f"videomae.encoder.layer.0.attention.attention.{name}": torch.rand(3) for name in ("q_bias", "v_bias")}
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    parameters = {name: torch.nn.Parameter(torch.full((3,), 9.0)) for name in [*names, "layernorm.weight"]}
    model = SimpleNamespace(named_parameters=parameters.items)
    assert _with_biases(model, tmp_path, [*names, "layernorm.weight"]) == {"layernorm.weight"}
    query, key, value = (parameters[name].data for name in names)
    assert torch.equal(query, tensors["videomae.encoder.layer.0.attention.attention.q_bias"])
    assert torch.equal(value, tensors["videomae.encoder.layer.0.attention.attention.v_bias"])
    assert torch.equal(key, torch.zeros(3))
