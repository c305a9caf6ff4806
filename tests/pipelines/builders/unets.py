"""Pipelines whose denoiser is a UNet: ModelScope, I2VGen-XL, AnimateDiff, Stable Video Diffusion, SD 1.5, SDXL."""

from __future__ import annotations

import diffusers as d

from . import parts
from .build import Build

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def vae(blocks=(8, 8, 8, 8), **values):
    count = len(blocks)
    return d.AutoencoderKL(
        block_out_channels=blocks, norm_num_groups=4, latent_channels=4, layers_per_block=1,
        down_block_types=["DownEncoderBlock2D"] * count, up_block_types=["UpDecoderBlock2D"] * count, **values,
    )  # fmt: skip


def ddim(**values):
    return d.DDIMScheduler(**BETAS, clip_sample=False, set_alpha_to_one=False, steps_offset=1, **values)


def unet_2d(**values):
    layout = {
        "block_out_channels": (16, 32), "layers_per_block": 1, "sample_size": 8, "norm_num_groups": 4,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"), "cross_attention_dim": 32,
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"), "attention_head_dim": 8,
    }  # fmt: skip
    return d.UNet2DConditionModel(**layout | values)


def modelscope():
    unet = d.UNet3DConditionModel(
        block_out_channels=(8, 16), layers_per_block=1, sample_size=4, norm_num_groups=4, cross_attention_dim=32,
        attention_head_dim=4, down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
    )  # fmt: skip
    return {"unet": unet, "vae": vae((8, 8)), "text_encoder": parts.clip(), "tokenizer": parts.clip_tokenizer(),
            "scheduler": ddim()}  # fmt: skip


def stable_diffusion():
    return {"unet": unet_2d(), "vae": vae((8, 8)), "text_encoder": parts.clip(), "scheduler": ddim(),
            "tokenizer": parts.clip_tokenizer(), "safety_checker": None, "feature_extractor": None}  # fmt: skip


def zero():
    return stable_diffusion() | {"requires_safety_checker": False}


def i2vgen():
    unet = d.I2VGenXLUNet(
        block_out_channels=(32, 64), layers_per_block=1, sample_size=4, norm_num_groups=8, cross_attention_dim=32,
        attention_head_dim=8, down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
    )  # fmt: skip
    scheduler = d.DDIMScheduler(
        beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction", rescale_betas_zero_snr=True,
        clip_sample=False, set_alpha_to_one=True, steps_offset=1,
    )  # fmt: skip
    return {"unet": unet, "vae": vae((8, 8)), "text_encoder": parts.clip(), "tokenizer": parts.clip_tokenizer(),
            "image_encoder": parts.clip_vision(), "feature_extractor": parts.clip_images(),
            "scheduler": scheduler}  # fmt: skip


def adapter(blocks, **values):
    return d.MotionAdapter(
        block_out_channels=blocks, motion_layers_per_block=1, motion_norm_num_groups=2, motion_num_attention_heads=4,
        **values,
    )  # fmt: skip


def animatediff():
    return {"unet": unet_2d(), "motion_adapter": adapter((16, 32)), "vae": vae((8, 8)), "text_encoder": parts.clip(),
            "tokenizer": parts.clip_tokenizer(),
            "scheduler": d.DDIMScheduler(**BETAS | {"beta_schedule": "linear"}, clip_sample=False)}  # fmt: skip


def sdxl_unet(**values):
    layout = {
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"), "attention_head_dim": (2, 4),
        "use_linear_projection": True, "addition_embed_type": "text_time", "addition_time_embed_dim": 8,
        "transformer_layers_per_block": (1, 1), "projection_class_embeddings_input_dim": 80,
        "cross_attention_dim": 64,
    }  # fmt: skip
    return unet_2d(**layout | values)


def sdxl_parts():
    return {"unet": sdxl_unet(), "vae": vae((8, 8)), "text_encoder": parts.clip(), "tokenizer": parts.clip_tokenizer(),
            "text_encoder_2": parts.clip(projected=True), "tokenizer_2": parts.clip_tokenizer()}  # fmt: skip


