"""What needs a CUDA GPU. Skipped where there is none.

Frames are held to those of the CPU by PSNR: a GPU has other kernels, computes convolutions in TF32, and in half
precision by default, so nothing there is equal to the last bit.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings

import pytest
import torch
from conftest import PROMPTS

import videoada
from videoada import GenerationConfig, SkipConfig, skip_steps
from videoada.errors import ResourceError
from videoada.metrics import paired_fidelity

pytestmark = pytest.mark.gpu
REQUEST = GenerationConfig(prompt=PROMPTS[0], seed=7, num_inference_steps=20)
NEAR = {"float32": 35.0, "float16": 28.0, "bfloat16": 20.0}  # dB to the CPU's frames


@pytest.fixture(scope="module")
def on_cpu(pipe):
    [(video, record)] = videoada.generate(pipe, [REQUEST])
    return video, record


def near(video, other, dtype="float16"):
    psnr = paired_fidelity(video.frames, other.frames).psnr
    return psnr is None or psnr >= NEAR[dtype]


@pytest.mark.parametrize("dtype", NEAR)
def test_each_precision_is_near_the_cpu(on_cpu, dtype):
    pipe = videoada.load_pipeline("tiny-t2v", device="cuda", dtype=dtype)
    [(video, record)] = videoada.generate(pipe, [REQUEST])
    assert (record.device.partition(":")[0], record.dtype) == ("cuda", dtype)
    assert record.num_predictions < record.num_inference_steps
    assert record.peak_memory_bytes > 0
    assert near(video, on_cpu[0], dtype)


@pytest.mark.parametrize("offload", ["model", "sequential"])
def test_offloading_begins_with_a_gpu_asleep(tmp_path, offload):
    """A fresh process, in which nothing has used the GPU before."""
    command = [sys.executable, "-m", "videoada", "generate", "--prompt", PROMPTS[0], "--steps", "8",
               "--offload", offload, "--device", "cuda", "--output", str(tmp_path / "a.mkv"), "--json"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "VIDEOADA_DEVICE": "cuda"})
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["device"].startswith("cuda")
    assert record["peak_memory_bytes"] > 0


def test_a_compiled_batch_is_near_and_compiles_once(on_cpu):
    requests = [REQUEST.model_copy(update={"prompt": p, "seed": 7 + i}) for i, p in enumerate(PROMPTS)]
    pipe = videoada.load_pipeline("tiny-t2v", device="cuda", compile=True)
    videoada.generate(pipe, requests, batch_size=4, tolerance=0.3)
    again = videoada.generate(pipe, requests, batch_size=4, tolerance=0.3)
    assert all(record.first_call_seconds == 0 for _, record in again)
    assert near(again[0][0], on_cpu[0], "bfloat16")  # at another tolerance


def test_two_workers_share_a_gpu(prompt_file, tmp_path):
    summary = videoada.render_prompts(
        prompt_file, tmp_path / "out", model="tiny-t2v", device="cuda", workers=2, num_inference_steps=6, num_frames=2
    )
    assert (summary["done"], summary["failed"]) == (6, 0)


def test_memory_that_ran_out_is_answered_with_what_helps():
    pipe = videoada.load_pipeline("tiny-t2v", device="cuda")
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 2**26) / total)
    try:
        with pytest.raises(ResourceError, match=r"memory ran out while generating; what needs less: `offload=model`"):
            videoada.generate(pipe, [REQUEST.model_copy(update={"height": 1024, "width": 1024})])
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()


def test_the_host_waits_once_a_step():
    pipe = videoada.load_pipeline("tiny-t2v", device="cuda")
    counts = []
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with skip_steps(pipe, on_step=lambda *_: counts.append(sum("synchroniz" in str(w.message) for w in seen))):
                pipe(PROMPTS[0], num_inference_steps=30, generator=torch.Generator().manual_seed(7),
                     output_type="latent")  # fmt: skip
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert max(b - a for a, b in zip(counts, counts[1:], strict=False)) <= 1


def test_comparing_small_batches_measures_no_warm_up():
    pipe = videoada.load_pipeline("tiny-t2v", device="cuda")
    requests = [REQUEST.model_copy(update={"prompt": p, "seed": 7 + i}) for i, p in enumerate(PROMPTS)]
    for found in videoada.compare(pipe, requests, skip=SkipConfig(tolerance=0.3), batch_size=4):
        assert found.record.first_call_seconds == found.full_record.first_call_seconds == 0
        assert found.record.fidelity["speedup_denoising"] > 0.8
