"""The recipe of tiny-wan from end to end, a few steps of each stage, and that it trains what WanPipeline runs."""

from __future__ import annotations

import json
import sys

import pytest
import torch
from conftest import ROOT
from diffusers import UniPCMultistepScheduler, WanPipeline
from diffusers.models.transformers.transformer_wan import WanAttnProcessor
from safetensors.torch import load_file

from videoada.shapes import WORDS, render
from videoada.training.run import Training

sys.path.insert(0, str(ROOT / "scripts" / "embedded"))
import train_wan
from wan.at_once import decode_at_once, encode_at_once
from wan.autoencoder import CHANNELS, build_vae, load_vae, to_clips
from wan.denoiser import TextToFlow
from wan.routes import look_at_no_frame_before
from wan.text import build_tokenizer, tokenize

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = ["--vae-clips", "4", "--clips", "6", "--gate", "2", "--samples", "1", "--frames-batch", "4"]
STEPS = [f"--{stage}-steps=3" for stage in ("vae", "frames", "transformer", "decoder")]
PROMPTS = ("a red circle moving right quickly and a blue square growing on a navy background", "a red circle", "")


def train(run, *args):
    train_wan.main([*args, "--run", str(run), "--out", str(run / "out"), *SMALL, *STEPS, "--transformer-batch=4"])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder, before = tmp_path_factory.mktemp("wan"), torch.get_num_threads()
    torch.set_num_threads(1)
    train(folder, "all")
    torch.set_num_threads(before)
    return folder


