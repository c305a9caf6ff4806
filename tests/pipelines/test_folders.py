"""Builds saved as folders are read back by diffusers as the same pipelines, tokenizers and text encoders included."""

from __future__ import annotations

import diffusers
import pytest
import torch
from builders import BUILDS, save
from comparing import close
from watching import tensors_of

QUICK = {
    "modelscope-v2v", "svd", "cogvideox-ddim", "ltx-t2v", "wan-2.1-t2v", "wan-2.2-a14b", "hunyuanvideo", "animatediff",
}  # fmt: skip


def first_of(build, pipe):
    torch.manual_seed(0)
    with torch.no_grad():
        return tensors_of(pipe(**build.arguments())[0])


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in BUILDS]
)
def test_saved_and_loaded_is_the_same_pipeline(name, tmp_path, one_thread):
    build = BUILDS[name]
    made = build.make()
    without = {part: None for part, found in made.components.items() if found is None}
    pipe = diffusers.DiffusionPipeline.from_pretrained(save(name, tmp_path / name), **without)
    pipe.set_progress_bar_config(disable=True)
    if build.tune:
        build.tune(pipe)
    assert type(pipe) is type(made)
    # weights that were read lie elsewhere in memory than those that were made: the same numbers, rounded otherwise
    close(first_of(build, pipe), first_of(build, made), "read and made")
