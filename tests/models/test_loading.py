"""Every way to a model, and every way to miss it, through the real command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from commandline import run
from counting import Counting
from folders import make_cache, make_folder
from PIL import Image

import videoada
from videoada import SkipConfig
from videoada.errors import ConfigError, ModelError, ResourceError
from videoada.models.call import call_pipeline
from videoada.records.record import RunRecord

NAMES = ("modelscope-t2v", "i2vgen-xl")
FULL = SkipConfig(policy="none")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("folders")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(root / "image.png")
    return {name: make_folder(root / name, name) for name in NAMES}


def words(folders, name):
    """The command line that draws two small frames from a folder."""
    image = ["--image", str(folders[name].parent / "image.png")] if name == "i2vgen-xl" else []
    size = [
        "--num-frames",
        "2",
        "--height",
        "64",
        "--width",
        "64",
        "--steps",
        "5",
        "--policy",
        "mask",
        "--mask",
        "11010",
    ]
    return ["generate", "--prompt", "a red circle", "--model", str(folders[name]), *image, *size]


# ---- what loads ----


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "options",
    [
        [], ["--vae-slicing"], ["--vae-tiling"], ["--decode-chunk-size", "1"], ["--channels-last"],
        ["--offload", "model", "--device", "cpu"], ["--dtype", "bfloat16"],
    ],
    ids=lambda options: " ".join(options) or "plain",
)  # fmt: skip
def test_a_folder_draws_with_every_option(folders, tmp_path, capsys, name, options):
    code, out, err = run(capsys, *words(folders, name), *options, "--json", "--output", str(tmp_path / "a.mkv"))
    assert code == 0, err
    record = RunRecord.model_validate_json(out)
    assert record.num_predictions == 3
    assert "licence not known" in err


@pytest.mark.parametrize("name", NAMES)
def test_options_that_save_memory_draw_the_same(folders, name):
    fields = {"prompt": "red", "num_inference_steps": 2, "num_frames": 3, "height": 64, "width": 64, "skip": FULL}
    if name == "i2vgen-xl":
        fields["image"] = str(folders[name].parent / "image.png")
    load = {"device": "cpu"}
    [(plain, _)] = videoada.generate(videoada.load_pipeline(str(folders[name]), **load), **fields)
    for options in ({"vae_slicing": True}, {"offload": "model"}, {"channels_last": True}):
        pipe = videoada.load_pipeline(str(folders[name]), **load, **options)
        for chunk in (None, 2):
            [(video, _)] = videoada.generate(pipe, decode_chunk_size=chunk, **fields)
            assert np.abs(video.frames.astype(int) - plain.frames).max() <= 1, options


@pytest.mark.parametrize("name", NAMES)
def test_offloading_loses_no_skip_twice_in_a_row(folders, monkeypatch, name):
    """enable_model_cpu_offload re-installs accelerate's hooks after every call; a wrapper above them is lost."""
    pipe = videoada.load_pipeline(str(folders[name]), device="cpu", offload="model")
    skip = SkipConfig(policy="mask", mask=(1, 1, 0, 1, 0, 0))
    fields = {"prompt": "red", "num_inference_steps": 6, "num_frames": 2, "height": 64, "width": 64, "skip": skip}
    if name == "i2vgen-xl":
        fields["image"] = str(folders[name].parent / "image.png")
    calls = []
    pipe.unet.conv_in.register_forward_hook(lambda *_: calls.append(1))
    for _ in range(2):
        calls.clear()
        [(_, record)] = videoada.generate(pipe, **fields)
        assert (record.num_predictions, len(calls)) == (3, 3)


