"""Small builds of diffusers' pipelines with random weights: `BUILDS` by name, `save` as folders."""

from __future__ import annotations

from pathlib import Path

from . import cogvideo, hunyuan, images, ltx, unets, wan
from .build import Build

BUILDS: dict[str, Build] = {
    build.name: build for module in (unets, cogvideo, ltx, wan, hunyuan, images) for build in module.BUILDS
}


def save(name: str, folder: str | Path) -> Path:
    """The build of that name as a folder that `DiffusionPipeline.from_pretrained` reads."""
    BUILDS[name].make().save_pretrained(folder)
    return Path(folder)
