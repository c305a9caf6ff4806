"""I2VGenXLPipeline: the conditioning it means, each video its own image and randomness, skipping as counted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from counting import Counting, uint8
from folders import small_pipeline
from PIL import Image

import videoada
from videoada import GenerationConfig, SkipConfig
from videoada.errors import ConfigError
from videoada.metrics import paired_fidelity

RNG = np.random.default_rng(1)
IMAGES = [
    Image.fromarray(RNG.integers(0, 256, size, dtype=np.uint8)) for size in ((64, 64, 3), (40, 90, 3), (200, 70, 3))
]
PROMPTS = ("a red circle moving right", "a blue square", "white")
FULL = SkipConfig(policy="none")
SMALL = {"num_inference_steps": 6, "num_frames": 3, "height": 64, "width": 64}


@pytest.fixture(scope="module")
def i2v():
    return small_pipeline("i2vgen-xl")


def requests(**fields):
    return [
        GenerationConfig(prompt=PROMPTS[i] or "white", image=IMAGES[i], seed=5 + i, **(SMALL | fields))
        for i in range(3)
    ]


def plain(pipe, prompt, image, seed, **options):
    """Plain diffusers: everything random from torch's generator, the prompt as in docs/image-to-video.md."""
    torch.manual_seed(seed)
    embeds = videoada.encode_prompt(pipe, prompt)
    return pipe(image=image, output_type="np", guidance_scale=9.0, **SMALL, **embeds, **options).frames


@pytest.mark.parametrize("clip_skip", [1, 2])
def test_the_prompt_is_encoded_as_the_pipeline_means(i2v, clip_skip):
    """h = hidden state before the last clip_skip layers; γ·(h − mean)/√(var + ε) + β, written out."""
    encoder = i2v.text_encoder
    text = "a red circle moving right"
    states = []
    hook = encoder.encoder.layers[-clip_skip - 1].register_forward_hook(
        lambda module, args, output: states.append(output[0] if isinstance(output, tuple) else output)
    )
    ids = torch.tensor(i2v.tokenizer([text], padding="max_length", max_length=77).input_ids)
    with torch.no_grad():
        encoder(ids)
    hook.remove()
    [h] = states
    norm = encoder.final_layer_norm
    h = h.double()
    expected = (h - h.mean(-1, keepdim=True)) / (h.var(-1, correction=0, keepdim=True) + norm.eps).sqrt()
    expected = expected * norm.weight.double() + norm.bias.double()
    encoded = videoada.encode_prompt(i2v, text, clip_skip=clip_skip)
    assert encoded["prompt_embeds"].shape == (1, 77, 32)
    assert torch.allclose(encoded["prompt_embeds"].double(), expected, atol=1e-5)
    assert not torch.equal(encoded["prompt_embeds"], encoded["negative_prompt_embeds"])


@pytest.mark.parametrize("which", [0, 1, 2])
def test_none_is_plain_diffusers_bit_for_bit(i2v, which):
    request = requests()[which]
    [(video, record)] = videoada.generate(i2v, [request], skip=FULL)
    assert (video.frames == uint8(plain(i2v, request.prompt, IMAGES[which], request.seed)[0])).all()
    assert record.num_predictions == 6
    assert record.request.image == f"sha256:{record.image_sha256}"


def test_the_same_seed_twice_is_the_same_video_and_the_pipeline_is_left_as_it_was(i2v):
    before = set(vars(i2v))
    [(first, _)], [(again, _)] = (videoada.generate(i2v, requests()[:1], skip=FULL) for _ in range(2))
    assert (first.frames == again.frames).all()
    assert set(vars(i2v)) == before


@pytest.mark.parametrize("fields", [{}, {"scheduler": "euler-a"}, {"guidance_scale": 1.0}])
def test_a_batch_of_different_images_is_each_alone(i2v, fields):
    together = videoada.generate(i2v, requests(**fields), skip=FULL, batch_size=3)
    for request, (video, _) in zip(requests(**fields), together, strict=True):
        [(alone, _)] = videoada.generate(i2v, [request], skip=FULL)
        assert (paired_fidelity(video.frames, alone.frames).psnr or 100) >= 60


def test_the_image_and_the_pace_matter(i2v):
    [first, *_] = requests()
    [(video, _)] = videoada.generate(i2v, [first], skip=FULL)
    for changed in ({"image": IMAGES[1]}, {"target_fps": 4}, {"prompt": "nothing"}):
        [(other, _)] = videoada.generate(i2v, [first.model_copy(update=changed)], skip=FULL)
        assert (video.frames != other.frames).any(), changed


def test_skipping_calls_the_network_as_often_as_the_trace_says(i2v, monkeypatch):
    counting = Counting(i2v.unet, monkeypatch)
    skip = SkipConfig(policy="mask", mask=(1, 0, 1, 0, 0, 1))
    for _, record in videoada.generate(i2v, requests(), skip=skip, batch_size=3):
        assert record.num_predictions == 3
        assert (record.unet_rows, record.unet_rows_full) == (6, 12)
    assert counting.rows == [6, 6, 6]


def test_each_prompt_of_a_batch_decides_for_itself(i2v, monkeypatch):
    counting = Counting(i2v.unet, monkeypatch)
    skip = SkipConfig(threshold=0.9, warmup_steps=2)
    results = videoada.generate(i2v, requests(num_inference_steps=16), skip=skip, batch_size=3)
    assert sum(counting.rows) == sum(record.unet_rows for _, record in results)
    for request, (_, record) in zip(requests(num_inference_steps=16), results, strict=True):
        [(_, alone)] = videoada.generate(i2v, [request], skip=skip)
        assert alone.computed == record.computed


def test_hold_stands_for_x0_and_noise_on_v_prediction(i2v):
    skip = {"policy": "mask", "mask": (1, 1, 0, 0, 1, 1)}
    [(held, _)] = videoada.generate(i2v, requests()[:1], skip=SkipConfig(predictor="hold", **skip))
    [(raw, _)] = videoada.generate(i2v, requests()[:1], skip=SkipConfig(predictor="hold-output", **skip))
    assert (held.frames != raw.frames).any()


def test_sizes_left_out_are_the_models_own(i2v):
    request = GenerationConfig(prompt="x", image=IMAGES[0], num_inference_steps=1, num_frames=2)
    [(video, record)] = videoada.generate(i2v, [request], skip=FULL)
    assert video.frames.shape == (2, 64, 64, 3)
    assert (record.height, record.width) == (64, 64)


@pytest.mark.parametrize(
    ("name", "fields", "part"),
    [
        ("i2vgen-xl", {}, "give it an `image`"),
        ("modelscope-t2v", {"image": IMAGES[0]}, "generates from text alone"),
        ("i2vgen-xl", {"image": 5}, "path or a PIL image"),
        ("i2vgen-xl", {"image": IMAGES[0], "target_fps": 0}, "target_fps"),
        ("i2vgen-xl", {"image": IMAGES[0], "decode_chunk_size": 0}, "decode_chunk_size"),
    ],
)
def test_requests_that_do_not_fit_the_model(name, fields, part):
    with pytest.raises(ConfigError, match=part):
        videoada.generate(small_pipeline(name), prompt="x", **fields)