def test_a_variant_and_a_hub_id_from_the_cache(tmp_path):
    home = tmp_path / "hf"
    snapshot = make_cache(home, "ali-vilab/text-to-video-ms-1.7b", "modelscope-t2v", variant="fp16")
    assert (snapshot / "unet" / "diffusion_pytorch_model.fp16.safetensors").is_file()
    environment = os.environ | {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    line = [
        sys.executable, "-m", "videoada", "generate", "--prompt", "red", "--model", "modelscope-t2v", "--variant",
        "fp16", "--num-frames", "1", "--height", "64", "--width", "64", "--steps", "2", "--json", "--output", "a.mkv",
    ]  # fmt: skip
    done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    model = json.loads(done.stdout)["model"]
    assert model["revision"] == snapshot.name
    assert model["licence"] == "CC-BY-NC-4.0"
    assert "licence CC-BY-NC-4.0" in done.stderr
    listed = subprocess.run(
        [sys.executable, "-m", "videoada", "models"], env=environment, capture_output=True, text=True
    ).stdout
    assert "modelscope-t2v: text to video, 256×256, 16 frames, CC-BY-NC-4.0, downloaded" in listed
    assert "i2vgen-xl: image to video, 704×1280, 16 frames, MIT, not downloaded" in listed


def test_a_card_tells_a_folders_licence(folders, tmp_path):
    shutil.copytree(folders["modelscope-t2v"], tmp_path / "m")
    (tmp_path / "m" / "README.md").write_text("---\nlicense: mit\n---\n# A model\n")
    pipe = videoada.load_pipeline(str(tmp_path / "m"), device="cpu")
    [(_, record)] = videoada.generate(
        pipe, prompt="x", num_inference_steps=1, num_frames=1, height=64, width=64, skip=FULL
    )
    assert record.model.licence == "mit"


# ---- what does not ----


def broken(tmp_path, folders, name="modelscope-t2v"):
    return shutil.copytree(folders[name], tmp_path / "broken")


def refused(capsys, tmp_path, *options):
    before = sorted(tmp_path.rglob("*"))
    code, out, err = run(capsys, "generate", "--prompt", "x", *options, "--output", str(tmp_path / "out.mp4"))
    assert (code, out) == (2, "")
    *before_it, err = err.splitlines()
    assert err.startswith("error: ")
    assert all(line.startswith("model: ") for line in before_it)
    assert sorted(tmp_path.rglob("*")) == before
    return err


def test_pickled_weights_are_refused_with_the_way_to_convert_them(folders, tmp_path, capsys):
    folder = broken(tmp_path, folders)
    (folder / "unet" / "diffusion_pytorch_model.safetensors").rename(folder / "unet" / "diffusion_pytorch_model.bin")
    err = refused(capsys, tmp_path, "--model", str(folder))
    assert "pickle" in err
    assert "from_pretrained(DIR, use_safetensors=False).save_pretrained(NEW_DIR)" in err


def test_a_variant_that_is_not_there(folders, tmp_path, capsys):
    folder = broken(tmp_path, folders)
    unet = folder / "unet"
    (unet / "diffusion_pytorch_model.safetensors").rename(unet / "diffusion_pytorch_model.fp16.safetensors")
    assert "give --variant fp16" in refused(capsys, tmp_path, "--model", str(folder))
    assert "fp16 only" in refused(capsys, tmp_path, "--model", str(folder), "--variant", "fp8")


@pytest.mark.parametrize(
    ("damage", "part"),
    [
        (lambda f: shutil.rmtree(f / "vae"), "lacks vae/"),
        (lambda f: (f / "vae" / "diffusion_pytorch_model.safetensors").unlink(), "vae has no weights"),
        (lambda f: os.truncate(f / "unet" / "diffusion_pytorch_model.safetensors", 1000), "can't load"),
        (lambda f: (f / "unet" / "config.json").write_text("{"), "can't load"),
        (lambda f: (f / "model_index.json").write_text("[1"), "can't read"),
        (
            lambda f: (f / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}'),
            "no video|not generate",
        ),
        (lambda f: (f / "scheduler" / "scheduler_config.json").unlink(), "can't load"),
    ],
)
def test_a_damaged_folder_is_one_line(folders, tmp_path, capsys, damage, part):
    import re

    folder = broken(tmp_path, folders)
    damage(folder)
    assert re.search(part, refused(capsys, tmp_path, "--model", str(folder)))


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--model", "tiny-i2w"], "did you mean"),
        (["--offload", "sequential", "--device", "cpu"], "needs a GPU"),
        (["--offload", "modle"], "did you mean 'model'"),
        (["--quantize", "int3"], "unknown quantization"),
        (["--revision", "../.."], "no name of a branch"),
        (["--image", "nowhere.png"], "does not exist"),
        (["--decode-chunk-size", "0"], "decode-chunk-size"),
        (["--image", __file__], "is no PNG, JPEG, WebP, AVIF or HEIC image"),
    ],
)
def test_options_that_cannot_be_met(tmp_path, capsys, options, part):
    assert part in refused(capsys, tmp_path, *options)


