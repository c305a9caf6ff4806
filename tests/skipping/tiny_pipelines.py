"""The small builds of tests/pipelines without text encoders: pipelines that take embeddings, and no files."""

from __future__ import annotations

import diffusers
import torch
from pipelines.builders import cogvideo, images, unets
from pipelines.builders import ltx as ltx_parts
from pipelines.builders import wan as wan_parts
from pipelines.builders.build import quiet

SIZE = {"height": 32, "width": 32, "num_frames": 9}


def bare(kind, network, scheduler, **others):
    """The pipeline of that class; `network` is a function, and its weights are those of seed 0."""
    torch.manual_seed(0)
    made = {"transformer": network(), "scheduler": scheduler, "vae": None, "text_encoder": None, "tokenizer": None}
    return quiet(getattr(diffusers, kind)(**made | {name: make() for name, make in others.items()}))


def wan(kind="WanPipeline", network="WanTransformer3DModel", scheduler=None, second=False):
    def make():
        return wan_parts.network(getattr(diffusers, network))

    experts = {"transformer_2": make, "boundary_ratio": lambda: 0.6} if second else {}
    return bare(kind, make, scheduler or wan_parts.unipc(), **experts)


def cogvideo_dpm():
    def network():
        return cogvideo.network(sample_width=4, sample_height=4, max_text_seq_length=6)

    return bare("CogVideoXPipeline", network, cogvideo.dpm())


def ltx(kind="LTXPipeline"):
    return bare(kind, ltx_parts.network, diffusers.FlowMatchEulerDiscreteScheduler(shift=2.0), vae=ltx_parts.vae)


def mochi(**values):
    def network():
        return cogvideo.mochi_network(max_sequence_length=6)

    return bare("MochiPipeline", network, diffusers.FlowMatchEulerDiscreteScheduler(**values))


def z_image():
    return bare("ZImagePipeline", images.z_image_network, images.euler())


def sdxl(kind="StableDiffusionXLPipeline", scheduler=None):
    torch.manual_seed(0)
    network = unets.sdxl_unet(
        block_out_channels=(8, 16), attention_head_dim=4, transformer_layers_per_block=1, cross_attention_dim=32
    )
    scheduler = scheduler or diffusers.EulerDiscreteScheduler(**unets.BETAS, timestep_spacing="leading", steps_offset=1)
    without = dict.fromkeys(("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"))
    return quiet(getattr(diffusers, kind)(unet=network, vae=unets.vae((8, 8)), scheduler=scheduler, **without))


def texts(prompts=1, tokens=6, width=32, first=0):
    """Embeddings of prompts, each from its own seed."""
    made = [
        torch.randn(1, tokens, width, generator=torch.Generator().manual_seed(100 + first + i)) for i in range(prompts)
    ]
    return torch.cat(made)


def seeds(prompts=1, first=0):
    made = [torch.Generator().manual_seed(1 + first + i) for i in range(prompts)]
    return made if prompts > 1 else made[0]


def call(pipe, prompts=1, first=0, steps=8, guidance=5.0, **values):
    """Latents of the prompts `first`, `first` + 1, …"""
    name = type(pipe).__name__
    given = {
        "prompt_embeds": texts(prompts, first=first),
        "negative_prompt_embeds": texts(1, first=99).repeat(prompts, 1, 1),
        "num_inference_steps": steps, "guidance_scale": guidance, "generator": seeds(prompts, first),
        "output_type": "latent",
    }  # fmt: skip
    if name.startswith(("LTX", "Mochi")):
        ones = torch.ones(prompts, 6, dtype=torch.bool if name.startswith("Mochi") else torch.long)
        given |= {"prompt_attention_mask": ones, "negative_prompt_attention_mask": ones}
    if name.startswith("StableDiffusionXL"):
        given |= {
            "pooled_prompt_embeds": texts(prompts, first=first)[:, 0],
            "negative_pooled_prompt_embeds": texts(1, first=99).repeat(prompts, 1, 1)[:, 0],
        }
    elif name.startswith("ZImage"):
        given |= {
            "prompt_embeds": [row[:, :16] for row in given["prompt_embeds"]],
            "negative_prompt_embeds": [row[:, :16] for row in given["negative_prompt_embeds"]],
            "height": 32, "width": 32,
        }  # fmt: skip
    elif name.startswith("LTX"):
        given |= {"height": 64, "width": 64, "num_frames": 9}
        if name.startswith("LTXImage"):
            noise = [
                torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(9 + first + i)) for i in range(prompts)
            ]
            given["latents"] = torch.cat(noise)
    elif name.startswith(("Wan", "CogVideoX", "SkyReels")) and not name.endswith("ToVideoPipeline"):
        given |= SIZE
        if name.startswith("SkyReels"):
            given["prompt"] = None
    elif name.startswith("Wan"):
        given |= {"height": 32, "width": 32}
    elif name.startswith("Mochi"):
        given |= {"height": 32, "width": 32, "num_frames": 7}
    return pipe(**given | values)[0]
