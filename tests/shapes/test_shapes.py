"""The shapes world: what is rendered reads back, and the judge does not flatter."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from videoada.errors import PromptError
from videoada.shapes import (
    BACKGROUNDS,
    COLOURS,
    MOTIONS,
    SHAPES,
    SPEEDS,
    Scene,
    ShapeObject,
    coverage,
    measure,
    parse,
    random_scene,
    render,
)


def objects():
    return st.builds(
        lambda colour, shape, motion, speed: ShapeObject(
            colour, shape, motion, "" if motion == "standing still" else speed
        ),
        *map(st.sampled_from, (tuple(COLOURS), SHAPES, MOTIONS, SPEEDS)),
    )


@given(st.lists(objects(), min_size=1, max_size=4), st.sampled_from(tuple(BACKGROUNDS)))
def test_a_scene_written_out_reads_back(items, background):
    scene = Scene(tuple(items), background)
    assert parse(str(scene)) == scene
    assert parse(f"  {str(scene).upper()}. ") == scene


@pytest.mark.parametrize(
    ("prompt", "part"),
    [
        ("a red circle moving right", "must end in"),
        ("a red circle moving right on a pink background", "must end in"),
        ("a mauve circle moving right on a black background", "a mauve circle"),
        ("a red circle standing still quickly on a black background", "standing still quickly"),
        (" and ".join(["a red circle growing"] * 5) + " on a black background", "5 objects"),
    ],
)
def test_what_the_grammar_refuses_is_named(prompt, part):
    with pytest.raises(PromptError, match=part):
        parse(prompt)


def as_set(scene):
    return sorted((item.colour, item.shape, item.motion) for item in scene.objects)


@pytest.mark.parametrize("count", [120, pytest.param(500, marks=pytest.mark.slow)])
def test_random_one_object_clips_read_back(count):
    rng = np.random.default_rng(123)
    right = 0
    for seed in range(count):
        scene = random_scene(rng)
        found = measure(render(scene, seed=seed))
        right += as_set(found) == as_set(scene) and found.background == scene.background
    assert right >= 0.99 * count


def test_two_object_clips_read_back():
    rng = np.random.default_rng(9)
    scenes = [random_scene(rng, 2) for _ in range(60)]
    found = [measure(render(scene, seed=i)) for i, scene in enumerate(scenes)]
    assert sum(as_set(a) == as_set(b) for a, b in zip(scenes, found, strict=True)) >= 57


def test_other_sizes_and_lengths_read_back():
    scene = parse("a white triangle moving left on a brown background")
    for size, frames in ((96, 16), ((64, 96), 24), ((80, 48), 8)):
        clip = render(scene, seed=2, size=size, num_frames=frames)
        assert clip.shape == (frames, *(size if isinstance(size, tuple) else (size, size)), 3)
        assert as_set(measure(clip)) == as_set(scene)


def test_coverage_is_the_area():
    grid = (np.arange(256) + 0.5) / 256 - 0.5
    for shape, area in (("circle", np.pi), ("square", 3.24), ("triangle", 0.75 * np.sqrt(3) * 1.3**2)):
        alpha = coverage(shape, grid[None], grid[None], np.array([0.3]), 1 / 256)
        assert alpha.mean() == pytest.approx(area * 0.09, rel=0.01)


def test_the_seed_places_and_nothing_else():
    prompt = "a red circle moving right on a black background"
    assert (render(prompt, seed=1) == render(prompt, seed=1)).all()
    assert (render(prompt, seed=1) != render(prompt, seed=2)).any()


def test_the_judge_does_not_see_what_is_not_there():
    empty = np.full((16, 64, 64, 3), BACKGROUNDS["gray"], np.uint8)
    assert measure(empty) == Scene((), "gray")
    rng = np.random.default_rng(0)
    noise = measure(rng.integers(0, 256, (16, 64, 64, 3), dtype=np.uint8))
    assert all(item.shape is None or item.motion is None for item in noise.objects)
    frozen = np.repeat(render("a red circle moving right on a black background")[:1], 16, axis=0)
    assert measure(frozen).objects[0].motion == "standing still"
    backwards = render("a red circle moving right on a black background")[::-1]
    assert measure(backwards).objects[0].motion == "moving left"
    ring = render("a red circle standing still on a black background", seed=4)
    smear = np.repeat(ring.max(axis=1, keepdims=True), 64, axis=1)
    assert measure(smear).objects[0].shape != "circle"


def test_measure_takes_floats_and_refuses_other_shapes():
    clip = render("a green square growing on a navy background", seed=3)
    assert measure(clip / 255.0) == measure(clip)
    with pytest.raises(ValueError, match="frames, height, width, 3"):
        measure(clip[0])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_an_object_never_leaves_the_frame(seed):
    """What moves keeps its area: nothing of it is cut off at an edge."""
    scene = random_scene(np.random.default_rng(seed))
    scene = Scene((replace(scene.objects[0], motion="moving down", speed="quickly"),), scene.background)
    difference = np.abs(render(scene, seed=seed).astype(float) - BACKGROUNDS[scene.background]).sum((1, 2, 3))
    assert difference.min() >= 0.97 * difference.max()