def test_an_image_for_text_to_video_and_none_for_image_to_video(folders, tmp_path, capsys):
    image = str(folders["i2vgen-xl"].parent / "image.png")
    assert "text alone" in refused(capsys, tmp_path, "--image", image)
    assert "give it an --image" in refused(capsys, tmp_path, "--model", str(folders["i2vgen-xl"]))


@pytest.mark.parametrize(
    ("model", "extra", "parts", "offline"),
    [
        ("i2vgen-xl", [], ["model_index.json of 'ali-vilab/i2vgen-xl'", "HF_HOME", "--model"], "1"),
        ("i2vgen-xl", [], ["model_index.json of 'ali-vilab/i2vgen-xl'", "HF_HOME", "--model"], "0"),
        ("someone/something", ["--revision", "v2"], ["at revision 'v2'"], "0"),
        ("ali-vilab/text-to-video-ms-1.7b", [], ["no weights", "HF_HOME"], "0"),
    ],
)
def test_without_a_network(tmp_path, model, extra, parts, offline):
    """Also where nothing says so: an address that answers nothing."""
    home = tmp_path / "hf"
    snapshot = make_cache(home, "ali-vilab/text-to-video-ms-1.7b", "modelscope-t2v")
    (snapshot / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    environment = os.environ | {"HF_HOME": str(home), "HF_HUB_OFFLINE": offline, "HF_ENDPOINT": "http://127.0.0.1:9"}
    work = tmp_path / "work"
    work.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "videoada", "generate", "--prompt", "x", "--model", model, *extra],
        cwd=work, env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert line.startswith("error: ")
    for part in parts:
        assert part in line
    assert not list(work.iterdir())


def test_out_of_memory_names_what_would_help(tmp_path, capsys):
    """A latent video of half a terabyte."""
    err = refused(capsys, tmp_path, "--height", "16384", "--width", "16384", "--num-frames", "4096", "--device", "cpu")
    assert "memory ran out" in err
    assert "--vae-tiling" in err


def test_out_of_memory_of_a_pipeline_with_a_transformer():
    class OtherPipeline:
        transformer, _execution_device = torch.nn.Linear(1, 1), torch.device("cpu")

        def __call__(self, prompt, num_frames, **options):
            raise MemoryError

    with pytest.raises(ResourceError, match="memory ran out"):
        call_pipeline(OtherPipeline(), [videoada.GenerationConfig(prompt="x")])


def test_a_load_config_or_its_fields():
    with pytest.raises(ConfigError, match="not both"):
        videoada.load_pipeline("tiny-t2v", videoada.LoadConfig(), device="cpu")
    with pytest.raises(ModelError, match="unknown model"):
        videoada.load_pipeline("tiny-x")


@pytest.mark.slow
def test_a_compiled_network_skips_as_counted(folders):
    pipe = videoada.load_pipeline(str(folders["modelscope-t2v"]), device="cpu", compile=True)
    skip = SkipConfig(policy="mask", mask=(1, 1, 0, 1))
    fields = {"prompt": "red", "num_inference_steps": 4, "num_frames": 2, "height": 64, "width": 64, "skip": skip}
    plain = videoada.load_pipeline(str(folders["modelscope-t2v"]), device="cpu")
    [(video, record)], [(expected, _)] = (
        videoada.generate(pipe, **fields),
        videoada.generate(plain, **fields),
    )
    assert record.num_predictions == 3
    assert np.abs(video.frames.astype(int) - expected.frames).max() <= 1


@pytest.mark.parametrize("name", NAMES)
def test_quantised_linear_layers_skip_as_counted(folders, monkeypatch, name):
    pytest.importorskip("torchao")
    pipe = videoada.load_pipeline(str(folders[name]), device="cpu", quantize="int8")
    kinds = {type(p.data).__name__ for p in pipe.unet.parameters()} | {type(p).__name__ for p in pipe.unet.parameters()}
    assert any("Int8" in kind or "Quantized" in kind for kind in kinds), kinds
    counting = Counting(pipe.unet, monkeypatch)
    image = {"image": str(folders[name].parent / "image.png")} if name == "i2vgen-xl" else {}
    skip = SkipConfig(policy="mask", mask=(1, 1, 0))
    [(video, record)] = videoada.generate(
        pipe, prompt="red", num_inference_steps=3, num_frames=2, height=64, width=64, skip=skip, **image
    )
    assert (record.num_predictions, len(counting.rows)) == (2, 2)
    assert torch.isfinite(torch.from_numpy(video.frames.astype(np.float32))).all()
