"""One call of a pipeline: whose fault an exception is."""

from __future__ import annotations

import pytest
from builders import BUILDS

import videoada
from videoada.errors import ConfigError

ASKED = {"prompt": "a red circle", "num_inference_steps": 4, "num_frames": 9, "height": 16, "width": 16}


@pytest.fixture(scope="module")
def wan():
    return BUILDS["wan-2.1-t2v"].make()


@pytest.mark.parametrize("kind", [ValueError, TypeError, RuntimeError, IndexError])
def test_what_the_network_raises_is_a_line_with_its_cause(kind, wan, monkeypatch, one_thread):
    def fail(*args, **kwargs):
        raise kind("some tensors\ndo not match")

    blocks = type(wan.transformer.blocks[0])
    module = __import__(blocks.__module__, fromlist=["_"])
    failing = type(fail)(fail.__code__, {**vars(module), "kind": kind}, closure=fail.__closure__)  # as if written there
    monkeypatch.setattr(blocks, "forward", failing)
    with pytest.raises(ConfigError, match="some tensors do not match") as raised:
        videoada.generate(wan, **ASKED)
    assert isinstance(raised.value.__cause__, kind)
    said = "refuses the request: some" if kind is ValueError else f"failed on this request: {kind.__name__}: some"
    assert f"WanPipeline {said}" in str(raised.value)


@pytest.mark.parametrize("kind", [ValueError, RuntimeError])
def test_what_somebodys_callback_raises_passes_unchanged(kind, wan, one_thread):
    def on_step(step, num_steps, computed):
        raise kind("mine")

    with pytest.raises(kind, match="mine"):
        videoada.generate(wan, [videoada.GenerationConfig(**ASKED)], on_step=on_step)


def test_a_fault_of_ours_inside_a_call_stays_one(wan, monkeypatch, one_thread):
    """A predictor that answers with another shape fails inside torch, called from a frame of ours."""
    from videoada.skipping.stepping import Stepping

    monkeypatch.setattr(Stepping, "_compute_all", lambda self, *args, **kwargs: [][0])
    with pytest.raises(IndexError):
        videoada.generate(wan, **ASKED)


def test_memory_that_ran_out_inside_the_network_is_no_refusal(wan, monkeypatch, one_thread):
    def fail(*args, **kwargs):
        raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes")

    monkeypatch.setattr(type(wan.transformer.blocks[0]), "forward", fail)
    with pytest.raises(videoada.ResourceError, match="memory ran out while generating"):
        videoada.generate(wan, **ASKED)
