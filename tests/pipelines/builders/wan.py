"""Wan 2.1 and 2.2 in all their forms, VACE, and those with the same autoencoder: SkyReels-V2, Helios, Motif, Sana."""

from __future__ import annotations

import diffusers as d
import transformers
from PIL import Image

import videoada

from . import parts
from .build import Build


def vae():
    return d.AutoencoderKLWan(
        base_dim=3, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True]
    )


LAYOUT = {
    "patch_size": (1, 2, 2), "num_attention_heads": 2, "attention_head_dim": 12, "in_channels": 16,
    "out_channels": 16, "text_dim": 32, "freq_dim": 256, "ffn_dim": 32, "num_layers": 2, "cross_attn_norm": True,
    "qk_norm": "rms_norm_across_heads",
}  # fmt: skip


def network(kind=d.WanTransformer3DModel, **values):
    return kind(**LAYOUT | {"rope_max_seq_len": 32} | values)


def unipc(shift: float = 3.0):
    return d.UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift)


def euler():
    return d.FlowMatchEulerDiscreteScheduler(shift=7.0)


def with_texts(transformer, scheduler, **others):
    return {"transformer": transformer, "vae": vae(), "scheduler": scheduler, "text_encoder": parts.umt5(),
            "tokenizer": parts.t5_tokenizer(), **others}  # fmt: skip


def wan():
    return with_texts(network(), unipc())


def wan_euler():
    return with_texts(network(), euler())


def tiny_wan():
    """The one build whose network learned something."""
    return videoada.load_pipeline("tiny-wan", device="cpu").components


def wan_i2v():
    encoder = {"image_encoder": parts.clip_vision(32, 4, 16), "image_processor": parts.clip_images(32)}
    return with_texts(network(in_channels=36, image_dim=4), unipc(), **encoder)


def wan_a14b():
    return with_texts(network(), unipc(), transformer_2=network(), boundary_ratio=0.875)


def wan_5b():
    autoencoder = d.AutoencoderKLWan(
        base_dim=3, z_dim=48, in_channels=12, out_channels=12, is_residual=True, patch_size=2,
        latents_mean=[0.0] * 48, latents_std=[1.0] * 48, dim_mult=[1, 1, 1, 1], num_res_blocks=1,
        scale_factor_spatial=16, scale_factor_temporal=4, temperal_downsample=[False, True, True],
    )  # fmt: skip
    transformer = network(in_channels=48, out_channels=48)
    return with_texts(transformer, unipc(5.0), expand_timesteps=True) | {"vae": autoencoder}


def vace():
    transformer = network(d.WanVACETransformer3DModel, num_layers=3, vace_layers=[0, 2], vace_in_channels=96)
    return with_texts(transformer, unipc())


def skyreels():
    return with_texts(network(d.SkyReelsV2Transformer3DModel), unipc(8.0))


def helios():
    transformer = d.HeliosTransformer3DModel(
        **LAYOUT, rope_dim=(4, 4, 4), has_multi_term_memory_patch=True, guidance_cross_attn=True,
        zero_history_timestep=True, is_amplify_history=False,
    )  # fmt: skip
    return with_texts(transformer, d.HeliosScheduler(stage_range=[0, 1], stages=1, use_dynamic_shifting=True))


def motif():
    text = transformers.T5Gemma2TextConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, vocab_size=128,
        max_position_embeddings=128, head_dim=16, num_key_value_heads=2, dropout_rate=0.0,
    )  # fmt: skip
    encoder = transformers.T5Gemma2Encoder(transformers.T5Gemma2EncoderConfig(text_config=text))
    transformer = d.MotifVideoTransformer3DModel(
        in_channels=33, out_channels=16, num_attention_heads=2, attention_head_dim=12, num_layers=1,
        num_single_layers=1, mlp_ratio=4.0, patch_size=1, patch_size_t=1, qk_norm="rms_norm", text_embed_dim=32,
        rope_axes_dim=(4, 4, 4),
    )  # fmt: skip
    others = {"guider": d.AdaptiveProjectedGuidance(), "feature_extractor": None}
    return with_texts(transformer, euler(), **others) | {"text_encoder": encoder}


