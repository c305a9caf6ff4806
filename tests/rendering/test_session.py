"""What the command line does, Python does in one call: a prompt file rendered, and how to skip said in keywords."""

from __future__ import annotations

import json

import pytest
from conftest import PROMPTS

import videoada
from videoada import ConfigError, GenerationConfig, PromptError, SkipConfig
from videoada.config.quality import quality_fields
from videoada.config.settings import RunSettings
from videoada.rendering.estimate import estimate_plan
from videoada.rendering.plan import plan_render

FEW = {"steps": 5, "num_frames": 2, "device": "cpu"}


@pytest.fixture
def two_prompts(tmp_path):
    (tmp_path / "p.txt").write_text("\n".join(PROMPTS[:2]))
    return tmp_path / "p.txt"


def test_a_prompt_file_is_rendered_in_one_call_and_not_again(two_prompts, tmp_path):
    told, seen = [], []
    summary = videoada.render_prompts(
        two_prompts, tmp_path / "out", naming="slug", format="mkv", quality="fast", on_message=told.append,
        on_progress=lambda progress, outcome: seen.append(outcome), **FEW,
    )  # fmt: skip
    assert (summary["videos"], summary["drawn"], summary["failures"]) == (2, 2, [])
    assert summary == json.loads((tmp_path / "out/summary.json").read_text())
    assert {outcome.state for outcome in seen if outcome} == {"drawn"}
    assert told[0] == "2 videos, 0 of them there"
    [record, _] = [videoada.find_record(path) for path in sorted((tmp_path / "out").glob("a-*.json"))]
    assert record.skip.tolerance == quality_fields("fast")["tolerance"]
    again = videoada.render_prompts(two_prompts, tmp_path / "out", RunSettings(quality="fast", **FEW), naming="slug",
                                    format="mkv")  # fmt: skip
    assert (again["drawn"], again["there"]) == (0, 2)


def test_what_a_render_would_take_writes_nothing(two_prompts, tmp_path):
    plan = plan_render(two_prompts, tmp_path / "out", RunSettings(**FEW), samples_per_prompt=3)
    found = estimate_plan(plan)
    assert (found["videos"], found["missing"], found["measured_on"]) == (6, 6, 1)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"naming": "name"}, "unknown naming 'name'"),
        ({"format": "avi"}, "unknown format"),
        ({"limit": 0}, "`limit` must be at least 1, got 0"),
        ({"workers": -3}, "`workers` must be at least 1"),
        ({"num_videos": 3}, "`num_videos` is for one prompt"),
        ({"prompt": "x"}, "the prompt file says each video's `prompt`"),
        ({"shard": "3/2"}, "`shard=3/2`"),
        ({"shard": "x"}, "`shard`: give I/N"),
        ({"tolerence": 0.1}, "unknown key 'tolerence'; the nearest are tolerance"),
        ({"settings": RunSettings(), "tolerance": 0.1}, r"give RunSettings or its fields, not both \(`tolerance`\)"),
        ({"quality": "fast", "tolerance": 0.1}, "`quality` and `tolerance` say the same thing"),
    ],
)
def test_a_wrong_call_writes_nothing_and_names_the_parameter(two_prompts, tmp_path, options, problem):
    with pytest.raises(ConfigError, match=problem):
        videoada.render_prompts(two_prompts, tmp_path / "out", **options)
    (tmp_path / "bad.csv").write_text("words\nx\n")
    with pytest.raises(PromptError, match="line 1"):
        videoada.render_prompts(tmp_path / "bad.csv", tmp_path / "out")
    assert not (tmp_path / "out").exists()


# ---- how to skip, in keywords ----------------------------------------------------------------------------------------


def test_generate_takes_how_to_skip_beside_the_request(pipe):
    request = {"prompt": PROMPTS[0], "num_inference_steps": 6, "num_frames": 2}
    [(_, record)] = videoada.generate(pipe, **request, tolerance=0.1, max_skip_steps=2)
    assert record.skip == SkipConfig(tolerance=0.1, max_skip_steps=2)
    [(_, record)] = videoada.generate(pipe, [GenerationConfig(**request)], quality="high")
    assert record.skip == SkipConfig(**quality_fields("high"))
    [(_, record)] = videoada.generate(pipe, prompt=PROMPTS[0], num_inference_steps=50, num_frames=2, target_psnr=40)
    assert record.skip == RunSettings(target_psnr=40).skip()
    [both] = videoada.compare(pipe, [GenerationConfig(**request)], quality="fast")
    assert both.record.skip == SkipConfig(**quality_fields("fast"))


def test_skip_steps_takes_a_quality(pipe):
    with videoada.skip_steps(pipe, quality="high") as trace:
        pass
    assert trace.config == SkipConfig(**quality_fields("high"))


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"tolerence": 0.1}, "unknown key 'tolerence'"),
        ({"num_steps": 3}, "unknown key 'num_steps'"),
        ({"quality": "best"}, "unknown quality 'best'"),
        ({"skip": SkipConfig(), "tolerance": 0.1}, r"give `skip` or its fields, not both"),
        ({"target_psnr": 40, "num_inference_steps": 6}, "is of steps 50, and the run has 6;"),
        ({"target_psnr": 40, "early_exit": True}, "give it without `early_exit`"),
        ({"target_psnr": 40, "step_policy": "shipped"}, "give it without `step_policy`"),
        ({"quality": "high", "threshold": 0.1}, "say the same thing"),
    ],
)
def test_keywords_that_do_not_fit_are_named(pipe, fields, problem):
    with pytest.raises(ConfigError, match=problem):
        videoada.generate(pipe, prompt=PROMPTS[0], **fields)


def test_requests_and_the_fields_of_one_do_not_mix(pipe):
    with pytest.raises(ConfigError, match=r"not both \(`seed`\)"):
        videoada.generate(pipe, [GenerationConfig(prompt=PROMPTS[0])], seed=3)
    several = [GenerationConfig(prompt=PROMPTS[0], scheduler=name) for name in ("ddim", "euler")]
    with pytest.raises(ConfigError, match="the requests differ"):
        videoada.generate(pipe, several, target_psnr=40)
    with pytest.raises(ConfigError, match="which is not known here"), videoada.skip_steps(pipe, target_psnr=40):
        pass
