"""HunyuanVideo, its image-to-video form, HunyuanVideo 1.5, and Kandinsky 5, which has HunyuanVideo's autoencoder."""

from __future__ import annotations

import diffusers as d
import torch
import transformers

from . import parts
from .build import Build


def vae():
    return d.AutoencoderKLHunyuanVideo(
        latent_channels=4, down_block_types=("HunyuanVideoDownBlock3D",) * 4,
        up_block_types=("HunyuanVideoUpBlock3D",) * 4, block_out_channels=(8,) * 4, layers_per_block=1,
        norm_num_groups=4, spatial_compression_ratio=8, temporal_compression_ratio=4, mid_block_add_attention=True,
    )  # fmt: skip


def network(**values):
    layout = {
        "in_channels": 4, "out_channels": 4, "num_attention_heads": 2, "attention_head_dim": 10, "num_layers": 1,
        "num_single_layers": 1, "num_refiner_layers": 1, "patch_size": 1, "patch_size_t": 1, "guidance_embeds": True,
        "text_embed_dim": 16, "pooled_projection_dim": 8, "rope_axes_dim": (2, 4, 4),
    }  # fmt: skip
    return d.HunyuanVideoTransformer3DModel(**layout | values)


def hunyuan():
    return {"transformer": network(), "vae": vae(), "scheduler": d.FlowMatchEulerDiscreteScheduler(shift=7.0),
            "text_encoder": parts.llama(), "tokenizer": parts.llama_tokenizer(), "text_encoder_2": parts.clip(8),
            "tokenizer_2": parts.clip_tokenizer()}  # fmt: skip


IMAGE = "<image>"


def hunyuan_i2v():
    tokenizer = parts.llama_tokenizer(IMAGE)
    vision = transformers.CLIPVisionConfig(
        hidden_size=8, intermediate_size=37, projection_dim=32, num_attention_heads=4, num_hidden_layers=2,
        image_size=224, patch_size=32,
    )  # fmt: skip
    llava = transformers.LlavaConfig(
        vision_config=vision, text_config=parts.llama_config(), pad_token_id=3,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
    )  # fmt: skip
    transformer = network(in_channels=9, guidance_embeds=False, image_condition_type="latent_concat")
    return hunyuan() | {
        "transformer": transformer, "text_encoder": transformers.LlavaForConditionalGeneration(llava),
        "tokenizer": tokenizer, "image_processor": parts.clip_images(224),
    }  # fmt: skip


def hunyuan_15():
    transformer = d.HunyuanVideo15Transformer3DModel(
        in_channels=9, out_channels=4, num_attention_heads=2, attention_head_dim=8, num_layers=1,
        num_refiner_layers=1, mlp_ratio=2.0, patch_size=1, patch_size_t=1, text_embed_dim=16, text_embed_2_dim=32,
        image_embed_dim=12, rope_axes_dim=(2, 2, 4), target_size=16, task_type="t2v",
    )  # fmt: skip
    autoencoder = d.AutoencoderKLHunyuanVideo15(
        latent_channels=4, block_out_channels=(16, 16), layers_per_block=1, spatial_compression_ratio=4,
        temporal_compression_ratio=2, downsample_match_channel=False, upsample_match_channel=False,
    )  # fmt: skip
    byt5 = transformers.T5EncoderModel(
        transformers.T5Config(vocab_size=384, d_model=32, d_kv=8, d_ff=37, num_layers=2, num_heads=4)
    )
    return {"transformer": transformer, "vae": autoencoder, "text_encoder": parts.qwen_vl_text(),
            "scheduler": d.FlowMatchEulerDiscreteScheduler(shift=7.0), "tokenizer": parts.qwen_tokenizer(),
            "text_encoder_2": byt5, "tokenizer_2": transformers.ByT5Tokenizer(),
            "guider": d.ClassifierFreeGuidance(guidance_scale=5.0)}  # fmt: skip


