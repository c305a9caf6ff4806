"""Records: of schema 2, saved and found again; of schema 1, as they were written before, still read and repeated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commandline import run
from conftest import PROMPTS
from PIL import Image
from pydantic import ValidationError

import videoada
from videoada import GenerationConfig, LoadConfig, OutputError, PromptError, SkipConfig
from videoada.config.settings import RunSettings
from videoada.media.metadata import read_metadata
from videoada.media.video import Video
from videoada.records.find import find_record, settings_of
from videoada.records.record import RunRecord

OLD = Path(__file__).parent / "schema-1"
PROMPT = "a red circle moving right on a black background"


def repeated(record, pipe):
    settings = RunSettings(**settings_of(record))
    [(video, again)] = videoada.generate(pipe, settings.requests(), skip=settings.skip())
    return video, again


# ---- schema 2 --------------------------------------------------------------------------------------------------------


def test_a_run_is_saved_and_found_again_in_one_call_each(pipe, tmp_path):
    [(video, record)] = videoada.generate(
        pipe, prompt=PROMPTS[0], seed=7, num_inference_steps=10, num_frames=2, tolerance=0.1
    )
    saved = videoada.save_run(video, record, tmp_path / "clip.mkv")
    assert saved.seconds["write"] > 0
    assert saved.seconds["total"] == pytest.approx(sum(v for k, v in saved.seconds.items() if k != "total"), abs=1e-3)
    assert videoada.find_record(tmp_path / "clip.mkv").skip == videoada.find_record(tmp_path / "clip.json").skip
    assert find_record(tmp_path / "clip.json") == saved
    assert (Video.read(tmp_path / "clip.mkv").frames == video.frames).all()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.json", "clip.mkv"]
    videoada.save_run(video, record, tmp_path / "bare.mkv", metadata=False)
    assert read_metadata(tmp_path / "bare.mkv") is None
    with pytest.raises(OutputError, match="can't tell the format"):
        videoada.save_run(video, record, tmp_path / "clip.avi")
    with pytest.raises(OutputError, match="does not exist"):
        videoada.save_run(video, record, tmp_path / "no" / "clip.mkv")


def test_request_skip_and_load_are_the_configurations_and_repeat_the_run(pipe):
    request = GenerationConfig(
        prompt=PROMPTS[0], seed=5, num_inference_steps=12, guidance_scale=7, num_frames=2, scheduler="dpm++", fps=9
    )
    skip = SkipConfig(tolerance=0.08, max_skip_steps=3, guidance_tolerance=0.05)
    [(video, record)] = videoada.generate(pipe, [request], skip=skip)
    assert (record.request, record.skip, record.load) == (request, skip, LoadConfig(device="cpu"))
    dumped = json.loads(record.to_json())
    assert dumped["schema_version"] == 2
    assert set(dumped["request"]) == set(GenerationConfig.model_fields)
    assert set(dumped["skip"]) == set(SkipConfig.model_fields)
    assert set(dumped["load"]) == set(LoadConfig.model_fields)
    assert RunRecord.model_validate_json(record.to_json()) == record
    again, told = repeated(record, pipe)
    assert (again.frames == video.frames).all()
    assert told.skip == skip


def test_the_decision_of_a_batch_is_repeated_as_its_mask(pipe):
    requests = [GenerationConfig(prompt=p, seed=3, num_inference_steps=12, num_frames=2) for p in PROMPTS[:2]]
    results = videoada.generate(pipe, requests, batch_size=2, tolerance=0.1, batch_decision="any")
    settings = settings_of(results[1][1])
    assert (settings["policy"], list(settings["mask"])) == ("mask", results[1][1].computed)
    video, _ = repeated(results[1][1], pipe)
    assert abs(video.frames.astype(int) - results[1][0].frames).max() <= 2


def test_a_picture_given_as_an_object_is_known_by_its_hash_and_must_be_given_again(tmp_path, capsys):
    i2v = videoada.load_pipeline("tiny-i2v", device="cpu")
    picture = Image.new("RGB", (64, 64), "red")
    [(video, record)] = videoada.generate(i2v, prompt=PROMPT, image=picture, num_inference_steps=4, num_frames=2)
    assert record.request.image == f"sha256:{record.image_sha256}"
    with pytest.raises(PromptError, match="given as an object"):
        settings_of(record)
    videoada.save_run(video, record, tmp_path / "a.mkv")
    code, _, err = run(
        capsys, "generate", "--from-record", str(tmp_path / "a.mkv"), "--output", str(tmp_path / "b.mkv")
    )
    assert (code, err.count("\n"), "give it as --image" in err) == (2, 1, True)
    picture.save(tmp_path / "red.png")
    repeat = ["generate", "--from-record", str(tmp_path / "a.mkv"), "--output", str(tmp_path / "b.mkv")]
    code, _, err = run(capsys, *repeat)
    assert (code, err.count("\n"), "give it as --image" in err) == (2, 1, True)
    picture.save(tmp_path / "red.png")
    code, _, err = run(capsys, *repeat, "--image", str(tmp_path / "red.png"))
    assert code == 0, err
    assert (Video.read(tmp_path / "b.mkv").frames == video.frames).all()


@pytest.mark.parametrize(
    ("request_fields", "skip_fields", "told"),
    [
        ({"negative_prompt": "blue", "guidance_scale": 1.0}, {}, "`negative_prompt`: "),
        ({"guidance_scale": 1.0}, {"tolerance": 0.05, "guidance_tolerance": 0.1}, "`guidance_tolerance`: "),
        ({}, {"policy": "none", "predictor": "taylor2"}, "`predictor`: "),
        ({}, {"policy": "none", "exit_threshold": 0.0}, "`early_exit`: "),
    ],
)
def test_what_was_asked_for_and_had_no_effect_is_listed(pipe, request_fields, skip_fields, told):
    fields = {"prompt": PROMPT, "num_inference_steps": 4, "num_frames": 2} | request_fields
    [(_, record)] = videoada.generate(pipe, **fields, **skip_fields)
    assert [text.startswith(told) for text in record.not_used] == [True]
    [(_, record)] = videoada.generate(pipe, prompt=PROMPT, negative_prompt="blue", num_inference_steps=4, num_frames=2)
    assert record.not_used == []


# ---- schema 1 --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["default", "paper", "learned", "batch", "object"])
def test_records_of_schema_1_are_read_as_schema_2(name):
    old = json.loads((OLD / f"{name}.json").read_text())
    record = find_record(OLD / f"{name}.json")
    assert (old["schema_version"], record.schema_version) == (1, 2)
    for field in ("prompt", "negative_prompt", "guidance_scale", "seed", "fps", "scheduler", "target_fps"):
        assert getattr(record.request, field) == old[field]
    for field in (
        "computed",
        "signal",
        "num_predictions",
        "unet_rows",
        "frames_sha256",
        "height",
        "created",
        "savings",
    ):
        assert getattr(record, field) == old[field]
    policy = {key: value for key, value in old["policy"].items() if key != "name"}
    assert record.skip.policy == old["policy"]["name"]
    assert {key: getattr(record.skip, key) for key in policy} == policy
    assert record.skip.predictor == old["predictor"]["name"]
    assert record.skip.corrector == old["predictor"].get("corrector", False)
    assert record.load is None
    assert RunRecord.model_validate_json(record.to_json()) == record


@pytest.mark.parametrize("name", ["default", "paper", "learned"])
def test_records_of_schema_1_repeat_their_runs(pipe, one_thread, name, monkeypatch):
    # the corrector begins gaps further on since: with its former start a record still repeats its run
    monkeypatch.setattr("videoada.skipping.correction.gap_start", lambda past, after: past[-1].x0)
    record = find_record(OLD / f"{name}.json")
    video, again = repeated(record, pipe)
    assert again.computed == record.computed
    if name == "default":
        before = Video.read(OLD / "default.mkv").frames
        assert abs(video.frames.astype(int) - before).max() <= 2


@pytest.mark.parametrize("name", ["default.mkv", "paper.gif"])
def test_videos_that_hold_a_record_of_schema_1_are_inspected(capsys, name):
    code, out, err = run(capsys, "inspect", str(OLD / name))
    assert code == 0, err
    assert PROMPT in out
    assert len(Video.read(OLD / name).frames) == 2


@pytest.mark.parametrize(
    "values", [{"policy": 3}, {"policy": {"name": "best"}, "predictor": {"name": "hold"}}, {"predictor": {}}, {}]
)
def test_what_is_no_record_of_either_schema_is_refused(values):
    with pytest.raises(ValidationError):
        RunRecord.model_validate(values | {"schema_version": 1})
