"""Devices, by stand-ins for those that this machine lacks: which one is taken, and what a sleeping GPU is asked."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import PROMPTS
from torch.utils._python_dispatch import TorchDispatchMode

import videoada
from videoada import GenerationConfig
from videoada.benchmarks.timing import time_pairs
from videoada.config.run import SkipConfig
from videoada.devices import (
    VARIABLE,
    _openmp_pause,
    find_device,
    in_double,
    peak_memory,
    random_state,
    release_openmp_threads,
    set_random_state,
)
from videoada.errors import ConfigError, ResourceError
from videoada.models.call import _memory_errors
from videoada.models.doctor import examine
from videoada.models.pipelines import resolve_dtype
from videoada.skipping.clock import Clock
from videoada.skipping.rewind import Rewind
from videoada.skipping.rules.decision import by_rule
from videoada.skipping.trace import StepTrace

REQUEST = GenerationConfig(prompt=PROMPTS[0], num_inference_steps=6, num_frames=2)


@pytest.fixture
def no_devices(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    return monkeypatch


@pytest.fixture
def two_gpus(no_devices):
    """CUDA as torch has it before anything used it: what needs an allocator fails."""
    no_devices.setattr(torch.cuda, "is_available", lambda: True)
    no_devices.setattr(torch.cuda, "device_count", lambda: 2)
    no_devices.setattr(torch.cuda, "is_initialized", lambda: False)

    def asleep(*_):
        raise RuntimeError("Invalid device argument 0: did you call init?")

    no_devices.setattr(torch.cuda, "reset_peak_memory_stats", asleep)
    no_devices.setattr(torch.cuda, "synchronize", asleep)
    no_devices.setattr(torch.cuda, "max_memory_allocated", asleep)
    return no_devices


def test_auto_takes_the_best_that_is_there(no_devices, tmp_path):
    assert find_device() == torch.device("cpu")
    no_devices.setattr(torch.backends.mps, "is_available", lambda: True)
    assert find_device() == torch.device("mps")
    assert resolve_dtype("auto", "mps", "/no", tmp_path) == torch.float32
    no_devices.setattr(torch.cuda, "is_available", lambda: True)
    no_devices.setattr(torch.cuda, "device_count", lambda: 1)
    assert resolve_dtype("auto", "cuda", "/no", tmp_path) == torch.float16


def test_the_environment_says_what_auto_means(two_gpus):
    two_gpus.setenv(VARIABLE, "cpu")
    assert find_device() == torch.device("cpu")
    assert find_device("cuda:1") == torch.device("cuda:1")
    two_gpus.setenv(VARIABLE, "cuda:2")
    with pytest.raises(ConfigError, match=r"^VIDEOADA_DEVICE: device 'cuda:2' is not there: torch sees 2 CUDA devices"):
        find_device()
    two_gpus.setenv(VARIABLE, "gpu")
    with pytest.raises(
        ConfigError, match=r"^unknown VIDEOADA_DEVICE: device 'gpu'; use auto, cpu, cuda, cuda:N or mps"
    ):
        find_device()


@pytest.mark.parametrize("name", ["meta", "xla", "vulkan", "cuda:-1", "", "0"])
def test_a_device_on_which_nothing_is_computed_is_one_clear_line(no_devices, name):
    with pytest.raises(ConfigError, match=f"^unknown device '{name}'; use auto, cpu, cuda, cuda:N or mps$"):
        find_device(name)


def test_an_apple_gpu_that_is_not_there_is_one_clear_line(no_devices):
    with pytest.raises(ConfigError, match=r"device 'mps' is not there: torch finds no Apple GPU; use `device=cpu`"):
        find_device("mps")


def on(device, monkeypatch, *modules):
    """The pipeline says that it computes on that device, as one whose parts are offloaded does."""
    for module in modules:
        monkeypatch.setattr(f"{module}.device_of", lambda pipe: torch.device(device))


def test_a_gpu_that_nothing_has_used_yet_is_asked_nothing(pipe, two_gpus):
    on("cuda", two_gpus, "videoada.generation.generate", "videoada.generation.make_record")
    [(_, record)] = videoada.generate(pipe, [REQUEST])
    assert record.peak_memory_bytes == 0
    assert record.device == "cuda"


def test_the_peak_is_of_the_device_that_computes(pipe, two_gpus):
    reset = []
    two_gpus.setattr(torch.cuda, "is_initialized", lambda: True)
    two_gpus.setattr(torch.cuda, "reset_peak_memory_stats", reset.append)
    two_gpus.setattr(torch.cuda, "max_memory_allocated", lambda device: 100 + device.index)
    on("cuda:1", two_gpus, "videoada.generation.generate", "videoada.generation.make_record")
    [(_, record)] = videoada.generate(pipe, [REQUEST])
    assert reset == [torch.device("cuda:1")]
    assert record.peak_memory_bytes == 101
    assert peak_memory(torch.device("mps")) is None


def test_it_is_waited_for_the_gpu_that_computes_not_for_the_current_one(pipe, two_gpus):
    waited = []
    two_gpus.setattr(torch.cuda, "is_initialized", lambda: True)
    two_gpus.setattr(torch.cuda, "synchronize", waited.append)
    on("cuda:1", two_gpus, "videoada.benchmarks.timing")
    time_pairs(pipe, [REQUEST], pairs=1)
    assert set(waited) == {torch.device("cuda:1")}


def test_a_clock_waits_for_the_device_of_the_tensors(monkeypatch):
    waited = []
    monkeypatch.setattr("videoada.skipping.clock.synchronize", waited.append)
    trace = StepTrace(SkipConfig())
    timed = Clock(trace).timed(lambda inherited, *args, **kwargs: inherited(*args, **kwargs))
    there = torch.empty(1, device="meta")  # a device other than the CPU
    timed(lambda *args, **kwargs: None, there)
    assert waited == []
    trace.synchronize = True
    timed(lambda *args, **kwargs: None, torch.empty(1))
    assert waited == []
    timed(lambda *args, **kwargs: None, torch.empty(1), sample=there)
    assert waited == [torch.device("meta")] * 2


class NoDoubles(TorchDispatchMode):
    """As MPS: no tensor of float64."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.dtype == torch.float64:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64")
        return result