def short_chat(pipe):
    """Its own instruction is hundreds of letters long, which are hundreds of tokens here."""
    pipe.system_message, pipe.prompt_template_encode_start_idx, pipe.tokenizer_max_length = "s", 4, 64
    pipe.tokenizer_2_max_length, pipe.vision_num_semantic_tokens = 16, 4


def kandinsky():
    autoencoder = d.AutoencoderKLHunyuanVideo(
        block_out_channels=[32, 64], down_block_types=["HunyuanVideoDownBlock3D"] * 2, latent_channels=16,
        layers_per_block=1, mid_block_add_attention=False, up_block_types=["HunyuanVideoUpBlock3D"] * 2,
    )  # fmt: skip
    transformer = d.Kandinsky5Transformer3DModel(
        in_visual_dim=16, in_text_dim=32, in_text_dim2=16, time_dim=16, out_visual_dim=16, patch_size=(1, 2, 2),
        model_dim=16, ff_dim=32, num_text_blocks=1, num_visual_blocks=2, axes_dims=(1, 1, 2), visual_cond=False,
        attention_type="regular",
    )  # fmt: skip
    return {"transformer": transformer, "vae": autoencoder, "scheduler": d.FlowMatchEulerDiscreteScheduler(shift=5.0),
            "text_encoder": None, "tokenizer": None, "text_encoder_2": None, "tokenizer_2": None}  # fmt: skip


def embeddings(numbers):
    """Its tokenizer is a processor of pictures too, which needs torchvision: texts are given as embeddings."""
    length, many = 8, len(numbers)

    def made(seed, *shape):
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed))

    ends = torch.arange(many + 1, dtype=torch.int32) * length
    return {
        "prompt_embeds_qwen": torch.cat([made(10 + i, 1, length, 32) for i in numbers]),
        "prompt_embeds_clip": torch.cat([made(20 + i, 1, 16) for i in numbers]), "prompt_cu_seqlens": ends,
        "negative_prompt_embeds_qwen": made(30, 1, length, 32).expand(many, -1, -1),
        "negative_prompt_embeds_clip": made(40, 1, 16).expand(many, -1), "negative_prompt_cu_seqlens": ends,
    }  # fmt: skip


def images(numbers):
    made = [parts.image(16, i) for i in numbers]
    return {"image": made if len(made) > 1 else made[0]}


def switch(pipe, on):
    pipe.guider = d.ClassifierFreeGuidance(guidance_scale=5.0 if on else 1.0)


SHORT = {"height": 16, "width": 16, "num_frames": 9}
PLAIN = {"template": "{}", "crop_start": 0}
PICTURED = PLAIN | {"image_emb_len": 49, "image_emb_start": 5, "image_emb_end": 54}

BUILDS = (
    Build("hunyuanvideo", "HunyuanVideo", "HunyuanVideoPipeline", "text to video", hunyuan,
          {**SHORT, "max_sequence_length": 32, "prompt_template": PLAIN}, guided={"true_cfg_scale": 4.0},
          unguided={"true_cfg_scale": 1.0}),
    Build("hunyuanvideo-i2v", "HunyuanVideo", "HunyuanVideoImageToVideoPipeline", "image to video", hunyuan_i2v,
          {**SHORT, "max_sequence_length": 64, "prompt_template": PICTURED}, images, {"true_cfg_scale": 4.0},
          {"true_cfg_scale": 1.0}, at_once=False),
    Build("hunyuanvideo-1.5", "HunyuanVideo 1.5", "HunyuanVideo15Pipeline", "text to video", hunyuan_15, SHORT,
          guided={}, unguided={}, guide=switch, tune=short_chat),
    Build("kandinsky5", "Kandinsky 5", "Kandinsky5T2VPipeline", "text to video", kandinsky,
          {"height": 32, "width": 32, "num_frames": 5}, embeddings, prompted=False),
)  # fmt: skip
