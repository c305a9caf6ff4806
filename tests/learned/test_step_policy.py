"""The step-count policy: its loss, its files, and runs whose prompts get their own number of steps."""

from __future__ import annotations

import json

import pytest
import torch
from commandline import run
from conftest import PROMPTS
from hypothesis import given, settings
from hypothesis import strategies as st
from parts import COUNTS, biased

import videoada
from videoada.config.run import SkipConfig
from videoada.config.settings import RunSettings
from videoada.errors import ConfigError, ModelError
from videoada.generation.make_record import savings
from videoada.learned.parts import STEP_POLICY
from videoada.learned.step_policy import StepPolicy, find_policy, prompt_embedding
from videoada.records.record import RunRecord
from videoada.training.steps import policy_loss


def test_the_loss_by_hand():
    logits = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    actions, rewards, baseline = torch.tensor([0, 1]), torch.tensor([2.0, 1.0]), torch.tensor([1.0, 3.0])
    p = torch.tensor([[0.5, 0.5], [0.7310586, 0.2689414]])
    entropy = -(p * p.log()).sum(-1)
    expected = -((1.0 * p[0, 0].log() + 0.1 * entropy[0]) + (-2.0 * p[1, 1].log() + 0.1 * entropy[1])) / 2
    assert float(policy_loss(logits, actions, rewards, baseline, 0.1)) == pytest.approx(float(expected), rel=1e-5)


def test_fifty_steps_find_what_each_kind_of_prompt_is_worth():
    torch.manual_seed(0)
    embedding = torch.eye(2).repeat(32, 4)  # two kinds
    best = torch.tensor([0, 2]).repeat(32)
    policy = StepPolicy(8, COUNTS, width=16)
    optimizer = torch.optim.Adam(policy.parameters(), lr=0.03)
    seen = []
    for _ in range(50):
        logits = policy(embedding)
        actions = torch.multinomial(logits.detach().softmax(-1), 1)[:, 0]
        rewards = (actions == best).float()
        seen.append(float(rewards.mean()))
        optimizer.zero_grad()
        policy_loss(logits, actions, rewards, torch.full((64,), 0.33), 0.01).backward()
        optimizer.step()
    assert sum(seen[-10:]) / 10 > 0.9 > 2 * sum(seen[:3]) / 3
    assert policy.choose(embedding[:2]) == [3, 5]


def test_embeddings_are_of_the_prompt_alone(pipe):
    alone, together = prompt_embedding(pipe, PROMPTS[:1]), prompt_embedding(pipe, PROMPTS)
    torch.testing.assert_close(alone[0], together[0], rtol=1e-4, atol=1e-5)
    assert together.shape == (4, 2 * pipe.text_encoder.config.hidden_size)
    assert not torch.allclose(together[0], together[1])


def test_policies_travel_as_safetensors(pipe, tmp_path, monkeypatch):
    policy = StepPolicy(192, COUNTS)
    policy.model = {"name": "x", "weights_sha256": "abc"}
    policy.save(tmp_path / "p.safetensors")
    assert (tmp_path / "p.safetensors").stat().st_size < 1e6
    again = StepPolicy.load(tmp_path / "p.safetensors", pipe.text_encoder, "abc")
    assert all(
        torch.equal(a, b) for a, b in zip(policy.state_dict().values(), again.state_dict().values(), strict=True)
    )
    StepPolicy(190, COUNTS).save(tmp_path / "o.safetensors")
    for name, sha in (("o", "abc"), ("p", "abd")):
        with pytest.raises(ModelError, match="is of another model"):
            StepPolicy.load(tmp_path / f"{name}.safetensors", pipe.text_encoder, sha)
    (tmp_path / "n.safetensors").write_bytes(b"\x80\x04pickle")
    with pytest.raises(ModelError, match="can't read a step policy"):
        StepPolicy.load(tmp_path / "n.safetensors", pipe.text_encoder)
    monkeypatch.setattr(videoada.learned.parts, "ASSETS", tmp_path)
    with pytest.raises(ModelError, match="no step policy is shipped"):
        find_policy(pipe)


