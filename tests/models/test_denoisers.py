"""Pipelines with a transformer: loaded, placed, skipped, timed and analysed as those with a UNet are."""

from __future__ import annotations

import copy

import diffusers
import pytest
import torch
import transformers

import videoada
from videoada import GenerationConfig, SkipConfig, skip_steps
from videoada.benchmarks.baselines.deepcache import cached_blocks
from videoada.benchmarks.benchmark import digest
from videoada.benchmarks.methods import Method
from videoada.benchmarks.oracle.analyse import MaskError
from videoada.benchmarks.timing import time_pairs, twin
from videoada.config.loading import LoadConfig
from videoada.errors import ConfigError, ModelError
from videoada.models.catalogue import ASSETS
from videoada.models.denoisers import denoiser_of, denoisers_of, device_of, dtype_of, names_in_folder
from videoada.models.placement import place

REQUEST = GenerationConfig(
    prompt="a red circle", num_inference_steps=6, num_frames=9, height=64, width=64, guidance_scale=3.0,
    scheduler="unipc",
)  # fmt: skip
SKIP = SkipConfig(policy="every-n", every=2)


def small_ltx():
    """LTXPipeline, whose transformer sees (B, tokens, channels), with random weights."""
    torch.manual_seed(0)
    tokenizer = transformers.CLIPTokenizer.from_pretrained(ASSETS / "tiny-t2v" / "tokenizer", model_max_length=77)
    text_encoder = transformers.T5EncoderModel(
        transformers.T5Config(vocab_size=len(tokenizer) + 2, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    )
    transformer = diffusers.LTXVideoTransformer3DModel(
        in_channels=8, out_channels=8, num_attention_heads=2, attention_head_dim=8, cross_attention_dim=16,
        num_layers=2, caption_channels=16,
    )  # fmt: skip
    vae = diffusers.AutoencoderKLLTXVideo(
        latent_channels=8, block_out_channels=(8, 8, 8, 8), decoder_block_out_channels=(8, 8, 8, 8),
        layers_per_block=(1, 1, 1, 1, 1), decoder_layers_per_block=(1, 1, 1, 1, 1),
    )  # fmt: skip
    scheduler = diffusers.UniPCMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction")
    pipe = diffusers.LTXPipeline(scheduler, vae.eval(), text_encoder.eval(), tokenizer, transformer.eval())
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def ltx():
    return small_ltx()


def test_a_denoiser_is_found_whatever_its_name(ltx, pipe):
    assert denoiser_of(pipe) is pipe.unet
    assert denoiser_of(ltx) is ltx.transformer
    assert (device_of(ltx), dtype_of(ltx)) == (torch.device("cpu"), torch.float32)

    class Two:
        transformer, transformer_2, unet = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1), None

    assert denoisers_of(Two()) == [Two.transformer, Two.transformer_2]
    Two.transformer_2 = Two.transformer
    assert denoisers_of(Two()) == [Two.transformer]
    with pytest.raises(ModelError, match="object has no denoiser: none of unet, transformer, transformer_2"):
        denoiser_of(object())


def test_a_folder_names_its_denoisers(tmp_path):
    assert names_in_folder(ASSETS / "tiny-t2v") == ["unet"]
    (tmp_path / "model_index.json").write_text(
        '{"transformer": ["diffusers", "X"], "transformer_2": [null, null], "unet": [null, null]}'
    )
    assert names_in_folder(tmp_path) == ["transformer"]
    (tmp_path / "model_index.json").write_text("{")
    assert names_in_folder(tmp_path) == []


def test_a_transformer_is_placed():
    ltx = small_ltx()
    ltx.transformer.frames = torch.nn.Conv3d(2, 2, 3)
    place(ltx, LoadConfig(channels_last=True, compile=True), torch.device("cpu"))
    assert ltx.transformer.frames.weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert ltx.transformer._compiled_call_impl is not None


def test_a_folder_is_loaded_and_its_weights_hashed(tmp_path):
    small_ltx().save_pretrained(tmp_path / "ltx")
    loaded = videoada.load_pipeline(str(tmp_path / "ltx"), device="cpu", channels_last=True)
    [(_, record)] = videoada.generate(loaded, [REQUEST], skip=SKIP)
    assert (record.num_predictions, record.dtype) == (3, "float32")
    assert record.model.weights_sha256 is not None


def test_a_twin_has_its_own_transformer_and_the_same_weights(ltx):
    other = twin(ltx)
    assert other.transformer is not ltx.transformer
    assert other.transformer.proj_in.weight is ltx.transformer.proj_in.weight
    with skip_steps(other, "none"):
        assert type(ltx.transformer) is diffusers.LTXVideoTransformer3DModel
    timing = time_pairs(ltx, [REQUEST], skip=SKIP, pairs=1)
    assert timing.dtype == "float32"
    assert timing.predictions == 3


def test_a_twin_of_an_embedded_model_is_shown_the_same_text():
    """Which is as long as that model's, in words that it knows."""
    pipe = videoada.load_pipeline("tiny-wan", device="cpu")
    request = videoada.GenerationConfig(prompt="A Red Circle moving right", num_inference_steps=4, num_frames=1)
    timing = time_pairs(pipe, [request], skip=videoada.SkipConfig(policy="none"), pairs=1)
    assert timing.psnr is None  # equal frames
    assert timing.embedded


def test_cells_of_a_benchmark_know_the_transformers_precision(ltx):
    method = Method(family="full run", knob="")
    halved = copy.copy(ltx)
    halved.transformer = copy.deepcopy(ltx.transformer).half()
    assert digest(method, ltx) != digest(method, halved)


def test_kept_outputs_of_a_transformer_change_nothing(ltx):
    masks = [(True, True, True, False, True, True), (True, True, True, True, False, True)]
    kept = MaskError(ltx, REQUEST, SKIP)
    errors = [kept(mask) for mask in masks]
    assert errors == [MaskError(ltx, REQUEST, SKIP)(mask) for mask in masks]
    assert all(error > 0 for error in errors)
    assert kept.network_calls == 6 + 5 + 2
    assert type(ltx.transformer) is diffusers.LTXVideoTransformer3DModel


class TwoCalls:
    """Calls its transformer once for each guidance half (Wan)."""

    def __init__(self):
        self.transformer, self.scheduler = torch.nn.Linear(3, 3), diffusers.DDIMScheduler()

    def __call__(self, steps):
        self.scheduler.set_timesteps(steps)
        x = torch.ones(1, 3)
        for t in self.scheduler.timesteps:
            cond, uncond = ((out if isinstance(out := self.transformer(y), torch.Tensor) else out[0]) for y in (x, -x))
            x = self.scheduler.step(uncond + 2 * (cond - uncond), t, x).prev_sample
        return x


@torch.no_grad()
def test_outputs_are_kept_call_by_call():
    from videoada.benchmarks.oracle.analyse import kept_outputs

    pipe, kept, calls = TwoCalls(), {}, []
    plain = pipe(4)
    for _ in range(2):
        with kept_outputs(pipe, kept, (True,) * 4, lambda: calls.append(1)):
            assert torch.equal(pipe(4), plain)
    assert len(calls) == len(kept) == 8


def test_what_is_for_unets_says_so(ltx):
    with (
        pytest.raises(ModelError, match="LTXPipeline has no unet; early exit knows no other"),
        videoada.early_exit(ltx),
    ):
        pass
    with pytest.raises(ConfigError, match="no down and up blocks"), cached_blocks(denoiser_of(ltx), 2):
        pass
