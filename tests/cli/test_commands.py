"""Configuration, records found again, and the small commands, through the real command line."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import yaml
from commandline import PROMPT, QUICK, run
from conftest import ROOT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import videoada
from videoada.config.settings import RunSettings, read_settings
from videoada.errors import ConfigError
from videoada.media.metadata import read_metadata
from videoada.media.video import Video
from videoada.models.catalogue import ASSETS, EMBEDDED, KNOWN
from videoada.models.recommended import filled
from videoada.records.record import RunRecord

SCHEMA = json.loads((Path(videoada.__file__).parent / "records" / "run-record.schema.json").read_text())


# ---- configuration ----


def test_flags_win_over_the_configuration_over_the_defaults(tmp_path, capsys):
    (tmp_path / "c.yaml").write_text(f"prompt: {PROMPT}\nsteps: 7\nnum-frames: 3\nthreshold: 0.4\nmask:\n")
    code, out, _ = run(capsys, "generate", "--config", str(tmp_path / "c.yaml"), "--steps", "9", "--print-config")
    assert code == 0
    printed = yaml.safe_load(out)
    assert (printed["steps"], printed["num_frames"], printed["threshold"]) == (9, 3, 0.4)
    assert printed["guidance_scale"] == 9.0
    (tmp_path / "again.yaml").write_text(out)
    assert run(capsys, "generate", "--config", str(tmp_path / "again.yaml"), "--print-config")[1] == out


def test_a_mask_survives_yaml(tmp_path):
    settings_ = RunSettings(policy="mask", mask="1101")
    (tmp_path / "c.yaml").write_text(settings_.to_yaml())
    assert RunSettings(**read_settings(tmp_path / "c.yaml")) == settings_


@pytest.mark.parametrize("name", sorted({*EMBEDDED, "modelscope-t2v", "i2vgen-xl"}))
def test_embedded_models_and_the_papers_have_a_configuration_of_its_defaults(name):
    values = read_settings(ROOT / "configs" / f"{name}.yaml")
    written = RunSettings(**values)
    more = {"height", "width", "quality"} & values.keys()
    assert written.model_dump(exclude=more) == filled(RunSettings(model=name)).model_dump(exclude=more)
    assert written.skip() == RunSettings(model=name).skip()


def test_the_example_names_every_key_and_runs():
    text = (ROOT / "configs" / "example.yaml").read_text()
    for key in RunSettings.model_fields.keys() - {"height", "width", "negative_prompt", "batch_decision"}:
        assert f"{key}:" in text, key
    assert RunSettings(**read_settings(ROOT / "configs" / "example.yaml")).requests()[0].seed == 7


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(f"b{i}: &b{i} [*a,*a,*a,*a,*a,*a,*a,*a]\n" for i in range(9))


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("treshold: 0.1", "the nearest are threshold"),
        ("--stepz: 3", "unknown key '--stepz'; the nearest are steps"),
        ("steps: [1, 2]", "steps"),
        ("steps: many", "steps"),
        ("- a\n- b", "key: value"),
        ("just text", "key: value"),
        ("1: 2", "key: value"),
        ("a: [", "can't read"),
        ("a: !!python/object/apply:os.system ['true']", "can't read"),
        ("\0", "can't read"),
        (BOMB, "aliases"),
        ("[" * 5000, "can't read"),
        ("steps: 5\nsteps: 6", "stands twice"),
        ("? [a, b]\n: 1", "can't read"),
        ("threshold: .nan", "threshold"),
        ("threshold: -0.1", "threshold"),
        ("policy: every-n\nthreshold: 0.1", "has no threshold"),
        ("prompt: 5", "prompt"),
        ('{"schema_version": 2, "request": {}, "model": {}}', "--from-record"),
        ("seed: 99999999999999999999", "seed"),
    ],
)
def test_hostile_configurations_are_one_line(text, part, tmp_path, capsys):
    (tmp_path / "c.yaml").write_text(text)
    before = sorted(tmp_path.iterdir())
    code, out, err = run(
        capsys, "generate", "--config", str(tmp_path / "c.yaml"), "--output", str(tmp_path / "x.mp4"),
        *([] if "prompt" in text else ["--prompt", PROMPT]),
    )  # fmt: skip
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert err.startswith("error: ")
    assert part in err
    assert len(err) < 600
    assert sorted(tmp_path.iterdir()) == before


def test_configurations_that_are_not_there(tmp_path, capsys):
    for path in (tmp_path / "no.yaml", tmp_path):
        code, _, err = run(capsys, "generate", "--config", str(path), "--prompt", PROMPT)
        assert (code, len(err.splitlines())) == (2, 1)
    (tmp_path / "big.yaml").write_text("#" * 2**21)
    with pytest.raises(ConfigError, match="too large"):
        read_settings(tmp_path / "big.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"prompt: \xff\xfe")
    with pytest.raises(ConfigError, match="can't read"):
        read_settings(tmp_path / "latin.yaml")


def test_a_prompt_is_needed_but_not_for_printing(capsys):
    assert run(capsys, "generate")[0] == 2
    assert "no prompt" in run(capsys, "generate", "--steps", "5")[2]
    assert run(capsys, "generate", "--print-config")[0] == 0


# ---- records found again ----


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.webp", "a.gif", "a"])
def test_a_record_inside_the_video_draws_it_again(name, tmp_path, capsys):
    code, _, _ = run(capsys, *QUICK, "--threshold", "0.5", "--output", str(tmp_path / name))
    assert code == 0
    (tmp_path / "a.json").unlink()
    found = RunRecord.model_validate_json(read_metadata(tmp_path / name))
    jsonschema.validate(json.loads(found.to_json()), SCHEMA)
    code, _, err = run(
        capsys, "generate", "--from-record", str(tmp_path / name), "--output", str(tmp_path / f"again_{name}")
    )
    assert code == 0, err
    assert (Video.read(tmp_path / name).frames == Video.read(tmp_path / f"again_{name}").frames).all()
    again = RunRecord.model_validate_json(read_metadata(tmp_path / f"again_{name}"))
    same = {"computed", "signal", "skip", "model"}
    assert again.model_dump(include=same) == found.model_dump(include=same)
    code, out, _ = run(capsys, "inspect", str(tmp_path / name), "--steps")
    assert code == 0
    assert PROMPT in out
    assert f"predictions {found.num_predictions}/6" in out
    assert out.count("computed") == found.num_predictions


def test_metadata_can_be_left_out(tmp_path, capsys):
    run(capsys, *QUICK, "--no-metadata", "--output", str(tmp_path / "a.mp4"))
    assert read_metadata(tmp_path / "a.mp4") is None
    code, out, _ = run(capsys, "inspect", str(tmp_path / "a.mp4"), "--json")  # found beside it
    assert code == 0
    assert json.loads(out)["request"]["seed"] == 3
    (tmp_path / "a.json").unlink()
    code, _, err = run(capsys, "inspect", str(tmp_path / "a.mp4"))
    assert code == 2
    assert "holds no run record" in err


def test_flags_win_over_a_record(tmp_path, capsys):
    run(capsys, *QUICK, "--threshold", "0.5", "--output", str(tmp_path / "a.mkv"))
    code, out, err = run(
        capsys, "generate", "--from-record", str(tmp_path / "a.json"), "--policy", "every-n", "--seed", "9",
        "--json", "--output", str(tmp_path / "b.mkv"),
    )  # fmt: skip
    assert code == 0, err
    record = json.loads(out)
    assert (record["request"]["seed"], record["skip"]["policy"], record["num_inference_steps"]) == (9, "every-n", 6)
    changed = json.loads((tmp_path / "a.json").read_text())
    changed["model"]["weights_sha256"] = "0" * 64
    (tmp_path / "a.json").write_text(json.dumps(changed))
    code, _, err = run(
        capsys, "generate", "--from-record", str(tmp_path / "a.json"), "--output", str(tmp_path / "c.mkv")
    )
    assert code == 0
    assert "other weights" in err


@pytest.mark.parametrize("text", ["{}", "[]", "{", '{"prompt": 3}', "", "\0"])
def test_what_is_no_record(text, tmp_path, capsys):
    (tmp_path / "r.json").write_text(text)
    for command in (["inspect"], ["generate", "--from-record"]):
        code, _, err = run(capsys, *command, str(tmp_path / "r.json"))
        assert code == 2
        assert len(err.splitlines()) == 1
    assert run(capsys, "inspect", str(tmp_path / "none.mp4"))[0] == 2


# ---- comparing, several at once ----


def test_compare_measures_and_shows_both(tmp_path, capsys):
    code, out, err = run(
        capsys, *QUICK, "--policy", "every-n", "--compare", "--json", "--output", str(tmp_path / "a.mkv")
    )
    assert code == 0, err
    record = json.loads(out)
    jsonschema.validate(record, SCHEMA)
    fidelity = record["fidelity"]
    assert fidelity["psnr"] > 8
    assert not fidelity["identical"]
    assert fidelity["speedup"] > 0
    assert "against the full run: PSNR" in err
    both = Video.read(tmp_path / "a-compare.mkv")
    assert len(both.frames) == 4
    green = (both.frames[0, -16] == (46, 160, 67)).all(axis=-1)
    assert 0.5 < green.mean() / (record["num_predictions"] / 6) < 1.2


def test_compare_with_nothing_skipped_is_identical(tmp_path, capsys):
    code, out, err = run(
        capsys, *QUICK, "--policy", "none", "--compare", "--json", "--output", str(tmp_path / "a.webp")
    )
    assert code == 0
    assert json.loads(out)["fidelity"] | {"speedup": 1, "speedup_denoising": 1} == {
        "psnr": None, "psnr_frame_mean": None, "psnr_worst_frame": None, "ssim": 1.0, "tof": 0.0, "identical": True,
        "speedup": 1, "speedup_denoising": 1, "latent_error": [0.0] * 6,
    }  # fmt: skip
    assert "identical" in err


def test_videos_in_batches_are_the_videos_alone(tmp_path, capsys):
    several = [*QUICK, "--threshold", "0.5", "--num-videos", "3", "--json"]
    _, out, _ = run(capsys, *several, "--batch-size", "2", "--output", str(tmp_path / "b.mkv"))
    _, alone, _ = run(capsys, *several, "--output", str(tmp_path / "a.mkv"))
    for i, (x, y) in enumerate(zip(out.splitlines(), alone.splitlines(), strict=True)):
        assert json.loads(x)["computed"] == json.loads(y)["computed"]
        frames = [Video.read(tmp_path / f"{letter}-{i:03d}.mkv").frames.astype(int) for letter in "ab"]
        assert np.abs(frames[0] - frames[1]).max() <= 1


# ---- models, doctor, benchmark ----


def test_models_and_doctor(capsys):
    code, out, _ = run(capsys, "models")
    assert code == 0
    assert all(name in out for name in KNOWN)
    rows = [json.loads(line) for line in run(capsys, "models", "--json")[1].splitlines()]
    assert rows[0]["cached"]
    assert all(row["licence"] for row in rows)
    code, out, _ = run(capsys, "doctor")
    assert code == 0, out
    findings = {f["part"]: f for f in map(json.loads, run(capsys, "doctor", "--json")[1].splitlines())}
    assert findings["torch"]["state"] == "ok"
    assert findings["model tiny-t2v"]["found"] == "inside the package"
    assert all(f["advice"] for f in findings.values() if f["state"] != "ok")


def test_doctor_says_what_is_missing(monkeypatch, capsys):
    import videoada.models.doctor

    monkeypatch.setattr(videoada.models.doctor, "NEEDED", ("torch", "no-such-package"))
    monkeypatch.setattr("videoada.models.catalogue.ASSETS", Path("/nowhere"))
    code, out, _ = run(capsys, "doctor")
    assert code == 1
    assert "pip install no-such-package" in out
    assert "reinstall videoada" in out


def test_benchmark_pairs_runs(capsys, tmp_path):
    (tmp_path / "p.txt").write_text(f"{PROMPT}\n\na red circle growing on a navy background\n")
    arguments = ["benchmark", "--prompts", str(tmp_path / "p.txt"), "--steps", "6", "--num-frames", "2"]
    code, out, err = run(capsys, *arguments, "--every", "2", "--pairs", "2", "--json")
    assert code == 0, err
    result = json.loads(out)
    assert err.count("pair ") == 2
    assert 0 < result["efficiency"] < 1.5
    assert 1 <= result["predictions"] <= 6
    assert result["ideal_speedup"] > 0  # of a few milliseconds: noise
    assert result["embedded"]
    assert (result["videos"], result["psnr_of_95"]) == (2, None)  # of two, 95 % are both
    code, out, _ = run(capsys, *arguments, "--pairs", "1", "--batch-size", "2")
    assert code == 0
    assert "small embedded model" in out
    assert re.search(r"mean over 2 videos\n|identical to the full run", out)
    assert run(capsys, *arguments, "--batch-size", "3")[0] == 2
    assert run(capsys, "benchmark", "--prompts", str(tmp_path / "none.txt"))[0] == 2


# ---- broken models ----


@pytest.mark.parametrize("harm", ["truncated", "class", "no index", "index", "unet", "image"])
def test_broken_model_folders_are_one_line(harm, tmp_path, capsys):
    folder = tmp_path / "model"
    shutil.copytree(ASSETS / "tiny-t2v", folder)
    index = folder / "model_index.json"
    if harm == "truncated":
        weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
        weights.write_bytes(weights.read_bytes()[:100_000])
    elif harm == "class":
        index.write_text(index.read_text().replace("TextToVideoSDPipeline", "NoSuchPipeline"))
    elif harm == "image":
        index.write_text(index.read_text().replace("TextToVideoSDPipeline", "StableDiffusionPipeline"))
    elif harm == "no index":
        index.unlink()
    elif harm == "index":
        index.write_text("[")
    else:
        shutil.rmtree(folder / "unet")
    code, out, err = run(capsys, *QUICK, "--model", str(folder), "--quiet", "--output", str(tmp_path / "x.mp4"))
    assert (code, out) == (2, ""), err
    assert len(err.splitlines()) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


# ---- anything at all ----

NUMBERS = st.one_of(
    st.integers(-3, 3).map(str),
    st.sampled_from(["nan", "inf", "-1", "1e400", "0x10", "", "1.5", "٣", "99999999999999999999"]),
)
WORDS = st.one_of(
    st.text(max_size=12), st.sampled_from(["none", "mask", "every-n", "ddim", "euler", "hold", "cpu", "cuda", "auto"])
)
SIDES = st.sampled_from(["64", "16", "63", "0", "-8", "x"])
OPTIONS = {
    "--steps": st.one_of(st.sampled_from(["1", "2", "3"]), NUMBERS),
    "--policy": st.one_of(st.sampled_from(["none", "every-n", "mask", "third-order", "third-order-release"]), WORDS),
    "--scheduler": st.one_of(st.sampled_from(["ddim", "euler-a", "unipc"]), WORDS),
    "--mask": st.one_of(WORDS, st.text("01", max_size=4)),
    "--model": st.one_of(st.just("tiny-t2v"), WORDS),
    "--height": SIDES,
    "--width": SIDES,
    "--num-videos": st.sampled_from(["0", "1", "2", "x"]),
    "--batch-size": st.sampled_from(["0", "1", "2", "x"]),
}
for name in [
    "num-frames",
    "seed",
    "fps",
    "guidance-scale",
    "threshold",
    "max-skip-steps",
    "warmup-steps",
    "final-steps",
    "every",
]:
    OPTIONS[f"--{name}"] = NUMBERS
for name in ["predictor", "device", "dtype", "prompt", "negative-prompt", "batch-decision"]:
    OPTIONS[f"--{name}"] = WORDS
ARGUMENTS = st.lists(st.sampled_from(sorted(OPTIONS)), max_size=5, unique=True).flatmap(
    lambda names: st.fixed_dictionaries({name: OPTIONS[name] for name in names})
)
ENDINGS = st.sampled_from([".mkv", ".webp", ".gif", "", ".avi", "/x.mkv"])


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(arguments=ARGUMENTS, as_config=st.booleans(), compare=st.booleans(), ending=ENDINGS)
def test_any_arguments_never_a_traceback_never_a_partial_file(
    pipe, monkeypatch, capsys, tmp_path_factory, arguments, as_config, compare, ending
):
    """200 argument sets and configurations; the model is loaded once, and one of another name is looked for as ever."""
    import videoada.models.pipelines

    load = videoada.models.pipelines.load_pipeline

    def load_once(model, options):
        plain = model == "tiny-t2v" and options.device in ("auto", "cpu")
        return pipe if plain and options == videoada.LoadConfig(device=options.device) else load(model, options)

    folder = tmp_path_factory.mktemp("any")
    command = ["generate", "--output", str(folder / f"out{ending}")]
    values = {"--steps": "2", "--num-frames": "1", "--prompt": "a red circle"} | arguments
    if as_config:
        config = tmp_path_factory.mktemp("config") / "c.yaml"
        config.write_text(yaml.safe_dump({k[2:]: v for k, v in values.items()}), encoding="utf-8")
        command += ["--config", str(config)]
    else:
        command += [part for item in values.items() for part in item]
    with monkeypatch.context() as patch:
        patch.setattr(videoada.models.pipelines, "load_pipeline", load_once)
        patch.setenv("HF_HUB_OFFLINE", "1")
        code, _, err = run(capsys, *command, *(["--compare"] if compare else []))
    assert code in (0, 2), err
    assert "Traceback" not in err
    written = [p for p in folder.rglob("*") if p.is_file()]
    if code == 0:
        assert written
        assert not [p for p in written if p.name.startswith(".")]
    else:
        assert not written
        assert err.splitlines()[-1].startswith("error: ")
