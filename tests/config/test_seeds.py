"""Seeds to 2^64 - 1, and random ones: the same in every place that takes one."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from commandline import command
from hypothesis import given
from hypothesis import strategies as st

import videoada
from videoada.config.prompts import read_entries
from videoada.config.seeds import LAST_SEED, PICKED_BELOW, read_seed
from videoada.config.settings import RunSettings
from videoada.errors import ConfigError
from videoada.models.call import generator_of
from videoada.rendering.plan import plan_render
from videoada.rendering.session import run_plan

PROMPT = "a red circle moving right on a black background"
ASKED = ("generate", "--prompt", PROMPT, "--steps", 2, "--num-frames", 2, "--json", "--output")
EDGES = (0, 7, 2**31, 2**32 - 1, 2**32, 2**32 + 7, 2**63 - 1, 2**63, 2**63 + 7, LAST_SEED)


def frames_of(tmp_path, *args, name="a.mkv"):
    record = json.loads(command(*ASKED, tmp_path / name, *args).stdout)
    return record["frames_sha256"], record["request"]["seed"]


def test_seeds_of_the_upper_half_are_deterministic_and_differ(tmp_path):
    found = {seed: frames_of(tmp_path, "--seed", seed) for seed in (7, 2**32 + 7, 2**63 + 7, 2**63 - 1, LAST_SEED)}
    assert len({frames for frames, _ in found.values()}) == len(found)
    assert all(seed == kept for seed, (_, kept) in found.items())
    again = json.loads(command("generate", "--from-record", tmp_path / "a.mkv", "--output", tmp_path / "b.mkv",
                               "--json").stdout)  # fmt: skip
    assert (again["frames_sha256"], again["request"]["seed"]) == found[LAST_SEED]


@given(st.integers(0, LAST_SEED), st.integers(0, LAST_SEED))
def test_two_seeds_give_two_streams(a, b):
    first, second = (torch.randn(4, generator=generator_of(seed)) for seed in (a, b))
    assert torch.equal(first, second) == (a == b)
    assert torch.equal(first, torch.randn(4, generator=generator_of(a)))
    assert generator_of(a).initial_seed() == a


@given(st.integers(0, 2**32 - 1))
def test_below_2_32_a_seed_is_torchs_own(seed):
    assert torch.equal(generator_of(seed).get_state(), torch.Generator().manual_seed(seed).get_state())


def test_from_2_32_on_the_words_are_of_the_twisters_own_init_by_array():
    """As NumPy's RandomState, which follows mt19937ar.c."""
    stream = torch.rand(5, generator=generator_of(0x234 << 32 | 0x123))  # of each word 24 bits
    words = np.random.RandomState([0x123, 0x234]).randint(0, 2**32, 5, dtype=np.uint32)
    assert stream.tolist() == (words % 2**24 / 2**24).tolist()


@pytest.mark.parametrize("seed", EDGES)
def test_everywhere_the_same_seeds(seed, tmp_path):
    assert videoada.GenerationConfig(prompt="x", seed=seed).seed == seed
    (tmp_path / "c.yaml").write_text(f"seed: {seed}\n")
    printed = command("generate", "--prompt", PROMPT, "--config", tmp_path / "c.yaml", "--print-config").stdout
    assert f"seed: {seed}\n" in printed
    for name, text in (("p.csv", f"prompt,seed\na,{seed}\n"), ("p.jsonl", json.dumps({"prompt": "a", "seed": seed}))):
        (tmp_path / name).write_text(text)
        [entry] = read_entries(tmp_path / name)
        assert entry.fields["seed"] == seed
    assert read_seed(str(seed)) == seed


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--seed", "-1"), "--seed: give a whole number from 0 to 2^64 - 1; random picks one"),
        (("--seed", 2**64), "from 0 to 2^64 - 1"), (("--seed", "1.5"), "from 0 to 2^64 - 1"),
        (("--seed", "any"), "or random"),
        (("--seed", LAST_SEED - 2, "--num-videos", 4), "3 after it is beyond 2^64 - 1"),
    ],
)  # fmt: skip
def test_what_is_no_seed_is_a_line_before_anything_is_generated(args, said, tmp_path):
    done = command(*ASKED, tmp_path / "a.mkv", *args, code=2)
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_last_seed_may_be_reached(tmp_path):
    done = command(*ASKED, tmp_path / "a.mkv", "--seed", LAST_SEED - 1, "--num-videos", 2)
    assert [json.loads(line)["request"]["seed"] for line in done.stdout.splitlines()] == [LAST_SEED - 1, LAST_SEED]


