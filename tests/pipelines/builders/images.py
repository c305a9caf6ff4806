"""Pipelines that make images with a transformer: Flux, SD3, Qwen-Image, Sana, Z-Image."""

from __future__ import annotations

import diffusers as d
import torch

from . import parts
from .build import Build


def vae(channels: int, **values):
    return d.AutoencoderKL(
        block_out_channels=(4,), layers_per_block=1, latent_channels=channels, norm_num_groups=1,
        use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.0609, scaling_factor=1.5035, **values,
    )  # fmt: skip


def euler():
    return d.FlowMatchEulerDiscreteScheduler(shift=3.0)


def flux():
    transformer = d.FluxTransformer2DModel(
        patch_size=1, in_channels=4, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=32, pooled_projection_dim=32, axes_dims_rope=[4, 4, 8], guidance_embeds=True,
    )  # fmt: skip
    return {"transformer": transformer, "vae": vae(1), "scheduler": euler(), "text_encoder": parts.clip(),
            "tokenizer": parts.clip_tokenizer(), "text_encoder_2": parts.t5(),
            "tokenizer_2": parts.t5_tokenizer()}  # fmt: skip


def sd3():
    transformer = d.SD3Transformer2DModel(
        sample_size=8, patch_size=1, in_channels=4, num_layers=1, attention_head_dim=8, num_attention_heads=4,
        caption_projection_dim=32, joint_attention_dim=32, pooled_projection_dim=64, out_channels=4,
    )  # fmt: skip
    return {"transformer": transformer, "vae": vae(4), "scheduler": euler(),
            "text_encoder": parts.clip(16, projected=True), "tokenizer": parts.clip_tokenizer(),
            "text_encoder_2": parts.clip(16, projected=True), "tokenizer_2": parts.clip_tokenizer(),
            "text_encoder_3": parts.t5(), "tokenizer_3": parts.t5_tokenizer()}  # fmt: skip


def qwen_image():
    transformer = d.QwenImageTransformer2DModel(
        patch_size=2, in_channels=16, out_channels=4, num_layers=2, attention_head_dim=16, num_attention_heads=3,
        joint_attention_dim=16, guidance_embeds=False, axes_dims_rope=(8, 4, 4),
    )  # fmt: skip
    autoencoder = d.AutoencoderKLQwenImage(
        base_dim=24, z_dim=4, dim_mult=[1, 2, 4], num_res_blocks=1, temperal_downsample=[False, True],
        latents_mean=[0.0] * 4, latents_std=[1.0] * 4,
    )  # fmt: skip
    return {"transformer": transformer, "vae": autoencoder, "scheduler": euler(), "text_encoder": parts.qwen_vl(),
            "tokenizer": parts.qwen_tokenizer()}  # fmt: skip


def plain_template(pipe):
    """Its own instruction is a hundred letters long, which are a hundred tokens here."""
    pipe.prompt_template_encode, pipe.prompt_template_encode_start_idx = "{}", 0


def sana():
    transformer = d.SanaTransformer2DModel(
        patch_size=1, in_channels=4, out_channels=4, num_layers=1, num_attention_heads=2, attention_head_dim=4,
        num_cross_attention_heads=2, cross_attention_head_dim=4, cross_attention_dim=8, caption_channels=8,
        sample_size=32,
    )  # fmt: skip
    blocks = ("ResBlock", "EfficientViTBlock")
    autoencoder = d.AutoencoderDC(
        in_channels=3, latent_channels=4, attention_head_dim=2, encoder_block_types=blocks,
        decoder_block_types=blocks, encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8),
        encoder_qkv_multiscales=((), (5,)), decoder_qkv_multiscales=((), (5,)), encoder_layers_per_block=(1, 1),
        decoder_layers_per_block=[1, 1], downsample_block_type="conv", upsample_block_type="interpolate",
        decoder_norm_types="rms_norm", decoder_act_fns="silu", scaling_factor=0.41407,
    )  # fmt: skip
    scheduler = d.DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0)
    return {"transformer": transformer, "vae": autoencoder, "scheduler": scheduler, "text_encoder": parts.gemma2(),
            "tokenizer": parts.gemma_tokenizer()}  # fmt: skip


def z_image_network():
    transformer = d.ZImageTransformer2DModel(
        all_patch_size=(2,), all_f_patch_size=(1,), in_channels=16, dim=32, n_layers=2, n_refiner_layers=1, n_heads=2,
        n_kv_heads=2, norm_eps=1e-5, qk_norm=True, cap_feat_dim=16, rope_theta=256.0, t_scale=1000.0,
        axes_dims=[8, 4, 4], axes_lens=[256, 32, 32],
    )  # fmt: skip
    with torch.no_grad():  # made by torch.empty
        transformer.x_pad_token.fill_(1.0)
        transformer.cap_pad_token.fill_(1.0)
    return transformer


def z_image():
    transformer = z_image_network()
    autoencoder = d.AutoencoderKL(
        block_out_channels=[8, 8], layers_per_block=1, latent_channels=16, norm_num_groups=4, shift_factor=0.1159,
        down_block_types=["DownEncoderBlock2D"] * 2, up_block_types=["UpDecoderBlock2D"] * 2, scaling_factor=0.3611,
    )  # fmt: skip
    return {"transformer": transformer, "vae": autoencoder, "scheduler": euler(), "text_encoder": parts.qwen3(),
            "tokenizer": parts.qwen_tokenizer()}  # fmt: skip


TINY, SMALL = {"height": 8, "width": 8, "max_sequence_length": 32}, {"height": 32, "width": 32}
TRUE_GUIDANCE = {"guided": {"true_cfg_scale": 4.0}, "unguided": {"true_cfg_scale": 1.0}}

BUILDS = (
    Build("flux", "Flux", "FluxPipeline", "text to image", flux, TINY, **TRUE_GUIDANCE),
    Build("sd3", "Stable Diffusion", "StableDiffusion3Pipeline", "text to image", sd3, TINY),
    Build("qwen-image", "Qwen-Image", "QwenImagePipeline", "text to image", qwen_image,
          {**SMALL, "max_sequence_length": 64}, tune=plain_template, **TRUE_GUIDANCE),
    Build("sana", "Sana", "SanaPipeline", "text to image", sana,
          {**SMALL, "max_sequence_length": 32, "complex_human_instruction": None, "use_resolution_binning": False}),
    Build("z-image", "Z-Image", "ZImagePipeline", "text to image", z_image, {**SMALL, "max_sequence_length": 64},
          unguided={"guidance_scale": 0.0}),
)  # fmt: skip
