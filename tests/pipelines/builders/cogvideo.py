"""CogVideoX with both of its schedulers, ConsisID, Latte, Allegro and Mochi."""

from __future__ import annotations

import diffusers as d
import torch

from . import parts
from .build import Build


def vae():
    return d.AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * 4, up_block_types=("CogVideoXUpBlock3D",) * 4,
        block_out_channels=(8, 8, 8, 8), latent_channels=4, layers_per_block=1, norm_num_groups=2,
        temporal_compression_ratio=4,
    )  # fmt: skip


LAYOUT = {
    "out_channels": 4, "time_embed_dim": 2, "text_embed_dim": 32, "num_layers": 1, "sample_width": 2,
    "sample_height": 2, "sample_frames": 9, "patch_size": 2, "temporal_compression_ratio": 4,
    "max_text_seq_length": 32,
}  # fmt: skip
BETAS = {
    "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True, "snr_shift_scale": 3.0, "timestep_spacing": "trailing",
}  # fmt: skip


def texts():
    return {"text_encoder": parts.t5(), "tokenizer": parts.t5_tokenizer()}


def network(**values):
    layout = {"num_attention_heads": 4, "attention_head_dim": 8, "in_channels": 4, **LAYOUT}
    return d.CogVideoXTransformer3DModel(**layout | values)


def cogvideo(scheduler=None):
    scheduler = scheduler or d.CogVideoXDDIMScheduler(**BETAS, clip_sample=False)
    return {"transformer": network(), "vae": vae(), "scheduler": scheduler, **texts()}


def dpm():
    return d.CogVideoXDPMScheduler(**BETAS)


def cogvideo_dpm():
    return cogvideo(dpm())


def cogvideo_i2v():
    transformer = d.CogVideoXTransformer3DModel(
        num_attention_heads=2, attention_head_dim=16, in_channels=8, use_rotary_positional_embeddings=True,
        use_learned_positional_embeddings=True, **LAYOUT,
    )  # fmt: skip
    return cogvideo() | {"transformer": transformer}


def consisid():
    transformer = d.ConsisIDTransformer3DModel(
        num_attention_heads=2, attention_head_dim=16, in_channels=8, use_rotary_positional_embeddings=True,
        use_learned_positional_embeddings=True, cross_attn_interval=1, is_kps=False, is_train_face=True,
        cross_attn_dim_head=1, cross_attn_num_heads=1, LFE_id_dim=2, LFE_vit_dim=2, LFE_depth=5, LFE_dim_head=8,
        LFE_num_heads=2, LFE_num_id_token=1, LFE_num_querie=1, LFE_output_dim=21, LFE_ff_mult=1, LFE_num_scale=1,
        **LAYOUT,
    )  # fmt: skip
    return cogvideo() | {"transformer": transformer}


def latte():
    transformer = d.LatteTransformer3DModel(
        sample_size=2, num_layers=1, patch_size=2, attention_head_dim=8, num_attention_heads=3, caption_channels=32,
        video_length=2,
        in_channels=4, cross_attention_dim=24, out_channels=8, attention_bias=True,
        activation_fn="gelu-approximate", num_embeds_ada_norm=1000, norm_type="ada_norm_single",
        norm_elementwise_affine=False, norm_eps=1e-6,
    )  # fmt: skip
    autoencoder = d.AutoencoderKL(
        block_out_channels=(8,) * 4, norm_num_groups=4, down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4, layers_per_block=1,
    )  # fmt: skip
    scheduler = d.DDIMScheduler(beta_start=0.0001, beta_end=0.02, beta_schedule="linear", clip_sample=False)
    return {"transformer": transformer, "vae": autoencoder, "scheduler": scheduler, **texts()}