def test_a_random_seed_stands_in_the_record_and_repeats(tmp_path):
    frames, seed = frames_of(tmp_path, "--seed", "random")
    other, another = frames_of(tmp_path, "--seed", "random", name="b.mkv")
    assert seed != another
    assert frames != other
    assert 0 <= min(seed, another) <= max(seed, another) < PICKED_BELOW
    assert frames_of(tmp_path, "--seed", seed, name="c.mkv") == (frames, seed)
    several = command(*ASKED, tmp_path / "d.mkv", "--seed", "random", "--num-videos", 2).stdout.splitlines()
    first, second = (json.loads(line)["request"]["seed"] for line in several)
    assert second == first + 1
    assert isinstance(videoada.GenerationConfig(prompt="x", seed="random").seed, int)


def seeds_in(folder):
    return [json.loads(path.read_text())["request"]["seed"] for path in sorted(folder.glob("0*.json"))]


def test_a_render_of_random_seeds_goes_on_with_the_same(tmp_path):
    (tmp_path / "p.txt").write_text("a red circle\na blue square\n")
    asked = ("render", tmp_path / "p.txt", "--steps", 2, "--num-frames", 2, "--seed", "random", "--out")
    command(*asked, tmp_path / "a")
    before = seeds_in(tmp_path / "a")
    (tmp_path / "a" / "0001.mp4").unlink()
    (tmp_path / "a" / "0001.json").unlink()
    assert "2 videos, 1 of them there" in command(*asked, tmp_path / "a").stderr
    assert seeds_in(tmp_path / "a") == before
    command(*asked, tmp_path / "b")
    assert set(seeds_in(tmp_path / "b")).isdisjoint(before)
    done = command(*asked[:-3], "--out", tmp_path / "a", code=2)
    assert "holds videos of other settings" in done.stderr


def test_a_rows_seed_may_be_random(tmp_path):
    (tmp_path / "p.csv").write_text("prompt,seed\na red circle,random\na blue square,5\n")
    asked = ("render", tmp_path / "p.csv", "--steps", 2, "--num-frames", 2, "--out")
    command(*asked, tmp_path / "a")
    first, second = seeds_in(tmp_path / "a")
    assert second == 5
    assert "2 of them there" in command(*asked, tmp_path / "a").stderr
    command(*asked, tmp_path / "b")
    assert seeds_in(tmp_path / "b")[0] != first


@pytest.mark.parametrize("rows", ["prompt,seed\na red circle,18446744073709551614\n", "prompt\na red circle\n"])
def test_a_render_beyond_the_last_seed_is_refused_before_it_begins(rows, tmp_path):
    (tmp_path / "p.csv").write_text(rows)
    done = command("render", tmp_path / "p.csv", "--out", tmp_path / "a", "--seed", LAST_SEED,
                   "--samples-per-prompt", 3, code=2)  # fmt: skip
    assert "line 2" in done.stderr
    assert "beyond 2^64 - 1" in done.stderr
    assert not (tmp_path / "a").exists()


def test_of_two_renders_that_begin_at_one_time_the_second_takes_the_seed_of_the_first(tmp_path):
    (tmp_path / "p.txt").write_text(f"{PROMPT}\n")
    settings = RunSettings(seed="random", steps=2, num_frames=2)
    first, second = (plan_render(tmp_path / "p.txt", tmp_path / "out", settings) for _ in range(2))
    assert first.picked_seed != second.picked_seed
    assert run_plan(first)["drawn"] == 1
    summary = run_plan(second)
    assert (summary["drawn"], summary["done"]) == (0, 1)
    other = plan_render(tmp_path / "p.txt", tmp_path / "out", RunSettings(seed="random", steps=3, num_frames=2))
    with pytest.raises(ConfigError, match="other settings"):
        run_plan(other)
