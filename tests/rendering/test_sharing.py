"""Few and many GPUs, by stand-ins: which worker gets which, what sharing one says, and what Ray's actors ask for."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

import videoada
from videoada.config.loading import LoadConfig
from videoada.config.settings import RunSettings
from videoada.devices import VARIABLE
from videoada.errors import ConfigError, ResourceError
from videoada.models.catalogue import ASSETS
from videoada.rendering import session
from videoada.rendering.engines import processes
from videoada.rendering.engines.ray import OnRay
from videoada.rendering.sharing import check_sharing, devices_of, weight_bytes
from videoada.rendering.worker import WorkerPlan

PLAN = WorkerPlan("out", ".mkv", "tiny-t2v", LoadConfig())


@pytest.fixture
def gpus(monkeypatch):
    """So many GPUs of so many bytes."""
    monkeypatch.delenv(VARIABLE, raising=False)

    def there(count, size=2**30):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=size))

    return there


def test_gpus_are_dealt_out_in_turn(gpus, monkeypatch):
    gpus(2)
    assert devices_of(LoadConfig(), 5) == ["cuda:0", "cuda:1", "cuda:0", "cuda:1", "cuda:0"]
    assert devices_of(LoadConfig(device="cuda"), 2) == ["cuda:0", "cuda:1"]
    assert devices_of(LoadConfig(device="cuda:1"), 2) == ["cuda:1"] * 2
    assert devices_of(LoadConfig(device="cpu"), 2) == ["cpu"] * 2
    monkeypatch.setenv(VARIABLE, "cuda:1")
    assert devices_of(LoadConfig(), 2) == ["cuda:1"] * 2
    monkeypatch.setenv(VARIABLE, "cpu")
    assert devices_of(LoadConfig(), 2) == ["auto"] * 2
    assert [processes._plan_of(PLAN, i, 2).loading.device for i in range(2)] == ["auto"] * 2


def test_each_process_gets_its_gpu(gpus):
    gpus(3)
    assert [processes._plan_of(PLAN, i, 4).loading.device for i in range(4)] == ["cuda:0", "cuda:1", "cuda:2", "cuda:0"]


def test_what_sharing_a_gpu_takes_is_said_first(gpus):
    parts = weight_bytes(ASSETS / "tiny-t2v", LoadConfig())
    pipe = videoada.load_pipeline("tiny-t2v", device="cpu")
    assert parts["unet"] == 2 * sum(p.numel() for p in pipe.unet.parameters())
    assert weight_bytes(ASSETS / "tiny-t2v", LoadConfig(dtype="float32"))["unet"] == 2 * parts["unet"]
    assert weight_bytes(ASSETS / "tiny-t2v", LoadConfig(quantize="int8"))["unet"] == parts["unet"] / 2
    each = sum(parts.values())
    gpus(1, 4 * each)
    said = check_sharing("tiny-t2v", LoadConfig(), 3)
    assert said.startswith("3 of 3 workers share cuda:0: weights of ")
    with pytest.raises(ResourceError, match=r"5 of 5 `workers` share cuda:0.*give at most 4 for each GPU, or `offload"):
        check_sharing("tiny-t2v", LoadConfig(), 5)
    assert check_sharing("tiny-t2v", LoadConfig(offload="sequential"), 5)
    gpus(5, 4 * each)
    assert check_sharing("tiny-t2v", LoadConfig(), 5) is None
    assert check_sharing("tiny-t2v", LoadConfig(device="cpu"), 9) is None


def test_weights_that_lie_there_twice_are_counted_once(tmp_path):
    """Two variants, or one file beside the same in pieces: one of them is read."""
    folder = tmp_path / "model"
    shutil.copytree(ASSETS / "tiny-t2v", folder)
    parts = weight_bytes(folder, LoadConfig())
    plain = folder / "unet" / "diffusion_pytorch_model.safetensors"
    shutil.copy(plain, plain.with_suffix(".fp16.safetensors"))
    shutil.copy(plain, plain.with_name("diffusion_pytorch_model-00001-of-00001.safetensors"))
    (folder / "unused").mkdir()
    shutil.copy(plain, folder / "unused" / plain.name)  # of no part that the model has
    assert weight_bytes(folder, LoadConfig()) == parts
    assert weight_bytes(folder, LoadConfig(variant="fp16")) == parts  # of the text encoder there are plain ones alone


def test_each_gpu_that_is_shared_is_looked_at(gpus, monkeypatch):
    """Four workers on two GPUs, of which the second is the smaller one."""
    each = sum(weight_bytes(ASSETS / "tiny-t2v", LoadConfig()).values())
    gpus(2)
    sizes = {"cuda:0": 9 * each, "cuda:1": each}
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=sizes[str(device)])
    )
    with pytest.raises(
        ResourceError, match=r"2 of 4 `workers` share cuda:1.* give at most 1 for each GPU, or `offload="
    ):
        check_sharing("tiny-t2v", LoadConfig(), 4)
    assert check_sharing("tiny-t2v", LoadConfig(), 3).startswith("2 of 3 workers share cuda:0")
    sizes["cuda:1"] = 9 * each
    said = check_sharing("tiny-t2v", LoadConfig(), 4)
    assert "share cuda:0" in said
    assert "share cuda:1" in said


def test_with_one_part_at_a_time_on_the_gpu_the_next_help_is_one_layer(gpus):
    gpus(1, max(weight_bytes(ASSETS / "tiny-t2v", LoadConfig()).values()))
    with pytest.raises(ResourceError, match=r"give at most 1 for each GPU, or `offload=sequential`$"):
        check_sharing("tiny-t2v", LoadConfig(offload="model"), 2)


def test_a_render_that_can_not_share_a_gpu_begins_nothing(gpus, prompt_file, tmp_path):
    gpus(1, 1000)
    with pytest.raises(ResourceError, match="`workers` share cuda:0"):
        videoada.render_prompts(prompt_file, tmp_path / "out", workers=3)
    assert not list((tmp_path / "out").glob("*.mp4"))


@pytest.fixture
def cluster(monkeypatch):
    """Ray with so many GPUs on each of its nodes; what actors ask for is kept."""
    asked = []

    def with_nodes(*gpus_of_nodes):
        def remote(**needs):
            asked.append(needs)
            held = SimpleNamespace(ready=SimpleNamespace(remote=object))
            return lambda kind: SimpleNamespace(remote=lambda plan: held)

        nodes = [{"Alive": True, "Resources": {"CPU": 4, **({"GPU": n} if n else {})}} for n in gpus_of_nodes]
        ray = SimpleNamespace(is_initialized=lambda: True, nodes=lambda: nodes, remote=remote)
        monkeypatch.setitem(sys.modules, "ray", ray)
        return asked

    monkeypatch.delenv(VARIABLE, raising=False)
    return with_nodes


def on(device):
    return replace(PLAN, loading=LoadConfig(device=device))


def test_actors_ask_for_a_gpu_each(cluster):
    asked = cluster(4, 2)
    assert OnRay(PLAN).workers == 6
    assert asked[-1] == {"max_restarts": 0, "num_gpus": 1}


def test_more_actors_than_gpus_share_them(cluster):
    asked = cluster(2, 0)
    assert OnRay(PLAN, workers=5).workers == 5
    assert asked[-1]["num_gpus"] == pytest.approx(1 / 3)  # three on a GPU at most


def test_actors_for_the_cpu_ask_for_no_gpu(cluster, monkeypatch):
    asked = cluster(4)
    assert OnRay(on("cpu")).workers == 1
    assert "num_gpus" not in asked[-1]
    monkeypatch.setenv(VARIABLE, "cpu")
    crew = OnRay(PLAN)
    assert asked[-1]["num_cpus"] == 4
    assert crew.plan.loading.device == "cpu"  # also on a machine without that variable


def test_ray_says_which_gpu_not_the_caller(cluster, monkeypatch):
    cluster(4)
    with pytest.raises(ConfigError, match=r"`device=cuda:1` with `engine=ray`: Ray gives each actor its GPU"):
        OnRay(on("cuda:1"))
    monkeypatch.setenv(VARIABLE, "cuda:1")
    with pytest.raises(ConfigError, match=r"^VIDEOADA_DEVICE=cuda:1 with `engine=ray`: Ray gives each actor its GPU"):
        OnRay(PLAN)
    monkeypatch.setenv(VARIABLE, "cuda")
    assert OnRay(PLAN).plan.loading.device == "cuda"


def test_a_process_of_accelerate_takes_its_gpu_unless_the_environment_says_which(gpus, monkeypatch):
    made = []
    monkeypatch.setattr("accelerate.PartialState", lambda: SimpleNamespace(device=torch.device("cuda:1")))
    monkeypatch.setattr("videoada.rendering.engines.here.Here", made.append)
    gpus(2)

    def device(named):
        settings = RunSettings(device=named)
        plan = SimpleNamespace(engine="local", workers=None, world=2, worker=lambda: on(settings.device))
        session._engine(plan, 4, print)
        return made[-1].loading.device

    assert [device(named) for named in ("auto", "cuda", "cuda:0", "cpu")] == ["cuda:1", "cuda:1", "cuda:0", "cpu"]
    monkeypatch.setenv(VARIABLE, "cpu")
    assert [device(named) for named in ("auto", "cuda")] == ["auto", "cuda:1"]
    monkeypatch.setenv(VARIABLE, "cuda")
    assert device("auto") == "cuda:1"