def sana_network():
    return d.SanaVideoTransformer3DModel(
        in_channels=16, out_channels=16, num_attention_heads=2, attention_head_dim=12, num_layers=2,
        num_cross_attention_heads=2, cross_attention_head_dim=12, cross_attention_dim=24, caption_channels=8,
        mlp_ratio=2.5, sample_size=8, patch_size=(1, 2, 2), norm_elementwise_affine=False,
        qk_norm="rms_norm_across_heads", rope_max_seq_len=32,
    )  # fmt: skip


def sana_video():
    scheduler = d.DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=8.0, algorithm_type="dpmsolver++"
    )
    texts = {"text_encoder": parts.gemma2(), "tokenizer": parts.gemma_tokenizer()}
    return with_texts(sana_network(), scheduler) | texts


def sana_i2v():
    return sana_video() | {"scheduler": d.FlowMatchEulerDiscreteScheduler(shift=8.0)}


def one_image(numbers):
    return {"image": parts.image(32)}


def small_image(numbers):
    return {"image": parts.image(16)}


def videos(numbers):
    made = [parts.video(9, 16, i) for i in numbers]
    return {"video": made if len(made) > 1 else made[0]}


def masked_video(numbers):
    return {"video": parts.video(9, 16), "mask": [Image.new("L", (16, 16), 255 * (i % 2)) for i in range(9)]}


def switch(pipe, on):
    pipe.guider = d.AdaptiveProjectedGuidance() if on else d.ClassifierFreeGuidance(guidance_scale=1.0)


SHORT = {"height": 16, "width": 16, "num_frames": 9, "max_sequence_length": 32}
LARGER = SHORT | {"height": 32, "width": 32}
SANA = {
    "height": 32, "width": 32, "frames": 9, "max_sequence_length": 32, "complex_human_instruction": [],
    "use_resolution_binning": False,
}  # fmt: skip
WITHOUT_FRAMES = {name: value for name, value in SHORT.items() if name != "num_frames"}

BUILDS = (
    Build("wan-2.1-t2v", "Wan 2.1", "WanPipeline", "text to video", wan, SHORT),
    Build("wan-2.1-t2v-euler", "Wan 2.1", "WanPipeline", "text to video", wan_euler, SHORT),
    Build("tiny-wan", "Wan 2.1", "WanPipeline", "text to video", tiny_wan, SHORT),
    Build("wan-2.1-i2v", "Wan 2.1", "WanImageToVideoPipeline", "image to video", wan_i2v, SHORT, small_image),
    Build("wan-2.1-v2v", "Wan 2.1", "WanVideoToVideoPipeline", "video to video", wan,
          {**WITHOUT_FRAMES, "strength": 0.6}, videos, num_steps=12),
    Build("wan-2.2-a14b", "Wan 2.2 A14B", "WanPipeline", "text to video", wan_a14b, SHORT),
    Build("wan-2.2-5b", "Wan 2.2 5B", "WanPipeline", "text to video", wan_5b, LARGER),
    Build("wan-vace", "Wan 2.1 VACE", "WanVACEPipeline", "video to video", vace, SHORT, masked_video,
          at_once=False),
    Build("skyreels-v2-t2v", "SkyReels-V2", "SkyReelsV2Pipeline", "text to video", skyreels, SHORT),
    Build("skyreels-v2-df", "SkyReels-V2", "SkyReelsV2DiffusionForcingPipeline", "text to video", skyreels,
          {**SHORT, "base_num_frames": 9}),
    Build("helios", "Helios", "HeliosPipeline", "text to video", helios, SHORT),
    Build("motif-video", "Motif-Video", "MotifVideoPipeline", "text to video", motif, SHORT, guided={}, unguided={},
          guide=switch),
    Build("sana-video", "Sana-Video", "SanaVideoPipeline", "text to video", sana_video, SANA),
    Build("sana-video-i2v", "Sana-Video", "SanaImageToVideoPipeline", "image to video", sana_i2v, SANA,
          one_image),
)  # fmt: skip
