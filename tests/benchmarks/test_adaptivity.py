"""The experiment on adaptivity: paths against exhaustive search, masks by hand, comparisons in closed form, a run."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from commandline import command
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from videoada import ConfigError, GenerationConfig, PromptError
from videoada.benchmarks.adaptivity.compare import (
    Curve,
    by_kind,
    comparisons,
    correlations,
    kinds_of,
    rank_correlation,
    resampled,
)
from videoada.benchmarks.adaptivity.compared import (
    BATCH,
    CHEAPEST,
    DENSITY,
    FREQUENCY,
    MINIMAX,
    ORACLE,
    OTHER,
    OWN,
    batch_decisions,
    counts_around,
    others_masks,
    own_decisions,
    static_masks,
    static_methods,
)
from videoada.benchmarks.adaptivity.experiment import adaptivity, split_prompts
from videoada.benchmarks.adaptivity.masks import another_of, by_density, by_frequency
from videoada.benchmarks.adaptivity.measured import WITH_WHAT, masked, measure_segments, segments_of
from videoada.benchmarks.adaptivity.paths import cheapest_path, minimax_path
from videoada.benchmarks.adaptivity.table import needs_of
from videoada.benchmarks.benchmark import Cell, benchmark, digest
from videoada.benchmarks.methods import Method
from videoada.benchmarks.oracle.analyse import MaskError, forced_steps
from videoada.models.recommended import with_recommended

PROMPTS = (
    "a red circle moving right on a black background", "a blue square growing on a gray background",
    "a green triangle moving up on a navy background", "a white circle bouncing on a brown background",
)  # fmt: skip
MASK = st.lists(st.booleans(), min_size=6, max_size=12)


def mask_of(text):
    return tuple(c == "1" for c in text)


def costs_along(mask, costs):
    """Of the segments of a mask, adjacent steps at no cost; None where one is not among the costs."""
    calls = [i for i, computed in enumerate(mask) if computed]
    pairs = list(itertools.pairwise(calls))
    if any(j > i + 1 and (i, j) not in costs for i, j in pairs):
        return None
    return [costs.get((i, j), 0.0) for i, j in pairs]


@st.composite
def problems(draw):
    n = draw(st.integers(4, 8))
    first = draw(st.integers(0, 2))
    gap = draw(st.integers(2, n))
    segments = [(i, j) for i in range(first, n) for j in range(i + 2, min(i + gap + 1, n))]
    # few values, so that largest costs are equal and the next ones decide
    values = draw(st.lists(st.sampled_from((0.5, 1.0, 2.0, 3.0, 7.0)), min_size=len(segments), max_size=len(segments)))
    return n, first, draw(st.integers(1, n)), dict(zip(segments, values, strict=True))


@given(problems())
@settings(deadline=None)
def test_paths_are_the_best_of_all_masks(problem):
    n, first, calls, costs = problem
    masks = [
        (*(True,) * (first + 1), *middle, True)
        for middle in itertools.product((True, False), repeat=n - first - 2)
    ]  # fmt: skip
    along = [costs_along(mask, costs) for mask in masks if sum(mask) == calls]
    along = [each for each in along if each is not None]
    for path, key in ((minimax_path, lambda c: sorted(c, reverse=True)), (cheapest_path, sum)):
        found = path(costs, n, calls, first)
        if not along:
            assert found is None
            continue
        assert sum(found) == calls
        assert found[-1]
        assert all(found[: first + 1])
        assert key(costs_along(found, costs)) == pytest.approx(min(map(key, along)))


def test_the_next_largest_costs_decide_where_the_largest_are_equal():
    costs = {(0, 2): 5.0, (2, 4): 1.0, (1, 3): 3.0, (0, 3): 5.0, (3, 5): 4.0, (4, 6): 2.0}
    assert minimax_path(costs, 7, 4) == mask_of("1001101")  # [5, 2, 0] before [5, 2, 1] and [5, 4, 0]
    assert minimax_path(costs, 7, 7) == (True,) * 7
    assert minimax_path(costs, 7, 2) is None


def test_most_frequent_steps_and_ties_apart():
    masks = [mask_of("11010001"), mask_of("11010001"), mask_of("11001001")]
    assert by_frequency(masks, 4) == mask_of("11010001")
    assert by_frequency(masks, 5) == mask_of("11011001")
    assert by_frequency([mask_of("1100000001")], 4) == mask_of("1100010001")  # of those that none computes
    assert by_frequency(masks, 99) == (True,) * 8


@given(st.lists(MASK, min_size=1, max_size=4), st.integers(1, 12))
@settings(deadline=None)
def test_static_masks_have_the_calls_asked_for(masks, calls):
    size = min(map(len, masks))
    masks = [(True, *mask[1 : size - 1], True) for mask in masks]
    for make in (by_frequency, by_density):
        assert sum(make(masks, max(calls, 2))) == min(max(calls, 2), size) or make is by_density
    first = next((i for i in range(size) if not all(mask[i] for mask in masks)), size)
    if first < calls <= size:
        assert sum(by_density(masks, calls)) == calls
    same = [masks[0]] * 3
    assert by_frequency(same, sum(masks[0])) == masks[0]


def test_average_spacing_lies_between_the_masks():
    assert by_density([mask_of("110001000001")] * 2, 4) == mask_of("110001000001")
    assert by_density([mask_of("110100000001"), mask_of("110000010001")], 4) == mask_of("110000010001")
    assert by_density([mask_of("111010101011")], 5) == mask_of("111000001001")
    even = by_density([(True, True, *(i % 2 == 0 for i in range(17)), True), (True,) * 20], 8)
    gaps = np.diff([i for i, computed in enumerate(even) if computed][2:])
    assert gaps.max() - gaps.min() <= 1


@given(st.lists(st.integers(2, 6), min_size=2, max_size=12))
def test_another_prompts_mask_is_never_ones_own_and_keeps_the_count_where_it_can(counts):
    masks = [tuple(i < count for i in range(8)) for count in counts]
    others = another_of(masks)
    for i, other in enumerate(others):
        assert other != i
        nearest = min(abs(counts[j] - counts[i]) for j in range(len(counts)) if j != i)
        assert abs(counts[other] - counts[i]) == nearest
    alike = [i for i in range(len(counts)) if counts.count(counts[i]) > 1]
    assert sorted(others[i] for i in alike) == alike  # each is used once


def test_counts_and_masks_that_there_are_none_of_are_left_out():
    assert counts_around([9.6, 4.2, 50], 50) == [5, 9, 10, 11, 25, 49, 50]
    own = [[mask_of("1110100111"), mask_of("1110010111")], [mask_of("1110010001")] * 2]
    costs = {segment: float(segment[1] - segment[0]) for segment in segments_of(10)}
    oracle = [{6: mask_of("1111010001")}, {6: mask_of("1110110001"), 5: mask_of("1110010001")}]
    found = static_masks([5, 6, 7], own, {"l1": costs, "l2": costs}, oracle)
    assert found[FREQUENCY][7] == mask_of("1110100111")
    assert found[FREQUENCY][5] == own[1][0]
    assert {family: list(masks) for family, masks in found.items()} == {
        FREQUENCY: [5, 6, 7], DENSITY: [5, 6, 7], MINIMAX: [5, 6, 7], CHEAPEST: [5, 6, 7], ORACLE: [6],
    }  # fmt: skip
    assert all(sum(mask) == calls for masks in found.values() for calls, mask in masks.items())
    assert all(mask[step] for masks in found.values() for mask in masks.values() for step in forced_steps(10))
    methods = static_methods(found)
    assert len(methods) == 13
    assert {(m.skip.predictor, m.skip.corrector) for m in methods} == {("linear", True)}


def cell(method, prompt, predictions, psnr):
    return Cell(
        model="m", method=method.name, family=method.family, prompt=prompt, predictions=predictions,
        rows=predictions / 50, macs=predictions / 50, seconds=1.0, seconds_full=2.0, psnr=psnr, ssim=1.0, tof=None,
        psnr_reference=None, agreement=None, coherent=True, computed="1" * predictions,
    )  # fmt: skip


@pytest.fixture
def cells():
    """Four prompts: own decisions at 10, 10, 12 and 12 predictions, and others a known difference away."""
    own = np.array([40.0, 44.0, 38.0, 46.0])
    [rule] = own_decisions([0.05])
    found = [cell(rule, i, (10, 10, 12, 12)[i], float(own[i])) for i in range(4)]
    for calls, shift in ((10, -3.0), (12, 1.0)):
        method = Method(family=FREQUENCY, knob=f"{calls} calls", skip=masked((True,) * 10))
        found += [cell(method, i, calls, float(own[i] + shift)) for i in range(4)]
    for method in others_masks(0.05, [mask_of("1" * 10 + "0" * 4)] * 2 + [mask_of("1" * 12 + "00")] * 2):
        found += [cell(method, i, (10, 10, 12, 12)[i], float(own[i]) + 2) for i in method.prompts]
    tolerances = [float(m.skip.tolerance) for m in batch_decisions([0.05])]
    assert tolerances == [0.035, 0.05, 0.07]
    for method in batch_decisions([0.05])[:1]:
        found += [cell(method, i, 13, float(own[3 - i])) for i in range(4)]
    unfinished = Method(family=MINIMAX, knob="11 calls", skip=masked((True,) * 11))
    return [*found, cell(unfinished, 0, 11, 50.0)]


def test_families_are_read_at_equal_predictions_and_compared_prompt_by_prompt(cells):
    found = {c.family: c for c in comparisons(cells, 4, [0.05])}
    assert list(found) == [OWN, OTHER, FREQUENCY, BATCH]  # one prompt of four is no point
    assert found[OWN].predictions == 11
    assert found[OWN].psnr == 42
    assert found[OWN].worst == 38
    assert found[OWN].difference == 0
    assert found[OWN].difference_interval == (0, 0)
    static = found[FREQUENCY]  # half way between 3 dB less and 1 dB more, the same for all prompts
    assert (static.predictions, static.difference, static.worst_difference) == (11, -1, -1)
    assert static.difference_interval == pytest.approx((-1, -1))
    assert static.psnr_interval[0] < static.psnr - 1 < static.psnr + 1 < static.psnr_interval[1]
    assert (found[OTHER].predictions, found[OTHER].difference) == (11, 2)
    assert found[BATCH].predictions == 13  # its only point, and that is said
    low, high = found[BATCH].difference_interval
    assert found[BATCH].difference == 0
    assert low < -2
    assert high > 2


def test_what_95_percent_of_the_prompts_take_by_family(cells):
    """Masks of other prompts are one setting for each tolerance: each prompt has one of them."""
    found = {need.family: need.one_setting for need in needs_of(cells) if need.level == 40}
    assert found[OWN] is None  # a prompt of four has 38 dB
    assert found[OTHER] == pytest.approx(11 / 50)  # 40.3 dB, the quantile between 40 and 42
    assert MINIMAX not in found


def test_differences_by_kind_of_prompt(cells):
    kinds = kinds_of(PROMPTS)
    assert kinds == {"moving": [PROMPTS[0], PROMPTS[2]], "one object": list(PROMPTS)}
    found = by_kind(cells, PROMPTS, kinds, [0.05])
    assert found["one object"] == comparisons(cells, 4, [0.05])
    moving = {c.family: c for c in found["moving"]}
    assert moving[OWN].psnr == 39
    assert moving[BATCH].difference == pytest.approx((46 - 40 + 44 - 38) / 2)
    assert kinds_of(["rocket on a navy background", *PROMPTS]) == {}


def test_rank_correlation_is_spearmans():
    a, b = np.random.default_rng(3).integers(0, 5, (2, 20)).astype(float)
    assert rank_correlation(a, b) == pytest.approx(spearmanr(a, b).statistic)
    assert np.isnan(rank_correlation(a, np.ones(20)))


def test_correlation_of_fidelity_with_own_counts(cells):
    found = {c.family: c for c in correlations(cells, 4, [0.05])}
    counts, psnr = [10, 10, 12, 12], [40, 44, 38, 46]
    for family in (OWN, FREQUENCY):
        assert found[family].rank_correlation == pytest.approx(spearmanr(psnr, counts).statistic, abs=1e-4)
    level = [cell(own_decisions([0.05])[0], i, 10, float(40 + i)) for i in range(4)]
    assert correlations(level, 4, [0.05])[0].rank_correlation is None


def test_a_curve_ends_at_its_points():
    curve = Curve("", (10.0, 12.0), (np.array([1.0]), np.array([5.0])))
    assert [(at, float(v[0])) for at, v in map(curve.at, (9, 10, 10.5, 12, 20))] == [
        (10, 1), (10, 1), (10.5, 2), (12, 5), (12, 5),
    ]  # fmt: skip


def test_intervals_cover_the_mean_and_repeat():
    values = np.random.default_rng(0).normal(size=30)
    mean, (low, high) = resampled(lambda v: v.mean(axis=-1), values, seed=4)
    half = 1.96 * values.std() / 30**0.5
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=0.06)
    assert resampled(lambda v: v.mean(axis=-1), values, seed=4) == (mean, (low, high))


def requests_of(count, first=0):
    return [GenerationConfig(prompt=f"prompt {i}", seed=i) for i in range(first, first + count)]


def test_calibration_prompts_are_no_test_prompts():
    tests, calibration, notes = split_prompts(requests_of(32), None, 16)
    assert [r.seed for r in tests] == list(range(16))
    assert [r.seed for r in calibration] == list(range(24, 32))
    assert [len(part) for part in split_prompts(requests_of(9), None)[:2]] == [6, 3]
    own = [*requests_of(3, 100), GenerationConfig(prompt="prompt 1", seed=77)]
    tests, calibration, notes = split_prompts(requests_of(4), own)
    assert len(tests) == 4
    assert len(calibration) == 3
    assert "1 calibration prompt" in notes[0]
    with pytest.raises(PromptError, match="seed 2 of a test prompt"):
        split_prompts(requests_of(4), [GenerationConfig(prompt="another", seed=2)])
    with pytest.raises(PromptError, match="1 test prompt and 1 calibration prompt"):
        split_prompts(requests_of(3), None, 1)


def test_a_method_for_some_prompts_generates_no_others(pipe, tmp_path):
    requests = [
        GenerationConfig(prompt=p, seed=i, num_inference_steps=6, num_frames=1) for i, p in enumerate(PROMPTS[:3])
    ]  # fmt: skip
    method = Method(family="a", knob="mask", skip=masked(mask_of("111011")), prompts=(0, 2))
    found = benchmark(pipe, requests, [method], tmp_path, reference_steps=None, batch_size=2)
    assert [c.prompt for c in found] == [0, 2]
    assert digest(method, pipe) == digest(method.model_copy(update={"prompts": None}), pipe)
    narrower = method.model_copy(update={"prompts": (2,)})  # of a cell that is kept and no longer asked for
    assert [c.prompt for c in benchmark(pipe, requests, [narrower], tmp_path, reference_steps=None)] == [2]


@pytest.mark.slow
def test_a_segments_cost_is_the_final_error_that_its_skipping_makes(pipe, tmp_path):
    [request] = with_recommended(
        pipe, [GenerationConfig(prompt=PROMPTS[0], seed=3, num_inference_steps=14, num_frames=2)]
    )  # fmt: skip
    said = []
    costs = measure_segments(pipe, [request], tmp_path, said.append)
    error = MaskError(pipe, request, WITH_WHAT)
    true = {}
    for i, j in segments_of(14):
        true[i, j] = error(tuple(not i < step < j for step in range(14)))
    assert set(costs["l2"]) == set(true) == set(costs["l1"])
    ratios = np.array([costs["l2"][segment] / true[segment] for segment in true])
    assert spearmanr(list(costs["l2"].values()), [true[segment] for segment in costs["l2"]]).statistic > 0.95
    assert np.median(np.abs(np.log(ratios))) < np.log(1.15)
    last = [segment for segment in true if segment[1] == 13]
    assert [costs["l2"][s] for s in last] == pytest.approx([true[s] for s in last], rel=1e-5)
    assert measure_segments(pipe, [request], tmp_path, said.append) == costs
    assert len(said) == 1


@pytest.mark.slow
def test_the_whole_experiment_and_again(tmp_path):
    prompts, others = tmp_path / "prompts.txt", tmp_path / "others.txt"
    prompts.write_text("\n".join(PROMPTS[:3]))
    others.write_text("\n".join([PROMPTS[0], PROMPTS[3]]))
    asked = ("benchmark", "--preset", "adaptivity", "--prompts", prompts, "--calibration-prompts", others, "--steps", 8,
             "--num-frames", 1, "--output", tmp_path / "out")  # fmt: skip
    first = command(*asked)
    assert "not used: 1 calibration prompt" in first.stderr
    assert "oracle" in first.stderr
    found = json.loads((tmp_path / "out" / "tiny-t2v.json").read_text())
    assert found["calibration_prompts"] == [PROMPTS[3]]
    assert found["prompts"] == 3
    families = {c["family"] for c in found["comparisons"]}
    assert families >= {OWN, OTHER, FREQUENCY, DENSITY, MINIMAX, CHEAPEST, BATCH}
    assert all(c["difference"] == 0 for c in found["comparisons"] if c["family"] == OWN)
    assert all(len(mask) == 8 for masks in found["masks"].values() for mask in masks.values())
    assert "| 0.05 | own decisions |" in first.stdout
    assert (tmp_path / "out" / "tiny-t2v.svg").is_file()
    kept = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.jsonl")}
    again = command(*asked, "--json")
    assert json.loads(again.stdout) == found
    assert kept == {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.jsonl")}


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (
            ("--preset", "frontier", "--calibration-prompts", "x.txt"),
            "--calibration-prompts is for --preset adaptivity",
        ),
        (("--calibration-prompts", "x.txt"), "--calibration-prompts is for --preset adaptivity"),
        (("--preset", "adaptivity"), "takes a file of --prompts"),
        (("--preset", "adaptivity", "--prompts", "x.txt", "--families", "own"), "--families is for presets of fixed"),
        (("--preset", "adaptivity", "--prompts", "x.txt", "--tolerance", "0.1"), "--tolerance is for timing"),
    ],
)
def test_what_does_not_go_with_the_preset_is_said(args, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.txt").write_text("\n".join(PROMPTS))
    done = command("benchmark", *args, code=2)
    assert text in done.stderr.replace("\n", " ")
    assert list(tmp_path.iterdir()) == [tmp_path / "x.txt"]


def test_prompts_of_different_steps_have_no_common_mask(pipe, tmp_path):
    requests = [GenerationConfig(prompt=p, seed=i, num_inference_steps=8 + i) for i, p in enumerate(PROMPTS)]
    with pytest.raises(ConfigError, match="one number of steps, from 6 on; got 8, 9, 10, 11"):
        adaptivity(pipe, requests[:2], requests[2:], tmp_path)