def test_each_prompt_runs_with_its_own_number(pipe, tmp_path, monkeypatch):
    path, skip = biased(pipe, tmp_path), SkipConfig(policy="none")
    requests = [
        videoada.GenerationConfig(prompt=p, num_inference_steps=50, num_frames=2, seed=i, step_policy=path)
        for i, p in enumerate(PROMPTS[:3])
    ]
    [compared] = videoada.compare(pipe, requests[1:2], skip=skip)
    assert (compared.full_record.num_inference_steps, compared.record.most_steps) == (5, 5)
    monkeypatch.setattr("videoada.learned.step_policy.choose_steps", lambda pipe, prompts, path: [5, 3, 5])
    generated = videoada.generate(pipe, requests, skip=skip, batch_size=3)
    assert [record.num_inference_steps for _, record in generated] == [5, 3, 5]
    assert [record.request.prompt for _, record in generated] == list(PROMPTS[:3])
    alone = requests[1].model_copy(update={"step_policy": None, "num_inference_steps": 3})
    [(video, record)] = videoada.generate(pipe, [alone], skip=skip)
    assert video.sha256() == generated[1][0].sha256()
    assert (record.most_steps, generated[1][1].most_steps) == (None, 5)
    assert generated[1][1].savings == {"step_count": 0.4, "skipping": 0.0, "early_exit": 0.0, "computed": 0.6}


@settings(deadline=None)  # the first example may take as long as a busy machine lets it
@given(st.integers(1, 50), st.integers(0, 100), st.floats(0.3, 1.0), st.integers(1, 2))
def test_savings_add_up(steps, skipped, macs, rows):
    record = RunRecord.model_construct(
        num_inference_steps=steps, unet_rows_full=rows * steps, unet_rows=max(1, rows * steps - skipped),
        early_exit={"macs": macs},
    )  # fmt: skip
    parts = savings(record, 50)
    assert sum(parts.values()) == pytest.approx(1, abs=1e-3)
    assert all(-1e-9 <= part <= 1 for part in parts.values())


def test_by_the_command_line(pipe, tmp_path, capsys):
    path = biased(pipe, tmp_path)
    flags = ["--prompt", PROMPTS[0], "--num-frames", "2", "--output", str(tmp_path / "x.mkv")]
    code, out, err = run(
        capsys, "generate", *flags, "--steps", "auto", "--step-policy", path, "--json", "--policy", "none"
    )
    assert code == 0, err
    record = json.loads(out)
    assert (record["num_inference_steps"], record["most_steps"]) == (4, 5)
    (tmp_path / "c.yaml").write_text(f"steps: auto\nstep-policy: {path}\n")
    code, out, err = run(capsys, "generate", *flags, "--config", str(tmp_path / "c.yaml"), "--steps", "2", "--json")
    assert (code, json.loads(out)["most_steps"]) == (0, None), err
    for bad in (
        ["--steps", "auto", "--target-psnr", "40"],
        ["--steps", "some"],
        ["--steps", "9", "--step-policy", path],
        ["--steps", "auto", "--step-policy", "no"],
    ):
        code, _, err = run(capsys, "generate", *flags, *bad)
        assert (code, err.count("error: "), "Traceback" in err) == (2, 1, False)


def test_settings():
    with pytest.raises(ConfigError, match="`step_policy` with `steps=auto`"):
        RunSettings(prompt="x", steps=9, step_policy="p").requests()
    assert RunSettings(prompt="x", steps="auto").requests()[0].num_inference_steps == 50
    assert RunSettings(prompt="x", steps="12").requests()[0].num_inference_steps == 12
    with pytest.raises(ConfigError, match="without `early_exit`"):
        RunSettings(prompt="x", early_exit=True, target_psnr=40).skip()


def test_what_lies_beside_a_model_is_no_shipped_part(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"")
    for name in (str(tmp_path / "model"), "some/model"):
        with pytest.raises(ModelError, match="no step policy is shipped"):
            STEP_POLICY.file(name)