def allegro():
    transformer = d.AllegroTransformer3DModel(
        num_attention_heads=2, attention_head_dim=12, in_channels=4, out_channels=4, num_layers=1,
        cross_attention_dim=24, sample_width=8, sample_height=8, sample_frames=8, caption_channels=24,
    )  # fmt: skip
    autoencoder = d.AutoencoderKLAllegro(
        down_block_types=("AllegroDownBlock3D",) * 4, up_block_types=("AllegroUpBlock3D",) * 4,
        block_out_channels=(8, 8, 8, 8), latent_channels=4, layers_per_block=1, norm_num_groups=2,
        temporal_compression_ratio=4,
    )  # fmt: skip
    scheduler = d.EulerAncestralDiscreteScheduler(beta_start=0.0001, beta_end=0.02, beta_schedule="linear")
    return {"transformer": transformer, "vae": autoencoder, "scheduler": scheduler, "text_encoder": parts.t5(24),
            "tokenizer": parts.t5_tokenizer()}  # fmt: skip


def mochi_network(**values):
    layout = {
        "patch_size": 2, "num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 2,
        "pooled_projection_dim": 16, "in_channels": 12, "qk_norm": "rms_norm", "text_embed_dim": 32,
        "time_embed_dim": 4, "activation_fn": "swiglu", "max_sequence_length": 32,
    }  # fmt: skip
    transformer = d.MochiTransformer3DModel(**layout | values)
    with torch.no_grad():  # made by torch.empty
        transformer.pos_frequencies.normal_()
    return transformer


def mochi(**values):
    transformer = mochi_network()
    autoencoder = d.AutoencoderKLMochi(
        latent_channels=12, out_channels=3, encoder_block_out_channels=(32,) * 4,
        decoder_block_out_channels=(32,) * 4, layers_per_block=(1,) * 5,
    )  # fmt: skip
    scheduler = d.FlowMatchEulerDiscreteScheduler(**values)
    return {"transformer": transformer, "vae": autoencoder, "scheduler": scheduler, **texts()}


def mochi_inverted():
    return mochi(invert_sigmas=True)


SHORT = {"height": 16, "width": 16, "num_frames": 9, "max_sequence_length": 32}


def images(numbers):
    made = [parts.image(16, i) for i in numbers]
    return {"image": made if len(made) > 1 else made[0]}


def face(numbers):
    """One face for all prompts, as its network wants it under guidance."""
    return images(numbers) | {"id_vit_hidden": [torch.ones(1, 2, 2)], "id_cond": torch.ones(1, 2)}


def videos(numbers):
    made = [parts.video(9, 16, i) for i in numbers]
    return {"video": made if len(made) > 1 else made[0]}


BUILDS = (
    Build("cogvideox-ddim", "CogVideoX", "CogVideoXPipeline", "text to video", cogvideo, SHORT),
    Build("cogvideox-dpm", "CogVideoX", "CogVideoXPipeline", "text to video", cogvideo_dpm, SHORT),
    Build("cogvideox-i2v", "CogVideoX", "CogVideoXImageToVideoPipeline", "image to video", cogvideo_i2v, SHORT,
          images),
    Build("cogvideox-v2v", "CogVideoX", "CogVideoXVideoToVideoPipeline", "video to video", cogvideo,
          {"height": 16, "width": 16, "max_sequence_length": 32, "strength": 0.6}, videos,
          num_steps=12),
    Build("consisid", "ConsisID", "ConsisIDPipeline", "image to video", consisid, SHORT, face),
    Build("latte", "Latte", "LattePipeline", "text to video", latte,
          {"height": 16, "width": 16, "video_length": 2, "clean_caption": False, "mask_feature": False}),
    Build("allegro", "Allegro", "AllegroPipeline", "text to video", allegro,
          {**SHORT, "num_frames": 8, "clean_caption": False}),
    Build("mochi", "Mochi", "MochiPipeline", "text to video", mochi, {**SHORT, "num_frames": 7}),
    Build("mochi-inverted", "Mochi", "MochiPipeline", "text to video", mochi_inverted, {**SHORT, "num_frames": 7}),
)  # fmt: skip