def sdxl():
    euler = d.EulerDiscreteScheduler(**BETAS, steps_offset=1, timestep_spacing="leading")
    return sdxl_parts() | {"scheduler": euler, "add_watermarker": False}


def animatediff_sdxl():
    scheduler = d.DDIMScheduler(**BETAS | {"beta_schedule": "linear"}, clip_sample=False)
    return sdxl_parts() | {"motion_adapter": adapter((16, 32), use_motion_mid_block=False), "scheduler": scheduler}


def svd():
    unet = d.UNetSpatioTemporalConditionModel(
        block_out_channels=(32, 64), layers_per_block=1, sample_size=32, in_channels=8, out_channels=4,
        down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
        up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"), cross_attention_dim=32,
        num_attention_heads=8, projection_class_embeddings_input_dim=96, addition_time_embed_dim=32,
    )  # fmt: skip
    scheduler = d.EulerDiscreteScheduler(
        **BETAS, interpolation_type="linear", prediction_type="v_prediction", sigma_max=700.0, sigma_min=0.002,
        steps_offset=1, timestep_spacing="leading", timestep_type="continuous", use_karras_sigmas=True,
    )  # fmt: skip
    autoencoder = d.AutoencoderKLTemporalDecoder(
        block_out_channels=[32, 32], latent_channels=4, down_block_types=["DownEncoderBlock2D"] * 2,
        layers_per_block=1,
    )  # fmt: skip
    return {"unet": unet, "vae": autoencoder, "scheduler": scheduler, "image_encoder": parts.clip_vision(224, patch=32),
            "feature_extractor": parts.clip_images(224)}  # fmt: skip


SIZED = {"height": 16, "width": 16}
GUIDED_SVD = {"min_guidance_scale": 1.0, "max_guidance_scale": 2.5}
UNGUIDED_SVD = {"min_guidance_scale": 1.0, "max_guidance_scale": 1.0}


def videos(numbers):
    made = [parts.video(4, 16, i) for i in numbers]
    return {"video": made if len(made) > 1 else made[0]}


def images(numbers):
    return {"image": [parts.image(32, i) for i in numbers]}


BUILDS = (
    Build("modelscope-t2v", "ModelScope", "TextToVideoSDPipeline", "text to video", modelscope,
          {**SIZED, "num_frames": 3}),
    Build("modelscope-v2v", "ModelScope", "VideoToVideoSDPipeline", "video to video", modelscope,
          {"strength": 0.6}, videos,
          at_once=False, num_steps=12),
    Build("text2video-zero", "Text2Video-Zero", "TextToVideoZeroPipeline", "text to video", zero,
          {**SIZED, "video_length": 3, "t0": 5, "t1": 6}, unguided=None, at_once=False,
          in_turn=True),
    Build("i2vgen-xl", "I2VGen-XL", "I2VGenXLPipeline", "image to video", i2vgen,
          {**SIZED, "num_frames": 3, "clip_skip": None}, images),
    Build("animatediff", "AnimateDiff", "AnimateDiffPipeline", "text to video", animatediff,
          {**SIZED, "num_frames": 3}),
    Build("animatediff-v2v", "AnimateDiff", "AnimateDiffVideoToVideoPipeline", "video to video", animatediff,
          {"strength": 0.6}, videos,
          num_steps=12),
    Build("animatediff-sdxl", "AnimateDiff", "AnimateDiffSDXLPipeline", "text to video", animatediff_sdxl,
          {**SIZED, "num_frames": 3}),
    Build("svd", "Stable Video Diffusion", "StableVideoDiffusionPipeline", "image to video", svd,
          {**SIZED, "num_frames": 3}, images, GUIDED_SVD, UNGUIDED_SVD, prompted=False),
    Build("sd-1.5", "Stable Diffusion", "StableDiffusionPipeline", "text to image", zero, SIZED),
    Build("sdxl", "Stable Diffusion", "StableDiffusionXLPipeline", "text to image", sdxl, SIZED),
)  # fmt: skip
