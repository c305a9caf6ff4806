"""`skip_from` and `skip_to`: shares of the steps in place of their numbers at both ends."""

from __future__ import annotations

import json
import math
from fractions import Fraction

import pytest
from commandline import command
from hypothesis import given
from hypothesis import strategies as st

import videoada
from videoada import ConfigError, SkipConfig
from videoada.skipping.rules.window import end_step, first_step

PROMPT = "a red circle moving right on a black background"
ASKED = ("generate", "--prompt", PROMPT, "--num-frames", 2, "--json")


@given(st.integers(0, 1000), st.integers(1, 1000))
def test_the_rule_is_i_over_n_at_least_the_share(permille, steps):
    share = permille / 1000
    inside = [i for i in range(steps) if Fraction(i, steps) >= Fraction(permille, 1000)]
    assert first_step(1, share, steps, 0) == (inside[0] if inside else steps)
    assert end_step(1, share, steps) == (inside[0] if inside else steps)


@pytest.mark.parametrize(("skip_from", "skip_to", "steps"), [("10%", "95%", 20), ("30%", "60%", 13), (0, "100%", 9)])
def test_only_steps_in_between_are_skipped_and_the_record_repeats_them(skip_from, skip_to, steps, tmp_path):
    record = json.loads(command(*ASKED, "--steps", steps, "--tolerance", 1e6, "--max-skip-steps", 2, "--skip-from",
                                skip_from, "--skip-to", skip_to, "--output", tmp_path / "a.mkv").stdout)  # fmt: skip
    low, high = record["skip"]["skip_from"], record["skip"]["skip_to"]
    skipped = [i for i, computed in enumerate(record["computed"]) if not computed]
    assert skipped
    assert all(low <= i / steps < high for i in skipped)
    assert skipped[0] == max(math.ceil(low * steps), 3)
    assert (record["skip"]["warmup_steps"], record["skip"]["final_steps"]) == (None, None)
    again = json.loads(command("generate", "--from-record", tmp_path / "a.mkv", "--output", tmp_path / "b.mkv",
                               "--json").stdout)  # fmt: skip
    assert again["skip"] == record["skip"]
    assert (again["computed"], again["frames_sha256"]) == (record["computed"], record["frames_sha256"])


@pytest.mark.parametrize("policy", ["error-controlled", "third-order", "third-order-release"])
def test_shares_are_the_steps_that_they_stand_for(policy, pipe):
    asked = {"prompt": PROMPT, "num_inference_steps": 24, "num_frames": 1, "policy": policy}
    [(first, _)] = videoada.generate(pipe, **asked, skip_from="25%", skip_to=0.75)
    [(second, _)] = videoada.generate(pipe, **asked, warmup_steps=6, final_steps=6)
    [(default, _)] = videoada.generate(pipe, **asked)
    assert first.sha256() == second.sha256() != default.sha256()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--skip-from", "10%", "--warmup-steps", 5), "--skip-from and --warmup-steps say the same thing: give one"),
        (("--skip-to", "95%", "--final-steps", 2), "--skip-to and --final-steps say the same thing: give one"),
        (("--skip-from", "10"), "--skip-from: give a share of the steps as 10% or 0.1"),
        (("--skip-to", "-5%"), "--skip-to: give a share"), (("--skip-to", "101%"), "from 0% to 100%"),
        (("--skip-from", "90%", "--skip-to", "10%"), "nothing lies between --skip-from 0.9 and --skip-to 0.1"),
        (("--policy", "every-n", "--skip-from", "10%"), "policy 'every-n' has no --skip-from"),
        (("--policy", "none", "--skip-to", "10%"), "policy 'none' has no --skip-to"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_a_line(args, said, tmp_path):
    done = command(*ASKED, *args, "--output", tmp_path / "a.mkv", code=2)
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_flag_replaces_what_a_configuration_says_of_the_same(tmp_path):
    (tmp_path / "c.yaml").write_text("warmup_steps: 7\nskip_to: 90%\n")
    shown = command("generate", "--config", tmp_path / "c.yaml", "--skip-from", "20%", "--prompt", "x",
                    "--print-config").stdout  # fmt: skip
    assert ("skip_from: 0.2" in shown, "skip_to: 0.9" in shown, "warmup_steps" in shown) == (True, True, False)
    shown = command("generate", "--config", tmp_path / "c.yaml", "--final-steps", 2, "--prompt", "x",
                    "--print-config").stdout  # fmt: skip
    assert ("warmup_steps: 7" in shown, "final_steps: 2" in shown, "skip_to" in shown) == (True, True, False)


def test_rows_of_a_prompt_file_name_them_and_hashes_follow(tmp_path):
    (tmp_path / "p.csv").write_text("prompt,skip_from,skip-to\na red circle,10%,0.9\na red circle,20%,0.9\n")
    command("render", tmp_path / "p.csv", "--out", tmp_path / "out", "--steps", 12, "--num-frames", 2, "--seed", 3)
    first, second = (json.loads(path.read_text()) for path in sorted((tmp_path / "out").glob("0*.json")))
    assert [r["skip"]["skip_from"] for r in (first, second)] == [0.1, 0.2]
    assert first["job_sha256"] != second["job_sha256"]


def test_the_config_takes_numbers_and_text():
    assert SkipConfig(skip_from="7 %", skip_to=1).skip_from == SkipConfig(skip_from=0.07).skip_from == 0.07
    with pytest.raises(ConfigError, match="`skip_from`: give a share"):
        SkipConfig(skip_from=True)