def randomised(module, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    return module.eval()


@pytest.mark.parametrize("num_frames", [1, 5, 9, 17])
@torch.no_grad()
def test_frames_at_once_are_what_the_autoencoder_makes_of_them_in_chunks(num_frames):
    vae = randomised(build_vae())
    look_at_no_frame_before(vae)
    video = torch.rand(2, 3, num_frames, 16, 16, generator=torch.Generator().manual_seed(num_frames)) * 2 - 1
    posterior = vae.encode(video).latent_dist
    found = encode_at_once(vae, video)
    assert found.shape == (2, 32, (num_frames + 3) // 4, 2, 2)
    assert torch.allclose(found[:, :16], posterior.mean, atol=1e-4)
    decoded = decode_at_once(vae, posterior.mean)
    assert decoded.shape == video.shape
    assert torch.allclose(decoded.clamp(-1, 1), vae.decode(posterior.mean).sample, atol=1e-4)


@torch.no_grad()
def test_the_autoencoder_begins_with_the_four_frames_of_a_latent_side_by_side():
    clip = to_clips(render("a white square moving right quickly on a black background", num_frames=17)[None])
    torch.manual_seed(0)
    vae = build_vae()
    decoded = decode_at_once(vae, encode_at_once(vae, clip)[:, :CHANNELS])[0]
    blurred, decoded = (torch.nn.functional.avg_pool2d(video.transpose(0, 1), 8) for video in (clip[0], decoded))
    error = (decoded[:, None] - blurred[None]).square().mean((2, 3, 4))  # (decoded frame, frame)
    assert (error.argmin(1) - torch.arange(17)).abs().max() <= 1


@torch.no_grad()
def test_a_trained_latent_is_made_of_its_own_frames_and_makes_no_others(run):
    vae = load_vae(run)
    clip = torch.rand(1, 3, 13, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    other = clip.clone()
    other[:, :, 5] = 0  # the first of the third latent's frames
    latents, others = (vae.encode(video).latent_dist.mean for video in (clip, other))
    changed = [not torch.equal(latents[:, :, i], others[:, :, i]) for i in range(4)]
    assert changed == [False, False, True, False]
    frames, others = vae.decode(latents).sample, vae.decode(others).sample
    changed = [not torch.equal(frames[:, :, i], others[:, :, i]) for i in range(13)]
    assert changed == [5 <= i < 9 for i in range(13)]


@torch.no_grad()
def test_the_decoder_is_trained_on_and_the_latents_stay(run):
    before = {k[4:]: v for k, v in load_file(run / "vae.safetensors").items() if k.startswith("ema.")}
    after = load_vae(run).state_dict()
    same = {k: torch.equal(before[k], v) for k, v in after.items()}
    assert all(same[k] for k in same if k.startswith(("encoder", "quant_conv")))
    assert not all(same[k] for k in same if k.startswith("decoder"))


@torch.no_grad()
def test_one_weighted_token_is_all_the_padding_of_a_text():
    tokenizer = build_tokenizer()
    model = randomised(TextToFlow(len(tokenizer)))
    ids, mask = tokenize(tokenizer, PROMPTS)
    latents, timestep = torch.randn(3, 16, 2, 8, 8), torch.tensor([900.0, 500.0, 20.0])
    found = model(latents, timestep, ids, mask, padded_to=226)
    pipe = WanPipeline(tokenizer, model.text_encoder, build_vae(), UniPCMultistepScheduler(), model.transformer)
    for block in model.transformer.blocks:
        block.attn2.set_processor(WanAttnProcessor())
    text, _ = pipe.encode_prompt(list(PROMPTS), do_classifier_free_guidance=False, max_sequence_length=226)
    assert text.shape[1] == 226
    expected = model.transformer(latents, timestep, text, return_dict=False)[0]
    assert expected.std() > 0.01
    assert torch.allclose(found, expected, atol=1e-5)


def test_each_word_is_a_token_whatever_its_case_and_signs_say_nothing(tmp_path):
    build_tokenizer().save_pretrained(tmp_path)
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    for word in WORDS:
        assert tokenizer.tokenize(word) == tokenizer.tokenize(word.upper()) == ["▁" + word]
    assert tokenizer("A red circle, growing.").input_ids == tokenizer("a red circle growing").input_ids
    assert tokenizer.unk_token_id in tokenizer("zebra").input_ids


def test_the_exported_folder_is_a_wan_pipeline(run):
    pipe = WanPipeline.from_pretrained(run / "out", dtype=torch.float32)
    assert (pipe.scheduler.config.flow_shift, pipe.scheduler.config.use_flow_sigmas) == (3.0, True)
    latents = load_file(run / "latents.safetensors")
    assert latents["latents"].shape == (6, 16, 5, 8, 8)
    assert latents["latents"].mean((0, 2, 3, 4)).abs().max() < 1e-4
    assert (latents["latents"].std((0, 2, 3, 4)) - 1).abs().max() < 1e-4
    assert torch.allclose(torch.tensor(pipe.vae.config.latents_mean), latents["mean"])
    assert torch.allclose(torch.tensor(pipe.vae.config.latents_std), latents["std"])
    unknown = pipe.text_encoder.get_input_embeddings().weight[pipe.tokenizer.unk_token_id]
    assert not unknown.any()
    pipe.set_progress_bar_config(disable=True)
    videos = pipe(PROMPTS[0], height=64, width=64, num_frames=17, num_inference_steps=2, max_sequence_length=32).frames
    assert videos.shape == (1, 17, 64, 64, 3)
    assert (run / "frames-00003.png").is_file()
    assert (run / "transformer-00003.png").is_file()
    assert {"psnr", "background"} <= json.loads((run / "vae.jsonl").read_text().splitlines()[-1]).keys()


def test_interrupted_and_continued_is_as_if_it_never_stopped(run, tmp_path, monkeypatch):
    update, counts = Training.update, iter(range(12))

    def until_the_eleventh(self, *args):
        update(self, *args)
        if next(counts) in (1, 4, 7, 10):  # in each of the four trainings
            self.save()
            raise KeyboardInterrupt

    monkeypatch.setattr(Training, "update", until_the_eleventh)
    for _ in range(4):
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path, "all", "--save-seconds", "0")
    train(tmp_path, "all")
    for name in ("vae", "frames", "transformer", "decoder", "latents"):
        once, again = (load_file(folder / f"{name}.safetensors") for folder in (run, tmp_path))
        once.pop("seconds", None), again.pop("seconds", None)
        assert all(torch.equal(value, again[key]) for key, value in once.items()), name


def test_a_run_with_other_steps_is_refused(run, capsys):
    with pytest.raises(SystemExit):
        train_wan.main(["vae", "--run", str(run), "--vae-steps", "5"])
    assert "is a run with another training of vae" in capsys.readouterr().err