@pytest.mark.parametrize("batch_decision", ["prompt", "mean", "any"])
def test_decisions_need_no_float64(batch_decision):
    change, scale = torch.tensor([0.5, 0.1]), torch.tensor([1.0, 2.0])
    with NoDoubles():
        found = by_rule(
            change, scale, 0.3, (False, False), compute_when_equal=False, of_schedule=(scale, change),
            batch_decision=batch_decision,
        )  # fmt: skip
    wide = by_rule(
        change.double(), scale.double(), 0.3, (False, False), compute_when_equal=False,
        of_schedule=(scale.double(), change.double()), batch_decision=batch_decision,
    )  # fmt: skip
    assert found.compute == wide.compute
    assert found.signal == pytest.approx(wide.signal)


def test_doubles_are_of_the_cpu_where_the_device_has_none():
    values = torch.rand(3)
    on_mps = SimpleNamespace(device=SimpleNamespace(type="mps"), cpu=lambda: values)
    assert torch.equal(in_double(on_mps), values.double())


def test_noise_of_torchs_own_generator_is_put_back_on_any_device(no_devices):
    states = []
    no_devices.setattr(torch.mps, "get_rng_state", lambda: "state")
    no_devices.setattr(torch.mps, "set_rng_state", states.append)
    assert random_state(torch.device("mps")) == "state"
    set_random_state("state", torch.device("mps"))
    assert states == ["state"]
    before = random_state(torch.device("cpu"))
    noise = torch.rand(2)
    set_random_state(before, torch.device("cpu"))
    assert torch.equal(torch.rand(2), noise)
    rewind = Rewind()
    rewind.keep(SimpleNamespace(), 0, noise, noise, lambda *_: (noise, None), None)
    assert torch.equal(rewind.taken[0].randomness[0][1], torch.get_rng_state())


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_memory_that_ran_out_on_a_gpu_names_offloading(pipe, monkeypatch, device):
    on(device, monkeypatch, "videoada.models.call")
    with pytest.raises(ResourceError, match=r"`offload=model`.*`dtype=float16`"), _memory_errors(pipe, REQUEST):
        raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize(
    "said",
    [
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", "HIP out of memory",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED", "MPS backend out of memory (MPS allocated: 17.9 GB)",
        "CUDA error: out of memory", "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes",
    ],
)  # fmt: skip
def test_every_way_in_which_memory_runs_out_is_known(pipe, said):
    with pytest.raises(ResourceError, match="memory ran out while generating"), _memory_errors(pipe, REQUEST):
        raise RuntimeError(said)


def test_doctor_names_an_apple_gpu(no_devices):
    no_devices.setattr(torch.backends.mps, "is_available", lambda: True)
    [gpu] = [finding for finding in examine() if finding.part == "gpu"]
    assert (gpu.state, gpu.found) == ("ok", "Apple's, by MPS")


@pytest.mark.skipif(not Path("/proc/self/task").is_dir() or _openmp_pause() is None, reason="not GNU's OpenMP on Linux")
def test_openmp_threads_that_only_wait_are_let_go():
    """While they are there, a second thread that computes takes up to twice the time."""
    before, values = torch.get_num_threads(), torch.rand(2000, 1000)

    def compute():
        return values.sin().sum().item()

    try:
        torch.set_num_threads(4)
        sum_before, with_pool = compute(), len(os.listdir("/proc/self/task"))
        release_openmp_threads()
        for _ in range(50):  # they end on their own
            if len(os.listdir("/proc/self/task")) <= with_pool - 3:
                break
            time.sleep(0.1)
        assert len(os.listdir("/proc/self/task")) <= with_pool - 3
        assert compute() == sum_before
    finally:
        torch.set_num_threads(before)
