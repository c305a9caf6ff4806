"""Small folders with random weights and the real checkpoints' layout: the parts of configs/architectures, shrunk."""

from __future__ import annotations

import json
from pathlib import Path

import diffusers
import torch
import transformers
import yaml

from videoada.models.catalogue import ASSETS

ARCHITECTURES = Path(__file__).resolve().parent.parent / "configs" / "architectures"
SHRUNK = {
    "unet": {"block_out_channels": [32, 32, 64, 64], "cross_attention_dim": 32, "attention_head_dim": 8,
             "layers_per_block": 1, "norm_num_groups": 8, "sample_size": 8},
    "vae": {"block_out_channels": [32, 32, 32, 32], "layers_per_block": 1, "sample_size": 64},
    "text_encoder": {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_hidden_layers": 3,
                     "vocab_size": 200, "projection_dim": 32},
    "image_encoder": {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2,
                      "image_size": 28, "projection_dim": 32},
    "feature_extractor": {"crop_size": {"height": 28, "width": 28}, "size": {"shortest_edge": 28}},
    "scheduler": {},
}  # fmt: skip


def small_pipeline(name, seed=0):
    """`modelscope-t2v` or `i2vgen-xl`, a few hundred thousand parameters."""
    layout = yaml.safe_load((ARCHITECTURES / f"{name}.yaml").read_text())
    torch.manual_seed(seed)
    tokenizer = transformers.CLIPTokenizer.from_pretrained(ASSETS / "tiny-t2v" / "tokenizer", model_max_length=77)
    parts = {"tokenizer": tokenizer}
    for part, shrunk in SHRUNK.items():
        if part not in layout:
            continue
        values = {k: v for k, v in (layout[part] | shrunk).items() if k != "class"}
        kind = getattr(diffusers, layout[part]["class"], None) or getattr(transformers, layout[part]["class"])
        config_class = getattr(kind, "config_class", None)
        parts[part] = kind(config_class(**values)) if config_class else kind(**values)
        if isinstance(parts[part], torch.nn.Module):
            parts[part].eval()
    pipe = getattr(diffusers, layout["pipeline"])(**parts)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def make_folder(path, name, variant=None, **options):
    """Save a small pipeline as a hub folder is laid out."""
    small_pipeline(name).save_pretrained(path, variant=variant, **options)
    index = json.loads((path / "model_index.json").read_text())
    if "feature_extractor" in index:  # …Pil where torchvision is missing; the real folder says:
        index["feature_extractor"] = ["transformers", "CLIPImageProcessor"]
        (path / "model_index.json").write_text(json.dumps(index))
    return path


def make_cache(home, source, name, commit="0123456789abcdef0123456789abcdef01234567", **options):
    """The hub's cache under HF_HOME, as a download leaves it."""
    repository = home / "hub" / f"models--{source.replace('/', '--')}"
    make_folder(repository / "snapshots" / commit, name, **options)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    return repository / "snapshots" / commit
